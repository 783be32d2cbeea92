//! A client's connection, as the dispatcher carries it about.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::core::dispatch::Connection;
use crate::core::ids::WorkerId;
use crate::core::schedule::{Address, Home};

/// The descriptor, and what is known of where it belongs.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) home: Option<Home>,
}

impl Connection for Conn {
    fn home(&self) -> Option<Home> {
        self.home
    }
}

impl Conn {
    /// Whom the app has chosen for it.
    pub(super) fn chosen(&self) -> Option<WorkerId> {
        match self.home {
            Some(Home::Worker(worker)) => Some(worker),
            Some(Home::Client(_)) | None => None,
        }
    }
}

pub(super) fn address_of(peer: SocketAddr) -> Address {
    match peer {
        SocketAddr::V4(v4) => Address::V4(v4.ip().octets()),
        SocketAddr::V6(v6) => Address::V6(v6.ip().octets()),
    }
}
