//! Messages that carry descriptors: `SOCK_SEQPACKET` pairs and `SCM_RIGHTS`.
//!
//! A sequenced-packet socket keeps message boundaries, so nothing has to be framed, and a
//! message is either sent whole or not at all.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket, socketpair, sockopt};

use super::error::{Doing, SysError};

/// The most descriptors that one message carries. The kernel's limit is 253; a smaller batch
/// bounds what a receiver that runs out of descriptors can lose at once.
pub const MAX_FDS: usize = 32;

/// The most descriptors that the kernel lets anybody send in one message (`SCM_MAX_FD`).
pub const MOST_FDS: usize = 253;

/// Room for the control part of any message, aligned as the kernel wants its headers.
///
/// That is more than we send. The kernel closes what does not fit on the thread that receives, and close(2) may block,
/// see [`crate::closer`]. And whoever holds the same socket can have it add credentials, a pidfd, a security label
/// and the time to each message (`SO_PASSCRED`, `SO_PASSPIDFD`, `SO_PASSSEC`, `SO_TIMESTAMP`).
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; CONTROL_LEN]);

const CONTROL_LEN: usize = 16 + MOST_FDS.next_multiple_of(2) * size_of::<RawFd>() + 4096;

/// A message that brings a pidfd of its sender, from `linux/socket.h`.
const SCM_PIDFD: libc::c_int = 4;

impl Control {
    const fn new() -> Self {
        Self([MaybeUninit::uninit(); CONTROL_LEN])
    }
}

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The kernel has it, and its own reference to each descriptor.
    Done,
    /// The peer has too many messages unread. Nothing was sent.
    Full,
    /// This user has too many descriptors on their way, in all of the system's sockets together. Nothing was sent.
    ///
    /// That is more than `RLIMIT_NOFILE` of the process that sends. Whoever has the privilege to raise limits is exempt.
    TooManyOnTheirWay,
}

/// What [`receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// A message of `len` bytes; its descriptors were appended to the caller's list.
    Message {
        /// How many bytes of the buffer it fills.
        len: usize,
        /// It was longer than the buffer, or this process had no room for all its descriptors.
        /// What did not fit is gone.
        cut: bool,
    },
    /// Nothing is waiting.
    Empty,
    /// The peer has closed its end.
    Closed,
}

/// A connected pair for messages with descriptors; both ends close-on-exec and non-blocking.
///
/// Non-blocking mode belongs to the open socket, not to the descriptor, so whoever inherits
/// one of the ends has it non-blocking too.
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
/// The descriptors stay the caller's, who may close them as soon as this returns.
/// `bytes` must not be empty: an empty message reads like a closed peer.
///
/// # Panics
/// When there are more than [`MAX_FDS`] descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd]) -> Result<Sent, SysError> {
    send_from(socket, bytes, fds)
}

