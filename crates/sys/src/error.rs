//! The error type of this crate: what was attempted, and the error number.

use nix::errno::Errno;
use thiserror::Error;

/// A failed system call and its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{doing}: {errno}")]
pub struct SysError {
    /// What was attempted, as the beginning of a sentence: "binding a TCP socket".
    pub doing: &'static str,
    /// The error number.
    pub errno: Errno,
}

impl SysError {
    /// The error number in the form of Node and libuv: negative.
    #[must_use]
    pub fn negative_errno(&self) -> i32 {
        -(self.errno as i32)
    }
}

impl SysError {
    /// The request is invalid (EINVAL).
    #[must_use]
    pub const fn invalid(doing: &'static str) -> Self {
        Self { doing, errno: Errno::EINVAL }
    }

    /// The request has been carried out before (EALREADY).
    #[must_use]
    pub const fn twice(doing: &'static str) -> Self {
        Self { doing, errno: Errno::EALREADY }
    }

    /// A descriptor that another process has sent is lost, because this process had no room for it (EMFILE).
    #[must_use]
    pub const fn lost() -> Self {
        Self { doing: "receiving a descriptor", errno: Errno::EMFILE }
    }

    /// Whether the other end of a socket is closed.
    #[must_use]
    pub fn is_peer_gone(&self) -> bool {
        matches!(self.errno, Errno::EPIPE | Errno::ECONNRESET)
    }

    /// Whether another socket has the address.
    #[must_use]
    pub fn is_address_in_use(&self) -> bool {
        self.errno == Errno::EADDRINUSE
    }

    /// Whether a resource was short that may be available later: descriptors, memory, entries in a table.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(
            self.errno,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::ENOSPC | Errno::EAGAIN
        )
    }
}

/// Adds the purpose to a bare error number.
pub trait Doing<T> {
    /// Names the purpose of the call that may have failed.
    fn doing(self, doing: &'static str) -> Result<T, SysError>;
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, SysError> {
        self.map_err(|errno| SysError { doing, errno })
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, SysError> {
        self.map_err(|error| SysError {
            doing,
            errno: error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw),
        })
    }
}
