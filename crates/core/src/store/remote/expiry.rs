//! When the server is to remove expired keys.

/// See the module documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry {
    pub(super) is_due: bool,
    /// The earliest time of the next request, in ms.
    pub(super) next: u64,
    /// Whether the batch that was sent has a request for it.
    pub(super) is_sent: bool,
}
