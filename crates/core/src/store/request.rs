//! The encoding of operations for the ring.
//!
//! The writer gets these bytes from workers, which may write anything. Malformed requests are refused.

use super::ops::{Condition, Lifetime, Op};
use super::record::words_of;

/// The largest number of operations in one request.
pub const MAX_OPS: usize = 1024;

const SET: u8 = 1;
const DELETE: u8 = 2;
const TOUCH: u8 = 3;
const INCREMENT: u8 = 4;
const CHECK: u8 = 5;
const CLEAR: u8 = 6;

/// The longest lifetime, in ms: any time that is added to it is exact in JavaScript and has no overflow.
const LONGEST: u64 = 1 << 52;

/// Words before the key.
const HEAD: usize = 5;

/// Appends an operation to a request.
pub fn encode(op: &Op<'_>, request: &mut Vec<u64>) {
    let key = op.key();
    let (number, kind, value, lifetime, condition) = match *op {
        Op::Set { kind, value, lifetime, condition, .. } => (SET, kind, value, lifetime, condition),
        Op::Delete { condition, .. } => (DELETE, 0, &[][..], Lifetime::Forever, condition),
        Op::Touch { lifetime, .. } => (TOUCH, 0, &[][..], lifetime, Condition::Any),
        Op::Increment { lifetime, .. } => (INCREMENT, 0, &[][..], lifetime, Condition::Any),
        Op::Check { condition, .. } => (CHECK, 0, &[][..], Lifetime::Forever, condition),
        Op::Clear { .. } => (CLEAR, 0, &[][..], Lifetime::Forever, Condition::Any),
    };
    let (lifetime, ms) = match lifetime {
        Lifetime::Forever => (0, 0),
        Lifetime::Keep => (1, 0),
        Lifetime::Ms(ms) => (2, ms),
    };
    let (condition, revision) = match condition {
        Condition::Any => (0, 0),
        Condition::Revision(revision) => (1, revision),
    };
    let (third, fourth) = match *op {
        Op::Increment { by, initial, .. } => (initial.to_bits(), by.to_bits()),
        _ => (revision, 0),
    };
    let first = u64::from(number)
        | u64::from(kind) << 8
        | lifetime << 16
        | condition << 24
        | (key.len() as u64) << 32;
    request.extend([first, value.len() as u64, ms, third, fourth]);
    request.extend(words_of(key).chain(words_of(value)));
}

/// Decodes a request. `None` if it is malformed.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Op<'_>>> {
    let mut ops = Vec::with_capacity(1);
    while !bytes.is_empty() {
        if ops.len() == MAX_OPS {
            return None;
        }
        let (op, rest) = decode_one(bytes)?;
        ops.push(op);
        bytes = rest;
    }
    (!ops.is_empty()).then_some(ops)
}

fn decode_one(bytes: &[u8]) -> Option<(Op<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD * 8)?;
    let word = |at: usize| {
        let bytes: [u8; 8] = head.get(at * 8..at * 8 + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let first = word(0)?;
    let [number, kind, lifetime, condition, ..] = first.to_le_bytes();
    let key_len = usize::try_from(first >> 32).ok()?;
    let value_len = usize::try_from(word(1)?).ok()?;
    let (key, rest) = take(rest, key_len)?;
    let (value, rest) = take(rest, value_len)?;
    let lifetime = match lifetime {
        0 => Lifetime::Forever,
        1 => Lifetime::Keep,
        2 => Lifetime::Ms(word(2)?.min(LONGEST)),
        _ => return None,
    };
    let condition = match condition {
        0 => Condition::Any,
        1 => Condition::Revision(word(3)?),
        _ => return None,
    };
    let op = match number {
        SET => Op::Set { key, kind, value, lifetime, condition },
        DELETE => Op::Delete { key, condition },
        TOUCH => Op::Touch { key, lifetime },
        INCREMENT => {
            Op::Increment { key, by: f64::from_bits(word(4)?), initial: f64::from_bits(word(3)?), lifetime }
        }
        CHECK => Op::Check { key, condition },
        CLEAR => Op::Clear { prefix: key },
        _ => return None,
    };
    Some((op, rest))
}

/// The first `len` bytes, and the rest after their padding to whole words.
fn take(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    let (padded, rest) = bytes.split_at_checked(len.checked_next_multiple_of(8)?)?;
    Some((padded.get(..len)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn operations_are_read_as_they_were_written() {
        let (key, value) = (&b"a key"[..], &b"a longer value"[..]);
        let ops = [
            Op::Set { key, kind: 3, value, lifetime: Lifetime::Keep, condition: Condition::Revision(7) },
            Op::Set { key: b"", kind: 0, value: b"", lifetime: Lifetime::Forever, condition: Condition::Any },
            Op::Delete { key, condition: Condition::Revision(u64::MAX) },
            Op::Touch { key, lifetime: Lifetime::Ms(5) },
            Op::Increment { key, by: -0.5, initial: 3.0, lifetime: Lifetime::Ms(1) },
            Op::Check { key, condition: Condition::Revision(0) },
            Op::Clear { prefix: key },
        ];
        let mut words = Vec::new();
        for op in &ops {
            encode(op, &mut words);
        }
        assert_eq!(decode(&bytes(&words)).unwrap(), ops);
    }

    #[test]
    fn a_lifetime_is_limited_so_that_times_do_not_overflow() {
        let mut words = Vec::new();
        encode(&Op::Touch { key: b"key", lifetime: Lifetime::Ms(u64::MAX) }, &mut words);
        let limited = Op::Touch { key: b"key", lifetime: Lifetime::Ms(LONGEST) };
        assert_eq!(decode(&bytes(&words)).unwrap(), [limited]);
    }

    #[test]
    fn anything_else_is_refused() {
        let mut words = Vec::new();
        encode(&Op::Clear { prefix: b"abcdefghi" }, &mut words);
        let whole = bytes(&words);
        assert!(decode(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in [(0, 0), (0, 9), (2, 3), (3, 2), (7, 0xff), (15, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(decode(&bytes), None, "{value} at {at}");
        }
    }
}
