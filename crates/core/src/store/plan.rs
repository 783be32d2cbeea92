//! Plans the effect of operations before anything is written, so that all of it is done or nothing.

use std::borrow::Cow;

use super::atomic::{AtomicU64, Words};
use super::geometry::MAX_KEY;
use super::memory::{Draft, Memory};
use super::ops::{Condition, Lifetime, Op, Outcome, Status};
use super::record::{Change, read_bytes};
use super::view::Key;

/// The kind of a value that is a number. The bytes are those of an `f64`, little-endian.
pub const NUMBER: u8 = 1;

/// A planned change.
#[derive(Debug)]
pub(super) struct Planned<'bytes> {
    pub(super) key: Key<'bytes>,
    /// `None` to delete.
    pub(super) value: Option<(u8, Cow<'bytes, [u8]>)>,
    pub(super) expires: u64,
}

impl Planned<'_> {
    pub(super) fn draft(&self, revision: u64) -> Draft<'_> {
        match &self.value {
            Some((kind, value)) => Draft {
                change: Change::Set,
                kind: *kind,
                key: self.key.bytes,
                value,
                revision,
                expires: self.expires,
            },
            None => removal(Change::Delete, self.key.bytes, revision),
        }
    }
}

pub(super) fn removal(change: Change, key: &[u8], revision: u64) -> Draft<'_> {
    Draft { change, kind: 0, key, value: &[], revision, expires: 0 }
}

/// The current state of a key, as an operation sees it.
#[derive(Debug, Default)]
struct Current {
    /// 0 if the key has no value.
    revision: u64,
    expires: u64,
    value: Option<(u8, Vec<u8>)>,
}

impl Condition {
    fn is_met(self, revision: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Revision(wanted) => wanted == revision,
        }
    }
}

/// Plans operations against the state of a store at one moment.
#[derive(Debug)]
pub(super) struct Planner<'store, W> {
    pub(super) memory: &'store Memory<W>,
    /// The revision of the last change.
    pub(super) revision: u64,
    /// The time in ms.
    pub(super) now: u64,
}

impl<W: Words + AsRef<[AtomicU64]>> Planner<'_, W> {
    /// The change that an operation makes after the ones already planned.
    pub(super) fn plan<'bytes>(
        &self,
        op: &Op<'bytes>,
        plan: &[Planned<'_>],
        number: &mut f64,
    ) -> Result<Option<Planned<'bytes>>, Outcome> {
        if op.key().len() > MAX_KEY {
            return Err(Outcome::refused(Status::TooLarge, self.revision));
        }
        let key = self.memory.view.key(op.key());
        let with_value = matches!(op, Op::Touch { .. } | Op::Increment { .. });
        let current = self.current(key, plan, with_value);
        // What the operations before have planned does not exist yet.
        let refused = |status| Outcome::refused(status, self.current(key, &[], false).revision);
        let until = |lifetime| match lifetime {
            Lifetime::Forever => 0,
            Lifetime::Keep => current.expires,
            // 0 would mean that it does not expire.
            Lifetime::Ms(ms) => self.now.saturating_add(ms).max(1),
        };
        let planned = match *op {
            Op::Set { condition, .. } | Op::Delete { condition, .. } | Op::Check { condition, .. }
                if !condition.is_met(current.revision) =>
            {
                return Err(refused(Status::Unmet));
            }
            Op::Check { .. } => return Ok(None),
            Op::Delete { .. } | Op::Touch { .. } if current.revision == 0 => {
                return Err(refused(Status::Unmet));
            }
            Op::Delete { .. } => Planned { key, value: None, expires: 0 },
            Op::Set { kind, value, lifetime, .. } => {
                Planned { key, value: Some((kind, Cow::Borrowed(value))), expires: until(lifetime) }
            }
            Op::Touch { lifetime, .. } => {
                let value = current.value.map(|(kind, bytes)| (kind, Cow::Owned(bytes)));
                Planned { key, value, expires: until(lifetime) }
            }
            Op::Increment { by, initial, lifetime, .. } => {
                let not_number = || refused(Status::NotNumber);
                let (before, expires) = match &current.value {
                    None => (initial, until(lifetime)),
                    Some((NUMBER, bytes)) => {
                        let bytes = bytes.as_slice().try_into().map_err(|_| not_number())?;
                        (f64::from_le_bytes(bytes), current.expires)
                    }
                    Some(_) => return Err(not_number()),
                };
                let sum = before + by;
                if !sum.is_finite() {
                    return Err(not_number());
                }
                *number = sum;
                let bytes = number.to_le_bytes().to_vec();
                Planned { key, value: Some((NUMBER, Cow::Owned(bytes))), expires }
            }
            Op::Clear { .. } => return Err(Outcome::refused(Status::Invalid, self.revision)),
        };
        if planned.draft(0).charge() > self.memory.geometry().max_record() {
            return Err(Outcome::refused(Status::TooLarge, self.revision));
        }
        Ok(Some(planned))
    }

    /// The state of a key after the planned changes.
    fn current(&self, key: Key<'_>, plan: &[Planned<'_>], with_value: bool) -> Current {
        let is_over = |expires| expires != 0 && expires <= self.now;
        if let Some(planned) = plan.iter().find(|planned| planned.key.bytes == key.bytes) {
            if is_over(planned.expires) {
                return Current::default();
            }
            let value = planned.value.as_ref().map(|(kind, bytes)| (*kind, bytes.to_vec()));
            let revision = if value.is_some() { self.revision + 1 } else { 0 };
            return Current { revision, expires: planned.expires, value };
        }
        let Some(hit) = self.memory.find(key) else { return Current::default() };
        let (revision, expires) = self.memory.view.times(&hit.located);
        if is_over(expires) {
            return Current::default();
        }
        let value = with_value.then(|| {
            let record = hit.located.record;
            let (at, _) = hit.located.payload();
            let mut bytes = Vec::new();
            read_bytes(
                &self.memory.view.words,
                at + record.key_len.div_ceil(8),
                record.value_len,
                &mut bytes,
            );
            (record.kind, bytes)
        });
        Current { revision, expires, value }
    }
}
