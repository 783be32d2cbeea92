//! The meaning of an event of the poller.

use rcluster_core::ids::{ListenerId, WorkerId};

/// Numbers are never reused, so a stale event matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Waker,
    Worker(WorkerId),
    Listener(ListenerId),
    /// A lingering close, by its number.
    Lingering(u32),
    /// A client in preread, by its number.
    Preread(u32),
    /// A client has arrived at a socket from which a worker accepts.
    FirstClient(ListenerId),
}

impl Token {
    pub(super) const fn pack(self) -> u64 {
        match self {
            Self::Waker => 0,
            Self::Worker(id) => 1 << 32 | id.0 as u64,
            Self::Listener(id) => 2 << 32 | id.0 as u64,
            Self::Lingering(number) => 3 << 32 | number as u64,
            Self::Preread(number) => 4 << 32 | number as u64,
            Self::FirstClient(id) => 5 << 32 | id.0 as u64,
        }
    }

    pub(super) const fn unpack(packed: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is the number")]
        let id = packed as u32;
        match packed >> 32 {
            0 => Self::Waker,
            1 => Self::Worker(WorkerId(id)),
            2 => Self::Listener(ListenerId(id)),
            3 => Self::Lingering(id),
            4 => Self::Preread(id),
            _ => Self::FirstClient(ListenerId(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let id = u32::MAX;
        let tokens = [
            Token::Waker,
            Token::Worker(WorkerId(id)),
            Token::Listener(ListenerId(id)),
            Token::Lingering(id),
            Token::Preread(id),
            Token::FirstClient(ListenerId(id)),
        ];
        assert_eq!(tokens.map(|token| Token::unpack(token.pack())), tokens);
    }
}
