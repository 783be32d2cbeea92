//! The meaning of an event of the poller.

use rcluster_core::forward::ConnId;
use rcluster_core::forward::relay::Side;

/// The target of an event. Numbers of connections are never reused, so a stale event matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Waker,
    Front(usize),
    Conn(ConnId, Side),
}

impl Token {
    pub(super) const fn of(id: ConnId, side: Side) -> u64 {
        Self::Conn(id, side).pack()
    }

    pub(super) const fn pack(self) -> u64 {
        match self {
            Self::Waker => 0,
            Self::Front(index) => (index as u64) << 2 | 1,
            Self::Conn(id, Side::Client) => id.0 << 2 | 2,
            Self::Conn(id, Side::Worker) => id.0 << 2 | 3,
        }
    }

    pub(super) fn unpack(packed: u64) -> Self {
        let number = packed >> 2;
        match packed & 3 {
            0 => Self::Waker,
            1 => Self::Front(usize::try_from(number).unwrap_or(usize::MAX)),
            2 => Self::Conn(ConnId(number), Side::Client),
            _ => Self::Conn(ConnId(number), Side::Worker),
        }
    }
}
