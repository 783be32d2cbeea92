//! Requests between machines.

use super::*;
use crate::exchange::frame::Status;
use crate::exchange::{CallId, MAX_CALLS, RequestId};
use crate::machines::peers::ALIVE;
use crate::machines::wire::Workers;

const CALL: CallId = CallId(7);

fn open() -> World {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.open();
    world
}

impl World {
    fn request(&mut self, call: CallId, leader: Option<&str>) -> Vec<Output> {
        let leader = leader.map(name);
        self.input(Input::Request { call, worker: 3, leader, name: name("sum"), data: b"data".to_vec() })
    }

    /// Makes a request, which reaches this many other machines.
    fn ask(&mut self, leader: Option<&str>, others: u64) -> Vec<Output> {
        let out = self.request(CALL, leader);
        assert!(matches!(published(&out)[..], [Content::Ask { call: CALL, worker: 3, .. }]), "{out:?}");
        let mut out = self.published(&[others + 1]);
        out.extend(self.echo());
        out.retain(|it| *it != Output::Room(4));
        out
    }

    /// The machine receives its own publication.
    fn echo(&mut self) -> Vec<Output> {
        let ask = Content::Ask { call: CALL, worker: 3, leader: None, name: b"sum", data: b"data" };
        self.heard(Topic::Requests, this(), ask)
    }

    /// Another machine publishes something to this one.
    fn hears(&mut self, machine: MachineId, content: Content<'_>) -> Vec<Output> {
        self.heard(Topic::Machine(this()), machine, content)
    }

    fn announce(&mut self, machine: MachineId, workers: &[u32]) -> Vec<Output> {
        let numbers: Vec<_> = workers.iter().map(|it| it.to_le_bytes()).collect();
        self.hears(machine, Content::Announce { call: CALL, workers: Some(Workers::new(&numbers)) })
    }

    fn answer(&mut self, machine: MachineId, worker: u32) -> Vec<Output> {
        self.hears(machine, Content::Outcome { call: CALL, worker, status: Status::Value, data: b"answer" })
    }

    fn asked_by(&mut self, machine: MachineId, session: u32, call: u64) -> Vec<Output> {
        let content =
            Content::Ask { call: CallId(call), worker: 9, leader: None, name: b"sum", data: b"data" };
        self.heard_on(session, Topic::Requests, machine, content)
    }
}

fn outcome(machine: MachineId, worker: u32, status: Status) -> Output {
    let data = if status == Status::Value { b"answer".to_vec() } else { vec![] };
    Output::Outcome { call: CALL, machine, worker, status, data }
}

fn ended(end: End) -> Output {
    Output::Ended { call: CALL, end }
}

