//! The operations of a store, and their outcomes.

/// How long a value lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Forever,
    /// Until the previous value would have expired.
    Keep,
    /// For this many ms.
    Ms(u64),
}

/// A condition on a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// No condition.
    #[default]
    Any,
    /// The value has this revision. 0: the key has no value.
    Revision(u64),
}

/// An operation on one key, or on all keys with a prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op<'bytes> {
    /// Sets the value of a key.
    Set {
        /// The key.
        key: &'bytes [u8],
        /// The encoding of the bytes.
        kind: u8,
        /// The bytes.
        value: &'bytes [u8],
        /// How long the value lasts.
        lifetime: Lifetime,
        /// The condition.
        condition: Condition,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: &'bytes [u8],
        /// The condition.
        condition: Condition,
    },
    /// Changes how long the value of a key lasts.
    Touch {
        /// The key.
        key: &'bytes [u8],
        /// The new lifetime, from now on.
        lifetime: Lifetime,
    },
    /// Adds to the number of a key.
    Increment {
        /// The key.
        key: &'bytes [u8],
        /// The number to add.
        by: f64,
        /// The starting number if the key has no value.
        initial: f64,
        /// How long the value lasts, if the key had none.
        lifetime: Lifetime,
    },
    /// Only checks the condition.
    Check {
        /// The key.
        key: &'bytes [u8],
        /// The condition.
        condition: Condition,
    },
    /// Deletes all keys that begin with `prefix`. Must be the only operation of its request.
    Clear {
        /// The prefix.
        prefix: &'bytes [u8],
    },
}

impl<'bytes> Op<'bytes> {
    /// The key, or the prefix.
    #[must_use]
    pub fn key(&self) -> &'bytes [u8] {
        match *self {
            Self::Set { key, .. }
            | Self::Delete { key, .. }
            | Self::Touch { key, .. }
            | Self::Increment { key, .. }
            | Self::Check { key, .. }
            | Self::Clear { prefix: key } => key,
        }
    }
}

/// The status of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The conditions were met, and the operations are done.
    Done,
    /// A condition was not met, or there is nothing to touch or delete. Nothing has changed.
    Unmet,
    /// The value is not a number, or the sum is not a finite one. Nothing has changed.
    NotNumber,
    /// There is no room for it. Nothing has changed.
    Full,
    /// The key or the value is too long. Nothing has changed.
    TooLarge,
    /// The request is malformed. Nothing has changed.
    Invalid,
    /// The server of the store cannot be reached. If the request was already sent, it may have been executed.
    Disconnected,
    /// The server of the store is out of memory. Nothing has changed.
    ServerFull,
    /// The server of the store refuses it. Nothing has changed.
    ServerRefused,
}

impl Status {
    /// The code of this status, for the ring and for JavaScript.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unmet => 1,
            Self::NotNumber => 2,
            Self::Full => 3,
            Self::TooLarge => 4,
            Self::Invalid => 5,
            Self::Disconnected => 6,
            Self::ServerFull => 7,
            Self::ServerRefused => 8,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How it went.
    pub status: Status,
    /// The revision of the change. If a condition was not met: of the key's current value, 0 if it has none.
    pub revision: u64,
    /// The new number after an increment, or the number of cleared keys.
    pub number: f64,
}

impl Outcome {
    pub(crate) fn refused(status: Status, revision: u64) -> Self {
        Self { status, revision, number: 0.0 }
    }
}

/// What happens when a store is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Writes that need more room are refused.
    #[default]
    None,
    /// The least recently used keys are evicted.
    Lru,
}
