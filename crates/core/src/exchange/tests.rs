use super::frame::{Assembler, OWN};
use super::*;

const A: ClientId = ClientId(10);
const B: ClientId = ClientId(20);
const C: ClientId = ClientId(30);
const PRIMARY: ClientId = ClientId(40);

type Told = (Kind, u32, u64, u8, Vec<u8>);

/// Workers 1, 2 and 3 in the slots 0, 1 and 2, and the primary.
fn exchange() -> Exchange {
    let mut roster = Roster::new();
    for worker in 1..=3 {
        roster.on_started(WorkerId(worker), Some(Slot(worker - 1)));
    }
    let mut exchange = Exchange::new(roster);
    for (client, worker) in [(A, 1), (B, 2), (C, 3)] {
        exchange.join(client, Process::Worker(WorkerId(worker)));
    }
    exchange.join(PRIMARY, Process::Primary);
    exchange
}

fn ask(exchange: &mut Exchange, client: ClientId, ask: &Ask<'_>) {
    exchange
        .on_ask(client, ask, &|_, name| (name == b"cron").then_some(Process::Worker(WorkerId(2))), &|_, _| 0)
        .unwrap();
    exchange.check_invariants();
}

/// Sends `count` requests, and checks the invariants only once.
fn flood(exchange: &mut Exchange, client: ClientId, count: usize, target: Target<'_>) {
    for id in 0..count as u64 {
        let request = Ask::Request { id: RequestId(id), target, name: b"name", data: b"data" };
        exchange.on_ask(client, &request, &|_, _| None, &|_, _| 0).unwrap();
    }
    exchange.check_invariants();
}

fn request(exchange: &mut Exchange, client: ClientId, id: u64, target: Target<'_>) {
    ask(exchange, client, &Ask::Request { id: RequestId(id), target, name: b"name", data: b"data" });
}

fn told(exchange: &mut Exchange, client: ClientId) -> Vec<Told> {
    let (mut all, mut packet, mut assembler) = (Vec::new(), Vec::new(), Assembler::default());
    loop {
        exchange.peek(client, 4096, &mut packet);
        if packet.is_empty() {
            return all;
        }
        assembler.push(&packet);
        exchange.on_sent(client, packet.len());
        while let Some(frame) = assembler.next_frame().unwrap() {
            all.push((frame.kind, frame.worker, frame.number, frame.flag, frame.data.to_vec()));
        }
    }
}

fn ends(exchange: &mut Exchange, client: ClientId) -> Vec<(u32, u8)> {
    let all = told(exchange, client);
    assert!(all.iter().all(|it| it.0 == Kind::Outcome), "{all:?}");
    all.into_iter().map(|(_, worker, _, flag, _)| (worker, flag)).collect()
}

#[test]
fn a_target_resolves_to_its_worker() {
    let mut exchange = exchange();
    for client in [A, B, C, PRIMARY] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    for (target, called, worker) in [
        (Target::Worker(WorkerId(3)), C, 3),
        (Target::Slot(Slot(0)), A, 1),
        (Target::Primary, PRIMARY, 0),
        (Target::Leader(Scope::Machine, b"cron"), B, 2),
    ] {
        request(&mut exchange, B, 7, target);
        let (kind, from, call, _, data) = told(&mut exchange, called).remove(0);
        assert_eq!((kind, from, &data[..]), (Kind::Request, 2, &b"data"[..]));
        // No other process can answer, whatever number it uses.
        for other in [A, B, C, PRIMARY].into_iter().filter(|it| *it != called) {
            ask(
                &mut exchange,
                other,
                &Ask::Reply { call: CallId(call), status: Status::Value, data: b"forged" },
            );
        }
        ask(
            &mut exchange,
            called,
            &Ask::Reply { call: CallId(call), status: Status::Value, data: b"result" },
        );
        // A second answer has no effect.
        ask(&mut exchange, called, &Ask::Reply { call: CallId(call), status: Status::Value, data: b"again" });
        assert_eq!(
            told(&mut exchange, B),
            [(Kind::Outcome, worker, 7, Status::Value as u8, b"result".to_vec())]
        );
    }
}

