//! The messages on a worker's lifeline: a request that a blocked worker can answer.
//!
//! The watchdog thread in the worker reads them, so they work while the worker's JavaScript is busy. The
//! answer comes from a process that runs an app's code, so it is validated here.

use thiserror::Error;

/// Primary to worker: send the JavaScript stack of the main thread now.
pub const ASK: &[u8] = b"S";

/// The longest text of an answer, in bytes. Longer text is cut at the end of a line.
pub const MAX_TEXT: usize = 16 * 1024;

/// The longest answer, in bytes: a tag and the text.
pub const MAX_ANSWER: usize = 1 + MAX_TEXT;

const STACK: u8 = b'T';
const UNREACHABLE: u8 = b'N';

/// A worker's answer about its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its JavaScript stack: one line for each frame, the innermost first.
    Stack(String),
    /// This worker can never capture its stack. With the reason.
    Unreachable(String),
}

/// A violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The tag is missing or unknown.
    #[error("an answer about a stack without a known tag")]
    Tag,
    /// The answer is longer than [`MAX_ANSWER`].
    #[error("an answer about a stack of more than {MAX_ANSWER} bytes")]
    TooLong,
    /// The text is not UTF-8.
    #[error("an answer about a stack that is not UTF-8")]
    Text,
}

impl Answer {
    /// Parses an answer.
    pub fn parse(message: &[u8]) -> Result<Self, AnswerError> {
        let (&tag, text) = message.split_first().ok_or(AnswerError::Tag)?;
        if message.len() > MAX_ANSWER {
            return Err(AnswerError::TooLong);
        }
        let text = || std::str::from_utf8(text).map(str::to_owned).map_err(|_| AnswerError::Text);
        match tag {
            STACK => Ok(Self::Stack(text()?)),
            UNREACHABLE => Ok(Self::Unreachable(text()?)),
            _ => Err(AnswerError::Tag),
        }
    }

    /// Encodes the answer in at most [`MAX_ANSWER`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (tag, text) = match self {
            Self::Stack(text) => (STACK, text),
            Self::Unreachable(text) => (UNREACHABLE, text),
        };
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut kept = &text[..end];
        if end < text.len() {
            // Half a line would name a location that does not exist.
            kept = kept.rsplit_once('\n').map_or(kept, |(whole, _)| whole);
        }
        let mut message = Vec::with_capacity(1 + kept.len());
        message.push(tag);
        message.extend_from_slice(kept.as_bytes());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        for answer in [Answer::Stack("at a\nat b".into()), Answer::Unreachable("no V8".into())] {
            assert_eq!(Answer::parse(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_long_stack_is_cut_at_the_end_of_a_line() {
        let line = "    at ümläut (file:///ünïcode.js:1:1)\n";
        let message = Answer::Stack(line.repeat(1000)).encode();
        assert!(message.len() <= MAX_ANSWER && message.len() > MAX_ANSWER - 2 * line.len());
        let Ok(Answer::Stack(text)) = Answer::parse(&message) else { panic!("not a stack") };
        assert!(text.lines().all(|kept| kept == line.trim_end_matches('\n')));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let message = Answer::Stack("ü".repeat(MAX_TEXT)).encode();
        assert!(Answer::parse(&message).is_ok());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Answer::parse(b""), Err(AnswerError::Tag));
        assert_eq!(Answer::parse(b"X"), Err(AnswerError::Tag));
        assert_eq!(Answer::parse(b"T\xff"), Err(AnswerError::Text));
        assert_eq!(Answer::parse(&vec![STACK; MAX_ANSWER + 1]), Err(AnswerError::TooLong));
    }
}
