//! Decodes what the server sends. It may be malformed.

use crate::store::geometry::MAX_KEY;
use crate::store::ops::{Outcome, Status};
use crate::store::reader::Reader;
use crate::store::record::Change;

/// Length of an epoch in bytes.
pub const EPOCH: usize = 16;

/// The largest integer that a script represents exactly.
const MAX: f64 = 9_007_199_254_740_992.0;

/// A change, as an entry of the stream encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'bytes> {
    /// The kind of change.
    pub change: Change,
    /// The encoding of the value.
    pub kind: u8,
    /// The key, or the prefix of the deleted keys.
    pub key: &'bytes [u8],
    /// The value.
    pub value: &'bytes [u8],
    /// When it expires, in ms since 1970 by the server's clock; 0 if it does not.
    pub expires: u64,
}

/// The changes of one revision, or a leap to a greater one. The server does not know the revisions in between: it may have
/// given them to writes that it has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'bytes> {
    /// The revision that it follows.
    pub before: u64,
    /// The revision.
    pub revision: u64,
    /// The changes; none for a leap.
    pub changes: Vec<Told<'bytes>>,
}

/// Decodes the epoch and the changes of an entry. `None` if it is malformed.
#[must_use]
pub fn read_entry(payload: &[u8]) -> Option<(&[u8], Vec<Group<'_>>)> {
    let (epoch, rest) = payload.split_at_checked(EPOCH)?;
    let mut reader = Reader::new(rest);
    let mut groups = Vec::with_capacity(1);
    while !reader.rest().is_empty() {
        groups.push(group(&mut reader)?);
    }
    (!groups.is_empty()).then_some((epoch, groups))
}

/// A value, as the server stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept<'bytes> {
    /// The revision of the change that set it.
    pub revision: u64,
    /// When it expires, in ms since 1970 by the server's clock; 0 if it does not.
    pub expires: u64,
    /// The encoding of the value.
    pub kind: u8,
    /// The value.
    pub value: &'bytes [u8],
}

/// Decodes a value of the hash. `None` if it is malformed.
#[must_use]
pub fn read_kept(raw: &[u8]) -> Option<Kept<'_>> {
    let mut reader = Reader::new(raw);
    let (revision, expires) = (number(&mut reader)?, number(&mut reader)?);
    let [kind] = reader.take()?;
    Some(Kept { revision, expires, kind, value: reader.rest() })
}

/// Decodes the answer to a batch: the revision of the store, whether there are more expired keys to remove, and an outcome
/// for each of `count` requests. `None` if it is malformed.
#[must_use]
pub(super) fn read_answer(bytes: &[u8], count: usize) -> Option<(u64, bool, Vec<Outcome>)> {
    let mut reader = Reader::new(bytes);
    let (revision, expired) = (number(&mut reader)?, number(&mut reader)?);
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        let [status] = reader.take()?;
        let status = match status {
            0 => Status::Done,
            1 => Status::Unmet,
            2 => Status::NotNumber,
            3 => Status::Full,
            _ => return None,
        };
        let (revision, number) = (number(&mut reader)?, f64::from_le_bytes(reader.take()?));
        outcomes.push(Outcome { status, revision, number });
    }
    reader.rest().is_empty().then_some((revision, expired > 0, outcomes))
}

/// An integer, which scripts write as a floating-point number.
fn number(reader: &mut Reader<'_>) -> Option<u64> {
    let number = f64::from_le_bytes(reader.take()?);
    let whole = (0.0..=MAX).contains(&number) && number.fract() == 0.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in range")]
    whole.then_some(number as u64)
}

fn group<'bytes>(reader: &mut Reader<'bytes>) -> Option<Group<'bytes>> {
    let revision = number(reader)?;
    let count = u32::from_le_bytes(reader.take()?) as usize;
    if count == 0 {
        let before = number(reader)?;
        return (before < revision).then_some(Group { before, revision, changes: Vec::new() });
    }
    // A change takes at least 16 bytes, so a malformed count cannot cause a large allocation.
    let mut changes = Vec::with_capacity(count.min(reader.rest().len() / 16));
    for _ in 0..count {
        changes.push(change(reader)?);
    }
    Some(Group { before: revision.checked_sub(1)?, revision, changes })
}

