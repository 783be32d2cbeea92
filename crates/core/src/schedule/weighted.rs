//! Weighted round robin, used while a member is in its slow start.

use super::{FULL_WEIGHT, Members};

/// Smooth weighted round robin: on each turn every member earns its weight, and the member that has earned
/// most is served and pays the sum. So a member with a tenth of the weight is served at regular intervals,
/// and not ten times in a row.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    /// What the members have earned, by seat. May be shorter than the list of members if none has been in
    /// slow start.
    earned: Vec<i64>,
}

impl Weighted {
    /// A member joins.
    pub(super) fn seat(&mut self, seat: usize) {
        if seat <= self.earned.len() {
            self.earned.insert(seat, 0);
        }
    }

    /// A member has left.
    pub(super) fn vacate(&mut self, seat: usize) {
        if seat < self.earned.len() {
            self.earned.remove(seat);
        }
    }

    /// No member is in slow start any more: all are equal again.
    pub(super) fn forget(&mut self) {
        self.earned.clear();
    }

    /// Chooses the member that has earned most, the first in `order` among equals. Members that are not ready
    /// earn nothing.
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
