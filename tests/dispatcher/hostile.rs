//! Workers that do what they can to stop the dispatcher. Whatever they do concerns them alone: it goes on, and serves the
//! others.

use std::fs::File;

use super::*;

/// The dispatcher goes on: another worker serves a client.
fn others_are_served(primary: &Primary, other: &Worker) {
    let client = primary.connect();
    other.serve(1);
    assert_eq!(u32::from(answer(&client)), other.id.0);
}

/// The dispatcher tells that this worker has broken the rules, and nothing else.
fn broken(primary: &Primary, worker: WorkerId) -> String {
    match primary.notices.recv_timeout(DEADLINE).unwrap() {
        Notice::Broken(who, why) if who == worker => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_channel_that_cannot_be_watched_ends_that_worker_alone() {
    let primary = Primary::new();
    let other = primary.worker(2);
    // A plain file is nothing that epoll watches: EPERM.
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
    primary.dispatcher.tell(Command::WorkerGone(worker));
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
    assert!(matches!(primary.notices.recv_timeout(DEADLINE), Ok(Notice::Exhausted(_))));
    others_are_served(&primary, &other);
    primary.dispatcher.tell(Command::RemoveListener(listener));
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
