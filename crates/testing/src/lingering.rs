use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

/// A connection that `close(2)` waits for, and the other end, which does not read.
///
/// # Panics
/// If the system has no sockets to give.
#[must_use]
pub fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
    let mut sender = TcpStream::connect(listener.local_addr().expect("a listener has an address"))
        .expect("a listener is connected to");
    let (receiver, _) = listener.accept().expect("a connection that was made is accepted");
    sender.set_nonblocking(true).expect("a socket can be made non-blocking");
    let bytes = vec![0; 65536];
    while sender.write(&bytes).is_ok() {}
    setsockopt(&sender, sockopt::Linger, &linger { l_onoff: 1, l_linger: 3600 })
        .expect("SO_LINGER can be set");
    (sender.into(), receiver)
}
