//! Text that is not valid Unicode. A JavaScript string may contain half of a surrogate pair, which JSON
//! writes as an escape and a Rust string cannot hold. A worker that sends such text, for example in an error
//! message, is not at fault.

use std::borrow::Cow;

const ESCAPE: usize = r"\u0000".len();

/// Replaces each lone surrogate of the frame by U+FFFD. The parser checks everything else.
pub(super) fn well_formed(frame: &[u8]) -> Cow<'_, [u8]> {
    let mut fixed = Cow::Borrowed(frame);
    let mut at = 0;
    while let Some(step) = frame.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\\')) {
        at += step;
        at += match surrogate(frame, at) {
            None => 2,
            Some(Surrogate::High) if surrogate(frame, at + ESCAPE) == Some(Surrogate::Low) => 2 * ESCAPE,
            Some(_) => {
                fixed.to_mut()[at + 2..at + ESCAPE].copy_from_slice(b"fffd");
                ESCAPE
            }
        };
    }
    fixed
}

#[derive(PartialEq, Eq)]
enum Surrogate {
    High,
    Low,
}

/// The half of a surrogate pair that is escaped at this place, if any.
fn surrogate(frame: &[u8], at: usize) -> Option<Surrogate> {
    let digits = frame.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    match code {
        0xD800..=0xDBFF => Some(Surrogate::High),
        0xDC00..=0xDFFF => Some(Surrogate::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        let cases = [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a":"\uDE00x\ud83d\ud83d\ude00"}"#, r#"{"a":"\ufffdx\ufffd\ud83d\ude00"}"#),
            (r#"{"a":"\ud83d\n"}"#, r#"{"a":"\ufffd\n"}"#),
            (r#"{"a":"\ud83d\ude00 \\ud83d \u00e4"}"#, r#"{"a":"\ud83d\ude00 \\ud83d \u00e4"}"#),
            (r#"{"\udc00":1}"#, r#"{"\ufffd":1}"#),
            (r"\ud8", r"\ud8"),
            (r"\u+d83", r"\u+d83"),
            (r"\", r"\"),
        ];
        for (frame, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&well_formed(frame.as_bytes())), expected);
        }
    }
}