/// The same for whatever owns the descriptors.
///
/// # Panics
/// When there are more than [`MAX_FDS`] descriptors.
pub fn send_from(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[impl AsFd]) -> Result<Sent, SysError> {
    assert!(fds.len() <= MAX_FDS, "a message carries at most {MAX_FDS} descriptors");
    let slices = [IoSlice::new(bytes)];
    let mut control = Control::new();
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    if !fds.is_empty() {
        let payload = fds.len() * size_of::<RawFd>();
        let payload = u32::try_from(payload).expect("32 descriptors fit into a u32");
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(payload) } as usize;
        // SAFETY: msg_control points to CONTROL_LEN aligned bytes, so the first header exists.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: as above; the header lies within `control`.
        let header_ref = unsafe { &mut *header };
        header_ref.cmsg_level = libc::SOL_SOCKET;
        header_ref.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: pure arithmetic.
        header_ref.cmsg_len = unsafe { libc::CMSG_LEN(payload) } as usize;
        // SAFETY: the data of the first header follows it within `control`.
        let data = unsafe { libc::CMSG_DATA(header) };
        #[allow(clippy::cast_ptr_alignment, reason = "it is written to unaligned")]
        let data = data.cast::<RawFd>();
        for (index, fd) in fds.iter().enumerate() {
            // SAFETY: index < MAX_FDS, for which `control` has room.
            let place = unsafe { data.add(index) };
            // SAFETY: as above. The number is borrowed: the kernel takes a reference of its own
            // and `fds` keeps what it owns.
            unsafe { place.write_unaligned(fd.as_fd().as_raw_fd()) };
        }
    }
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
/// Received descriptors are close-on-exec and belong to the caller.
pub fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Received, SysError> {
    let mut slices = [IoSliceMut::new(bytes)];
    let mut control = Control::new();
    // SAFETY: all-zero is a valid msghdr (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr().cast();
    message.msg_iovlen = slices.len();
    let len = loop {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_LEN;
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
    take_descriptors(&message, fds);
    if len == 0 {
        return Ok(Received::Closed);
    }
    let cut = message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0;
    Ok(Received::Message { len, cut })
}

/// Waits for a message, or for the end. False if there is none within `limit`.
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

/// How many bytes the next message has, cut to `bytes`, which they are copied to. It stays where it is, with its
/// descriptors. None when nothing is waiting, or the peer has closed its end.
pub fn peek(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<Option<usize>, SysError> {
    loop {
        // SAFETY: the buffer is ours and as long as we say. Without room for them descriptors are not duplicated.
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

/// Moves the descriptors of a message that `recvmsg` has just filled in into `fds`, and closes those that nobody
/// asked for.
fn take_descriptors(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: recvmsg has set msg_control and msg_controllen to what it wrote.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header within the control buffer.
    while let Some(current) = unsafe { header.as_ref() } {
        let rights = current.cmsg_type == libc::SCM_RIGHTS;
        if current.cmsg_level == libc::SOL_SOCKET && (rights || current.cmsg_type == SCM_PIDFD) {
            // SAFETY: pure arithmetic.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = current.cmsg_len.saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: the data of a header that the kernel wrote follows it.
            let data = unsafe { libc::CMSG_DATA(header) };
            #[allow(clippy::cast_ptr_alignment, reason = "it is read unaligned")]
            let data = data.cast::<RawFd>();
            for index in 0..count {
                // SAFETY: the kernel wrote `count` descriptor numbers here.
                let place = unsafe { data.add(index) };
                // SAFETY: as above.
                let number = unsafe { place.read_unaligned() };
                // The kernel writes an error number where it could not make a pidfd.
                if number < 0 {
                    continue;
                }
                // SAFETY: before: the kernel's message. From here on ours alone, and closed by
                // the OwnedFd.
                let fd = unsafe { OwnedFd::from_raw_fd(number) };
                // A pidfd is closed at once, which never blocks.
                if rights {
                    fds.push(fd);
                }
            }
        }
        // SAFETY: `header` is a header within the control buffer of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// A second descriptor for the same open file, close-on-exec.
pub fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, SysError> {
    fd.as_fd().try_clone_to_owned().doing("duplicating a descriptor")
}

/// A second descriptor for what is open under a number, close-on-exec. EBADF when nothing is.
pub fn duplicate_number(number: RawFd) -> Result<OwnedFd, SysError> {
    // SAFETY: duplicating touches no memory and takes nothing from whoever owns the number.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    let copy = Errno::result(copy).doing("duplicating a descriptor")?;
    // SAFETY: a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes over a descriptor known by its number: one that this process was born with, or one
/// that JavaScript hands over. From here on it is close-on-exec and closed by its owner alone.
///
/// EBADF when nothing is open under the number.
pub fn adopt(number: RawFd) -> Result<OwnedFd, SysError> {
    let doing = "taking over a descriptor";
    if number < 0 {
        return Err(Errno::EBADF).doing(doing);
    }
    // SAFETY: setting a flag on a number touches no memory.
    let status = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    Errno::result(status).doing(doing)?;
    // SAFETY: the number is open. Before: whoever named it, who by calling this gives it up.
    // After: the OwnedFd.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts an open file in the place of what is open under a number, which keeps its owner. Close-on-exec.
///
/// EBADF when nothing is open under the number.
pub fn replace(number: RawFd, with: &OwnedFd) -> Result<(), SysError> {
    let doing = "replacing a descriptor";
    // SAFETY: reading a flag of a number touches no memory.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) }).doing(doing)?;
    // SAFETY: the number stays open and its owner's, who by calling this gives up what was open under it. `with` stays
    // its owner's.
    Errno::result(unsafe { libc::dup3(with.as_raw_fd(), number, libc::O_CLOEXEC) }).doing(doing)?;
    Ok(())
}

/// How many bytes wait to be read on a socket known by its number.
pub fn unread(number: RawFd) -> Result<u32, SysError> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the place it is given, and changes nothing else.
    let status = unsafe { libc::ioctl(number, libc::FIONREAD, &raw mut count) };
    Errno::result(status).doing("counting what waits to be read")?;
    Ok(u32::try_from(count).unwrap_or(0))
}

/// Whether a descriptor that somebody else has sent is a socket for messages. Asking its file system, as fstat(2) does,
/// could take as long as whoever has sent it likes.
pub fn is_message_socket(fd: &impl AsFd) -> bool {
    getsockopt(fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// A stream socket that is neither bound nor connected: TCP or unix.
pub fn blank_socket(tcp: bool) -> Result<OwnedFd, SysError> {
    let family = if tcp { AddressFamily::Inet } else { AddressFamily::Unix };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None).doing("making a socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_replaced_keeps_its_number() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let target = pipe_end();
        let number = target.as_raw_fd();
        replace(number, &reader.into()).unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut std::fs::File::from(target), &mut byte).unwrap();
        assert_eq!(byte, *b"x");
        // A number that no test has open.
        assert_eq!(replace(1_000_000, &pipe_end()).unwrap_err().errno, Errno::EBADF);
    }

    #[test]
    fn a_message_that_is_looked_at_stays_with_its_descriptors() {
        let (ours, theirs) = message_pair().unwrap();
        let mut bytes = [0; 8];
        assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), None);
        assert_eq!(send(ours.as_fd(), b"abc", &[pipe_end(), pipe_end()]).unwrap(), Sent::Done);
        for _ in 0..2 {
            assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), Some(3));
        }
        let mut fds = Vec::new();
        let received = receive(theirs.as_fd(), &mut bytes, &mut fds).unwrap();
        assert_eq!(received, Received::Message { len: 3, cut: false });
        assert_eq!(fds.len(), 2);
        drop(ours);
        assert_eq!(peek(theirs.as_fd(), &mut bytes).unwrap(), None);
    }

    fn pipe_end() -> OwnedFd {
        std::io::pipe().expect("a pipe").0.into()
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = message_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..MAX_FDS).map(|_| pipe_end()).collect();
        assert_eq!(send(a.as_fd(), b"hello", &fds).unwrap(), Sent::Done);
        drop(fds);
        let mut bytes = [0; 64];
        let mut got = Vec::new();
        let received = receive(b.as_fd(), &mut bytes, &mut got).unwrap();
        assert_eq!(received, Received::Message { len: 5, cut: false });
        assert_eq!(&bytes[..5], b"hello");
        assert_eq!(got.len(), MAX_FDS);
        for fd in &got {
            let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC, "a received descriptor is close-on-exec");
        }
        assert_eq!(receive(b.as_fd(), &mut bytes, &mut got).unwrap(), Received::Empty);
    }

    #[test]
    fn a_closed_peer_is_told_apart_from_silence() {
        let (a, b) = message_pair().unwrap();
        drop(a);
        let received = receive(b.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap();
        assert_eq!(received, Received::Closed);
        let error = send(b.as_fd(), b"x", &[]).unwrap_err();
        assert_eq!(error.errno, Errno::EPIPE);
    }

    #[test]
    fn a_full_channel_says_so_and_takes_no_descriptor() {
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
        assert_eq!(received, Received::Message { len: 10, cut: true });
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// In a process of its own, because it counts what is open.
    #[test]
    fn what_else_the_kernel_adds_to_a_message_is_neither_taken_for_descriptors_nor_leaks() {
        const SO_PASSPIDFD: libc::c_int = 76;
        let name = "what_else_the_kernel_adds_to_a_message_is_neither_taken_for_descriptors_nor_leaks";
        if std::env::var_os("RCLUSTER_ALONE").is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("sys::passing::tests::{name}"), "--test-threads=1"])
                .env("RCLUSTER_ALONE", "1")
                .status()
                .unwrap();
            assert!(status.success());
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
            // Kernels differ in what they know; some of it is known to all.
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
            assert_eq!(received, Received::Message { len: 1, cut: false });
            assert_eq!(got.len(), count);
            drop(got);
            assert_eq!(open_descriptors(), before, "with {count}");
        }
    }

    /// In a process of its own, without the privilege that is exempt from the limit, and with a limit of its own.
    #[test]
    fn too_many_descriptors_on_their_way_are_told_apart_from_a_full_channel() {
        use std::os::unix::process::CommandExt;
        let name =
            "sys::passing::tests::too_many_descriptors_on_their_way_are_told_apart_from_a_full_channel";
        if std::env::var_os("RCLUSTER_ALONE").is_none() {
            let mut alone = std::process::Command::new("/proc/self/exe");
            alone.args(["--exact", name, "--test-threads=1"]).env("RCLUSTER_ALONE", "1");
            if nix::unistd::geteuid().is_root() {
                // A user whom nobody else is: the limit is about all processes of one.
                alone.uid(54321).gid(54321);
            }
            assert!(alone.status().unwrap().success());
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
        // What goes without descriptors goes on.
        assert_eq!(send(a.as_fd(), b"y", &[]).unwrap(), Sent::Done);
        drop(fds);
        for _ in 0..sent {
            let received = receive(b.as_fd(), &mut [0; 8], &mut Vec::new()).unwrap();
            assert_eq!(received, Received::Message { len: 1, cut: false });
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
        assert_eq!(received, Received::Message { len: 1, cut: false });
        assert_eq!(got.len(), MOST_FDS);
    }

    #[test]
    fn what_a_receiver_has_not_read_can_be_read_through_a_duplicate() {
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
            assert_eq!(got, Received::Message { len: 1, cut: false });
            assert_eq!(bytes[0], byte);
        }
        assert_eq!(fds.len(), 4);
    }
}
