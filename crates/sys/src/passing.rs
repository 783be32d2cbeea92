//! Messages that carry descriptors: `SOCK_SEQPACKET` pairs and `SCM_RIGHTS`.
//!
//! A sequenced-packet socket keeps message boundaries, so no framing is needed, and a message is sent as a
//! whole or not at all.

mod control;
mod lossless;
mod rights;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};

use super::error::{Doing, SysError};
use control::Control;
pub use lossless::{Next, carries_descriptors, peek, receive_next};
pub use rights::{accept_descriptors, accepts_descriptors};

/// The maximum number of descriptors in one message. The kernel's limit is 253; a smaller one bounds what a
/// receiver that runs out of descriptors can lose at once.
pub const MAX_FDS: usize = 32;

/// The kernel's limit of descriptors in one message (`SCM_MAX_FD`).
pub const MOST_FDS: usize = 253;

/// The result of sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The kernel has the message, and its own reference to each descriptor.
    Done,
    /// The peer has too many unread messages. Nothing was sent.
    Full,
    /// This user has too many descriptors in flight, in all sockets of the system together. Nothing was sent.
    ///
    /// The limit is `RLIMIT_NOFILE` of the sending process. Processes with the privilege to raise limits are
    /// exempt.
    TooManyOnTheirWay,
}

/// The wait before a message is tried again for which there were no descriptors, here or in flight: nothing reports when
/// that ends.
pub const JAM_PAUSE: Duration = Duration::from_millis(50);

impl Sent {
    /// For a message that is not tried again: everything but [`Sent::Done`] is an error.
    pub fn done(self) -> Result<(), SysError> {
        let doing = "sending descriptors";
        match self {
            Self::Done => Ok(()),
            Self::Full => Err(SysError { doing, errno: Errno::EAGAIN }),
            Self::TooManyOnTheirWay => Err(SysError { doing, errno: Errno::ETOOMANYREFS }),
        }
    }
}

/// The result of [`receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// A message of `len` bytes; its descriptors were appended to the caller's list.
    Message {
        /// The number of bytes it fills in the buffer.
        len: usize,
        /// What of it did not fit, and is lost.
        loss: Loss,
    },
    /// No message is waiting.
    Empty,
    /// The peer has closed its end.
    Closed,
}

/// What of a message was lost when it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Loss {
    /// It is complete.
    Nothing,
    /// It was longer than the buffer.
    Bytes,
    /// This process had no room for all its descriptors: the first ones are there.
    Descriptors,
}

/// A connected pair for messages with descriptors; both ends are close-on-exec and non-blocking.
///
/// Non-blocking mode belongs to the open socket, not to the descriptor, so it also applies in a process that
/// inherits one of the ends.
pub fn message_pair() -> Result<(OwnedFd, OwnedFd), SysError> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )
    .doing("making a message socket pair")
}

/// Sends `bytes` and references to `fds` as one message.
///
/// The descriptors stay the caller's, which may close them as soon as this returns. `bytes` must not be
/// empty: an empty message looks like a closed peer.
///
/// # Panics
/// If there are more than [`MAX_FDS`] descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd]) -> Result<Sent, SysError> {
    send_from(socket, bytes, fds)
}

/// Like [`send`], for any type that owns the descriptors.
///
/// # Panics
/// If there are more than [`MAX_FDS`] descriptors.
pub fn send_from(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[impl AsFd]) -> Result<Sent, SysError> {
    let slices = [IoSlice::new(bytes)];
    let mut control = Control::new();
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    control.attach(&mut message, fds);
    loop {
        // SAFETY: `message` points to live buffers for the length of the call.
        let sent = unsafe {
            libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        };
        match Errno::result(sent) {
            Ok(_) => return Ok(Sent::Done),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(Sent::Full),
            Err(Errno::ETOOMANYREFS) => return Ok(Sent::TooManyOnTheirWay),
            Err(errno) => return Err(errno).doing("sending a message"),
        }
    }
}

/// Receives one message into `bytes`, appending the descriptors that came with it to `fds`.
///
/// Received descriptors are close-on-exec and owned by the caller. Those for which this process has no room are lost:
/// see [`receive_next`].
pub fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Received, SysError> {
    let mut control = Control::new();
    receive_with(socket, bytes, Some((&mut control, fds)))
}

