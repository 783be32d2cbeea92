//! The dispatcher's thread with real sockets: clients connect, and "workers" are the far ends of real
//! channels, read with the worker's half of the code.

mod hostile;
mod rig;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use rcluster::io::dispatcher::{Command, DispatcherEvent, HookBatch, HookListener, HookReport, Report};
use rcluster::io::link::Passed;
use rcluster_core::channel::{Kept, MAX_CONNECTIONS};
use rcluster_core::dispatch::Refusal;
use rcluster_core::hook::Answer;
use rcluster_core::ids::Slot;
use rcluster_core::schedule::{Action, Overload, Plan, Policy};
use rcluster_sys::passing::send;
use rcluster_testing::alone;

use rig::{DEADLINE, LISTENER, Primary, Worker, answer, wait_readable};

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
    // With only one worker nothing is reclaimed, so all five wait in its channel.
    let clients: Vec<_> = (0..5).map(|_| primary.connect()).collect();
    wait_readable(&doomed.raw);
    let other = primary.worker(2);
    primary.dispatcher.tell(Command::WorkerExited(doomed.id));
    drop(doomed);
    other.serve(5);
    assert!(clients.iter().all(|client| answer(client) == 2));
}

#[test]
fn a_blocked_worker_does_not_keep_its_clients() {
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
fn a_connection_that_a_full_worker_returns_goes_to_another() {
    let primary = Primary::new();
    let full = primary.worker(1);
    let other = primary.worker(2);
    primary.settle();
    let client = primary.connect();
    for passed in full.receive() {
        full.link.return_connection(passed, Refusal::Full).unwrap();
    }
    other.serve(1);
    assert_eq!(answer(&client), 2);
    // It gets no connections until it reports room.
    let next = primary.connect();
    other.serve(1);
    assert_eq!(answer(&next), 2);
    full.link.room(LISTENER).unwrap();
    let mut turns = Vec::new();
    for _ in 0..20 {
        let client = primary.connect();
        let mut got = Vec::new();
        // The order of the turns depends on when its message arrives, but it must get turns again.
        while got.is_empty() {
            let _ = full.link.read_connections(|passed| got.push(passed)).unwrap();
            let mut theirs = Vec::new();
            let _ = other.link.read_connections(|passed| theirs.push(passed)).unwrap();
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

/// The number of connections that the primary allows the worker to hand over.
fn hand_over_room(primary: &Primary, worker: &Worker) -> u64 {
    let start = std::time::Instant::now();
    loop {
        if let Some(room) = worker.link.hand_over_room() {
            return room;
        }
        assert!(start.elapsed() < DEADLINE, "{} may hand over nothing", worker.id);
        primary.settle();
    }
}

#[test]
fn what_a_worker_hands_over_is_no_new_client_of_the_next_one_whoever_that_is_in_the_end() {
    let primary = Primary::new();
    let first = primary.worker(1);
    primary.settle();
    let clients: Vec<TcpStream> = (0..40).map(|_| primary.connect()).collect();
    let mut open = Vec::new();
    while open.len() < clients.len() {
        open.extend(first.receive());
    }
    assert!(open.iter().all(|passed| passed.kept.is_none()));
    assert_eq!((first.board.clients(), first.link.hand_over_room()), (40, None));

    let second = primary.worker(2);
    primary.dispatcher.tell(Command::WorkerLeaving(first.id));
    assert!(hand_over_room(&primary, &first) >= MAX_CONNECTIONS as u64);
    let kept = |served| Kept { served, key: None };
    let mut parts = open.into_iter().enumerate().map(|(index, passed)| (passed.fd, kept(index % 2 == 0)));
    for count in [MAX_CONNECTIONS, 40 - MAX_CONNECTIONS] {
        first.link.hand_over(LISTENER, parts.by_ref().take(count).collect()).unwrap();
    }
    // The second worker receives some of them, returns one, and dies with the others unreceived.
    let mut got = second.receive();
    assert!(got.iter().all(|passed| passed.kept.is_some()));
    let third = primary.worker(3);
    primary.settle();
    let back = got.pop().unwrap();
    second.link.return_connection(back, Refusal::Full).unwrap();
    primary.dispatcher.tell(Command::WorkerExited(second.id));
    let mut moved = Vec::new();
    while moved.len() + got.len() < clients.len() {
        moved.extend(third.receive());
    }
    let served = |all: &[Passed]| all.iter().filter(|passed| passed.kept == Some(kept(true))).count();
    assert_eq!(served(&moved) + served(&got), 20, "what is known of each is still known");
    assert!(moved.iter().all(|passed| passed.kept.is_some()));
    assert_eq!((second.board.clients(), third.board.clients()), (0, 0));
    let Report { listeners, .. } = primary.report();
    let counts = listeners[0].stats.counts;
    assert_eq!((counts.accepted, counts.handed_over, counts.shed), (40, 40, 0));
    drop(clients);
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
    let event = primary.events.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(event, DispatcherEvent::Broken(worker, _) if worker == rogue.id), "{event:?}");
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
    primary.dispatcher.tell(Command::RemoveListener(LISTENER, std::sync::mpsc::channel().0));
    primary.settle();
    let refused = TcpStream::connect(primary.address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // When a socket closes, the kernel resets the connections in its backlog.
    let outcome = (&waiting).read(&mut [0]);
    assert!(matches!(outcome, Ok(0) | Err(_)), "{outcome:?}");
}

#[test]
fn no_descriptor_is_left_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this file run concurrently in the same process, so this one runs in a separate process.
    if !alone("no_descriptor_is_left_behind") {
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
            primary.dispatcher.tell(Command::WorkerExited(worker.id));
        }
        primary.dispatcher.tell(Command::RemoveListener(LISTENER, std::sync::mpsc::channel().0));
        primary.settle();
    }
    // Descriptors that workers also held are closed on other threads.
    let deadline = std::time::Instant::now() + DEADLINE;
    while open() != before {
        assert!(std::time::Instant::now() < deadline, "{} descriptors are left of {before}", open());
        std::thread::yield_now();
    }
}

#[test]
fn a_client_of_a_sticky_listener_stays_with_its_worker_and_its_successor() {
    let primary = Primary::with(Plan { policy: Policy::Sticky, ..Plan::default() });
    let workers = [primary.worker(1), primary.worker(2), primary.worker(3)];
    primary.settle();
    // All clients here have the same address.
    let client = primary.connect();
    let home = workers.iter().position(|worker| is_readable_soon(worker, &workers)).unwrap();
    workers[home].serve(1);
    let first = answer(&client);
    for _ in 0..10 {
        let client = primary.connect();
        workers[home].serve(1);
        assert_eq!(answer(&client), first);
    }
    primary.dispatcher.tell(Command::WorkerExited(workers[home].id));
    let successor = primary.worker_in(Slot(u32::try_from(home).unwrap()), 9);
    primary.settle();
    let client = primary.connect();
    successor.serve(1);
    assert_eq!(answer(&client), 9);
}

/// Whether this is the worker, of all, whose channel is readable.
fn is_readable_soon(worker: &Worker, all: &[Worker]) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds: Vec<_> = all.iter().map(|it| PollFd::new(it.raw.as_fd(), PollFlags::POLLIN)).collect();
    assert!(poll(&mut fds, PollTimeout::try_from(DEADLINE).unwrap()).unwrap() > 0);
    let index = all.iter().position(|it| it.id == worker.id).unwrap();
    fds[index].any() == Some(true)
}

#[test]
fn one_too_many_is_answered_and_everybody_else_is_served() {
    let action = Action::Respond { status: 503, retry_after: Some(2), body: "busy\n".into() };
    let overload = Overload { queue: 3, deadline: None, action };
    let primary = Primary::with(Plan { overload, ..Plan::default() });
    let worker = primary.worker(1);
    primary.settle();
    // 64 in flight to a worker that does nothing yet, three in the queue.
    let served: Vec<_> = (0..67).map(|_| primary.connect()).collect();
    let mut refused = primary.connect();
    refused.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut text = String::new();
    refused.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\r\nRetry-After: 2\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nbusy\n"), "{text}");
    worker.serve(67);
    assert!(served.iter().all(|client| answer(client) == 1));
    let (ask, told) = channel();
    primary.dispatcher.tell(Command::Report(ask));
    let report = told.recv_timeout(DEADLINE).unwrap();
    let counts = report.listeners[0].stats.counts;
    assert_eq!((counts.accepted, counts.passed, counts.queued, counts.shed), (68, 67, 4, 1));
    assert_eq!(report.listeners[0].name, primary.address.port().to_string());
}

#[test]
fn one_too_many_is_reset() {
    let overload = Overload { queue: 0, deadline: None, action: Action::Reset };
    let primary = Primary::with(Plan { overload, ..Plan::default() });
    let worker = primary.worker(1);
    primary.settle();
    let served: Vec<_> = (0..64).map(|_| primary.connect()).collect();
    let error = primary.connect().read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    worker.serve(64);
    assert!(served.iter().all(|client| answer(client) == 1));
}

/// The batch and the listener of the next call of the hook.
fn question(primary: &Primary) -> (u32, HookListener) {
    match primary.events.recv_timeout(DEADLINE).unwrap() {
        DispatcherEvent::Hook(HookBatch { batch, mut about }) => (batch, about.pop().unwrap()),
        other => panic!("{other:?} is no question"),
    }
}

#[test]
fn the_app_is_asked_where_a_connection_goes_and_others_are_served_meanwhile() {
    let minute = Duration::from_secs(60);
    let primary = Primary::with(Plan {
        policy: Policy::Hook,
        hook_timeout: minute,
        patience: minute,
        ..Plan::default()
    });
    let (one, two) = (primary.worker(1), primary.worker(2));
    primary.settle();
    let first = primary.connect();
    let (batch, about) = question(&primary);
    let asked = serde_json::to_value(&about).unwrap();
    assert_eq!(asked["connections"][0]["remotePort"], first.local_addr().unwrap().port());
    assert_eq!(asked["connections"][0]["localAddress"], "127.0.0.1");
    assert_eq!(asked["candidates"][1]["id"], 2);
    assert_eq!(asked["candidates"][1]["ready"], true);
    // While that batch is unanswered, the hook is not called again.
    let _more = [primary.connect(), primary.connect()];
    primary.settle();
    assert!(primary.events.try_recv().is_err());
    primary.dispatcher.tell(Command::Answer { batch, answers: vec![Answer::Worker(two.id)] });
    let passed: Vec<u64> = primary.report().workers.iter().map(|worker| worker.counts.passed).collect();
    assert_eq!(passed, [0, 1]);
    let (batch, about) = question(&primary);
    assert_eq!(about.connections.len(), 2);
    // An unknown batch and too many answers do no harm.
    primary.dispatcher.tell(Command::Answer { batch: batch + 7, answers: vec![Answer::Anybody] });
    assert_eq!(primary.report().hook.waiting, 2);
    let answers = vec![Answer::Worker(one.id), Answer::Refused, Answer::Refused];
    primary.dispatcher.tell(Command::Answer { batch, answers });
    let HookReport { counts, waiting } = primary.report().hook;
    assert_eq!((counts.asked, counts.answered, counts.refused, waiting), (3, 2, 1, 0));
}

#[test]
fn nobody_waits_for_an_app_that_does_not_answer() {
    let timeout = Duration::from_millis(20);
    let primary = Primary::with(Plan { policy: Policy::Hook, hook_timeout: timeout, ..Plan::default() });
    let one = primary.worker(1);
    for _ in 0..3 {
        let client = primary.connect();
        one.serve(1);
        assert_eq!(answer(&client), 1);
    }
    let (batch, _) = question(&primary);
    assert!(primary.events.try_recv().is_err(), "asked once");
    let counts = primary.report().hook.counts;
    assert_eq!((counts.asked, counts.late, counts.unasked), (1, 1, 2));
    primary.dispatcher.tell(Command::Answer { batch, answers: vec![Answer::Anybody] });
    let _client = primary.connect();
    assert_ne!(question(&primary).0, batch, "and again when it has answered");
}
