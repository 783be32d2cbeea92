//! The sockets that rcluster itself has made to listen on, in this process.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::stat::fstat;

/// Those of this process.
pub(super) static OWN: OwnSockets = OwnSockets::new();

/// A set of sockets, which a descriptor given by its number is compared with.
///
/// # Design
/// A worker may have the primary listen on a descriptor, by its number in the primary: on a socket that the app has
/// opened or inherited. It must not get at the sockets of operators, of metrics, of the forwarder and of other
/// listeners in that way: it would receive their clients, and could make threads block that accept there.
///
/// Sockets are added when they are made, before anybody can connect to them, so no code that opens one can forget it.
/// Nothing is removed when one is closed. Its entry is replaced when another socket of the set gets its number, so
/// there are at most as many entries as this process has had descriptors at a time; and an entry of a closed socket
/// refuses nothing, because the kernel numbers sockets consecutively.
#[derive(Debug)]
pub(super) struct OwnSockets {
    /// The kernel's number (inode) of the socket that was made under a descriptor. A duplicate has the same one.
    inodes: Mutex<BTreeMap<RawFd, u64>>,
}

impl OwnSockets {
    const fn new() -> Self {
        Self { inodes: Mutex::new(BTreeMap::new()) }
    }

    /// Adds a socket that has just been made.
    pub(super) fn add(&self, socket: &impl AsFd) -> nix::Result<()> {
        let inode = inode(socket)?;
        self.lock().insert(socket.as_fd().as_raw_fd(), inode);
        Ok(())
    }

    /// Whether a socket is one of these, under whatever number.
    pub(super) fn has(&self, socket: &impl AsFd) -> nix::Result<bool> {
        let inode = inode(socket)?;
        Ok(self.lock().values().any(|known| *known == inode))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RawFd, u64>> {
        // Each change is one insertion, so it is valid after a panic as well.
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a socket this does not ask a file system, which could block.
fn inode(socket: &impl AsFd) -> nix::Result<u64> {
    fstat(socket.as_fd()).map(|status| status.st_ino)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::descriptor::{duplicate, replace};

    fn socket() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn a_socket_is_known_under_any_number_and_others_are_not() {
        let set = OwnSockets::new();
        let (own, other) = (socket(), socket());
        set.add(&own).unwrap();
        assert!(set.has(&own).unwrap());
        assert!(set.has(&duplicate(&own).unwrap()).unwrap());
        assert!(!set.has(&other).unwrap());
    }

    #[test]
    fn a_closed_socket_neither_refuses_what_gets_its_number_nor_stays_for_good() {
        let set = OwnSockets::new();
        let place = socket();
        set.add(&place).unwrap();
        // As if it had been closed, and an app had opened another one.
        replace(place.as_raw_fd(), &socket()).unwrap();
        assert!(!set.has(&place).unwrap());
        for _ in 0..100 {
            replace(place.as_raw_fd(), &socket()).unwrap();
            set.add(&place).unwrap();
            assert!(set.has(&place).unwrap());
        }
        assert_eq!(set.lock().len(), 1);
    }
}
