//! A client's connection, as the dispatcher carries it about.

use std::net::SocketAddr;

use rcluster_core::channel::Kept;
use rcluster_core::dispatch::Connection;
use rcluster_core::ids::WorkerId;
use rcluster_core::schedule::{Address, Home};
use rcluster_sys::closer::Descriptor;

/// The descriptor, and what is known of where it belongs.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) fd: Descriptor,
    pub(super) home: Option<Home>,
    /// What is known of it if a worker has handed it over.
    pub(super) kept: Option<Kept>,
}

impl Connection for Conn {
    fn home(&self) -> Option<Home> {
        self.home
    }

    fn is_kept(&self) -> bool {
        self.kept.is_some()
    }
}

impl Conn {
    /// A new client, or one that a worker has not received.
    pub(super) fn new(fd: Descriptor, home: Option<Home>) -> Self {
        Self { fd, home, kept: None }
    }

    /// What its next worker has to know of it, and the dispatcher if that one does not receive it.
    pub(super) fn kept(&self) -> Option<Kept> {
        let key = match self.home {
            Some(Home::Client(key)) => Some(key),
            Some(Home::Worker(_)) | None => None,
        };
        self.kept.map(|kept| Kept { key, ..kept })
    }

    /// Whom the app has chosen for it.
    pub(super) fn chosen(&self) -> Option<WorkerId> {
        match self.home {
            Some(Home::Worker(worker)) => Some(worker),
            Some(Home::Client(_)) | None => None,
        }
    }
}

/// A connection of a listener with a hook, of which the app has yet to say where it goes.
pub(super) struct AwaitingHook {
    pub(super) fd: Descriptor,
    /// What is known of it if a worker has handed it over.
    pub(super) kept: Option<Kept>,
}

impl AwaitingHook {
    /// With what the app has said.
    pub(super) fn answered(self, chosen: Option<WorkerId>) -> Conn {
        let Self { fd, kept } = self;
        Conn { fd, home: chosen.map(Home::Worker), kept }
    }
}

pub(super) fn address_of(peer: SocketAddr) -> Address {
    match peer {
        SocketAddr::V4(v4) => Address::V4(v4.ip().octets()),
        SocketAddr::V6(v6) => Address::V6(v6.ip().octets()),
    }
}
