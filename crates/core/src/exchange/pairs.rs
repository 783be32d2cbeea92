//! Pairs of processes with a socket of their own, from the side of the exchange.
//!
//! A pair is created at the first request from one process to another. Each process has a bounded number of
//! pairs, and two processes whose pair has ended get no new one, so no process can make work for another by
//! ending pairs.
//!
//! Only the process that makes the requests of a pair knows how many are unfinished, and publishes the
//! number. Each end has a place for it. The number is not verified.

use std::collections::{BTreeMap, HashMap};

use super::ClientId;
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
        self.open.insert(id, [End { client: from, place: one }, End { client: to, place: other }]);
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
        if let Some([one, other]) = self.open.remove(&id) {
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

    /// The client at the other end of a pair, if the pair belongs to this client.
    pub(super) fn partner(&self, client: ClientId, id: PairId) -> Option<ClientId> {
        let [one, other] = self.open.get(&id)?;
        match client {
            it if it == one.client => Some(other.client),
            it if it == other.client => Some(one.client),
            _ => None,
        }
    }

    /// Ends a pair of a client. Returns the client at the other end.
    pub(super) fn end(&mut self, client: ClientId, id: PairId) -> Option<ClientId> {
        let partner = self.partner(client, id)?;
        self.open.remove(&id);
        for (client, partner) in [(client, partner), (partner, client)] {
            if let Some(its) = self.partners.get_mut(&client) {
                its.insert(partner, None);
            }
        }
        Some(partner)
    }

    /// The pairs of a client, and the client at the other end of each.
    pub(super) fn of(&self, client: ClientId) -> Vec<(PairId, ClientId)> {
        let its = self.partners.get(&client).into_iter().flatten();
        its.filter_map(|(partner, id)| Some(((*id)?, *partner))).collect()
    }

    /// A client has left. Returns its pairs and their other ends.
    pub(super) fn leave(&mut self, client: ClientId) -> Vec<(PairId, ClientId)> {
        let open = self.of(client);
        for (id, _) in &open {
            self.open.remove(id);
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
        for (id, [one, other]) in &self.open {
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
        assert_eq!(pairs.take_made()[0].1[1], End { client: client(0), place: 0 }, "there is room again");
        pairs.check_invariants(|it| it != client(1));
    }

    #[test]
    fn a_pair_that_has_ended_is_not_replaced() {
        let mut pairs = Pairs::default();
        pairs.on_request(client(1), client(2));
        let (id, _) = pairs.take_made()[0];
        assert_eq!(pairs.partner(client(3), id), None);
        assert_eq!(pairs.end(client(3), id), None, "it is none of its own");
        assert_eq!(pairs.end(client(2), id), Some(client(1)));
        pairs.on_request(client(2), client(1));
        assert!(pairs.take_made().is_empty());
        pairs.check_invariants(|_| true);
        pairs.leave(client(1));
        pairs.leave(client(2));
        assert!(pairs.partners.is_empty());
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
