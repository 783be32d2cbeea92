//! The dispatcher's thread with real sockets: clients connect, and "workers" are the far ends of
//! real channels, read here by the worker's own half of the code.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcluster::core::dispatch::Refusal;
use rcluster::core::ids::{ListenerId, WorkerId};
use rcluster::io::dispatcher::{Afterwards, Command, Dispatcher, Notice};
use rcluster::io::link::{Connections, Link};
use rcluster::sys::listen;
use rcluster::sys::passing::{duplicate, message_pair, send};
use rcluster::sys::scoreboard::Scoreboard;

/// Nothing here takes long; a test that waits for this has failed.
const DEADLINE: Duration = Duration::from_secs(20);
const LISTENER: ListenerId = ListenerId(1);

struct Primary {
    dispatcher: Dispatcher,
    notices: Receiver<Notice>,
    address: SocketAddr,
}

impl Primary {
    fn new() -> Self {
        let (tell, notices) = channel();
        let dispatcher = Dispatcher::start(move |notice| tell.send(notice).unwrap()).unwrap();
        let bound = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Some(511)).unwrap();
        let address = bound.sockname.unwrap();
        dispatcher.tell(Command::AddListener { listener: LISTENER, socket: bound.fd, path: None });
        Self { dispatcher, notices, address }
    }

    fn worker(&self, id: u32) -> Worker {
        let worker = WorkerId(id);
        let (channel, worker_end) = message_pair().unwrap();
        let (_control, worker_control) = message_pair().unwrap();
        let (board, board_fd) = Scoreboard::create().unwrap();
        let raw = duplicate(&worker_end).unwrap();
        let link = Link::new(worker_control, duplicate(&worker_end).unwrap(), &board_fd).unwrap();
        self.dispatcher.tell(Command::AddWorker { worker, channel, worker_end, board: board.into() });
        self.dispatcher.tell(Command::Join(worker, LISTENER));
        Worker { id: worker, link, raw }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// Returns when the dispatcher has done all that it was told.
    fn settle(&self) {
        let (done, wait) = channel();
        self.dispatcher.tell(Command::Then(Afterwards::new(move || done.send(()).unwrap())));
        wait.recv_timeout(DEADLINE).unwrap();
    }
}

struct Worker {
    id: WorkerId,
    link: Link,
    raw: OwnedFd,
}

impl Worker {
    /// Waits until something can be received, and receives it.
    fn receive(&self) -> Vec<(ListenerId, OwnedFd)> {
        let mut got = Vec::new();
        while got.is_empty() {
            wait_readable(&self.raw);
            let state = self.link.read_connections(&mut got).unwrap();
            assert!(matches!(state, Connections::Open));
        }
        got
    }

    /// Answers connections until it has served `count`.
    fn serve(&self, count: usize) {
        let mut served = 0;
        while served < count {
            for (_, conn) in self.receive() {
                TcpStream::from(conn).write_all(&[u8::try_from(self.id.0).unwrap()]).unwrap();
                served += 1;
            }
        }
    }
}

fn wait_readable(fd: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut fds, timeout).unwrap(), 1, "nothing came in {DEADLINE:?}");
}

/// Which worker has answered.
fn answer(mut client: &TcpStream) -> u8 {
    let mut byte = [0];
    client.read_exact(&mut byte).expect("a client got no answer");
    byte[0]
}

