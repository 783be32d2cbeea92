//! The least that passing can cost: system calls, and nothing else.
#![allow(unsafe_code, reason = "the system is called without anything in between: that is the point")]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::{io, mem, ptr};

use nix::libc;

/// How many ready sockets one `epoll_wait` brings, as many as for the dispatcher.
const EVENTS: usize = 64;

/// A message with one descriptor, made once and sent again and again with another number in it.
struct Envelope {
    bytes: [u8; 5],
    control: [u64; 3],
}

impl Envelope {
    /// What the dispatcher would write for one connection of listener 0: the receivers are the same.
    fn new() -> Self {
        Self { bytes: [b'C', 0, 0, 0, 0], control: [0; 3] }
    }

    fn send(&mut self, channel: &OwnedFd, conn: RawFd) {
        let mut slice = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
        // SAFETY: all-zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = self.control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&self.control);
        // SAFETY: the control buffer is aligned and has room for one header and one descriptor.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: as above; nobody else refers to it.
        let header_ref = unsafe { &mut *header };
        header_ref.cmsg_level = libc::SOL_SOCKET;
        header_ref.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: pure arithmetic.
        header_ref.cmsg_len = unsafe { libc::CMSG_LEN(4) } as usize;
        // SAFETY: the data of the header, within the buffer.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: it has room for one descriptor.
        unsafe { data.cast::<RawFd>().write_unaligned(conn) };
        loop {
            // SAFETY: `message` points to live buffers for the length of the call.
            let sent = unsafe { libc::sendmsg(channel.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
            if sent >= 0 {
                break;
            }
            // Channels are non-blocking for their receivers; a full one empties in a moment.
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            std::thread::yield_now();
        }
    }
}

/// `None` if nobody waits on a socket that does not block.
fn accept(listener: &OwnedFd) -> Option<RawFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    let conn = unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) };
    if conn < 0 {
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        return None;
    }
    Some(conn)
}

fn close(conn: RawFd) {
    // SAFETY: it was accepted here, and nobody else knows it.
    let status = unsafe { libc::close(conn) };
    assert_eq!(status, 0);
}

/// Waits in `accept4`. It can serve one socket only, and nothing can ever wake it but a client.
pub(crate) fn blocking(listener: &OwnedFd, channels: &[OwnedFd]) {
    // SAFETY: changes the flags of a socket that is ours.
    let status = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFL, 0) };
    assert_eq!(status, 0);
    let mut envelope = Envelope::new();
    for channel in channels.iter().cycle() {
        let conn = accept(listener).expect("it blocks");
        envelope.send(channel, conn);
        close(conn);
    }
}

/// Waits in `epoll_wait`, as whoever has several sockets must, and accepts until there is nobody left.
pub(crate) fn polled(listeners: &[OwnedFd], channels: &[OwnedFd]) {
    // SAFETY: no arguments in memory.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    for (listener, index) in listeners.iter().zip(0..) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: index };
        // SAFETY: the event lives for the length of the call.
        let status =
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), &raw mut event) };
        assert_eq!(status, 0);
    }
    let mut envelope = Envelope::new();
    let mut channels = channels.iter().cycle();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        // SAFETY: the array has room for as many events as are asked for.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 64, -1) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            let index = usize::try_from(event.u64).expect("an index");
            while let Some(conn) = accept(&listeners[index]) {
                envelope.send(channels.next().expect("a cycle"), conn);
                close(conn);
            }
        }
    }
}
