//! Least loaded: the worker whose event loop is the least busy.

use super::least_connections::weigh;
use super::{ALWAYS_BUSY, BLOCKED, Members, RoundRobin};

/// Up to this many members, all are compared; with more, two random members are as good, and cost the same
/// for any number.
const FEW: usize = 8;

/// How much worse a member with a fully busy loop is than one with the same connections and an idle loop. Not
/// more: a loop reports its work when it is over, so the load is about the past, while connections are about
/// the present.
const BUSY_COSTS: u64 = 3;

/// Least loaded: the number of connections, multiplied by how busy the event loop is. A blocked member is
/// chosen only if no other is ready.
#[derive(Debug)]
pub struct LeastLoaded {
    pub(super) turns: RoundRobin,
    /// Splitmix64. Nothing is gained by guessing it, so the seed is fixed.
    random: u64,
}

impl Default for LeastLoaded {
    fn default() -> Self {
        Self { turns: RoundRobin::default(), random: 1 }
    }
}

impl LeastLoaded {
    /// The least loaded of the compared members that are ready.
    pub fn choose(&mut self, members: &mut impl Members) -> Option<usize> {
        let count = members.count();
        let mut best = None;
        if count > FEW {
            let first = self.below(count);
            let second = (first + 1 + self.below(count - 1)) % count;
            for seat in [first, second] {
                consider(seat, members, &mut best);
            }
        }
        // Few members, or neither of the two is suitable.
        if best.is_none_or(|best: Candidate| best.blocked) {
            for seat in self.turns.order(count) {
                consider(seat, members, &mut best);
            }
        }
        let seat = best?.seat;
        self.turns.served(seat);
        Some(seat)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let random = super::key::mix(self.random);
        // The high half of the product is uniform, unlike the low bits of a remainder.
        usize::try_from((u128::from(random) * limit as u128) >> 64).unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    seat: usize,
    blocked: bool,
    cost: u64,
}

/// Among equals, the first one stays.
fn consider(seat: usize, members: &mut impl Members, best: &mut Option<Candidate>) {
    if !members.is_ready(seat) {
        return;
    }
    let utilisation = members.utilisation(seat);
    let blocked = utilisation >= BLOCKED;
    let busy = u64::from(ALWAYS_BUSY) + BUSY_COSTS * u64::from(utilisation.min(ALWAYS_BUSY));
    let cost = weigh((u64::from(members.load(seat)) + 1).saturating_mul(busy), members.weight(seat));
    if best.is_none_or(|best| (blocked, cost) < (best.blocked, best.cost)) {
        *best = Some(Candidate { seat, blocked, cost });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::names::Names;

    fn choose(members: &[&str], times: usize) -> String {
        let mut names = Names::read(members);
        let mut least = LeastLoaded::default();
        (0..times).map(|_| least.choose(&mut names).map_or('.', |seat| names.take_one(seat))).collect()
    }

    #[test]
    fn choices() {
        for (members, expected, rule) in [
            (&["A 0", "B 0", "C 0"][..], "ABCABC", "equals in turn"),
            (&["A 3", "B 0"], "BBBAB", "connections count"),
            (&["A 0 1000 1000", "B 0"], "BBBA", "a loop that never waits counts as four connections"),
            (&["A 0 1000 10000", "B 500 1000 1000"], "BBB", "a blocked one is the last resort"),
            (&["A 0 1000 10000", "b 0"], "AA", "but it is one"),
            (&["a 0", "b 0"], "..", "nobody is ready"),
            (&["A 0", "B 0 100"], "AAAAAAAAABA", "a newcomer gets less"),
        ] {
            assert_eq!(choose(members, expected.len()), expected, "{rule}: {members:?}");
        }
    }

    #[test]
    fn of_many_members_only_two_are_compared_and_the_load_is_still_even() {
        let mut names = Names::read(&["A 0"; 32]);
        let mut least = LeastLoaded::default();
        for _ in 0..3_200 {
            let seat = least.choose(&mut names).unwrap();
            names.take_one(seat);
        }
        assert!(names.looks <= 2 * 3_200, "{} looks", names.looks);
        assert!(
            names.loads().all(|load| (96..=104).contains(&load)),
            "{:?}",
            names.loads().collect::<Vec<_>>()
        );
    }

    #[test]
    fn of_many_members_the_only_ready_one_is_found() {
        let mut members = vec!["a 0"; 32];
        members[17] = "A 9";
        let mut names = Names::read(&members);
        let mut least = LeastLoaded::default();
        assert!((0..100).all(|_| least.choose(&mut names) == Some(17)));
    }
}
