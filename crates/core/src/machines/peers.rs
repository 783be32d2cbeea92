//! The machines that this one asks or answers, and whether they are still there.

use std::collections::BTreeMap;

use super::topic::MachineId;

/// How often machines that wait for each other say that they are there, in ms.
pub(super) const ALIVE: u64 = 1000;

/// A machine that has said nothing for so long, in ms, is gone.
pub const SILENCE: u64 = 5000;

#[derive(Clone, Copy, Debug)]
struct Peer {
    /// The number of its connection with the server.
    session: u32,
    /// When it last said something.
    heard: u64,
}

/// How something from a machine is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// As it is.
    Fresh,
    /// It has been connected anew: what was under way with it is lost.
    Restarted,
    /// It comes from a connection that has ended.
    Stale,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<MachineId, Peer>,
    /// When they are looked after.
    next: Option<u64>,
}

impl Peers {
    /// Something has come from a machine.
    pub(super) fn on_heard(&mut self, machine: MachineId, session: u32, now: u64) -> Voice {
        let Some(peer) = self.known.get_mut(&machine) else { return Voice::Fresh };
        if session < peer.session {
            return Voice::Stale;
        }
        let is_restarted = session > peer.session;
        *peer = Peer { session, heard: now };
        if is_restarted { Voice::Restarted } else { Voice::Fresh }
    }

    /// Something is under way with a machine that has just been heard.
    pub(super) fn meet(&mut self, machine: MachineId, session: u32, now: u64) {
        self.known.insert(machine, Peer { session, heard: now });
        self.next.get_or_insert(now + ALIVE);
    }

    /// Takes those that are not needed any more out, if it is time to look after them. Returns those that are there, and those
    /// that are gone.
    pub(super) fn look_after(
        &mut self,
        now: u64,
        is_needed: impl Fn(MachineId) -> bool,
    ) -> (Vec<MachineId>, Vec<MachineId>) {
        if self.next.is_none_or(|next| next > now) {
            return Default::default();
        }
        self.known.retain(|machine, _| is_needed(*machine));
        let (there, gone): (Vec<_>, Vec<_>) =
            self.known.iter().partition(|(_, peer)| now.saturating_sub(peer.heard) < SILENCE);
        let [there, gone] = [there, gone].map(|all| all.into_iter().map(|(machine, _)| *machine).collect());
        self.next = (!self.known.is_empty()).then_some(now + ALIVE);
        (there, gone)
    }

    /// The connection has ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_says_nothing_is_gone() {
        let [one, other] = [1, 2].map(|number| MachineId::new([number, 0]));
        let mut peers = Peers::default();
        assert_eq!(peers.next_deadline(), None);
        peers.meet(one, 3, 0);
        peers.meet(other, 1, 0);
        assert_eq!(peers.look_after(ALIVE - 1, |_| true), (vec![], vec![]));
        assert_eq!(peers.look_after(ALIVE, |_| true), (vec![one, other], vec![]));
        assert_eq!(peers.on_heard(one, 3, SILENCE - 1), Voice::Fresh);
        assert_eq!(peers.look_after(SILENCE, |_| true), (vec![one], vec![other]));
        assert_eq!(peers.look_after(SILENCE + ALIVE, |it| it == one), (vec![one], vec![]));
        assert_eq!(peers.look_after(SILENCE + 2 * ALIVE, |_| false), (vec![], vec![]));
        assert_eq!(peers.next_deadline(), None, "nobody is needed");
    }

    #[test]
    fn a_new_connection_of_a_machine_is_told_from_the_old_one() {
        let one = MachineId::new([1, 0]);
        let mut peers = Peers::default();
        assert_eq!(peers.on_heard(one, 3, 0), Voice::Fresh, "there is nothing to be lost");
        peers.meet(one, 3, 0);
        assert_eq!(peers.on_heard(one, 4, 1), Voice::Restarted);
        assert_eq!(peers.on_heard(one, 3, 2), Voice::Stale);
        assert_eq!(peers.on_heard(one, 4, 3), Voice::Fresh);
    }
}
