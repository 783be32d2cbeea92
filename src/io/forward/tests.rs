//! What fails for one connection or one address ends or delays that, and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::conn::Upstream;
use super::shell::{Shell, Stop};
use super::token::Token;
use super::{BoundFront, Command, ForwarderEvent, FrontAddress, FrontOptions, Own, Reach, Target};
use crate::io::native_thread::Run;
use rcluster_core::forward::{Config, ConnId};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::Policy;
use rcluster_sys::epoll::Waker;
use rcluster_sys::socket_directory::Owner;

const WORKER: WorkerId = WorkerId(1);

/// A forwarder whose thread is the test's, with one worker.
struct Rig {
    shell: Shell,
    waker: Waker,
    commands: Sender<Command>,
    events: Receiver<ForwarderEvent>,
    worker: TcpListener,
}

impl Rig {
    fn new() -> Self {
        let front = BoundFront::open(FrontOptions {
            address: FrontAddress::Tcp { host: Some("127.0.0.1".into()), port: 0 },
            backlog: 16,
            reach: Some(Reach::Port),
            env: "PORT".into(),
            policy: Policy::RoundRobin,
            proxy: None,
            config: Config { exhausted_pause: Duration::from_millis(1), ..Config::default() },
        })
        .unwrap();
        let (commands, queue) = channel();
        let (told, events) = channel();
        let waker = Waker::new().unwrap();
        let notify = Box::new(move |event| told.send(event).unwrap());
        let shell = Shell::new(vec![front], waker.clone(), queue, notify).unwrap();
        let own = Own::port(Owner::default(), "PORT").unwrap();
        let &Target::Port { at, .. } = own.target() else { unreachable!("it was asked for a port") };
        let worker = TcpListener::bind(at).unwrap();
        let it = Self { shell, waker, commands, events, worker };
        it.tell(Command::AddWorker { worker: WORKER, slot: Slot(0), own: vec![own] });
        it
    }

    fn tell(&self, command: Command) {
        self.commands.send(command).unwrap();
        self.waker.wake();
    }

    fn turn_until(&mut self, mut done: impl FnMut(&Shell) -> bool) {
        while !done(&self.shell) {
            assert_eq!(self.shell.turn().unwrap(), Stop::No);
        }
    }

    fn client(&self) -> TcpStream {
        TcpStream::connect(self.shell.fronts[0].bound.sockname.unwrap()).unwrap()
    }

    /// A client and its worker's end of the connection.
    fn connected(&mut self) -> (TcpStream, TcpStream, ConnId) {
        let client = self.client();
        let known: Vec<_> = self.shell.conns.keys().copied().collect();
        let mut new = None;
        self.turn_until(|shell| {
            let is_open = |id: &ConnId| matches!(shell.conns[id].upstream, Upstream::Open(_));
            new = shell.conns.keys().copied().find(|id| !known.contains(id) && is_open(id));
            new.is_some()
        });
        (client, self.worker.accept().unwrap().0, new.unwrap())
    }

    /// One that comes now is served.
    fn assert_serves(&mut self) {
        let (mut client, mut server, id) = self.connected();
        server.write_all(b"hello").unwrap();
        drop(server);
        self.turn_until(|shell| shell.conns.get(&id).is_none_or(|conn| conn.relay.is_half_open()));
        let mut heard = [0; 5];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }

    fn assert_warned(&self) {
        assert!(matches!(self.events.try_recv(), Ok(ForwarderEvent::Exhausted(_))));
        assert!(self.events.try_recv().is_err(), "once");
    }
}

#[test]
fn a_connection_that_cannot_be_watched_for_room_ends_alone() {
    let mut rig = Rig::new();
    let (mut client, mut server, id) = rig.connected();
    // The kernel refuses to change what is not watched.
    rig.shell.tools.poller.remove(&rig.shell.conns[&id].client).unwrap();
    server.set_nonblocking(true).unwrap();
    let chunk = vec![7; 1 << 20];
    rig.turn_until(|shell| {
        if let Err(error) = server.write(&chunk) {
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            );
        }
        !shell.conns.contains_key(&id)
    });
    rig.assert_warned();
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    rig.assert_serves();
}

#[test]
fn a_connection_that_cannot_be_taken_out_of_the_poller_is_made_anew() {
    let mut rig = Rig::new();
    let (_client, server, id) = rig.connected();
    let at = rig.worker.local_addr().unwrap();
    let unwatched = TcpStream::connect(at).unwrap();
    let (other, _) = rig.worker.accept().unwrap();
    // As if it had been pending: its news has come, and taking it out of the poller fails.
    let conn = rig.shell.conns.get_mut(&id).unwrap();
    conn.upstream = Upstream::Pending(unwatched.into());
    rig.shell.on_pending(id);
    rig.assert_warned();
    rig.turn_until(|shell| matches!(shell.conns[&id].upstream, Upstream::Open(_)));
    assert!(rig.worker.accept().is_ok(), "it is connected to the worker again");
    drop((server, other));
    rig.assert_serves();
}

#[test]
fn an_address_that_cannot_be_watched_is_tried_again() {
    let mut rig = Rig::new();
    // The kernel refuses to watch a number twice.
    let front = &rig.shell.fronts[0].bound.fd;
    rig.shell.tools.poller.add(front, Token::Waker.pack()).unwrap();
    let mut warned = false;
    while !warned {
        assert_eq!(rig.shell.turn().unwrap(), Stop::No);
        warned = matches!(rig.events.try_recv(), Ok(ForwarderEvent::Exhausted(_)));
    }
    let front = &rig.shell.fronts[0].bound.fd;
    rig.shell.tools.poller.remove(front).unwrap();
    rig.assert_serves();
}

#[test]
fn it_stops_when_it_is_told_so() {
    let mut rig = Rig::new();
    rig.assert_serves();
    rig.tell(Command::Stop);
    rig.shell.run().unwrap();
}
