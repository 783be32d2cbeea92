//! What can be asked of a store, and what it answers.

/// How long what is written lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Forever,
    /// As long as what was there before.
    Keep,
    /// For so many ms.
    Ms(u64),
}

/// What has to be true of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Any,
    /// Its value is the one of this revision. 0: it has none.
    Revision(u64),
}

/// What is to be done with one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op<'bytes> {
    /// Gives it a value.
    Set {
        /// Which key.
        key: &'bytes [u8],
        /// What the bytes mean.
        kind: u8,
        /// The bytes.
        value: &'bytes [u8],
        /// How long.
        lifetime: Lifetime,
        /// Under which condition.
        condition: Condition,
    },
    /// Deletes it.
    Delete {
        /// Which key.
        key: &'bytes [u8],
        /// Under which condition.
        condition: Condition,
    },
    /// Changes how long its value lasts.
    Touch {
        /// Which key.
        key: &'bytes [u8],
        /// How long from now on.
        lifetime: Lifetime,
    },
    /// Adds to its number.
    Increment {
        /// Which key.
        key: &'bytes [u8],
        /// How much.
        by: f64,
        /// What it is taken for if it has no value.
        initial: f64,
        /// How long it lasts, if it had no value.
        lifetime: Lifetime,
    },
    /// Nothing, if the condition is met.
    Check {
        /// Which key.
        key: &'bytes [u8],
        /// The condition.
        condition: Condition,
    },
    /// Deletes all keys that begin with `prefix`. By itself only.
    Clear {
        /// The beginning.
        prefix: &'bytes [u8],
    },
}

impl<'bytes> Op<'bytes> {
    /// Its key, or the beginning of its keys.
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

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Done,
    /// The condition is not met, or there is nothing to be touched or deleted. Nothing has changed.
    Unmet,
    /// The value is no number. Nothing has changed.
    NotNumber,
    /// There is no room for it. Nothing has changed.
    Full,
    /// The key or the value is too long. Nothing has changed.
    TooLarge,
    /// It was asked in a way that cannot be understood. Nothing has changed.
    Invalid,
}

impl Status {
    /// As it travels, to a process and to its JavaScript.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unmet => 1,
            Self::NotNumber => 2,
            Self::Full => 3,
            Self::TooLarge => 4,
            Self::Invalid => 5,
        }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How it went.
    pub status: Status,
    /// Of the change; where the condition was not met, of what the key has: 0 if it has nothing.
    pub revision: u64,
    /// What an increment has led to, or how many keys have been cleared.
    pub number: f64,
}

impl Outcome {
    pub(super) fn refused(status: Status, revision: u64) -> Self {
        Self { status, revision, number: 0.0 }
    }
}

/// What happens when a store is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// What would need more room is refused.
    #[default]
    None,
    /// What has not been used for longest has to go.
    Lru,
}
