//! Pairs of processes with a socket of their own, from the side of the exchange.
//!
//! A pair is created at the first request from one process to another. Each process has a bounded number of
//! pairs, and two processes whose pair has ended get no new one, so no process can make work for another by
//! ending pairs.
//!
//! A pair ends in two steps, so that each process hears of the end after everything that the other one has sent: as
//! the first ends it, the second is told, and ends it as well; then the first is told.
//!
//! Only the process that makes the requests of a pair knows how many are unfinished, and publishes the
//! number. Each end has a place for it. The number is not verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ClientId;
use super::frame::Status;
use crate::store::ring::PUBLISHED_WORDS;

/// The largest number of pairs of one process.
pub const MAX_PAIRS: usize = PUBLISHED_WORDS - 1;

/// After a pair could not be created, the number of requests before the next attempt.
const PAUSE: u32 = 1000;

/// A pair. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u32);

/// The published number of unfinished requests that an end has made, by the place of the pair.
pub type Published<'a> = &'a dyn Fn(ClientId, usize) -> usize;

/// One of the two processes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) client: ClientId,
    /// The place at which it publishes the number of its unfinished requests.
    pub(super) place: usize,
    /// It sends nothing for the pair any more, and the other process was told.
    has_ended: bool,
}

/// The pairs: see the module.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    next: u32,
    open: BTreeMap<PairId, [End; 2]>,
    /// The partners of a client, including those whose pair has ended.
    partners: HashMap<ClientId, BTreeMap<ClientId, Option<PairId>>>,
    pause: u32,
    /// Pairs that have not got their sockets yet.
    made: Vec<PairId>,
    /// Open pairs with an answer that found no room.
    lossy: BTreeSet<PairId>,
}

impl Pairs {
    /// A request goes from one client to another. Creates a pair if both may have one and have not had one
    /// before.
    pub(super) fn on_request(&mut self, from: ClientId, to: ClientId) {
        if from == to || self.partners.get(&from).is_some_and(|its| its.contains_key(&to)) {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let (Some(one), Some(other)) = (self.free_place(from), self.free_place(to)) else { return };
        let Some(next) = self.next.checked_add(1) else { return };
        let id = PairId(self.next);
        self.next = next;
        let end = |client, place| End { client, place, has_ended: false };
        self.open.insert(id, [end(from, one), end(to, other)]);
        for (client, partner) in [(from, to), (to, from)] {
            self.partners.entry(client).or_default().insert(partner, Some(id));
        }
        self.made.push(id);
    }

    fn free_place(&self, client: ClientId) -> Option<usize> {
        let taken: Vec<usize> = self.ends(client).map(|(own, _)| own.place).collect();
        (0..MAX_PAIRS).find(|place| !taken.contains(place))
    }

    /// The pairs of a client: its own end, and the other end.
    fn ends(&self, client: ClientId) -> impl Iterator<Item = (End, End)> + '_ {
        let pairs = self.partners.get(&client).into_iter().flat_map(BTreeMap::values).flatten();
        pairs
            .filter_map(move |id| self.open.get(id))
            .map(move |[one, other]| if one.client == client { (*one, *other) } else { (*other, *one) })
    }

    /// Takes the new pairs, which need their sockets.
    pub(super) fn take_made(&mut self) -> Vec<(PairId, [End; 2])> {
        let made = std::mem::take(&mut self.made);
        made.into_iter().filter_map(|id| Some((id, *self.open.get(&id)?))).collect()
    }

    /// The sockets of a pair could not be created, for lack of a system resource.
    pub(super) fn on_not_made(&mut self, id: PairId) {
        self.pause = PAUSE;
        if let Some([one, other]) = self.close(id) {
            // Another attempt is allowed.
            for (client, partner) in [(one.client, other.client), (other.client, one.client)] {
                self.forget(client, partner);
            }
        }
    }

    fn forget(&mut self, client: ClientId, partner: ClientId) {
        if let Some(its) = self.partners.get_mut(&client) {
            its.remove(&partner);
            if its.is_empty() {
                self.partners.remove(&client);
            }
        }
    }

