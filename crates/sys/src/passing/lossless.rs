//! Receives messages without losing descriptors for which this process has no room.
//!
//! The kernel does not keep a message whose descriptors do not all fit: it delivers those that do, and closes the
//! others, on the receiving thread, where close(2) may block: see [`crate::closer`]. It is not enough to check for
//! room first: another thread can take it before the message is received. So unless there is ample room, the
//! descriptors are first copied, and the message stays in the socket with its own. Only when all have been
//! copied is it received, without its descriptors. That the kernel then drops those closes no file, because the
//! copies refer to the same ones.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::control::Control;
use super::{MOST_FDS, Received, receive, receive_bytes};
use crate::closer::Closer;
use crate::error::{Doing, SysError};
use crate::headroom::room_for;

/// The result of [`receive_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// The message, or that there is none.
    Received(Received),
    /// There is no room for its descriptors now. The message stays in the socket.
    NoRoom,
    /// It carries more descriptors than it names, and stays in the socket.
    TooMany,
}

/// Receives one message into `bytes`, with all its descriptors, which are appended to `fds`, or not at all.
///
/// `named` returns how many descriptors a message names; what it says itself is not believed. It is called only if
/// room is short, and then a message that carries more is not received. `is_ample` says that there is known to be
/// room for any message, and is updated: keep it between calls that follow each other at once. Copies that are not
/// needed go to `closer`, which only a trusted sender can do without.
///
/// No other thread or process may receive from this socket: it could take the message in between.
pub fn receive_next(
    socket: BorrowedFd<'_>,
    closer: Option<&Closer>,
    is_ample: &mut bool,
    named: impl FnOnce(&[u8]) -> usize,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Next, SysError> {
    if *is_ample || room_for(MOST_FDS) {
        let before = fds.len();
        let received = receive(socket, bytes, fds)?;
        // Only a message with descriptors takes up room.
        *is_ample = fds.len() == before;
        return Ok(Next::Received(received));
    }
    let Some(len) = peek(socket, bytes)? else { return Ok(Next::Received(Received::Empty)) };
    let most = named(&bytes[..len]);
    if !room_for(most) && carries_descriptors(socket)? {
        return Ok(Next::NoRoom);
    }
    let mut copies = Vec::new();
    let are_all = copy_descriptors(socket, &mut copies)?;
    if are_all && copies.len() <= most {
        let received = receive_bytes(socket, bytes)?;
        fds.append(&mut copies);
        return Ok(Next::Received(received));
    }
    let next = if copies.len() > most { Next::TooMany } else { Next::NoRoom };
    if let Some(closer) = closer {
        closer.close_all(copies);
    }
    Ok(next)
}

/// The length of the next message, up to that of `bytes`, into which it is copied. It stays in the socket,
/// with its descriptors. 0 if the peer has closed its end, or the message is empty. `None` if there is none.
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
            Ok(length) => return Ok(Some(length.cast_unsigned())),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::ECONNRESET) => return Ok(Some(0)),
            Err(errno) => return Err(errno).doing("looking at a message"),
        }
    }
}

/// Whether the next message carries descriptors. It stays in the socket, and nothing is copied.
///
/// Control data that the peer has requested for this socket, such as credentials, counts as well.
pub fn carries_descriptors(socket: BorrowedFd<'_>) -> Result<bool, SysError> {
    let is_complete = look(socket, None, &mut Vec::new())?;
    Ok(!is_complete)
}

/// Appends copies of the descriptors of the next message to `copies`; it stays in the socket with its own. Returns
/// whether there was room for all.
fn copy_descriptors(socket: BorrowedFd<'_>, copies: &mut Vec<OwnedFd>) -> Result<bool, SysError> {
    look(socket, Some(&mut Control::new()), copies)
}

