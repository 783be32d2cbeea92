//! The machines with which this one has requests under way, and whether they are alive.

use std::collections::BTreeMap;

use super::topic::MachineId;

/// The interval between signs of life to machines that wait for this one, in ms.
pub(super) const ALIVE: u64 = 1000;

/// A machine is gone if nothing has been received from it for this long, in ms.
pub const SILENCE: u64 = 5000;

#[derive(Clone, Copy, Debug)]
struct Peer {
    /// The number of its connection to the server.
    session: u32,
    /// When something was last received from it.
    heard: u64,
}

/// How current a publication of a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It is current.
    Fresh,
    /// The machine has reconnected: what was under way with it is lost.
    Restarted,
    /// It was published on a connection that has ended.
    Stale,
}

/// The machines: see the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<MachineId, Peer>,
    /// When they are next checked.
    next: Option<u64>,
}

impl Peers {
    /// A publication of a machine was received.
    pub(super) fn on_received(&mut self, machine: MachineId, session: u32, now: u64) -> Freshness {
        let Some(peer) = self.known.get_mut(&machine) else { return Freshness::Fresh };
        if session < peer.session {
            return Freshness::Stale;
        }
        let is_restarted = session > peer.session;
        *peer = Peer { session, heard: now };
        if is_restarted { Freshness::Restarted } else { Freshness::Fresh }
    }

    /// Tracks a machine with which something is under way, and from which something was just received.
    pub(super) fn track(&mut self, machine: MachineId, session: u32, now: u64) {
        self.known.insert(machine, Peer { session, heard: now });
        self.next.get_or_insert(now + ALIVE);
    }

    /// If the check is due, stops tracking machines that are not needed, and returns those that are alive and
    /// those that are gone.
    pub(super) fn check(
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
    fn a_silent_machine_is_gone() {
        let [one, other] = [1, 2].map(|number| MachineId::new([number, 0]));
        let mut peers = Peers::default();
        assert_eq!(peers.next_deadline(), None);
        peers.track(one, 3, 0);
        peers.track(other, 1, 0);
        assert_eq!(peers.check(ALIVE - 1, |_| true), (vec![], vec![]));
        assert_eq!(peers.check(ALIVE, |_| true), (vec![one, other], vec![]));
        assert_eq!(peers.on_received(one, 3, SILENCE - 1), Freshness::Fresh);
        assert_eq!(peers.check(SILENCE, |_| true), (vec![one], vec![other]));
        assert_eq!(peers.check(SILENCE + ALIVE, |it| it == one), (vec![one], vec![]));
        assert_eq!(peers.check(SILENCE + 2 * ALIVE, |_| false), (vec![], vec![]));
        assert_eq!(peers.next_deadline(), None, "nobody is needed");
    }

    #[test]
    fn a_reconnected_machine_is_detected() {
        let one = MachineId::new([1, 0]);
        let mut peers = Peers::default();
        assert_eq!(peers.on_received(one, 3, 0), Freshness::Fresh, "there is nothing to be lost");
        peers.track(one, 3, 0);
        assert_eq!(peers.on_received(one, 4, 1), Freshness::Restarted);
        assert_eq!(peers.on_received(one, 3, 2), Freshness::Stale);
        assert_eq!(peers.on_received(one, 4, 3), Freshness::Fresh);
    }
}