/// Receives one message into `bytes`, without its descriptors. The kernel closes them, which may block, unless
/// this process has copies of them.
fn receive_bytes(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<Received, SysError> {
    receive_with(socket, bytes, None)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    mut descriptors: Option<(&mut Control, &mut Vec<OwnedFd>)>,
) -> Result<Received, SysError> {
    let mut slices = [IoSliceMut::new(bytes)];
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len();
    let len = loop {
        if let Some((control, _)) = &mut descriptors {
            control.offer(&mut message);
        }
        // SAFETY: `message` points to live buffers for the length of the call.
        let received = unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT)
        };
        match Errno::result(received) {
            Ok(len) => break len.cast_unsigned(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(errno) => return Err(errno).doing("receiving a message"),
        }
    };
    let wants_descriptors = descriptors.is_some();
    if let Some((_, fds)) = descriptors {
        Control::take(&message, fds);
    }
    if len == 0 {
        return Ok(Received::Closed);
    }
    let has_flag = |flag| message.msg_flags & flag != 0;
    let loss = if has_flag(libc::MSG_TRUNC) {
        Loss::Bytes
    } else if wants_descriptors && has_flag(libc::MSG_CTRUNC) {
        Loss::Descriptors
    } else {
        Loss::Nothing
    };
    Ok(Received::Message { len, loss })
}

/// Waits for a message or the end of the stream. Returns false if there is none within `limit`.
pub fn wait_for_message(socket: BorrowedFd<'_>, limit: Duration) -> Result<bool, SysError> {
    let deadline = Instant::now() + limit;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(socket, PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("waiting for a message"),
        }
    }
}

