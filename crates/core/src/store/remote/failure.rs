//! The ways in which a server can fail.

/// The error for an answer that cannot be parsed.
pub const INVALID_ANSWER: &str = "the server has sent an invalid answer";

/// The reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection, or it was lost.
    Lost(String),
    /// The server answers, but refuses to let this machine use the store. With its message.
    Refused(String),
    /// The server does not know this connection: it must be greeted again.
    Unknown,
    /// The server is out of memory.
    Full(String),
    /// The server cannot execute the script.
    Script(String),
    /// The script failed in the middle: part of the batch may have been executed.
    Torn(String),
}

impl Failure {
    /// The error message.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Lost(why) | Self::Refused(why) | Self::Full(why) | Self::Script(why) | Self::Torn(why) => {
                why
            }
            Self::Unknown => "the server does not know this connection".into(),
        }
    }
}
