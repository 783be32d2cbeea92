//! Workers that try to stop the dispatcher. Whatever they do affects only themselves: it keeps running, and
//! serves the others.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rcluster::io::barrier::Barrier;
use rcluster_core::channel::{Tag, Writer};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::listen;
use rcluster_sys::listen::group::Group;
use rcluster_sys::scoreboard::Scoreboard;
use rcluster_testing::lingering;

use super::*;

/// Checks that the dispatcher still works: another worker serves a client.
fn others_are_served(primary: &Primary, other: &Worker) {
    let client = primary.connect();
    other.serve(1);
    assert_eq!(u32::from(answer(&client)), other.id.0);
}

/// Checks that the next event of the dispatcher is that this worker has broken the rules.
fn broken(primary: &Primary, worker: WorkerId) -> String {
    match primary.events.recv_timeout(DEADLINE).unwrap() {
        DispatcherEvent::Broken(who, why) if who == worker => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_channel_that_cannot_be_watched_ends_that_worker_alone() {
    let primary = Primary::new();
    let other = primary.worker(2);
    // epoll refuses a plain file with EPERM.
    let file = || OwnedFd::from(File::open("/proc/self/exe").unwrap());
    let worker = WorkerId(1);
    primary.dispatcher.tell(Command::AddWorker {
        worker,
        slot: Slot(0),
        pid: std::process::id().cast_signed(),
        channel: file(),
        worker_end: file(),
        board: Arc::new(Scoreboard::create().unwrap().0),
    });
    primary.dispatcher.tell(Command::Join(worker, LISTENER));
    assert!(broken(&primary, worker).contains("EPERM"));
    for _ in 0..4 {
        others_are_served(&primary, &other);
    }
    primary.dispatcher.tell(Command::WorkerExited(worker));
    others_are_served(&primary, &other);
}

#[test]
fn a_listener_that_cannot_be_watched_does_not_end_the_others() {
    let primary = Primary::new();
    let other = primary.worker(1);
    let listener = ListenerId(9);
    let socket = Some(OwnedFd::from(File::open("/proc/self/exe").unwrap()));
    let plan = Box::new(Plan::default());
    primary.dispatcher.tell(Command::AddListener { listener, socket, path: None, name: "9".into(), plan });
    primary.dispatcher.tell(Command::Join(other.id, listener));
    assert!(matches!(primary.events.recv_timeout(DEADLINE), Ok(DispatcherEvent::Exhausted(_))));
    others_are_served(&primary, &other);
    primary.dispatcher.tell(Command::RemoveListener(listener, std::sync::mpsc::channel().0));
    others_are_served(&primary, &other);
}

#[test]
fn a_worker_that_shuts_its_channel_down_is_cut_off_and_its_clients_are_served() {
    use nix::sys::socket::{Shutdown, shutdown};
    use std::os::fd::AsRawFd;
    let primary = Primary::new();
    let hostile = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    shutdown(hostile.raw.as_raw_fd(), Shutdown::Both).unwrap();
    let clients: Vec<_> = (0..6).map(|_| primary.connect()).collect();
    other.serve(6);
    assert!(clients.iter().all(|client| answer(client) == 2));
    broken(&primary, hostile.id);
}

#[test]
fn a_connection_that_a_worker_made_up_is_closed_without_waiting_for_it() {
    let primary = Primary::new();
    let hostile = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    // Returned although nothing was sent. The dispatcher closes it; our descriptor is closed by then.
    let (connection, receiver) = lingering();
    let mut message = Writer::new(Tag::Full);
    message.push(LISTENER, None);
    let _ = send(hostile.raw.as_fd(), message.bytes(), &[connection]).unwrap();
    // An unexpected descriptor in a message that should contain none.
    let (uncalled, other_receiver) = lingering();
    let _ = send(hostile.raw.as_fd(), Writer::new(Tag::Woke).bytes(), &[uncalled]).unwrap();
    broken(&primary, hostile.id);
    for _ in 0..4 {
        others_are_served(&primary, &other);
    }
    drop((receiver, other_receiver));
}

#[test]
fn a_connection_that_lingers_when_it_comes_back_holds_up_neither_the_dispatcher_nor_its_next_worker() {
    let primary = Primary::new();
    let hostile = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    let client = primary.connect();
    let passed = hostile.receive().remove(0);
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 3600 };
    nix::sys::socket::setsockopt(&passed.fd, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    let mut stream = TcpStream::from(passed.fd.try_clone().unwrap());
    stream.set_nonblocking(true).unwrap();
    let bytes = vec![1; 65536];
    while stream.write(&bytes).is_ok() {}
    drop(stream);
    let mut message = Writer::new(Tag::Full);
    message.push(LISTENER, None);
    let _ = send(hostile.raw.as_fd(), message.bytes(), std::slice::from_ref(&passed.fd)).unwrap();
    drop(passed);
    let taken = other.receive().remove(0);
    let set = nix::sys::socket::getsockopt(&taken.fd, nix::sys::socket::sockopt::Linger).unwrap();
    assert_eq!(set.l_onoff, 0);
    drop(taken);
    others_are_served(&primary, &other);
    drop(client);
}

/// A listener with a socket for each of these slots, none of which has a worker.
fn slots(primary: &Primary, listener: ListenerId, slots: &[u32]) -> (SocketAddr, Vec<OwnedFd>) {
    let group = Group::new("127.0.0.1:0".parse().unwrap(), false, 511).unwrap();
    let plan = Box::new(Plan { policy: Policy::Kernel, ..Plan::default() });
    let name = group.address().port().to_string();
    primary.dispatcher.tell(Command::AddListener { listener, socket: None, path: None, name, plan });
    let sockets = slots.iter().map(|slot| {
        let ours = group.open().unwrap();
        let socket = duplicate(&ours).unwrap();
        primary.dispatcher.tell(Command::AddSlot { listener, slot: Slot(*slot), socket });
        ours
    });
    (group.address(), sockets.collect())
}

fn served_at(address: SocketAddr, worker: &Worker) {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    worker.serve(1);
    assert_eq!(u32::from(answer(&client)), worker.id.0);
}

#[test]
fn sockets_that_workers_have_made_blocking_hold_up_nobody() {
    let primary = Primary::new();
    let other = primary.worker(1);
    let listener = ListenerId(9);
    let (address, sockets) = slots(&primary, listener, &[5, 6, 7]);
    primary.dispatcher.tell(Command::Join(other.id, listener));
    for socket in &sockets {
        fcntl(socket, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    }
    primary.settle();
    for _ in 0..20 {
        served_at(address, &other);
        others_are_served(&primary, &other);
    }
    // It also ends, whatever state its threads are in.
    primary.dispatcher.tell(Command::AcceptAllAndClose(Barrier::new(|| ())));
    primary.dispatcher.tell(Command::RemoveListener(listener, std::sync::mpsc::channel().0));
    primary.settle();
}

#[test]
fn a_socket_that_a_worker_has_shut_down_is_replaced_and_told_once() {
    let primary = Primary::new();
    let other = primary.worker(1);
    let listener = ListenerId(9);
    let (address, sockets) = slots(&primary, listener, &[5, 6]);
    primary.dispatcher.tell(Command::Join(other.id, listener));
    primary.settle();
    served_at(address, &other);
    for socket in &sockets {
        listen::stop_listening(socket);
        // Whichever socket the kernel chooses, the client is accepted.
        for _ in 0..10 {
            served_at_last(address, &other);
        }
        others_are_served(&primary, &other);
    }
    match primary.events.recv_timeout(DEADLINE).unwrap() {
        DispatcherEvent::Shut { name, error: None } => assert_eq!(name, address.port().to_string()),
        other => panic!("{other:?}"),
    }
    // The next worker of a slot gets another socket in its place.
    let group = Group::of(&sockets[0], 511).unwrap();
    let socket = group.open().unwrap();
    primary.dispatcher.tell(Command::AddSlot { listener, slot: Slot(5), socket });
    primary.settle();
    for _ in 0..10 {
        served_at(address, &other);
    }
    assert!(primary.events.try_recv().is_err(), "told once");
}

/// The same, but the port may be closed for a moment.
fn served_at_last(address: SocketAddr, worker: &Worker) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody listens any more");
        std::thread::yield_now();
    }
    // That connection must be served as well.
    worker.serve(1);
    served_at(address, worker);
}
