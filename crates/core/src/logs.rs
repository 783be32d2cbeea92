//! What workers write to stdout and stderr: split into lines, written out line by line, and kept for later
//! requests.
//!
//! [`Framing`] splits bytes into lines, [`format`](mod@format) defines how a line is written, [`Outlet`]
//! buffers for the primary's own stdout or stderr, [`Tail`] keeps the last lines of one worker, and
//! [`Recent`] those of each slot. docs/logs.md describes all of it.

pub mod format;
mod framing;
mod outlet;
mod recent;
mod tail;

use serde::{Deserialize, Serialize};

pub use self::framing::{Framing, Line, MAX_LINE};
pub use self::outlet::{CROWDED, Lost, Outlet, PATIENCE};
pub use self::recent::{Recent, Record, SLOT_BYTES, SLOT_LINES};
pub use self::tail::{LINE_BYTES, TAIL_BYTES, TAIL_LINES, Tail, last_error};
use crate::ids::{Slot, WorkerId};

/// A stream of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How workers write to the primary's stdout and stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// stdout directly; stderr through the primary, unless it is a terminal.
    #[default]
    Auto,
    /// Both directly.
    Inherit,
    /// Both through the primary, with unchanged lines.
    Raw,
    /// Both through the primary. Lines get the slot as a prefix, or as a field.
    Prefix,
    /// Both through the primary. Each line is a JSON object.
    Json,
}

impl Mode {
    /// Whether a stream goes through the primary. `is_terminal` is whether the primary's own stream is a
    /// terminal.
    #[must_use]
    pub fn captures(self, stream: Stream, is_terminal: bool) -> bool {
        match self {
            Self::Inherit => false,
            Self::Auto => stream == Stream::Stderr && !is_terminal,
            Self::Raw | Self::Prefix | Self::Json => true,
        }
    }
}

/// The origin of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The worker.
    pub worker: WorkerId,
    /// Its slot; None for a standby.
    pub slot: Option<Slot>,
    /// Its stream.
    pub stream: Stream,
}

/// The beginning of a text, at most this many bytes, without a partial character at its end.
fn beginning(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most { text } else { &text[..framing::boundary(&text[..most])] }
}