#[test]
fn connections_go_round_strictly_in_turn() {
    let primary = Primary::new();
    let workers = [primary.worker(1), primary.worker(2), primary.worker(3)];
    primary.settle();
    let mut order = Vec::new();
    for turn in 0..12 {
        let client = primary.connect();
        workers[turn % 3].serve(1);
        order.push(answer(&client));
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

#[test]
fn what_a_dead_worker_had_not_received_is_served_by_another() {
    let primary = Primary::new();
    let doomed = primary.worker(1);
    primary.settle();
    // With one worker alone nothing is taken back, so all five wait in its channel.
    let clients: Vec<_> = (0..5).map(|_| primary.connect()).collect();
    wait_readable(&doomed.raw);
    let other = primary.worker(2);
    primary.dispatcher.tell(Command::WorkerGone(doomed.id));
    drop(doomed);
    other.serve(5);
    assert!(clients.iter().all(|client| answer(client) == 2));
}

#[test]
fn a_worker_that_stands_still_does_not_keep_its_clients() {
    let primary = Primary::new();
    let _blocked = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    let clients: Vec<_> = (0..8).map(|_| primary.connect()).collect();
    other.serve(8);
    assert!(clients.iter().all(|client| answer(client) == 2));
}

#[test]
fn clients_wait_for_the_first_worker() {
    let primary = Primary::new();
    let clients: Vec<_> = (0..5).map(|_| primary.connect()).collect();
    let worker = primary.worker(7);
    worker.serve(5);
    assert!(clients.iter().all(|client| answer(client) == 7));
}

#[test]
fn a_connection_that_a_full_worker_gives_back_goes_to_another() {
    let primary = Primary::new();
    let full = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    let client = primary.connect();
    for (listener, conn) in full.receive() {
        full.link.give_back(listener, conn, Refusal::Full).unwrap();
    }
    other.serve(1);
    assert_eq!(answer(&client), 2);
    // It is spared until it says that it has room.
    let next = primary.connect();
    other.serve(1);
    assert_eq!(answer(&next), 2);
    full.link.room(LISTENER).unwrap();
    let mut turns = Vec::new();
    for _ in 0..20 {
        let client = primary.connect();
        let mut got = Vec::new();
        // Whose turn it is depends on when its message arrives; that it has one again must not.
        while got.is_empty() {
            let _ = full.link.read_connections(&mut got).unwrap();
            let mut theirs = Vec::new();
            let _ = other.link.read_connections(&mut theirs).unwrap();
            turns.extend(theirs.iter().map(|_| 2));
            if !theirs.is_empty() {
                break;
            }
        }
        turns.extend(got.iter().map(|_| 1));
        drop(client);
        if turns.contains(&1) {
            return;
        }
    }
    panic!("a worker with room got nothing: {turns:?}");
}

#[test]
fn a_worker_that_sends_garbage_is_cut_off_and_nobody_else_notices() {
    let primary = Primary::new();
    let rogue = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    for garbage in [&b"\xffgarbage"[..], b"N123", b"C\x01\x00\x00\x00"] {
        let _ = send(rogue.raw.as_fd(), garbage, &[]).unwrap();
    }
    let notice = primary.notices.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(notice, Notice::Broken(worker, _) if worker == rogue.id), "{notice:?}");
    let clients: Vec<_> = (0..6).map(|_| primary.connect()).collect();
    other.serve(6);
    assert!(clients.iter().all(|client| answer(client) == 2));
}

#[test]
fn closing_a_listener_closes_what_waits_for_it() {
    let primary = Primary::new();
    let worker = primary.worker(1);
    primary.settle();
    primary.dispatcher.tell(Command::Leave(worker.id, LISTENER));
    let waiting = primary.connect();
    primary.dispatcher.tell(Command::RemoveListener(LISTENER));
    primary.settle();
    let refused = TcpStream::connect(primary.address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // In the backlog of a socket that closes, the kernel resets it.
    let outcome = (&waiting).read(&mut [0]);
    assert!(matches!(outcome, Ok(0) | Err(_)), "{outcome:?}");
}

#[test]
fn no_descriptor_is_left_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this file run beside this one in the same process, so it has one of its own.
    if std::env::var_os("RCLUSTER_ALONE").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_descriptor_is_left_behind", "--test-threads=1"])
            .env("RCLUSTER_ALONE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let before = open();
    {
        let primary = Primary::new();
        let workers = [primary.worker(1), primary.worker(2)];
        primary.settle();
        for turn in 0..200 {
            let client = primary.connect();
            workers[turn % 2].serve(1);
            let _ = answer(&client);
        }
        for worker in &workers {
            primary.dispatcher.tell(Command::WorkerGone(worker.id));
        }
        primary.dispatcher.tell(Command::RemoveListener(LISTENER));
        primary.settle();
    }
    assert_eq!(open(), before);
}