#[test]
fn a_target_that_cannot_answer_is_reported_at_once() {
    let mut exchange = exchange();
    for (target, expected) in [
        (Target::Worker(WorkerId(9)), (9, Status::Gone)),
        (Target::Slot(Slot(9)), (0, Status::Gone)),
        (Target::Worker(WorkerId(1)), (1, Status::NoHandler)),
        (Target::Any, (0, Status::NoHandler)),
        (Target::Primary, (0, Status::NoHandler)),
        (Target::Leader(Scope::Machine, b"nobody"), (0, Status::NoLeader)),
        (Target::Leader(Scope::Machine, b"cron"), (2, Status::NoHandler)),
    ] {
        request(&mut exchange, C, 1, target);
        assert_eq!(ends(&mut exchange, C), [(expected.0, expected.1 as u8)]);
    }
}

#[test]
fn any_is_the_least_busy_worker_in_service() {
    let mut exchange = exchange();
    for client in [A, B, C] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    for id in 0..30 {
        request(&mut exchange, PRIMARY, id, Target::Any);
    }
    let counts = [A, B, C].map(|client| told(&mut exchange, client).len());
    assert_eq!(counts, [10, 10, 10]);
    exchange.roster().on_slot(WorkerId(1), None);
    for id in 30..36 {
        request(&mut exchange, PRIMARY, id, Target::Any);
    }
    assert_eq!([A, B, C].map(|client| told(&mut exchange, client).len()), [0, 3, 3], "one is leaving");
    exchange.roster().on_slot(WorkerId(2), None);
    exchange.roster().on_slot(WorkerId(3), None);
    request(&mut exchange, PRIMARY, 99, Target::Any);
    assert_eq!([A, B, C].map(|client| told(&mut exchange, client).len()), [1, 0, 0], "there is nobody else");
}

#[test]
fn any_is_a_worker_with_room_in_its_inbox() {
    let mut exchange = exchange();
    for client in [A, B] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    // The first worker has no call, but no room for another long message of this sender either.
    let data = vec![0; MAX_DATA - 1000];
    let notice = Ask::Notify { target: Target::Worker(WorkerId(1)), name: b"name", data: &data };
    ask(&mut exchange, C, &notice);
    ask(&mut exchange, C, &notice);
    let any = |id, length| {
        let data = &data[..length];
        Ask::Request { id: RequestId(id), target: Target::Any, name: b"name", data }
    };
    for id in 0..3 {
        ask(&mut exchange, C, &any(id, 2000));
    }
    assert_eq!(ends(&mut exchange, C), []);
    assert_eq!(told(&mut exchange, B).len(), 3);
    // If all are full, the sender learns it.
    for id in 10..13 {
        ask(&mut exchange, C, &any(id, data.len()));
    }
    let ends = ends(&mut exchange, C);
    assert_eq!(ends.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::Busy as u8]);
}

#[test]
fn a_request_to_all_has_one_outcome_for_each_worker() {
    let mut exchange = exchange();
    for client in [A, B] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    request(&mut exchange, A, 5, Target::All);
    let call = told(&mut exchange, B)[0].2;
    let own = told(&mut exchange, A);
    assert_eq!((own[1].0, own[1].3), (Kind::Outcome, Status::NoHandler as u8));
    assert_eq!((own[0].0, own[1].1), (Kind::Request, 3), "its own call comes as well");
    ask(&mut exchange, A, &Ask::Reply { call: CallId(own[0].2), status: Status::Error, data: b"error" });
    exchange.roster().on_exit(WorkerId(2));
    exchange.leave(B);
    exchange.check_invariants();
    assert_eq!(ends(&mut exchange, A), [(1, Status::Error as u8), (2, Status::Gone as u8)]);
    // It is too late.
    assert!(
        exchange
            .on_ask(
                B,
                &Ask::Reply { call: CallId(call), status: Status::Value, data: b"x" },
                &|_, _| None,
                &|_, _| 0
            )
            .is_err()
    );
}

#[test]
fn without_workers_the_primary_answers() {
    let mut exchange = Exchange::new(Roster::new());
    exchange.join(PRIMARY, Process::Primary);
    request(&mut exchange, PRIMARY, 1, Target::All);
    request(&mut exchange, PRIMARY, 2, Target::Any);
    assert_eq!(ends(&mut exchange, PRIMARY), [(0, Status::Nobody as u8), (0, Status::NoHandler as u8)]);
    ask(&mut exchange, PRIMARY, &Ask::Handle(b"name"));
    for target in [Target::All, Target::Any, Target::Primary] {
        request(&mut exchange, PRIMARY, 1, target);
        let call = told(&mut exchange, PRIMARY)[0].2;
        ask(&mut exchange, PRIMARY, &Ask::Reply { call: CallId(call), status: Status::Value, data: b"x" });
        assert_eq!(ends(&mut exchange, PRIMARY), [(0, Status::Value as u8)]);
    }
}

