//! Looks at the next message of a socket, which stays there.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::control::Control;
use crate::error::{Doing, SysError};

/// The length of the next message, up to that of `bytes`, into which it is copied. It stays in the socket,
/// with its descriptors. `None` if nothing is waiting, or the peer has closed its end.
pub fn peek(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<Option<usize>, SysError> {
    loop {
        // SAFETY: the buffer is ours, and its length is correct. Without a control buffer, descriptors are
        // not duplicated.
        let length = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_PEEK | libc::MSG_DONTWAIT,
            )
        };
        match Errno::result(length) {
            Ok(length) => return Ok(Some(length.cast_unsigned()).filter(|&length| length > 0)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(errno).doing("looking at a message"),
        }
    }
}

/// Whether the next message carries more than `most` descriptors. It stays in the socket. Copies of its first descriptors
/// are appended to `copies`; closing them may block.
///
/// Control data that the peer has requested for this socket, such as credentials, counts as well.
pub fn carries_more(
    socket: BorrowedFd<'_>,
    most: usize,
    copies: &mut Vec<OwnedFd>,
) -> Result<bool, SysError> {
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let mut control = Control::new();
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len();
    let flags = libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    loop {
        control.offer_for(most, &mut message);
        // SAFETY: `message` points to live buffers for the length of the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(received) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ECONNRESET) => return Ok(false),
            Err(errno) => return Err(errno).doing("looking at the descriptors of a message"),
        }
    }
    Control::take(&message, copies);
    Ok(message.msg_flags & libc::MSG_CTRUNC != 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::pipe_end;
    use super::super::{Loss, Received, Sent, message_pair, receive, send};
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_that_carries_more_descriptors_is_recognised_and_stays() {
        let (ours, theirs) = message_pair().unwrap();
        let mut copies = Vec::new();
        let mut carries = |most| carries_more(theirs.as_fd(), most, &mut copies).unwrap();
        assert!(!carries(0), "there is no message");
        let fds: Vec<OwnedFd> = (0..3).map(|_| pipe_end()).collect();
        assert_eq!(send(ours.as_fd(), b"one", &fds).unwrap(), Sent::Done);
        assert_eq!([0, 1, 2, 3, 4].map(&mut carries), [true, true, true, false, false]);
        assert_eq!(copies.len(), 1 + 2 + 3 + 3);
        let mut got = Vec::new();
        let received = receive(theirs.as_fd(), &mut [0; 8], &mut got).unwrap();
        assert_eq!((received, got.len()), (Received::Message { len: 3, loss: Loss::Nothing }, 3));
        assert_eq!(send(ours.as_fd(), b"two", &[]).unwrap(), Sent::Done);
        assert!(!carries_more(theirs.as_fd(), 0, &mut copies).unwrap());
        let _ = receive(theirs.as_fd(), &mut [0; 8], &mut got).unwrap();
        drop(ours);
        assert!(!carries_more(theirs.as_fd(), 0, &mut copies).unwrap());
    }

    #[test]
    fn a_peeked_message_stays_with_its_descriptors() {
        let (ours, theirs) = message_pair().unwrap();
        let mut bytes = [0; 8];
        assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), None);
        assert_eq!(send(ours.as_fd(), b"abc", &[pipe_end(), pipe_end()]).unwrap(), Sent::Done);
        for _ in 0..2 {
            assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), Some(3));
        }
        let mut fds = Vec::new();
        let received = receive(theirs.as_fd(), &mut bytes, &mut fds).unwrap();
        assert_eq!(received, Received::Message { len: 3, loss: Loss::Nothing });
        assert_eq!(fds.len(), 2);
        drop(ours);
        assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), None);
    }
}