/// Whether a descriptor that another process has sent is a message socket. Does not use fstat(2), which asks
/// the file system and could block for as long as the sender likes.
pub fn is_message_socket(fd: &impl AsFd) -> bool {
    getsockopt(fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use rcluster_testing::{alone, alone_as_user};

    use super::*;

    pub(super) fn pipe_end() -> OwnedFd {
        std::io::pipe().expect("a pipe").0.into()
    }
    use crate::descriptor::duplicate;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = message_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..MAX_FDS).map(|_| pipe_end()).collect();
        assert_eq!(send(a.as_fd(), b"hello", &fds).unwrap(), Sent::Done);
        drop(fds);
        let mut bytes = [0; 64];
        let mut got = Vec::new();
        let received = receive(b.as_fd(), &mut bytes, &mut got).unwrap();
        assert_eq!(received, Received::Message { len: 5, loss: Loss::Nothing });
        assert_eq!(&bytes[..5], b"hello");
        assert_eq!(got.len(), MAX_FDS);
        for fd in &got {
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC, "a received descriptor is close-on-exec");
        }
        assert_eq!(receive(b.as_fd(), &mut bytes, &mut got).unwrap(), Received::Empty);
    }

    #[test]
    fn a_closed_peer_is_distinguished_from_an_empty_channel() {
        let (a, b) = message_pair().unwrap();
        drop(a);
        let received = receive(b.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap();
        assert_eq!(received, Received::Closed);
        let error = send(b.as_fd(), b"x", &[]).unwrap_err();
        assert_eq!(error.errno, Errno::EPIPE);
    }

    #[test]
    fn a_full_channel_is_reported_and_takes_no_descriptor() {
        let (a, _b) = message_pair().unwrap();
        let fds = [pipe_end()];
        let mut sent = 0;
        while send(a.as_fd(), b"x", &fds).unwrap() == Sent::Done {
            sent += 1;
            assert!(sent < 1_000_000, "the channel never fills");
        }
        assert!(sent > 64, "a window of 64 connections fits: {sent}");
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_reported_as_cut() {
        let (a, b) = message_pair().unwrap();
        assert_eq!(send(a.as_fd(), &[1; 100], &[]).unwrap(), Sent::Done);
        let received = receive(b.as_fd(), &mut [0; 10], &mut Vec::new()).unwrap();
        assert_eq!(received, Received::Message { len: 10, loss: Loss::Bytes });
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// In a separate process, because it counts open descriptors.
    #[test]
    fn other_control_data_is_neither_mistaken_for_descriptors_nor_leaked() {
        const SO_PASSPIDFD: libc::c_int = 76;
        if !alone("passing::tests::other_control_data_is_neither_mistaken_for_descriptors_nor_leaked") {
            return;
        }
        let (a, b) = message_pair().unwrap();
        let mut set = 0;
        for option in [libc::SO_PASSCRED, SO_PASSPIDFD, libc::SO_PASSSEC, libc::SO_TIMESTAMP] {
            let on: libc::c_int = 1;
            // SAFETY: the option is an int that lives for the call.
            let answer = unsafe {
                libc::setsockopt(b.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const on).cast(), 4)
            };
            // Kernels differ in the options they know; some are known to all.
            set += u32::from(answer == 0);
        }
        assert!(set >= 2, "{set} options");
        let before = open_descriptors();
        for count in [0, 1, MAX_FDS] {
            let fds: Vec<OwnedFd> = (0..count).map(|_| pipe_end()).collect();
            assert_eq!(send(a.as_fd(), b"x", &fds).unwrap(), Sent::Done);
            drop(fds);
            let mut got = Vec::new();
            let received = receive(b.as_fd(), &mut [0; 8], &mut got).unwrap();
            assert_eq!(received, Received::Message { len: 1, loss: Loss::Nothing });
            assert_eq!(got.len(), count);
            drop(got);
            assert_eq!(open_descriptors(), before, "with {count}");
        }
    }

    /// In a separate process, without the privilege that is exempt from the limit, and with its own limit.
    #[test]
    fn too_many_descriptors_in_flight_are_distinguished_from_a_full_channel() {
        // A user id that is not used otherwise, because the limit covers all processes of a user.
        if !alone_as_user(
            "passing::tests::too_many_descriptors_in_flight_are_distinguished_from_a_full_channel",
            54321,
        ) {
            return;
        }
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
        let (a, b) = message_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..MAX_FDS).map(|_| pipe_end()).collect();
        let mut sent = 0;
        let last = loop {
            match send(a.as_fd(), b"x", &fds).unwrap() {
                Sent::Done => sent += 1,
                other => break other,
            }
        };
        assert_eq!(last, Sent::TooManyOnTheirWay);
        // Messages without descriptors can still be sent.
        assert_eq!(send(a.as_fd(), b"y", &[]).unwrap(), Sent::Done);
        drop(fds);
        for _ in 0..sent {
            let received = receive(b.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap();
            assert_eq!(received, Received::Message { len: 1, loss: Loss::Nothing });
        }
        assert_eq!(send(a.as_fd(), b"x", &[pipe_end()]).unwrap(), Sent::Done);
    }

    #[test]
    fn all_that_can_be_sent_in_one_message_is_received() {
        let (a, b) = message_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..MOST_FDS).map(|_| pipe_end()).collect();
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [nix::sys::socket::ControlMessage::ScmRights(&numbers)];
        let bytes = [IoSlice::new(b"x")];
        let flags = nix::sys::socket::MsgFlags::empty();
        nix::sys::socket::sendmsg::<()>(a.as_raw_fd(), &bytes, &control, flags, None).unwrap();
        let mut got = Vec::new();
        let received = receive(b.as_fd(), &mut [0; 8], &mut got).unwrap();
        assert_eq!(received, Received::Message { len: 1, loss: Loss::Nothing });
        assert_eq!(got.len(), MOST_FDS);
    }

    #[test]
    fn unread_messages_can_be_read_through_a_duplicate() {
        let (a, b) = message_pair().unwrap();
        let kept = duplicate(&b).unwrap();
        for byte in 0..4_u8 {
            assert_eq!(send(a.as_fd(), &[byte], &[pipe_end()]).unwrap(), Sent::Done);
        }
        let mut bytes = [0; 1];
        let mut fds = Vec::new();
        let _ = receive(b.as_fd(), &mut bytes, &mut fds).unwrap();
        drop(b);
        for byte in 1..4_u8 {
            let got = receive(kept.as_fd(), &mut bytes, &mut fds).unwrap();
            assert_eq!(got, Received::Message { len: 1, loss: Loss::Nothing });
            assert_eq!(bytes[0], byte);
        }
        assert_eq!(fds.len(), 4);
    }
}
