//! The lines that clients get.

use serde::Serialize;
use serde_json::Value;

use super::Id;

/// The longest answer in bytes, without the end of its line. A cluster with the largest number of metrics stays below it.
pub const MAX_ANSWER: usize = 32 << 20;

#[derive(Serialize)]
pub(super) struct Done<'a> {
    pub(super) id: &'a Id,
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Shown<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// The last lines that the worker in question wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stderr_tail: Option<&'a [String]>,
}

#[derive(Serialize)]
pub(super) struct Told<'a> {
    pub(super) id: &'a Id,
    pub(super) event: &'a str,
    pub(super) facts: &'a Value,
}

impl Done<'_> {
    /// The line of the answer; that of an error if it would be too long.
    pub(super) fn line(&self) -> String {
        let line = text(self);
        if line.len() <= MAX_ANSWER {
            return line;
        }
        let message = format!("the answer has {} bytes, and may have {MAX_ANSWER}", line.len());
        let error = Some(Shown { code: "ERR_RCLUSTER_TOO_LARGE", message: &message, stderr_tail: None });
        text(&Done { id: self.id, ok: false, result: None, error })
    }
}

pub(super) fn text(line: &impl Serialize) -> String {
    // It cannot fail: all keys of maps are text.
    serde_json::to_string(line).unwrap_or_default()
}
