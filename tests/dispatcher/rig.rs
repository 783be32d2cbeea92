//! A dispatcher, and workers that are the far ends of real channels.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcluster::io::barrier::Barrier;
use rcluster::io::dispatcher::{Command, Dispatcher, DispatcherEvent, Report};
use rcluster::io::link::{Connections, Link, Passed};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::listen;
use rcluster_sys::passing::message_pair;
use rcluster_sys::scoreboard::Scoreboard;

/// Nothing here takes long: a test that reaches this limit has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LISTENER: ListenerId = ListenerId(1);

pub(crate) struct Primary {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) events: Receiver<DispatcherEvent>,
    pub(crate) address: SocketAddr,
}

impl Primary {
    pub(crate) fn new() -> Self {
        Self::with(Plan::default())
    }

    pub(crate) fn with(plan: Plan) -> Self {
        let (tell, events) = channel();
        let dispatcher = Dispatcher::start(move |event| tell.send(event).unwrap()).unwrap();
        let bound = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Some(511)).unwrap();
        let address = bound.sockname.unwrap();
        dispatcher.tell(Command::AddListener {
            listener: LISTENER,
            socket: Some(bound.fd),
            path: None,
            name: address.port().to_string(),
            plan: Box::new(plan),
        });
        Self { dispatcher, events, address }
    }

    pub(crate) fn worker(&self, id: u32) -> Worker {
        self.worker_in(Slot(id - 1), id)
    }

    pub(crate) fn worker_in(&self, slot: Slot, id: u32) -> Worker {
        let worker = WorkerId(id);
        let (channel, worker_end) = message_pair().unwrap();
        let (_control, worker_control) = message_pair().unwrap();
        let (board, board_fd) = Scoreboard::create().unwrap();
        let raw = duplicate(&worker_end).unwrap();
        let link = Link::new(worker_control, duplicate(&worker_end).unwrap(), &board_fd).unwrap();
        let pid = std::process::id().cast_signed();
        let board = Arc::new(board);
        self.dispatcher.tell(Command::AddWorker {
            worker,
            slot,
            pid,
            channel,
            worker_end,
            board: Arc::clone(&board),
        });
        self.dispatcher.tell(Command::Join(worker, LISTENER));
        Worker { id: worker, link, raw, board }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    pub(crate) fn report(&self) -> Report {
        let (report, wait) = channel();
        self.dispatcher.tell(Command::Report(report));
        wait.recv_timeout(DEADLINE).unwrap()
    }

    /// Returns when the dispatcher has carried out all commands so far.
    pub(crate) fn settle(&self) {
        let (done, wait) = channel();
        self.dispatcher.tell(Command::Barrier(Barrier::new(move || done.send(()).unwrap())));
        wait.recv_timeout(DEADLINE).unwrap();
    }
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) link: Link,
    pub(crate) raw: OwnedFd,
    pub(crate) board: Arc<Scoreboard>,
}

impl Worker {
    /// Waits until something can be received, and receives it.
    pub(crate) fn receive(&self) -> Vec<Passed> {
        let mut got = Vec::new();
        while got.is_empty() {
            wait_readable(&self.raw);
            let state = self.link.read_connections(|passed| got.push(passed)).unwrap();
            assert!(matches!(state, Connections::Open));
        }
        got
    }

    /// Answers connections until it has served `count`.
    pub(crate) fn serve(&self, count: usize) {
        let mut served = 0;
        while served < count {
            for passed in self.receive() {
                TcpStream::from(passed.fd).write_all(&[u8::try_from(self.id.0).unwrap()]).unwrap();
                served += 1;
            }
        }
    }
}

pub(crate) fn wait_readable(fd: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut fds, timeout).unwrap(), 1, "nothing came in {DEADLINE:?}");
}

/// The worker that has answered.
pub(crate) fn answer(mut client: &TcpStream) -> u8 {
    let mut byte = [0];
    client.read_exact(&mut byte).expect("a client got no answer");
    byte[0]
}
