use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use nix::sys::socket::{setsockopt, sockopt};
use rcluster_core::channel::{Tag, Writer};
use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Waker;
use rcluster_sys::passing::{Sent, send};
use rcluster_testing::{alone_as_user, alone_with_limit, without_new_threads};

use super::{Conn, Shell, WorkerChannel};

const WORKER: WorkerId = WorkerId(1);

/// A child of the worker holds its channel as well.
#[test]
fn a_dead_worker_whose_channel_is_written_to_without_end_is_removed() {
    let (_commands, queue) = channel();
    let mut shell = Shell::new(Waker::new().unwrap(), queue, Box::new(|_| {})).unwrap();
    let (ours, theirs) = WorkerChannel::with_worker();
    shell.workers.insert(WORKER, ours);
    let woke = Writer::new(Tag::Woke);
    // With room for many messages, if this user may have that, so that the child can keep up.
    let _ = setsockopt(&theirs, sockopt::SndBufForce, &(16 << 20));
    while send(theirs.as_fd(), woke.bytes(), &[]).unwrap() == Sent::Done {}
    std::thread::scope(|child| {
        child.spawn(|| while send(theirs.as_fd(), woke.bytes(), &[]).is_ok() {});
        shell.reap(WORKER);
        assert_eq!(shell.workers.all(), []);
    });
}

/// A client that waits for a worker, so that some descriptors are reserved for starting one.
fn let_a_client_wait(shell: &mut Shell) -> UnixStream {
    let (client, connection) = UnixStream::pair().unwrap();
    shell.input(Input::ListenerAdded { listener: ListenerId(1), plan: Plan::default() });
    let conn = Conn::new(Descriptor::own(connection.into()), None);
    shell.input(Input::Accepted { listener: ListenerId(1), conn });
    client
}

#[test]
fn connections_of_a_dead_worker_stay_in_its_channel_while_only_reserved_descriptors_are_left() {
    if !alone_with_limit(
        "io::dispatcher::shell::tests::\
         connections_of_a_dead_worker_stay_in_its_channel_while_only_reserved_descriptors_are_left",
        200,
    ) {
        return;
    }
    let (_commands, queue) = channel();
    let mut shell = Shell::new(Waker::new().unwrap(), queue, Box::new(|_| {})).unwrap();
    let _client = let_a_client_wait(&mut shell);
    let (mut ours, theirs) = WorkerChannel::with_worker();
    // One that it has not received, and one that it has returned.
    let unreceived = Descriptor::own(UnixStream::pair().unwrap().0.into());
    ours.push(ListenerId(1), unreceived, None, None);
    assert!(ours.send_batch().unsent.is_empty());
    let mut message = Writer::new(Tag::NotListening);
    message.push(ListenerId(1), None);
    let returned = [UnixStream::pair().unwrap().0.into()];
    assert_eq!(send(theirs.as_fd(), message.bytes(), &returned).unwrap(), Sent::Done);
    drop(returned);
    shell.workers.insert(WORKER, ours);

    let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // 20 of the 50 that are reserved are left.
    all.truncate(all.len() - 20);
    let before = all.last().map(AsRawFd::as_raw_fd);
    shell.reap(WORKER);
    assert_eq!(shell.workers.dead(), [WORKER]);
    let next = File::open("/dev/null").unwrap();
    assert_eq!(before.map(|number| number + 1), Some(next.as_raw_fd()), "no descriptor was taken");
    all.truncate(100);
    shell.reap(WORKER);
    assert_eq!(shell.workers.dead(), []);
}

/// In a separate process, because it changes the limit, and for a user without the privilege that is exempt from it.
#[test]
fn what_a_dead_worker_has_returned_is_kept_while_it_cannot_be_read() {
    if !alone_as_user(
        "io::dispatcher::shell::tests::what_a_dead_worker_has_returned_is_kept_while_it_cannot_be_read",
        54323,
    ) {
        return;
    }
    let (_commands, queue) = channel();
    let mut shell = Shell::new(Waker::new().unwrap(), queue, Box::new(|_| {})).unwrap();
    let (ours, theirs) = WorkerChannel::with_worker();
    shell.workers.insert(WORKER, ours);
    for _ in 0..2 {
        let mut message = Writer::new(Tag::NotListening);
        message.push(ListenerId(1), None);
        let client = [UnixStream::pair().unwrap().0.into()];
        assert_eq!(send(theirs.as_fd(), message.bytes(), &client).unwrap(), Sent::Done);
    }

    // No thread can be started that closes the first one, which the worker has never been sent.
    without_new_threads(|| shell.reap(WORKER));
    assert_eq!(shell.workers.dead(), [WORKER]);
    shell.reap(WORKER);
    assert_eq!(shell.workers.dead(), []);
}
