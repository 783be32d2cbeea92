//! Examinations of a process by its JavaScript, and the format of the answers.
//!
//! The answer is a stream of records: a tag, the length of the payload in four bytes, the payload. The first
//! record reports that the process has begun, so silence means that its event loop is blocked. A stream
//! without a final record belongs to a process that has died. The process runs an app's code, so each record
//! is validated.

use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::pieces::Pieces;

/// The longest payload of a record, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The largest answer that is not streamed, in bytes.
pub const MAX_WHOLE: usize = 512 * 1024;

/// The largest streamed answer, in bytes: larger than any V8 heap.
pub const MAX_STREAM: u64 = 16 << 30;

/// The longest reason of a failure, in bytes.
const MAX_REASON: usize = 4096;

const HEAD: usize = 5;

/// The kind of examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Examination {
    /// A CPU profile, in the format of Chrome's developer tools.
    Profile {
        /// The duration in ms.
        duration_ms: u32,
    },
    /// A heap snapshot, in the format of Chrome's developer tools.
    Heap,
    /// Open the inspector on a free port of the loopback interface.
    Inspect,
    /// Close the inspector.
    CloseInspector,
    /// The names of the environment variables.
    Env,
}

impl Examination {
    /// Whether the answer is streamed.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        matches!(self, Self::Profile { .. } | Self::Heap)
    }

    /// The client's result for the complete answer. `None` if the answer is invalid.
    #[must_use]
    pub fn result(&self, answer: &[u8]) -> Option<Value> {
        match self {
            Self::Profile { .. } | Self::Heap => None,
            Self::Inspect => {
                let url = std::str::from_utf8(answer).ok()?;
                let is_one = url.len() <= 256
                    && url.starts_with("ws://")
                    && url.bytes().all(|byte| byte.is_ascii_graphic());
                is_one.then(|| json!({ "url": url }))
            }
            Self::CloseInspector => answer.is_empty().then(|| json!({ "url": null })),
            Self::Env => {
                let names: Vec<String> = serde_json::from_slice(answer).ok()?;
                Some(json!({ "names": names }))
            }
        }
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The event loop has begun to handle the request.
    Begun,
    /// The next bytes of the answer.
    Data(Vec<u8>),
    /// The answer is complete.
    End,
    /// The examination failed, with the reason.
    Failed(String),
}

/// A violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The tag is unknown, there is a payload where none is allowed, or data without any.
    #[error("a record of an unknown kind")]
    Tag,
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("a record of more than {MAX_PAYLOAD} bytes")]
    TooLong,
}

/// Splits a stream into records. Keeps at most a record and a piece.
#[derive(Debug, Default)]
pub struct Records(Pieces);

impl Records {
    /// Appends received bytes. Take all records before the next call.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// The next record, if it is complete.
    pub fn next_record(&mut self) -> Result<Option<Record>, RecordError> {
        let Some((&[tag, length @ ..], rest)) = self.0.rest().split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Err(RecordError::TooLong);
        }
        let has_payload = matches!(tag, b'D' | b'F');
        // Data without a payload could go on without end, and never be too much.
        let is_nothing = tag == b'D' && length == 0;
        if !matches!(tag, b'B' | b'D' | b'E' | b'F') || (length > 0 && !has_payload) || is_nothing {
            return Err(RecordError::Tag);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let record = match tag {
            b'B' => Record::Begun,
            b'D' => Record::Data(payload.to_vec()),
            b'E' => Record::End,
            _ => {
                let reason = String::from_utf8_lossy(&payload[..length.min(MAX_REASON)]);
                Record::Failed(reason.into_owned())
            }
        };
        self.0.consume(HEAD + length);
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[tag], &length[..], payload].concat()
    }

    fn read(records: &mut Records) -> Vec<Record> {
        std::iter::from_fn(|| records.next_record().unwrap()).collect()
    }

    #[test]
    fn records_are_the_same_however_the_stream_is_cut() {
        let stream = [record(b'B', b""), record(b'D', b"one"), record(b'E', b""), record(b'F', b"no")];
        let expected =
            [Record::Begun, Record::Data(b"one".to_vec()), Record::End, Record::Failed("no".into())];
        let stream = stream.concat();
        for size in 1..=stream.len() {
            let mut records = Records::default();
            let found: Vec<Record> = stream
                .chunks(size)
                .flat_map(|piece| {
                    records.push(piece);
                    read(&mut records)
                })
                .collect();
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(records.0.rest().is_empty());
        }
    }

    #[test]
    fn what_is_no_record_is_refused_before_it_is_complete() {
        let cases = [
            (&b"X\0\0\0\0"[..], RecordError::Tag),
            (b"B\0\0\0\x01", RecordError::Tag),
            (b"D\0\0\0\0", RecordError::Tag),
            (b"D\0\x01\0\x01", RecordError::TooLong),
            (b"D\xff\xff\xff\xff", RecordError::TooLong),
        ];
        for (bytes, error) in cases {
            let mut records = Records::default();
            records.push(bytes);
            assert_eq!(records.next_record(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_is_what_was_asked_for_or_nothing() {
        let url = b"ws://127.0.0.1:9229/0f2c936f-b1cd-4ac9-aab3-f63b0f33d55e";
        assert!(Examination::Inspect.result(url).is_some());
        assert_eq!(Examination::Env.result(br#"["A","B"]"#), Some(json!({ "names": ["A", "B"] })));
        assert_eq!(Examination::CloseInspector.result(b""), Some(json!({ "url": null })));
        let nonsense = [
            (Examination::Inspect, &b"http://x"[..]),
            (Examination::Inspect, b"ws://\x1b[2J"),
            (Examination::Inspect, b""),
            (Examination::CloseInspector, b"x"),
            (Examination::Env, br#"{"A":"secret"}"#),
            (Examination::Env, b"[1]"),
            (Examination::Heap, b"{}"),
        ];
        for (what, answer) in nonsense {
            assert_eq!(what.result(answer), None, "{what:?} {answer:?}");
        }
    }

    #[test]
    fn a_worker_is_told_by_names() {
        let written = |what| serde_json::to_value(what).unwrap();
        assert_eq!(
            written(Examination::Profile { duration_ms: 5 }),
            json!({ "what": "profile", "durationMs": 5 })
        );
        assert_eq!(written(Examination::CloseInspector), json!({ "what": "closeInspector" }));
    }
}