    /// The own end of a client, and the other one.
    fn ends_of(&mut self, client: ClientId, id: PairId) -> Option<(&mut End, &mut End)> {
        let [one, other] = self.open.get_mut(&id)?;
        match client {
            it if it == one.client => Some((one, other)),
            it if it == other.client => Some((other, one)),
            _ => None,
        }
    }

    /// The client at the other end of a pair, if the pair belongs to this client, which has not ended it.
    pub(super) fn partner(&mut self, client: ClientId, id: PairId) -> Option<ClientId> {
        let (own, other) = self.ends_of(client, id)?;
        (!own.has_ended).then_some(other.client)
    }

    /// An answer of a client finds no room. Returns whether the client must now be told to end the pair.
    pub(super) fn on_lost(&mut self, id: PairId) -> bool {
        self.lossy.insert(id)
    }

    /// A client ends a pair. Returns the client at the other end, which must be told, and the status of its requests.
    pub(super) fn end(&mut self, client: ClientId, id: PairId) -> Option<(ClientId, Status)> {
        let partner = self.partner(client, id)?;
        let status = if self.lossy.contains(&id) { Status::Lost } else { Status::Gone };
        // What has no sockets yet is known to nobody.
        let is_made = self.made.contains(&id);
        let (own, other) = self.ends_of(client, id)?;
        own.has_ended = true;
        if other.has_ended || is_made {
            self.close(id);
            for (client, partner) in [(client, partner), (partner, client)] {
                if let Some(its) = self.partners.get_mut(&client) {
                    its.insert(partner, None);
                }
            }
        }
        (!is_made).then_some((partner, status))
    }

    fn close(&mut self, id: PairId) -> Option<[End; 2]> {
        self.lossy.remove(&id);
        self.open.remove(&id)
    }

    /// The pairs of a client, and the client at the other end of each.
    pub(super) fn of(&self, client: ClientId) -> Vec<(PairId, ClientId)> {
        let its = self.partners.get(&client).into_iter().flatten();
        its.filter_map(|(partner, id)| Some(((*id)?, *partner))).collect()
    }

    /// A client has left. Returns its pairs that it has not ended, and their other ends.
    pub(super) fn leave(&mut self, client: ClientId) -> Vec<(PairId, ClientId)> {
        let mut open = self.of(client);
        open.retain(|(id, _)| self.partner(client, *id).is_some());
        for (id, _) in self.of(client) {
            self.close(id);
        }
        let partners = self.partners.remove(&client).unwrap_or_default();
        for partner in partners.into_keys() {
            self.forget(partner, client);
        }
        open
    }

    /// The number of unfinished requests that a client has made on its pairs.
    pub(super) fn made_by(&self, client: ClientId, published: Published<'_>) -> usize {
        self.ends(client).map(|(own, _)| published(own.client, own.place)).sum()
    }

    /// The number of requests that a client must answer on its pairs.
    pub(super) fn served_by(&self, client: ClientId, published: Published<'_>) -> usize {
        self.ends(client).map(|(_, other)| published(other.client, other.place)).sum()
    }

