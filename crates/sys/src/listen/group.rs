//! Several sockets that listen on one TCP address (`SO_REUSEPORT`), and the kernel's choice among them.

use std::mem::size_of_val;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt, setsockopt, sockopt};

use super::{bind_ip, local_address, new_tcp, start, tcp, tcp_anywhere};
use crate::client::internet;
use crate::error::{Doing, SysError};

/// One TCP address with any number of listening sockets.
///
/// The kernel numbers them in the order in which they began to listen. If one of them is closed earlier than
/// the others, the numbers change.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    address: SocketAddr,
    ipv6_only: bool,
    backlog: i32,
}

impl Group {
    /// A group at this address; its port may be 0.
    ///
    /// Sockets of a group can be bound next to those of any other group of the same user. So the address is
    /// first bound without that option, which fails if it is in use, as an app that listens twice expects.
    pub fn new(address: SocketAddr, ipv6_only: bool, backlog: i32) -> Result<Self, SysError> {
        Self::at(tcp(address, ipv6_only, None)?.sockname, ipv6_only, backlog)
    }

    /// A group on this port of all addresses.
    pub fn anywhere(port: u16, ipv6_only: bool, backlog: i32) -> Result<Self, SysError> {
        Self::at(tcp_anywhere(port, ipv6_only, None)?.sockname, ipv6_only, backlog)
    }

    fn at(address: Option<SocketAddr>, ipv6_only: bool, backlog: i32) -> Result<Self, SysError> {
        let address = address.ok_or(SysError::invalid("finding the address of a group of sockets"))?;
        Ok(Self { address, ipv6_only, backlog })
    }

    /// The group that a socket belongs, or has belonged, to.
    pub fn of(member: &impl AsFd, backlog: i32) -> Result<Self, SysError> {
        let ipv6_only = getsockopt(&member.as_fd(), sockopt::Ipv6V6Only).unwrap_or(false);
        let address = getsockname::<SockaddrStorage>(member.as_fd().as_raw_fd());
        Self::at(internet(&address.doing("asking a socket for its address")?), ipv6_only, backlog)
    }

    /// The address of the group.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens another socket, which listens.
    pub fn open(&self) -> Result<OwnedFd, SysError> {
        let fd = new_tcp(self.address, self.ipv6_only)?;
        setsockopt(&fd, sockopt::ReusePort, &true).doing("sharing a port among sockets")?;
        bind_ip(&fd, self.address).doing("binding a TCP socket")?;
        // As in libuv, an address conflict may show only now.
        debug_assert_eq!(local_address(&fd)?, Some(self.address));
        start(&fd, Some(self.backlog))?;
        Ok(fd)
    }
}

/// From now on new connections of the group that `member` belongs to are distributed randomly and evenly over
/// the sockets with these numbers.
///
/// Uses a classic BPF program, which needs no privilege: a random number modulo the length of the list
/// selects the entry.
pub fn steer(member: &impl AsFd, numbers: &[u32]) -> Result<(), SysError> {
    let doing = "steering connections to the sockets of a group";
    let mut program = program(numbers).ok_or(SysError { doing, errno: Errno::E2BIG })?;
    let length = u16::try_from(program.len()).map_err(|_| SysError { doing, errno: Errno::E2BIG })?;
    let value = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: `value` and the program it points to live until the call returns; the kernel only reads them:
    // `size` bytes of `value`, and `length` instructions of the program.
    let answer = unsafe {
        libc::setsockopt(
            member.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const value).cast(),
            size,
        )
    };
    Errno::result(answer).map(drop).doing(doing)
}

/// The longest program that the kernel accepts (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// From `linux/filter.h`: the base of the ancillary data that a program can load, and the offset of the
/// random number.
const RANDOM: u32 = (-0x1000_i32 + 56).cast_unsigned();

/// From `linux/bpf_common.h`.
const LOAD_WORD: u16 = 0x20;
const MODULO: u16 = 0x94;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

fn program(numbers: &[u32]) -> Option<Vec<libc::sock_filter>> {
    let count = u32::try_from(numbers.len()).ok().filter(|count| *count > 0)?;
    let plain = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut program = vec![plain(LOAD_WORD, RANDOM), plain(MODULO, count)];
    let (last, others) = numbers.split_last()?;
    for (place, number) in (0..).zip(others) {
        // Skips the return if the number differs.
        program.push(libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: place });
        program.push(plain(RETURN, *number));
    }
    program.push(plain(RETURN, *last));
    (program.len() <= LONGEST).then_some(program)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn group() -> Group {
        Group::new("127.0.0.1:0".parse().unwrap(), false, 511).unwrap()
    }

    fn queued(listener: &OwnedFd) -> usize {
        std::iter::from_fn(|| super::super::accept(listener).unwrap()).count()
    }

    #[test]
    fn connections_are_distributed_evenly_over_the_given_sockets() {
        let group = group();
        let sockets: Vec<OwnedFd> = (0..4).map(|_| group.open().unwrap()).collect();
        for (numbers, expected) in [(&[0, 1, 2, 3][..], 100), (&[1, 3], 200), (&[2], 400)] {
            steer(&sockets[0], numbers).unwrap();
            let mut counts = [0_usize; 4];
            for _ in 0..4 {
                // At most as many at a time as the backlogs hold.
                let clients: Vec<_> =
                    (0..100).map(|_| TcpStream::connect(group.address()).unwrap()).collect();
                for (count, socket) in counts.iter_mut().zip(&sockets) {
                    *count += queued(socket);
                }
                drop(clients);
            }
            for (number, count) in (0..).zip(counts) {
                // At most six standard deviations of the binomial distribution.
                let (low, high) =
                    if numbers.contains(&number) { (expected - 60, expected + 60) } else { (0, 0) };
                assert!((low..=high).contains(&count), "{numbers:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_socket_that_was_shut_down_is_detected_and_replaced() {
        let group = group();
        let sockets: Vec<OwnedFd> = (0..3).map(|_| group.open().unwrap()).collect();
        super::super::stop_listening(&sockets[0]);
        let _client = TcpStream::connect(group.address()).unwrap();
        let looks = super::super::look(&sockets).unwrap();
        assert_eq!(looks[0], super::super::Look::Shut);
        assert!(super::super::accept(&sockets[0]).is_err());
        let another = Group::of(&sockets[0], 511).unwrap().open().unwrap();
        // The last socket has got the number of the one that was shut down.
        steer(&another, &[2]).unwrap();
        let _clients: Vec<_> = (0..20).map(|_| TcpStream::connect(group.address()).unwrap()).collect();
        assert_eq!(queued(&another), 20);
        steer(&another, &[0]).unwrap();
        let before = queued(&sockets[2]);
        assert!(before <= 1);
        let _clients: Vec<_> = (0..20).map(|_| TcpStream::connect(group.address()).unwrap()).collect();
        assert_eq!(queued(&sockets[2]), 20);
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = Group::new(taken.local_addr().unwrap(), false, 1).unwrap_err();
        assert_eq!(refused.errno, Errno::EADDRINUSE);
        let group = group();
        let _socket = group.open().unwrap();
        assert_eq!(Group::new(group.address(), false, 1).unwrap_err().errno, Errno::EADDRINUSE);
    }

    #[test]
    fn an_empty_or_too_long_list_of_sockets_is_refused() {
        let socket = group().open().unwrap();
        assert_eq!(steer(&socket, &[]).unwrap_err().errno, Errno::E2BIG);
        assert!(program(&vec![0; 2046]).is_some());
        assert!(program(&vec![0; 2048]).is_none());
    }
}