/// Looks at the control data of the next message. Returns whether `control` has all of it; without a buffer,
/// whether there is none.
fn look(
    socket: BorrowedFd<'_>,
    mut control: Option<&mut Control>,
    copies: &mut Vec<OwnedFd>,
) -> Result<bool, SysError> {
    let mut byte = [0];
    let mut slices = [IoSliceMut::new(&mut byte)];
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len();
    let flags = libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    loop {
        if let Some(control) = control.as_deref_mut() {
            control.offer(&mut message);
        }
        // SAFETY: `message` points to live buffers for the length of the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(received) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ECONNRESET) => return Ok(true),
            Err(errno) => return Err(errno).doing("looking at the descriptors of a message"),
        }
    }
    Control::take(&message, copies);
    Ok(message.msg_flags & libc::MSG_CTRUNC == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rcluster_testing::alone_with_limit;

    use super::super::tests::pipe_end;
    use super::super::{Loss, Sent, message_pair, send};
    use super::*;

    /// A message names as many descriptors as its first byte says.
    fn named(bytes: &[u8]) -> usize {
        bytes.first().map_or(0, |&count| count.into())
    }

    fn next(socket: &OwnedFd, fds: &mut Vec<OwnedFd>) -> Next {
        receive_next(socket.as_fd(), None, &mut false, named, &mut [0; 8], fds).unwrap()
    }

    fn send_with(socket: &OwnedFd, names: u8, carries: usize) {
        let fds: Vec<OwnedFd> = (0..carries).map(|_| pipe_end()).collect();
        assert_eq!(send(socket.as_fd(), &[names], &fds).unwrap(), Sent::Done);
    }

    /// Opens files until only `free` descriptors are left.
    fn leave(free: usize) -> Vec<File> {
        let mut all: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        all.truncate(all.len() - free);
        all
    }

    /// The descriptors of each message of a test.
    const EACH: u8 = 20;
    const ONE: Next = Next::Received(Received::Message { len: 1, loss: Loss::Nothing });

    #[test]
    fn a_message_for_which_there_is_no_room_stays_until_there_is() {
        if !alone_with_limit(
            "passing::lossless::tests::a_message_for_which_there_is_no_room_stays_until_there_is",
            200,
        ) {
            return;
        }
        let (ours, theirs) = message_pair().unwrap();
        let mut fds = Vec::new();
        send_with(&theirs, 3, 3);
        send_with(&theirs, 0, 0);
        let full = leave(2);
        assert_eq!(next(&ours, &mut fds), Next::NoRoom);
        drop(full);
        let full = leave(10);
        assert_eq!(next(&ours, &mut fds), ONE);
        assert_eq!(fds.len(), 3);
        assert_eq!(next(&ours, &mut fds), ONE);
        assert_eq!(next(&ours, &mut fds), Next::Received(Received::Empty));
        drop((full, theirs));
        let _full = leave(0);
        assert_eq!(next(&ours, &mut fds), Next::Received(Received::Closed));
        assert_eq!(fds.len(), 3);
    }

    #[test]
    fn a_message_without_descriptors_needs_no_room() {
        if !alone_with_limit("passing::lossless::tests::a_message_without_descriptors_needs_no_room", 200) {
            return;
        }
        let (ours, theirs) = message_pair().unwrap();
        send_with(&theirs, 5, 0);
        let _full = leave(0);
        assert_eq!(next(&ours, &mut Vec::new()), ONE, "it names descriptors, and carries none");
    }

    #[test]
    fn a_message_that_carries_more_than_it_names_stays() {
        if !alone_with_limit("passing::lossless::tests::a_message_that_carries_more_than_it_names_stays", 200)
        {
            return;
        }
        let (ours, theirs) = message_pair().unwrap();
        let mut fds = Vec::new();
        send_with(&theirs, 2, 3);
        let full = leave(20);
        assert_eq!(next(&ours, &mut fds), Next::TooMany);
        assert_eq!(next(&ours, &mut fds), Next::TooMany);
        drop(full);
        let full = leave(5);
        assert_eq!(next(&ours, &mut fds), Next::NoRoom);
        drop(full);
        assert_eq!(fds.len(), 0);
        assert!(carries_descriptors(ours.as_fd()).unwrap());
    }

    #[test]
    fn nothing_is_lost_while_another_thread_takes_the_room() {
        if !alone_with_limit(
            "passing::lossless::tests::nothing_is_lost_while_another_thread_takes_the_room",
            120,
        ) {
            return;
        }
        let (ours, theirs) = message_pair().unwrap();
        let carried: Vec<OwnedFd> = (0..EACH).map(|_| pipe_end()).collect();
        let is_done = AtomicBool::new(false);
        let received = std::thread::scope(|scope| {
            // More threads than cores, so that the receiver is interrupted anywhere.
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        drop(leave(0));
                    }
                });
            }
            let mut received = Vec::new();
            for _ in 0..2000 {
                let sent = send(theirs.as_fd(), &[EACH], &carried);
                let mut fds = Vec::new();
                while sent == Ok(Sent::Done) && next(&ours, &mut fds) == Next::NoRoom {
                    std::thread::yield_now();
                }
                received.push(fds.len());
            }
            is_done.store(true, Ordering::Relaxed);
            received
        });
        assert_eq!(received, [usize::from(EACH); 2000]);
    }
}
