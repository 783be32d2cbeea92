//! In turn, but not for everybody as often: for as long as somebody is warming up.

use super::{FULL_WEIGHT, Members};

/// Smooth weighted round robin: each turn everybody earns its weight, and whoever has earned most is served
/// and pays for all. So a member with a tenth of the weight is served every so often, and not ten times in a row.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    /// What the members have earned, by seat. Shorter than they are, when nobody has been warming up yet.
    earned: Vec<i64>,
}

impl Weighted {
    /// Somebody sits down.
    pub(super) fn seat(&mut self, seat: usize) {
        if seat <= self.earned.len() {
            self.earned.insert(seat, 0);
        }
    }

    /// Somebody has left.
    pub(super) fn vacate(&mut self, seat: usize) {
        if seat < self.earned.len() {
            self.earned.remove(seat);
        }
    }

    /// Nobody is warming up any more: all are equal again.
    pub(super) fn forget(&mut self) {
        self.earned.clear();
    }

    /// Serves the one who has earned most, the first in `order` among equals. Who is not ready earns nothing.
    pub(super) fn choose(
        &mut self,
        members: &mut impl Members,
        order: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        self.earned.resize(members.count(), 0);
        let (mut best, mut total) = (None, 0);
        for seat in order {
            if !members.is_ready(seat) {
                continue;
            }
            let weight = i64::from(members.weight(seat).clamp(1, FULL_WEIGHT));
            total += weight;
            self.earned[seat] += weight;
            if best.is_none_or(|best: usize| self.earned[seat] > self.earned[best]) {
                best = Some(seat);
            }
        }
        let best = best?;
        self.earned[best] -= total;
        Some(best)
    }
}
