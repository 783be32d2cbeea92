use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use super::*;
use crate::io::control::socket::tests::on_a_thread;
use rcluster_sys::passing::{Received, message_pair, receive};
use rcluster_sys::scoreboard::Scoreboard;
use rcluster_sys::spawn::{Child, Spawn, dev_null};

const WORKER: WorkerId = WorkerId(1);
const SLOT: Slot = Slot(2);

/// A process that ends with this exit code as soon as its stdin is closed.
fn process(code: u8, stdin: BorrowedFd<'_>) -> Child {
    let script = format!("read line; exit {code}");
    let args = ["sh", "-c", &script].map(|text| CString::new(text).unwrap()).to_vec();
    let null = dev_null().unwrap();
    let spawn = Spawn {
        file: c"/bin/sh".into(),
        args,
        fds: vec![stdin, null.as_fd(), null.as_fd()],
        ..Spawn::default()
    };
    spawn.spawn().unwrap()
}

/// A worker that has been adopted.
struct World {
    workers: Workers,
    events: mpsc::Receiver<ThreadEvent>,
    /// The worker's end of its control socket.
    control: OwnedFd,
    /// Dropping this ends the worker.
    stdin: OwnedFd,
    _lifeline: OwnedFd,
}

impl World {
    fn new(code: u8) -> Self {
        let (sender, events) = mpsc::channel(8);
        let mut workers = Workers::new(sender, SharedLogs::default());
        let (stdin, theirs) = message_pair().unwrap();
        let pidfd = Arc::new(process(code, theirs.as_fd()).pidfd);
        let (ours, control) = message_pair().unwrap();
        let (lifeline, its_lifeline) = message_pair().unwrap();
        let board = Arc::new(Scoreboard::create().unwrap().0);
        let link = Link { control: ours, lifeline, board, external: false };
        assert!(workers.adopt(WORKER, Some(SLOT), pidfd, link, None).is_none());
        Self { workers, events, control, stdin, _lifeline: its_lifeline }
    }

    /// Whether the worker finds a frame, or the end, in its control socket.
    fn received(&self) -> Received {
        receive(self.control.as_fd(), &mut [0; 64], &mut Vec::new()).unwrap()
    }
}

#[test]
fn a_worker_that_has_ended_is_reaped_once_and_forgotten() {
    on_a_thread(|| async {
        let World { mut workers, mut events, control, stdin, .. } = World::new(3);
        assert!(workers.contains(WORKER));
        drop((stdin, control));
        while !matches!(events.recv().await, Some(ThreadEvent::Ended(WORKER))) {}
        let Ended { exit, slot, is_supervised, spent, warning } = workers.reap(WORKER).unwrap();
        assert_eq!((exit, slot), (ExitKind::Code(3), Some(SLOT)));
        assert!(!is_supervised && spent.is_none() && warning.is_none());
        assert!(!workers.contains(WORKER) && workers.reap(WORKER).is_none());
    });
}

#[test]
fn a_worker_that_is_cut_off_gets_nothing_more() {
    on_a_thread(|| async {
        let mut world = World::new(0);
        let frame = ToWorker::Promote { slot: SLOT };
        world.workers.send(WORKER, &frame, None).unwrap();
        assert!(matches!(world.received(), Received::Message { .. }));
        world.workers.unlink(WORKER);
        world.workers.send(WORKER, &frame, None).unwrap();
        // A thread of its own closes the socket.
        let end = loop {
            match world.received() {
                Received::Empty => tokio::task::yield_now().await,
                received => break received,
            }
        };
        assert!(matches!(end, Received::Closed), "{end:?}");
        assert!(world.workers.get(WORKER).is_some_and(|handle| !handle.is_linked()));
    });
}

#[test]
fn a_worker_that_listens_on_its_own_address_is_reported_once() {
    on_a_thread(|| async {
        let mut world = World::new(0);
        assert!(world.workers.on_listens_alone(WORKER));
        assert!(!world.workers.on_listens_alone(WORKER));
        assert!(!world.workers.on_listens_alone(WorkerId(9)), "there is no such worker");
    });
}

#[test]
fn only_supervised_workers_are_sampled_and_only_standbys_promoted() {
    on_a_thread(|| async {
        let mut world = World::new(0);
        assert!(world.workers.vitals().is_empty() && world.workers.spent().next().is_none());
        assert!(world.workers.promote(WORKER, Slot(7)).is_none());
        assert_eq!(world.workers.get(WORKER).and_then(|handle| handle.slot), Some(SLOT));
        let supervised = SupervisedWorker { pid: 1, memory: None, newcomer: None, external: None };
        world.workers.all.get_mut(&WORKER).unwrap().supervised = Some(supervised);
        let vitals = world.workers.vitals();
        assert_eq!(vitals.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [WORKER]);
        assert_eq!(world.workers.spent().map(|(slot, _)| slot).collect::<Vec<_>>(), [SLOT]);
    });
}

#[test]
fn a_worker_can_be_killed() {
    on_a_thread(|| async {
        let World { mut workers, mut events, control, stdin, .. } = World::new(0);
        workers.kill(WORKER, KillSignal::Kill);
        while !matches!(events.recv().await, Some(ThreadEvent::Ended(WORKER))) {}
        assert_eq!(workers.reap(WORKER).unwrap().exit, ExitKind::Signal(9));
        drop((stdin, control));
    });
}