    pub(super) fn check_invariants(&self, is_there: impl Fn(ClientId) -> bool) {
        assert!(self.lossy.iter().all(|id| self.open.contains_key(id)));
        for (id, [one, other]) in &self.open {
            assert!(!(one.has_ended && other.has_ended), "what both have ended is closed");
            assert!(is_there(one.client) && is_there(other.client), "the dead have no pairs");
            for (client, partner) in [(one.client, other.client), (other.client, one.client)] {
                assert_eq!(self.partners[&client][&partner], Some(*id), "both know the pair");
            }
        }
        for (client, its) in &self.partners {
            let mut places: Vec<usize> = self.ends(*client).map(|(own, _)| own.place).collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            assert!(is_there(*client) && its.keys().all(|partner| is_there(*partner)));
            assert!(places.len() == count && count <= MAX_PAIRS, "each pair has a place of its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        ClientId(number)
    }

    #[test]
    fn the_number_of_pairs_is_limited() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(0), client(0));
        assert!(pairs.take_made().is_empty(), "none with itself");
        for other in 1..100 {
            pairs.on_request(client(0), client(other));
            pairs.on_request(client(other), client(0));
            pairs.check_invariants(|_| true);
        }
        let made = pairs.take_made();
        assert_eq!((made.len(), pairs.take_made().len()), (MAX_PAIRS, 0));
        assert_eq!(pairs.leave(client(1)), [(made[0].0, client(0))]);
        pairs.on_request(client(99), client(0));
        let [_, end] = pairs.take_made()[0].1;
        assert_eq!((end.client, end.place), (client(0), 0), "there is room again");
        pairs.check_invariants(|it| it != client(1));
    }

    #[test]
    fn a_pair_that_has_ended_is_not_replaced() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(1), client(2));
        let (id, _) = pairs.take_made()[0];
        assert_eq!(pairs.partner(client(3), id), None);
        assert_eq!(pairs.end(client(3), id), None, "it is none of its own");
        assert_eq!(pairs.end(client(2), id), Some((client(1), Status::Gone)));
        assert_eq!(pairs.end(client(2), id), None, "it has done so");
        assert_eq!((pairs.partner(client(1), id), pairs.partner(client(2), id)), (Some(client(2)), None));
        pairs.check_invariants(|_| true);
        assert_eq!(pairs.end(client(1), id), Some((client(2), Status::Gone)));
        pairs.on_request(client(2), client(1));
        assert!(pairs.take_made().is_empty());
        pairs.check_invariants(|_| true);
        pairs.leave(client(1));
        pairs.leave(client(2));
        assert!(pairs.partners.is_empty());
    }

    #[test]
    fn who_has_ended_a_pair_is_told_when_the_other_one_has_or_leaves() {
        for leaves_first in [false, true] {
            let mut pairs = Pairs::default();
            pairs.on_request(client(1), client(2));
            let (id, _) = pairs.take_made()[0];
            assert!(pairs.on_lost(id) && !pairs.on_lost(id));
            assert_eq!(pairs.end(client(1), id), Some((client(2), Status::Lost)));
            let told = if leaves_first { vec![] } else { vec![(id, client(1))] };
            assert_eq!(pairs.leave(client(if leaves_first { 1 } else { 2 })), told);
            pairs.check_invariants(|it| it == client(if leaves_first { 2 } else { 1 }));
            assert_eq!((pairs.end(client(1), id), pairs.end(client(2), id)), (None, None));
        }
    }

    #[test]
    fn a_pair_without_sockets_is_ended_at_once() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(1), client(2));
        assert_eq!(pairs.end(client(1), PairId(0)), None);
        assert!(pairs.take_made().is_empty());
        pairs.check_invariants(|_| true);
    }

    #[test]
    fn a_pair_that_cannot_be_created_is_retried_seldom() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(1), client(2));
        let (id, _) = pairs.take_made()[0];
        pairs.on_not_made(id);
        pairs.check_invariants(|_| true);
        let tried = (0..=PAUSE).filter(|_| {
            pairs.on_request(client(1), client(2));
            !pairs.take_made().is_empty()
        });
        assert_eq!(tried.count(), 1);
    }

    #[test]
    fn unfinished_requests_are_counted_as_published() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(1), client(2));
        pairs.on_request(client(3), client(2));
        // Process 1 has 5 unfinished requests, process 3 has 7, and process 2 has none.
        let published = |client: ClientId, _| match client.0 {
            1 => 5,
            3 => 7,
            _ => 0,
        };
        assert_eq!([1, 2, 3].map(|it| pairs.made_by(client(it), &published)), [5, 0, 7]);
        assert_eq!([1, 2, 3].map(|it| pairs.served_by(client(it), &published)), [0, 12, 0]);
    }
}
