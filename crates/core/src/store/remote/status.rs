//! The public status of the link between a store and its server.

use serde::Serialize;

/// The state of the link. Documents name it as JavaScript does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has never been connected.
    #[default]
    Connecting,
    /// Connected, and loading the whole store.
    Loading,
    /// Up to date, and following the changes.
    Following,
    /// The server cannot be used. Another attempt follows.
    Offline,
}

impl State {
    /// The state with this [`number`](Self::number).
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        [Self::Connecting, Self::Loading, Self::Following, Self::Offline]
            .into_iter()
            .find(|state| state.number() == number)
    }

    /// The code of this state for JavaScript; 0 is no state.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Connecting => 1,
            Self::Loading => 2,
            Self::Following => 3,
            Self::Offline => 4,
        }
    }
}

/// The public status of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The server's URL, without its password.
    pub url: String,
    /// The last time at which the store was up to date.
    pub synced_at: u64,
    /// The last entry of the stream that was applied.
    pub place: String,
    /// The number of unanswered requests.
    pub queued: u64,
    /// The number of successful connections.
    pub connects: u64,
    /// The number of lost connections.
    pub disconnects: u64,
    /// Why the last connection was lost, or was given up to load everything again.
    pub lost: String,
    /// The number of full loads.
    pub loads: u64,
    /// The last error, until the next connection or successful write.
    pub error: Option<String>,
}