#[test]
fn a_cancelled_request_is_reported_to_the_called_process() {
    let mut exchange = exchange();
    for client in [A, B] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    request(&mut exchange, C, 1, Target::Worker(WorkerId(1)));
    let call = told(&mut exchange, A)[0].2;
    ask(&mut exchange, C, &Ask::Cancel { id: RequestId(1), tell: false });
    assert_eq!(told(&mut exchange, A), [(Kind::Cancelled, 0, call, 0, vec![])]);
    ask(&mut exchange, A, &Ask::Reply { call: CallId(call), status: Status::Value, data: b"late" });
    assert_eq!(told(&mut exchange, C), []);
    request(&mut exchange, C, 2, Target::All);
    let call = told(&mut exchange, B)[0].2;
    ask(&mut exchange, B, &Ask::Reply { call: CallId(call), status: Status::Value, data: b"in time" });
    ask(&mut exchange, C, &Ask::Cancel { id: RequestId(2), tell: true });
    let expected = [(3, Status::NoHandler as u8), (2, Status::Value as u8), (1, Status::Cancelled as u8)];
    assert_eq!(ends(&mut exchange, C), expected);
    // A caller that dies no longer waits either.
    told(&mut exchange, A);
    request(&mut exchange, C, 3, Target::Worker(WorkerId(1)));
    exchange.leave(C);
    exchange.check_invariants();
    let kinds: Vec<Kind> = told(&mut exchange, A).into_iter().map(|it| it.0).collect();
    assert_eq!(kinds, [Kind::Request, Kind::Cancelled, Kind::Unpaired]);
}

#[test]
fn a_channel_reaches_its_subscribers() {
    let mut exchange = exchange();
    for client in [A, B] {
        ask(&mut exchange, client, &Ask::Subscribe(Scope::Machine, b"news"));
    }
    let post = |echo| Ask::Post { scope: Scope::Machine, channel: b"news", origin: 4, echo, data: b"hello" };
    ask(&mut exchange, A, &post(false));
    ask(&mut exchange, C, &post(true));
    ask(&mut exchange, B, &post(true));
    let heard = |worker, own| (Kind::Message, worker, 4, own, b"hello".to_vec());
    assert_eq!(told(&mut exchange, A), [heard(3, 0), heard(2, 0)]);
    assert_eq!(told(&mut exchange, B), [heard(1, 0), heard(3, 0), heard(2, 1)]);
    assert_eq!(told(&mut exchange, C), []);
    ask(&mut exchange, A, &Ask::Unsubscribe(Scope::Machine, b"news"));
    ask(&mut exchange, A, &Ask::Unsubscribe(Scope::Machine, b"news"));
    exchange.leave(B);
    ask(&mut exchange, C, &post(false));
    assert_eq!(told(&mut exchange, A), []);
    assert!(exchange.channels.listeners(b"news").is_none());
}

#[test]
fn limits_and_protocol_violations_are_detected() {
    let mut exchange = exchange();
    ask(&mut exchange, A, &Ask::Handle(b"name"));
    flood(&mut exchange, C, MAX_CALLS + 1, Target::Worker(WorkerId(1)));
    assert_eq!(ends(&mut exchange, C), [(0, Status::Limit as u8)]);
    let again = Ask::Request { id: RequestId(1), target: Target::Any, name: b"name", data: b"" };
    assert_eq!(exchange.on_ask(C, &again, &|_, _| None, &|_, _| 0), Err(ProtocolViolation));
    // Other clients cannot call it, but are not limited otherwise.
    request(&mut exchange, B, 1, Target::Worker(WorkerId(1)));
    assert_eq!(ends(&mut exchange, B), [(1, Status::Busy as u8)]);
    // Unread answers count like unfinished requests.
    flood(&mut exchange, PRIMARY, 2 * MAX_CALLS, Target::Primary);
    let last = ends(&mut exchange, PRIMARY);
    assert_eq!(last[0].1, Status::NoHandler as u8);
    assert_eq!(last[MAX_CALLS + 1].1, Status::Limit as u8);
    assert!(!exchange.is_flooded(PRIMARY));
    flood(&mut exchange, PRIMARY, MAX_ANSWERS + 1, Target::Primary);
    assert!(exchange.is_flooded(PRIMARY));
    assert_eq!(
        exchange.on_ask(ClientId(99), &Ask::Handle(b"x"), &|_, _| None, &|_, _| 0),
        Err(ProtocolViolation)
    );
}

