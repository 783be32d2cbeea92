use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use nix::sys::socket::{setsockopt, sockopt};
use rcluster_core::channel::{Tag, Writer};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::epoll::Waker;
use rcluster_sys::passing::{Sent, send};
use rcluster_testing::{alone_as_user, without_new_threads};

use super::{Shell, WorkerChannel};

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
