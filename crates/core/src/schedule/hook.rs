//! The worker that the app has chosen.

use super::{Members, RoundRobin};
use crate::ids::WorkerId;

/// The app's hook chooses before the connection gets here. Without a choice, or if the chosen worker is not a
/// member (any more), members take turns; choices do not affect the turns.
#[derive(Debug, Default)]
pub struct Hook {
    pub(super) turns: RoundRobin,
}

impl Hook {
    /// The chosen member, or none if it is not ready and the connection is `patient`; otherwise the next in
    /// turn.
    pub fn choose(
        &mut self,
        members: &mut impl Members,
        chosen: Option<WorkerId>,
        patient: bool,
    ) -> Option<usize> {
        let seat =
            chosen.and_then(|chosen| (0..members.count()).find(|&seat| members.worker(seat) == chosen));
        match seat {
            Some(seat) if members.is_ready(seat) => Some(seat),
            Some(_) if patient => None,
            _ => self.turns.choose(members),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::names::Names;

    #[test]
    fn a_connection_waits_for_the_chosen_worker_if_it_is_a_member() {
        let mut hook = Hook::default();
        let mut all = Names::read(&["A", "b", "C"]);
        let mut choose = |chosen: Option<u32>, patient| hook.choose(&mut all, chosen.map(WorkerId), patient);
        assert_eq!([choose(Some(2), true), choose(Some(2), true)], [Some(2); 2]);
        assert_eq!(choose(Some(1), true), None);
        // Choices do not affect the turns.
        assert_eq!(
            [choose(None, true), choose(Some(9), true), choose(Some(1), false)],
            [Some(0), Some(2), Some(0)]
        );
    }
}