#[test]
fn messages_without_room_are_reported() {
    let mut exchange = exchange();
    ask(&mut exchange, A, &Ask::Handle(b"name"));
    ask(&mut exchange, B, &Ask::Handle(b"name"));
    let data = vec![0; MAX_DATA];
    let mut busy = 0;
    for id in 0..4 {
        let target = Target::Worker(WorkerId(1));
        ask(&mut exchange, C, &Ask::Request { id: RequestId(id), target, name: b"name", data: &data });
    }
    busy += ends(&mut exchange, C).iter().filter(|it| **it == (1, Status::Busy as u8)).count();
    assert_eq!(busy, 3, "so much of one sender waits for a process, and no more");
    // A process without room for answers loses the answers, but learns that there were some.
    for id in 10..14 {
        request(&mut exchange, C, id, Target::Worker(WorkerId(2)));
    }
    for (_, _, call, ..) in told(&mut exchange, B) {
        ask(&mut exchange, B, &Ask::Reply { call: CallId(call), status: Status::Value, data: &data });
    }
    let all = ends(&mut exchange, C);
    assert_eq!(all.iter().filter(|it| **it == (2, Status::Value as u8)).count(), 1);
    assert_eq!(all.iter().filter(|it| **it == (2, Status::Lost as u8)).count(), 3);
    assert!(exchange.queued(A) <= MAX_QUEUED);
}

fn kinds(exchange: &mut Exchange, client: ClientId) -> Vec<Kind> {
    told(exchange, client).into_iter().map(|it| it.0).collect()
}

/// C has made a request to A, so the two have a pair.
fn paired() -> (Exchange, PairId) {
    let mut exchange = exchange();
    ask(&mut exchange, A, &Ask::Handle(b"name"));
    request(&mut exchange, C, 1, Target::Worker(WorkerId(1)));
    assert_eq!(kinds(&mut exchange, A), [Kind::Request]);
    let pair = exchange.take_introductions()[0].pair;
    (exchange, pair)
}

#[test]
fn a_pair_ends_for_a_process_after_everything_that_the_other_one_has_sent() {
    for leaves in [true, false] {
        let (mut exchange, pair) = paired();
        // A finds the socket closed before that is read which C has sent to the exchange.
        ask(&mut exchange, A, &Ask::Unpair(pair));
        ask(&mut exchange, A, &Ask::Unpair(pair));
        assert_eq!(kinds(&mut exchange, C), [Kind::Unpaired]);
        let target = Target::Worker(WorkerId(1));
        ask(&mut exchange, C, &Ask::Notify { target, name: b"name", data: b"" });
        ask(&mut exchange, C, &Ask::Mark { pair, number: 1 });
        exchange.check_invariants();
        if leaves {
            exchange.leave(C);
        } else {
            ask(&mut exchange, C, &Ask::Unpair(pair));
        }
        let expected = [Kind::Notice, Kind::Mark, Kind::Cancelled, Kind::Unpaired];
        let expected = expected.into_iter().filter(|kind| leaves || *kind != Kind::Cancelled);
        assert_eq!(kinds(&mut exchange, A), expected.collect::<Vec<_>>());
        assert_eq!(kinds(&mut exchange, C), []);
        exchange.check_invariants();
    }
}

#[test]
fn a_pair_ends_if_an_answer_is_lost() {
    let (mut exchange, pair) = paired();
    let data = vec![0; MAX_QUEUED_OF_ONE / 3];
    let answer = |id| Ask::Answer { pair, id: RequestId(id), status: Status::Value, data: &data };
    for id in 10..15 {
        ask(&mut exchange, A, &answer(id));
    }
    assert_eq!(kinds(&mut exchange, A), [Kind::Retired], "who answers ends it, and is told once");
    ask(&mut exchange, A, &Ask::Unpair(pair));
    let last = told(&mut exchange, C).pop().unwrap();
    assert_eq!((last.0, last.3), (Kind::Unpaired, Status::Lost as u8));
    ask(&mut exchange, C, &Ask::Unpair(pair));
    let last = told(&mut exchange, A).pop().unwrap();
    assert_eq!((last.0, last.3), (Kind::Unpaired, Status::Lost as u8));
    exchange.check_invariants();
}

mod remote;