#[test]
fn a_request_ends_when_all_that_it_has_reached_have_answered() {
    let mut world = open();
    assert_eq!(world.ask(None, 3), []);
    let [one, two, three] = [2, 3, 4].map(machine);
    assert_eq!(world.announce(one, &[1, 2]), []);
    assert_eq!(world.answer(one, 1), [outcome(one, 1, Status::Value)]);
    assert_eq!(world.announce(two, &[]), [], "it has no worker");
    assert_eq!(world.announce(three, &[1]), []);
    assert_eq!(world.answer(three, 1), [outcome(three, 1, Status::Value)]);
    // Outcomes that are not outstanding are ignored.
    for (machine, worker) in [(three, 1), (one, 1), (one, 3), (two, 1), (machine(9), 1)] {
        assert_eq!(world.answer(machine, worker), []);
    }
    assert_eq!(world.announce(one, &[5]), [], "it has announced its workers before");
    assert_eq!(world.answer(one, 2), [outcome(one, 2, Status::Value), ended(End::Complete)]);
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn a_request_that_reaches_no_other_machine_ends_with_its_echo() {
    let mut world = open();
    assert_eq!(world.ask(None, 0), [ended(End::Complete)]);
    world.request(CALL, None);
    assert_eq!(world.published(&[1]), [Output::Room(4)]);
    assert_eq!(world.echo(), [ended(End::Complete)]);
    // Announcements before the server's report count as well.
    world.request(CALL, None);
    assert_eq!((world.echo(), world.announce(other(), &[])), (vec![], vec![]));
    assert_eq!(world.published(&[2]), [ended(End::Complete), Output::Room(4)]);
}

#[test]
fn without_its_echo_a_request_ends_as_disconnected() {
    let mut world = open();
    world.request(CALL, None);
    world.published(&[2]);
    assert_eq!(world.announce(other(), &[]), []);
    let out = world.wait(SILENCE);
    assert!(out.contains(&ended(End::Disconnected)), "{out:?}");
}

#[test]
fn machines_that_announce_nothing_are_missing() {
    let mut world = open();
    world.ask(None, 3);
    world.announce(other(), &[1]);
    let before = world.wait(SILENCE - 1);
    assert!(!before.iter().any(|it| matches!(it, Output::Ended { .. })));
    world.hears(other(), Content::Alive);
    world.wait(1);
    let out = world.answer(other(), 1);
    assert_eq!(out[..2], [outcome(other(), 1, Status::Value), ended(End::Missing(2))]);
    world.published(&[2]);
    // Their handlers are told that the request was cancelled.
    assert_eq!(published(&world.announce(machine(3), &[1])), [Content::Cancel(CALL)]);
    world.published(&[2]);
    assert_eq!(published(&world.announce(machine(4), &[])), []);
}

#[test]
fn a_request_for_the_leader_has_one_answer_or_none() {
    let [one, two] = [2, 3].map(machine);
    let mut world = open();
    world.ask(Some("cron"), 2);
    world.announce(one, &[]);
    assert_eq!(world.announce(two, &[]), [ended(End::NoLeader)]);
    world.ask(Some("cron"), 2);
    world.announce(one, &[4]);
    assert_eq!(world.answer(one, 4), [outcome(one, 4, Status::Value), ended(End::Complete)]);
    // One of them does not answer whether it has the leader.
    world.ask(Some("cron"), 2);
    world.announce(one, &[]);
    let out = world.wait(SILENCE);
    assert!(out.contains(&ended(End::Missing(1))), "{out:?}");
    world.ask(Some("cron"), 1);
    world.announce(one, &[4]);
    world.wait(ALIVE);
    let out = world.published(&[0]);
    assert_eq!(out, [outcome(one, 4, Status::Gone), ended(End::Complete)]);
}

#[test]
fn the_second_of_two_leaders_is_cancelled() {
    let [one, two] = [2, 3].map(machine);
    let mut world = open();
    world.ask(Some("cron"), 2);
    world.announce(one, &[4]);
    world.announce(two, &[5]);
    let out = world.answer(one, 4);
    assert_eq!(out[..2], [outcome(one, 4, Status::Value), ended(End::Complete)]);
    assert_eq!(published(&out), [Content::Cancel(CALL)]);
}

#[test]
fn a_cancelled_request_reports_what_is_missing_on_demand() {
    let mut world = open();
    world.ask(None, 3);
    world.announce(other(), &[1, 2]);
    world.answer(other(), 1);
    let out = world.input(Input::Cancel { call: CALL, tell: true });
    assert_eq!(out[..2], [outcome(other(), 2, Status::Cancelled), ended(End::Late(2))]);
    assert_eq!(published(&out), [Content::Cancel(CALL)]);
    world.published(&[1]);
    assert_eq!(world.answer(other(), 2), []);
    world.ask(None, 1);
    let out = world.input(Input::Cancel { call: CALL, tell: false });
    assert_eq!((out.len(), &published(&out)[..]), (1, &[Content::Cancel(CALL)][..]));
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn a_request_that_was_cancelled_in_the_queue_is_not_published() {
    let mut world = World::new();
    world.request(CALL, None);
    world.request(CallId(8), None);
    let out = world.input(Input::Cancel { call: CALL, tell: true });
    assert_eq!(out, [ended(End::Late(0))]);
    let out = world.open();
    assert!(matches!(published(&out)[..], [Content::Ask { call: CallId(8), .. }]), "{out:?}");
    assert_eq!(world.published(&[1])[0], Output::Room(8));
}

#[test]
fn a_lost_connection_ends_published_requests_and_old_ones() {
    let mut world = open();
    world.ask(None, 2);
    world.announce(other(), &[1]);
    world.request(CallId(8), None);
    let out = world.fail();
    let lost = Output::Ended { call: CallId(8), end: End::Disconnected };
    assert_eq!(out[0], Output::Failed("lost".into()), "the reason comes first");
    assert_eq!(out[1..4], [outcome(other(), 1, Status::Disconnected), ended(End::Disconnected), lost]);
    assert_eq!(world.answer(other(), 1), []);
    // A request without a connection waits.
    world.request(CALL, None);
    world.wait(LAST_BACKOFF);
    let out = world.open();
    assert!(
        published(&out).iter().any(|content| matches!(content, Content::Ask { call: CALL, .. })),
        "{out:?}"
    );
    world.fail();
    world.request(CALL, None);
    let out = world.wait(HOLD);
    assert!(out.contains(&ended(End::Disconnected)) && out.contains(&Output::Room(4)), "{out:?}");
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn a_silent_or_reconnected_machine_is_gone() {
    let [one, two] = [2, 3].map(machine);
    let mut world = open();
    world.ask(None, 2);
    world.announce(one, &[1]);
    world.announce(two, &[1]);
    let mut all = Vec::new();
    for _ in 0..SILENCE / ALIVE {
        let out = world.wait(ALIVE);
        for beat in &out {
            if let Output::Beat(topic, bytes) = beat {
                let (topic, bytes) = (topic.clone(), bytes.clone());
                all.extend(world.input(Input::Received { topic, bytes, has_room: true }));
            }
        }
        let alive = published(&out).iter().filter(|content| **content == Content::Alive).count();
        assert!(alive <= 2);
        all.extend(out);
        all.extend(world.published(&[1, 1]));
        world.hears(two, Content::Alive);
    }
    let gone = outcome(one, 1, Status::Gone);
    assert_eq!(all.iter().filter(|it| **it == gone).count(), 1);
    let out = world.heard_on(2, Topic::Machine(this()), two, Content::Alive);
    assert_eq!(out[..2], [outcome(two, 1, Status::Gone), ended(End::Complete)]);
}

#[test]
fn requests_of_another_machine_are_answered_to_it() {
    let mut world = open();
    let out = world.asked_by(other(), 1, 5);
    let ask =
        Output::Ask { id: RequestId(1), worker: 9, leader: None, name: name("sum"), data: b"data".to_vec() };
    assert_eq!(out, [ask]);
    assert_eq!(world.asked_by(other(), 1, 5), [], "it is answered already");
    let out = world.input(Input::Asked { id: RequestId(1), workers: Some(vec![1, 2]) });
    let numbers = [[1, 0, 0, 0], [2, 0, 0, 0]];
    let call = CallId(5);
    assert_eq!(published(&out), [Content::Announce { call, workers: Some(Workers::new(&numbers)) }]);
    world.published(&[1]);
    for (worker, is_last) in [(2, false), (1, true)] {
        let (status, data) = (Status::Value, b"answer".to_vec());
        let out = world.input(Input::Answered { id: RequestId(1), worker, status, data, is_last });
        let content = Content::Outcome { call, worker, status, data: b"answer" };
        assert_eq!(published(&out), [content]);
        assert_eq!(world.published(&[1]), [Output::Room(6)]);
    }
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn requests_without_a_waiting_machine_are_cancelled() {
    let mut world = open();
    world.asked_by(other(), 1, 5);
    let cancel = Content::Cancel(CallId(5));
    assert_eq!(world.heard(Topic::Requests, machine(3), cancel), [], "it is of another machine");
    assert_eq!(world.heard(Topic::Requests, other(), cancel), [Output::Cancel(RequestId(1))]);
    let late = Input::Answered {
        id: RequestId(1),
        worker: 1,
        status: Status::Value,
        data: b"late".to_vec(),
        is_last: true,
    };
    assert_eq!(world.input(late), [Output::Room(4)]);
    // The machine reconnects, does not receive this one's publications, or is silent.
    world.asked_by(other(), 1, 6);
    assert_eq!(world.asked_by(other(), 2, 7)[0], Output::Cancel(RequestId(2)));
    assert_eq!(world.asked_by(other(), 1, 8), [], "it comes from the connection before");
    world.input(Input::Asked { id: RequestId(3), workers: Some(vec![1]) });
    assert_eq!(world.published(&[0]), [Output::Cancel(RequestId(3))]);
    world.asked_by(other(), 2, 9);
    let out = world.wait(SILENCE);
    assert!(out.contains(&Output::Cancel(RequestId(4))), "{out:?}");
    // This machine loses its connection.
    world.asked_by(other(), 2, 10);
    assert!(world.fail().contains(&Output::Cancel(RequestId(5))));
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let mut world = open();
    let refused = |call| Content::Announce { call: CallId(call), workers: None };
    let ask = |call| Content::Ask { call: CallId(call), worker: 9, leader: None, name: b"sum", data: b"" };
    let bytes = Publication { machine: other(), session: 1, content: ask(1) }.encode();
    let out = world.input(Input::Received { topic: Topic::Requests, bytes, has_room: false });
    assert_eq!(published(&out), [refused(1)]);
    world.published(&[1]);
    for call in 0..MAX_CALLS as u64 {
        world.machines.input(
            Input::Received {
                topic: Topic::Requests,
                bytes: Publication { machine: other(), session: 1, content: ask(call) }.encode(),
                has_room: true,
            },
            world.now,
            &mut Vec::new(),
        );
    }
    assert_eq!(published(&world.asked_by(other(), 1, 1 << 40)), [refused(1 << 40)]);
    world.published(&[1]);
    // Another machine refuses a request.
    world.ask(None, 1);
    let out = world.hears(other(), Content::Announce { call: CALL, workers: None });
    assert_eq!(out, [outcome(other(), 0, Status::Busy), ended(End::Complete)]);
    // An answer for which the process has no room.
    world.ask(None, 1);
    world.announce(other(), &[1]);
    let content = Content::Outcome { call: CALL, worker: 1, status: Status::Value, data: b"answer" };
    let bytes = Publication { machine: other(), session: 1, content }.encode();
    let out = world.input(Input::Received { topic: Topic::Machine(this()), bytes, has_room: false });
    assert_eq!(out, [outcome(other(), 1, Status::Lost), ended(End::Complete)]);
}

#[test]
fn notices_reach_the_leader_on_any_machine() {
    let mut world = open();
    let tell = |data: &[u8]| Input::NotifyLeader {
        leader: name("cron"),
        name: name("sum"),
        worker: 3,
        data: data.to_vec(),
    };
    let out = world.input(tell(b"one"));
    let content = Content::LeaderNotice { worker: 3, leader: b"cron", name: b"sum", data: b"one" };
    assert_eq!(published(&out), [content]);
    assert_eq!(world.heard(Topic::Requests, this(), content), [], "it is its own");
    let told =
        Output::NotifyLeader { leader: name("cron"), name: name("sum"), worker: 3, data: b"one".to_vec() };
    assert_eq!(world.heard(Topic::Requests, other(), content), [told]);
    // A lost notice is reported to the handlers of the name.
    world.fail();
    world.wait(LAST_BACKOFF);
    let out = world.open();
    let [Output::Publish(batch)] = &out[1..] else { panic!("{out:?}") };
    assert_eq!(batch[0].0, Topic::Handler(name("sum")));
    assert_eq!(published(&out), [Content::Lost(1)]);
}

#[test]
fn no_request_is_published_before_its_answers_can_arrive() {
    let mut world = World::new();
    world.request(CALL, None);
    let out = world.input(Input::Opened);
    assert!(
        published(&out).is_empty() && out.iter().any(|it| matches!(it, Output::Change { .. })),
        "{out:?}"
    );
    assert!(matches!(published(&world.input(Input::Changed))[..], [Content::Ask { call: CALL, .. }]));
}

/// Their process has closed its link each time, and makes more on the next one.
#[test]
fn requests_without_data_that_nobody_waits_for_are_bounded_as_well() {
    let mut world = open();
    // What is being published is not answered.
    world.request(CALL, None);
    let long = "n".repeat(1000);
    let ask = |number| {
        let call = CallId(1000 + number);
        Input::Request { call, worker: 3, leader: None, name: name(&long), data: Vec::new() }
    };
    let mut out = Vec::new();
    let made = (0_u64..20_000).find(|number| {
        world.machines.input(ask(*number), world.now, &mut out);
        let is_refused = !out.is_empty();
        let cancel = Input::Cancel { call: CallId(1000 + number), tell: false };
        world.machines.input(cancel, world.now, &mut out);
        is_refused
    });
    assert!(made.is_some());
    assert!(matches!(out[..], [Output::Ended { end: End::Busy, .. }]), "{out:?}");
    world.machines.check_invariants();
}
