//! Sockets over which no descriptors should come.
//!
//! A received descriptor has to be closed, and so has what is in the queue of a socket that closes. Both may block: see
//! [`crate::closer`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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

/// Whether the next message has descriptors, or other control data. The message stays in the socket, and no descriptor is
/// received. False if nothing is waiting.
pub fn next_has_descriptors(socket: BorrowedFd<'_>) -> Result<bool, SysError> {
    loop {
        // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // SAFETY: `message` has no buffers, so the kernel only writes to its own fields.
        let looked = unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        match Errno::result(looked) {
            // Control data for which there is no buffer is cut off.
            Ok(_) => return Ok(message.msg_flags & libc::MSG_CTRUNC != 0),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ECONNRESET) => return Ok(false),
            Err(errno) => return Err(errno).doing("looking at a message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::passing::{Received, Sent, message_pair, receive, send};

    fn pipe_end() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    #[test]
    fn a_message_with_descriptors_is_recognised_before_it_is_received() {
        let (one, other) = message_pair().unwrap();
        assert!(!next_has_descriptors(other.as_fd()).unwrap());
        assert_eq!(send(one.as_fd(), b"plain", &[]).unwrap(), Sent::Done);
        assert_eq!(send(one.as_fd(), b"x", &[pipe_end()]).unwrap(), Sent::Done);
        for (has, len) in [(false, 5), (true, 1)] {
            assert_eq!(next_has_descriptors(other.as_fd()).unwrap(), has);
            let mut fds = Vec::new();
            let received = receive(other.as_fd(), &mut [0; 8], &mut fds).unwrap();
            assert_eq!((received, fds.len()), (Received::Message { len, cut: false }, usize::from(has)));
        }
        drop(one);
        assert!(!next_has_descriptors(other.as_fd()).unwrap());
    }

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
