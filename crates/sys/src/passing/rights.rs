//! Sockets over which no descriptors should come.
//!
//! A received descriptor has to be closed, and so has what is in the queue of a socket that closes. Both may block: see
//! [`crate::closer`].

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

use crate::error::{Doing, SysError};

/// From `asm-generic/socket.h`, Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Whether this end of a Unix socket accepts descriptors: if not, sending them fails with `EPERM`. An error means that the
/// kernel does not know the option.
pub fn accept_descriptors(socket: &impl AsFd, accept: bool) -> Result<(), SysError> {
    let value = libc::c_int::from(accept);
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the option is an int that lives for the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const value).cast(),
            length,
        )
    };
    Errno::result(answer).map(drop).doing("choosing whether a socket accepts descriptors")
}

/// Whether descriptors can come over this end of a Unix socket, also according to [`accept_descriptors`].
#[must_use]
pub fn accepts_descriptors(socket: &impl AsFd) -> bool {
    let mut value: libc::c_int = 1;
    let Ok(mut length) = libc::socklen_t::try_from(size_of_val(&value)) else { return true };
    // SAFETY: the kernel writes at most `length` bytes to `value`, for which all values are valid.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    // A kernel without the option passes all descriptors.
    answer != 0 || value != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passing::tests::pipe_end;
    use crate::passing::{Sent, message_pair, send};

    #[test]
    fn a_socket_that_accepts_no_descriptors_gets_none() {
        let (one, other) = message_pair().unwrap();
        assert!(accepts_descriptors(&other));
        if accept_descriptors(&other, false).is_err() {
            return assert!(accepts_descriptors(&other), "an older kernel");
        }
        assert!(!accepts_descriptors(&other));
        assert_eq!(send(one.as_fd(), b"x", &[pipe_end()]).unwrap_err().errno, Errno::EPERM);
        assert_eq!(send(one.as_fd(), b"x", &[]).unwrap(), Sent::Done);
        accept_descriptors(&other, true).unwrap();
        assert_eq!(send(one.as_fd(), b"x", &[pipe_end()]).unwrap(), Sent::Done);
    }
}
