//! A failure of one connection or one front ends or delays only that one.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::conn::Conn;
use super::connections::Connections;
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

/// A forwarder that runs on the test's thread, with one worker.
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

    fn connections(&mut self) -> &mut Connections {
        self.shell.parts().1
    }

    fn turn_until(&mut self, mut done: impl FnMut(&Connections) -> bool) {
        while !done(self.connections()) {
            assert_eq!(self.shell.turn().unwrap(), Stop::No);
        }
    }

    fn client(&mut self) -> TcpStream {
        TcpStream::connect(self.shell.parts().0[0].bound().sockname.unwrap()).unwrap()
    }

    /// A client and its worker's end of the connection.
    fn connected(&mut self) -> (TcpStream, TcpStream, ConnId) {
        let client = self.client();
        let known = self.connections().ids();
        let mut new = None;
        self.turn_until(|connections| {
            let is_open = |id: &ConnId| connections.get(*id).unwrap().is_open();
            new = connections.ids().into_iter().find(|id| !known.contains(id) && is_open(id));
            new.is_some()
        });
        (client, self.worker.accept().unwrap().0, new.unwrap())
    }

    /// Checks that a new client is served.
    fn assert_serves(&mut self) {
        let (mut client, mut server, id) = self.connected();
        server.write_all(b"hello").unwrap();
        drop(server);
        self.turn_until(|connections| connections.get(id).is_none_or(Conn::is_half_open));
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
    // The kernel refuses to change the interest of a descriptor that is not watched.
    let (_, connections, tools) = rig.shell.parts();
    tools.poller().remove(connections.get(id).unwrap().client()).unwrap();
    server.set_nonblocking(true).unwrap();
    let chunk = vec![7; 1 << 20];
    rig.turn_until(|connections| {
        if let Err(error) = server.write(&chunk) {
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            );
        }
        connections.get(id).is_none()
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
    // As if it had been pending: its event has arrived, and removing it from the poller fails.
    let (_, connections, tools) = rig.shell.parts();
    connections.get_mut(id).unwrap().set_pending(unwatched.into());
    let news = connections.on_pending(id, tools);
    rig.shell.on_news(news);
    rig.assert_warned();
    rig.turn_until(|connections| connections.get(id).unwrap().is_open());
    assert!(rig.worker.accept().is_ok(), "it is connected to the worker again");
    drop((server, other));
    rig.assert_serves();
}

#[test]
fn an_address_that_cannot_be_watched_is_tried_again() {
    let mut rig = Rig::new();
    // The kernel refuses to watch a descriptor twice.
    let (fronts, _, tools) = rig.shell.parts();
    tools.poller().add(&fronts[0].bound().fd, Token::Waker.pack()).unwrap();
    let mut warned = false;
    while !warned {
        assert_eq!(rig.shell.turn().unwrap(), Stop::No);
        warned = matches!(rig.events.try_recv(), Ok(ForwarderEvent::Exhausted(_)));
    }
    let (fronts, _, tools) = rig.shell.parts();
    tools.poller().remove(&fronts[0].bound().fd).unwrap();
    rig.assert_serves();
}

#[test]
fn it_stops_when_it_is_told_so() {
    let mut rig = Rig::new();
    rig.assert_serves();
    rig.tell(Command::Stop);
    rig.shell.run().unwrap();
}
