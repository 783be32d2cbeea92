//! The kernel's information on listening sockets: their owners and backlogs.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::error::{Doing, SysError};
use super::listen::Backlog;

const DOING: &str = "asking who listens on a port";

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN`.
const LISTEN: u8 = 10;
/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Offsets in `struct inet_diag_msg`: the state and the user id.
const STATE_AT: usize = HEADER + 1;
const UID_AT: usize = HEADER + 64;

/// The users of the sockets that could accept a connection to this address; more than one only if the kernel
/// cannot be queried directly. Empty if no process listens.
pub fn listener_owners(at: SocketAddrV4) -> Result<Vec<u32>, SysError> {
    match ask(at) {
        Ok(Some(uid)) => Ok(vec![uid]),
        // The kernel gives the same error if no process listens and if it lacks the diagnostics module.
        Ok(None) | Err(Errno::ENOENT | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) => {
            read_tables(at.port())
        }
        Err(errno) => Err(errno).doing(DOING),
    }
}

/// The backlog of the Unix socket with this inode. `None` if it does not listen.
pub(super) fn unix_backlog(inode: u32) -> nix::Result<Option<Backlog>> {
    exchange(&unix_question(inode), read_unix_answer)
}

/// Queries the kernel for the socket that would get a connection.
fn ask(at: SocketAddrV4) -> nix::Result<Option<u32>> {
    exchange(&question(at), read_answer)
}

fn exchange<T>(question: &[u8], read: impl FnOnce(&[u8]) -> nix::Result<T>) -> nix::Result<T> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
    send(fd.as_raw_fd(), question, MsgFlags::empty())?;
    // The kernel writes the answer during the send.
    let mut answer = [0; 512];
    let length = recv(fd.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    read(&answer[..length])
}

fn question(at: SocketAddrV4) -> Vec<u8> {
    let length = u32::try_from(HEADER + REQUEST).unwrap_or_default();
    let mut question = Vec::with_capacity(HEADER + REQUEST);
    question.extend(length.to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(1_u16.to_ne_bytes()); // NLM_F_REQUEST
    question.extend([0; 8]);
    // IPv4, which also finds sockets for both versions; TCP; no extensions.
    question.extend([2, 6, 0, 0]);
    question.extend((1_u32 << LISTEN).to_ne_bytes());
    question.extend(at.port().to_be_bytes());
    question.extend([0; 2]);
    question.extend(at.ip().octets());
    question.extend([0; 12 + 16 + 4]);
    // Any cookie.
    question.extend([0xff; 8]);
    question
}

/// Requests the length of its queue.
fn unix_question(inode: u32) -> Vec<u8> {
    let length = HEADER + 24;
    let mut question = Vec::with_capacity(length);
    question.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(1_u16.to_ne_bytes()); // NLM_F_REQUEST
    question.extend([0; 8]);
    question.extend([1, 0, 0, 0]); // AF_UNIX
    question.extend((1_u32 << LISTEN).to_ne_bytes());
    question.extend(inode.to_ne_bytes());
    question.extend(0x10_u32.to_ne_bytes()); // UDIAG_SHOW_RQLEN
    // Any cookie.
    question.extend([0xff; 8]);
    question
}

fn read_answer(answer: &[u8]) -> nix::Result<Option<u32>> {
    check(answer)?;
    let uid = word(answer, UID_AT).ok_or(Errno::EPROTO)?;
    Ok((answer[STATE_AT] == LISTEN).then_some(uid))
}

/// `struct unix_diag_msg`, followed by attributes: the length including these four bytes, the type, and the
/// value.
fn read_unix_answer(answer: &[u8]) -> nix::Result<Option<Backlog>> {
    check(answer)?;
    if *answer.get(HEADER + 2).ok_or(Errno::EPROTO)? != LISTEN {
        return Ok(None);
    }
    let mut rest = answer.get(HEADER + 16..).ok_or(Errno::EPROTO)?;
    while let Some([low, high, kind, 0]) = rest.get(..4) {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        // UNIX_DIAG_RQLEN
        if *kind == 4 {
            let (waiting, limit) = (word(rest, 4), word(rest, 8));
            let (waiting, limit) = waiting.zip(limit).ok_or(Errno::EPROTO)?;
            return Ok(Some(Backlog { waiting, limit }));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Err(Errno::EPROTO)
}

/// Checks that it is an answer and not an error.
fn check(answer: &[u8]) -> nix::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind.map(i32::from) == Some(libc::NLMSG_ERROR) {
        let errno = word(answer, HEADER).ok_or(Errno::EPROTO)?;
        return Err(Errno::from_raw(errno.cast_signed().wrapping_neg()));
    }
    if kind == Some(BY_FAMILY) { Ok(()) } else { Err(Errno::EPROTO) }
}

fn word(answer: &[u8], at: usize) -> Option<u32> {
    answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
}

/// Searches all sockets.
fn read_tables(port: u16) -> Result<Vec<u32>, SysError> {
    let mut owners = owners_in(&std::fs::read_to_string("/proc/self/net/tcp").doing(DOING)?, port);
    match std::fs::read_to_string("/proc/self/net/tcp6") {
        Ok(text) => owners.extend(owners_in(&text, port)),
        // A machine without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).doing(DOING),
    }
    Ok(owners)
}

/// The users of the sockets that listen on a port at any address, from such a table.
fn owners_in(table: &str, port: u16) -> Vec<u32> {
    let owner = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let uid = words.nth(3)?.parse().ok()?;
        let (_, listens_at) = local.rsplit_once(':')?;
        let is_it = u16::from_str_radix(listens_at, 16) == Ok(port) && state == "0A";
        is_it.then_some(uid)
    };
    table.lines().skip(1).filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    use nix::unistd::geteuid;

    use super::*;

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn the_owner_of_the_accepting_socket_is_found() {
        let us = geteuid().as_raw();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address.parse::<SocketAddr>().unwrap()) else { continue };
            let port = listener.local_addr().unwrap().port();
            // Connected sockets do not count.
            let _client = TcpStream::connect(at(port)).unwrap();
            assert_eq!(ask(at(port)), Ok(Some(us)), "{address}");
            assert_eq!(read_tables(port).unwrap(), [us], "{address}");
            drop(listener);
            assert!(listener_owners(at(port)).unwrap().is_empty(), "{address}");
        }
    }

    #[test]
    fn a_table_is_parsed() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   33        0 4242 1\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000   34        0 4243 1\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000   35        0 4244 1\n\
            nonsense\n";
        assert_eq!(owners_in(table, 8080), [33]);
        assert!(owners_in(table, 80).is_empty());
    }

    #[test]
    fn a_truncated_answer_is_an_error() {
        let mut answer = [0; UID_AT + 4];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[STATE_AT] = LISTEN;
        answer[UID_AT..].copy_from_slice(&77_u32.to_ne_bytes());
        assert_eq!(read_answer(&answer), Ok(Some(77)));
        for length in 0..answer.len() {
            assert_eq!(read_answer(&answer[..length]), Err(Errno::EPROTO));
        }
        let mut answer = [0; HEADER + 16 + 8 + 12];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[HEADER + 2] = LISTEN;
        // An attribute of another type comes first.
        answer[HEADER + 16..HEADER + 20].copy_from_slice(&[6, 0, 1, 0]);
        answer[HEADER + 24..].copy_from_slice(&[12, 0, 4, 0, 3, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(read_unix_answer(&answer), Ok(Some(Backlog { waiting: 3, limit: 128 })));
        for length in 0..answer.len() {
            assert_eq!(read_unix_answer(&answer[..length]), Err(Errno::EPROTO), "{length}");
        }
    }
}
