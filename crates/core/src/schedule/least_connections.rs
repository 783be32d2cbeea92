//! Least connections: the worker with the fewest.

use super::{FULL_WEIGHT, Members, RoundRobin};

/// Least connections: open and in flight, of all servers of the worker. Equal members take turns.
#[derive(Debug, Default)]
pub struct LeastConnections {
    pub(super) turns: RoundRobin,
}

impl LeastConnections {
    /// The ready member with the fewest connections, in proportion to its weight.
    pub fn choose(&mut self, members: &mut impl Members) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for seat in self.turns.order(members.count()) {
            if !members.is_ready(seat) {
                continue;
            }
            let cost = weigh(u64::from(members.load(seat)) + 1, members.weight(seat));
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, seat));
            }
        }
        let (_, seat) = best?;
        self.turns.served(seat);
        Some(seat)
    }
}

/// The cost for a member of this weight: for a new member with a tenth of the full weight, one connection
/// counts like ten.
pub(super) fn weigh(cost: u64, weight: u32) -> u64 {
    cost.saturating_mul(u64::from(FULL_WEIGHT)) / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::names::Names;

    fn choose(members: &[&str], times: usize) -> String {
        let mut names = Names::read(members);
        let mut least = LeastConnections::default();
        for count in 0..members.len() {
            // The turn starts with the first.
            assert_eq!(least.turns.seat(count), count);
        }
        least.turns = RoundRobin::default();
        (0..times).map(|_| least.choose(&mut names).map_or('.', |seat| names.take_one(seat))).collect()
    }

    #[test]
    fn choices() {
        for (members, expected, rule) in [
            (&["A 0", "B 0", "C 0"][..], "ABCABC", "equals in turn"),
            (&["A 2", "B 0", "C 1"], "BCBCAB", "whoever has least, until they are equal"),
            (&["A 5", "b 0"], "AAA", "who is not ready is passed over, however little it has"),
            (&["a 0", "b 0"], "..", "nobody is ready"),
            (&["A 0", "B 0 100"], "AAAAAAAAABA", "a newcomer with a tenth of the weight gets a tenth"),
            (&["A 4294967295", "B 3"], "BBB", "a worker that lies about its connections gets none"),
        ] {
            assert_eq!(choose(members, expected.len()), expected, "{rule}: {members:?}");
        }
    }
}
