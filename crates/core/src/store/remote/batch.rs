//! Encodes requests for the script.

use crate::store::geometry::MAX_KEY;
use crate::store::ops::{Condition, Lifetime, Op, Outcome, Status};
use crate::store::request::decode;

/// A request of a process, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Checked {
    /// For the server: three arguments per operation.
    Arguments(Vec<Vec<u8>>),
    /// Answered without the server.
    Refused(Outcome),
}

/// Decodes a request, which may be malformed, and encodes it for the script. `longest` is the largest number
/// of words of a record.
pub(super) fn check(request: &[u8], longest: usize) -> Checked {
    let refused = |status| Checked::Refused(Outcome::refused(status, 0));
    let Some(ops) = decode(request) else { return refused(Status::Invalid) };
    let mut arguments = Vec::with_capacity(3 * ops.len());
    for (place, op) in ops.iter().enumerate() {
        if op.key().len() > MAX_KEY {
            return refused(Status::TooLarge);
        }
        if matches!(op, Op::Clear { .. }) && ops.len() > 1 {
            return refused(Status::Invalid);
        }
        if let Op::Set { key, value, .. } = op
            && 4 + key.len().div_ceil(8) + value.len().div_ceil(8) > longest
        {
            return refused(Status::TooLarge);
        }
        let value = if let Op::Set { value, .. } = op { value.to_vec() } else { Vec::new() };
        arguments.extend([head(op, place + 1 < ops.len()), op.key().to_vec(), value]);
    }
    Checked::Arguments(arguments)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which neither times nor revisions come near"
)]
fn head(op: &Op<'_>, more: bool) -> Vec<u8> {
    let (code, kind, lifetime, condition, by, initial) = match *op {
        Op::Set { kind, lifetime, condition, .. } => (1, kind, lifetime, condition, 0.0, 0.0),
        Op::Delete { condition, .. } => (2, 0, Lifetime::Forever, condition, 0.0, 0.0),
        Op::Touch { lifetime, .. } => (3, 0, lifetime, Condition::Any, 0.0, 0.0),
        Op::Increment { by, initial, lifetime, .. } => (4, 0, lifetime, Condition::Any, by, initial),
        Op::Check { condition, .. } => (5, 0, Lifetime::Forever, condition, 0.0, 0.0),
        Op::Clear { .. } => (6, 0, Lifetime::Forever, Condition::Any, 0.0, 0.0),
    };
    let (lifetime, ms) = match lifetime {
        Lifetime::Forever => (0, 0),
        Lifetime::Keep => (1, 0),
        Lifetime::Ms(ms) => (2, ms),
    };
    let (condition, wanted) = match condition {
        Condition::Any => (0, 0),
        Condition::Revision(revision) => (1, revision),
    };
    let mut head = vec![code, more.into(), kind, lifetime, condition];
    for number in [ms as f64, wanted as f64, by, initial] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::request::encode;

    fn request(ops: &[Op<'_>]) -> Vec<u8> {
        let mut words = Vec::new();
        for op in ops {
            encode(op, &mut words);
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
        Op::Set { key, kind: 2, value, lifetime: Lifetime::Ms(5), condition: Condition::Revision(7) }
    }

    #[test]
    fn each_operation_has_a_head_a_key_and_a_value() {
        let bytes =
            request(&[set(b"key", b"value"), Op::Delete { key: b"other", condition: Condition::Any }]);
        let Checked::Arguments(arguments) = check(&bytes, 100) else { panic!("it is sound") };
        assert_eq!(arguments.len(), 6);
        assert_eq!(&arguments[0][..5], [1, 1, 2, 2, 1]);
        assert_eq!(&arguments[0][5..13], 5_f64.to_le_bytes());
        assert_eq!(&arguments[0][13..21], 7_f64.to_le_bytes());
        assert_eq!((arguments[1].as_slice(), arguments[2].as_slice()), (&b"key"[..], &b"value"[..]));
        assert_eq!(&arguments[3][..5], [2, 0, 0, 0, 0]);
    }

    #[test]
    fn invalid_requests_are_refused_without_the_server() {
        let refused = |bytes: &[u8]| match check(bytes, 20) {
            Checked::Refused(outcome) => outcome.status,
            Checked::Arguments(_) => panic!("refused"),
        };
        assert_eq!(refused(b"rubbish"), Status::Invalid);
        assert_eq!(refused(&request(&[Op::Clear { prefix: b"" }, set(b"a", b"b")])), Status::Invalid);
        assert_eq!(refused(&request(&[set(&[b'x'; MAX_KEY + 1], b"b")])), Status::TooLarge);
        assert_eq!(refused(&request(&[set(b"a", &[0; 200])])), Status::TooLarge);
    }
}