fn change<'bytes>(reader: &mut Reader<'bytes>) -> Option<Told<'bytes>> {
    let [code, kind] = reader.take()?;
    // Evictions are local to a machine.
    let change = Change::of(code).filter(|change| *change != Change::Evict)?;
    let key_len = usize::from(u16::from_le_bytes(reader.take()?));
    let value_len = u32::from_le_bytes(reader.take()?) as usize;
    let expires = number(reader)?;
    if key_len > MAX_KEY {
        return None;
    }
    Some(Told { change, kind, key: reader.bytes(key_len)?, value: reader.bytes(value_len)?, expires })
}

#[cfg(test)]
mod tests {
    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    fn number(bytes: &mut Vec<u8>, number: f64) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn change(bytes: &mut Vec<u8>, code: u8, key: &[u8], value: &[u8], expires: f64) {
        bytes.extend_from_slice(&[code, 2]);
        bytes.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        number(bytes, expires);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }

    fn entry() -> Vec<u8> {
        let mut bytes = b"0123456789abcdef".to_vec();
        number(&mut bytes, 7.0);
        bytes.extend_from_slice(&2_u32.to_le_bytes());
        change(&mut bytes, 1, b"key", b"value", 5.0);
        change(&mut bytes, 2, b"other", b"", 0.0);
        number(&mut bytes, 8.0);
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        change(&mut bytes, 5, b"", b"", 0.0);
        bytes
    }

    #[test]
    fn an_entry_is_read() {
        let bytes = entry();
        let (epoch, groups) = read_entry(&bytes).unwrap();
        assert_eq!(epoch, b"0123456789abcdef");
        assert_eq!(groups.iter().map(|it| it.revision).collect::<Vec<_>>(), [7, 8]);
        let Told { change, kind, key, value, expires } = groups[0].changes[0];
        assert_eq!((change, kind, key, value, expires), (Change::Set, 2, &b"key"[..], &b"value"[..], 5));
        assert_eq!(groups[1].changes[0].change, Change::Clear);
    }

    #[test]
    fn a_leap_says_where_it_begins() {
        let leap = |revision, before| {
            let mut bytes = b"0123456789abcdef".to_vec();
            number(&mut bytes, revision);
            bytes.extend_from_slice(&0_u32.to_le_bytes());
            number(&mut bytes, before);
            bytes
        };
        let bytes = leap(90.0, 7.0);
        let (_, groups) = read_entry(&bytes).unwrap();
        assert_eq!(groups, [Group { before: 7, revision: 90, changes: Vec::new() }]);
        assert_eq!(read_entry(&leap(90.0, 90.0)), None);
        assert_eq!(read_entry(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn garbage_is_refused_or_read() {
        let whole = entry();
        for len in 0..whole.len() {
            assert_eq!(read_entry(&whole[..len]).filter(|(_, groups)| groups.len() > 1), None, "{len} bytes");
        }
        for seed in seeds(2000).each() {
            let (mut random, mut bytes) = (Random::new(seed.number), entry());
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.bits().to_le_bytes()[0];
            }
            let _some_or_none = read_entry(&bytes);
            let _some_or_none = read_kept(&bytes[..random.below(bytes.len())]);
            let _some_or_none = read_answer(&bytes, random.below(5));
        }
    }

    #[test]
    fn an_answer_has_an_outcome_for_each_request_and_nothing_else() {
        let mut bytes = Vec::new();
        for it in [9.0, 1.0] {
            number(&mut bytes, it);
        }
        bytes.push(1);
        for it in [4.0, 0.5] {
            number(&mut bytes, it);
        }
        let (revision, has_expired, outcomes) = read_answer(&bytes, 1).unwrap();
        assert_eq!((revision, has_expired), (9, true));
        assert_eq!(outcomes, [Outcome { status: Status::Unmet, revision: 4, number: 0.5 }]);
        assert_eq!(read_answer(&bytes, 0), None);
        assert_eq!(read_answer(&bytes, 2), None);
    }
}
