//! A worker that does no more than it must: receives connections by the worker's own half of rcluster's code,
//! answers one request on each, and closes it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rcluster::io::link::{Connections, Link, Passed};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Poller;
use rcluster_sys::passing::message_pair;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

/// The token of the channel; those of connections count from 1.
const CHANNEL: u64 = 0;

/// Its standard input is the channel, its standard output the scoreboard.
pub(crate) fn run() {
    let channel = duplicate(&std::io::stdin()).unwrap();
    let board = duplicate(&std::io::stdout()).unwrap();
    // Nobody listens to what it would say on its control socket.
    let (control, _kept) = message_pair().unwrap();
    let mut poller = Poller::new().unwrap();
    poller.add(&channel, CHANNEL).unwrap();
    let link = Link::new(control, channel, &board).unwrap();
    let mut silent: HashMap<u64, TcpStream> = HashMap::new();
    let mut next = CHANNEL;
    loop {
        let ready = poller.wait(None).unwrap();
        for index in 0..ready {
            let token = poller.token(index);
            if token != CHANNEL {
                poller.remove(&silent[&token]).unwrap();
                let mut conn = silent.remove(&token).expect("it was just there");
                assert!(answer(&mut conn), "a connection that is ready to be read has nothing to read");
                link.closed();
                continue;
            }
            let state = link.read_connections(|Passed { fd: conn, .. }| {
                let mut conn = TcpStream::from(conn);
                if answer(&mut conn) {
                    link.closed();
                } else {
                    next += 1;
                    poller.add(&conn, next).unwrap();
                    silent.insert(next, conn);
                }
            });
            if matches!(state.unwrap(), Connections::Closed) {
                return;
            }
        }
        link.turned(rcluster_sys::clock::monotonic(), Duration::ZERO);
    }
}

/// False if the request is not there yet.
fn answer(conn: &mut TcpStream) -> bool {
    let mut request = [0; 1024];
    match conn.read(&mut request) {
        Ok(0) => true,
        Ok(_) => {
            // A client that has gone does not want it.
            let _gone = conn.write_all(ANSWER);
            true
        }
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// How to start one.
pub(crate) fn spawn(channel: &OwnedFd, board: OwnedFd) -> std::process::Child {
    let channel = channel.as_fd().try_clone_to_owned().unwrap();
    std::process::Command::new(std::env::current_exe().unwrap())
        .arg("receive")
        .stdin(File::from(channel))
        .stdout(File::from(board))
        .spawn()
        .unwrap()
}
