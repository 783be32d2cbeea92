//! The worker that the app has chosen.

use super::{Members, RoundRobin};
use crate::ids::WorkerId;

/// A hook of the app's decides, before a connection gets here. Where it has not, or for a worker that is no member
/// (any more), it is in turn; and those turns go on as if the others did not exist.
#[derive(Debug, Default)]
pub struct Hook {
    pub(super) turns: RoundRobin,
}

impl Hook {
    /// The chosen member, or none when that is not ready and the connection is `patient`; after that the next in turn.
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
    fn the_chosen_one_is_waited_for_and_a_stranger_is_not() {
        let mut hook = Hook::default();
        let mut all = Names::read(&["A", "b", "C"]);
        let mut choose = |chosen: Option<u32>, patient| hook.choose(&mut all, chosen.map(WorkerId), patient);
        assert_eq!([choose(Some(2), true), choose(Some(2), true)], [Some(2); 2]);
        assert_eq!(choose(Some(1), true), None);
        // Those who are in turn do not notice the others.
        assert_eq!(
            [choose(None, true), choose(Some(9), true), choose(Some(1), false)],
            [Some(0), Some(2), Some(0)]
        );
    }
}
