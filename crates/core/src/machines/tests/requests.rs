//! Requests between machines.

use super::*;
use crate::exchange::frame::Status;
use crate::exchange::{CallId, MAX_CALLS, RequestId};
use crate::machines::peers::ALIVE;
use crate::machines::wire::Workers;

const CALL: CallId = CallId(7);

fn open() -> World {
    let mut world = World::new();
    world.input(Input::Listen(channel("news")));
    world.open();
    world
}

impl World {
    fn request(&mut self, call: CallId, leader: Option<&str>) -> Vec<Output> {
        let leader = leader.map(name);
        self.input(Input::Request { call, worker: 3, leader, name: name("sum"), data: b"data".to_vec() })
    }

    /// Makes a request, which reaches so many other machines.
    fn ask(&mut self, leader: Option<&str>, others: u64) -> Vec<Output> {
        let out = self.request(CALL, leader);
        assert!(matches!(published(&out)[..], [Said::Ask { call: CALL, worker: 3, .. }]), "{out:?}");
        let mut out = self.published(&[others + 1]);
        out.extend(self.echo());
        out.retain(|it| *it != Output::Room(4));
        out
    }

    /// It hears itself.
    fn echo(&mut self) -> Vec<Output> {
        let ask = Said::Ask { call: CALL, worker: 3, leader: None, name: b"sum", data: b"data" };
        self.heard(Topic::Requests, this(), ask)
    }

    /// Another machine has something for this one.
    fn hears(&mut self, machine: MachineId, said: Said<'_>) -> Vec<Output> {
        self.heard(Topic::Machine(this()), machine, said)
    }

    fn announce(&mut self, machine: MachineId, workers: &[u32]) -> Vec<Output> {
        let numbers: Vec<_> = workers.iter().map(|it| it.to_le_bytes()).collect();
        self.hears(machine, Said::Announce { call: CALL, workers: Some(Workers::new(&numbers)) })
    }

    fn answer(&mut self, machine: MachineId, worker: u32) -> Vec<Output> {
        self.hears(machine, Said::Outcome { call: CALL, worker, status: Status::Value, data: b"answer" })
    }

    fn asked_by(&mut self, machine: MachineId, session: u32, call: u64) -> Vec<Output> {
        let said = Said::Ask { call: CallId(call), worker: 9, leader: None, name: b"sum", data: b"data" };
        self.heard_on(session, Topic::Requests, machine, said)
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
    // What is not owed does not count.
    for (machine, worker) in [(three, 1), (one, 1), (one, 3), (two, 1), (machine(9), 1)] {
        assert_eq!(world.answer(machine, worker), []);
    }
    assert_eq!(world.announce(one, &[5]), [], "it has announced its workers before");
    assert_eq!(world.answer(one, 2), [outcome(one, 2, Status::Value), ended(End::Complete)]);
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn a_request_that_reaches_nobody_else_ends_at_once_but_not_before_it_is_heard() {
    let mut world = open();
    assert_eq!(world.ask(None, 0), [ended(End::Complete)]);
    world.request(CALL, None);
    assert_eq!(world.published(&[1]), [Output::Room(4)]);
    assert_eq!(world.echo(), [ended(End::Complete)]);
    // What comes before the server has said how many it has reached counts as well.
    world.request(CALL, None);
    assert_eq!((world.echo(), world.announce(other(), &[])), (vec![], vec![]));
    assert_eq!(world.published(&[2]), [ended(End::Complete), Output::Room(4)]);
}

#[test]
fn one_that_does_not_hear_itself_does_not_take_that_for_an_answer() {
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
    world.hears(other(), Said::Alive);
    world.wait(1);
    let out = world.answer(other(), 1);
    assert_eq!(out[..2], [outcome(other(), 1, Status::Value), ended(End::Missing(2))]);
    world.published(&[2]);
    // Their handlers are told that nobody waits.
    assert_eq!(published(&world.announce(machine(3), &[1])), [Said::Cancel(CALL)]);
    world.published(&[2]);
    assert_eq!(published(&world.announce(machine(4), &[])), []);
}

#[test]
fn a_request_for_the_leader_is_answered_by_it_or_by_nobody() {
    let [one, two] = [2, 3].map(machine);
    let mut world = open();
    world.ask(Some("cron"), 2);
    world.announce(one, &[]);
    assert_eq!(world.announce(two, &[]), [ended(End::NoLeader)]);
    world.ask(Some("cron"), 2);
    world.announce(one, &[4]);
    assert_eq!(world.answer(one, 4), [outcome(one, 4, Status::Value), ended(End::Complete)]);
    // One of them does not say whether it leads.
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
fn one_of_two_that_take_themselves_for_the_leader_is_told_that_nobody_waits() {
    let [one, two] = [2, 3].map(machine);
    let mut world = open();
    world.ask(Some("cron"), 2);
    world.announce(one, &[4]);
    world.announce(two, &[5]);
    let out = world.answer(one, 4);
    assert_eq!(out[..2], [outcome(one, 4, Status::Value), ended(End::Complete)]);
    assert_eq!(published(&out), [Said::Cancel(CALL)]);
}

#[test]
fn a_request_that_is_cancelled_says_what_is_missing_if_that_is_wanted() {
    let mut world = open();
    world.ask(None, 3);
    world.announce(other(), &[1, 2]);
    world.answer(other(), 1);
    let out = world.input(Input::Cancel { call: CALL, tell: true });
    assert_eq!(out[..2], [outcome(other(), 2, Status::Cancelled), ended(End::Late(2))]);
    assert_eq!(published(&out), [Said::Cancel(CALL)]);
    world.published(&[1]);
    assert_eq!(world.answer(other(), 2), []);
    world.ask(None, 1);
    let out = world.input(Input::Cancel { call: CALL, tell: false });
    assert_eq!((out.len(), &published(&out)[..]), (1, &[Said::Cancel(CALL)][..]));
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn what_was_not_published_is_not_when_nobody_waits_any_more() {
    let mut world = World::new();
    world.request(CALL, None);
    world.request(CallId(8), None);
    let out = world.input(Input::Cancel { call: CALL, tell: true });
    assert_eq!(out, [ended(End::Late(0))]);
    let out = world.open();
    assert!(matches!(published(&out)[..], [Said::Ask { call: CallId(8), .. }]), "{out:?}");
    assert_eq!(world.published(&[1])[0], Output::Room(8));
}

#[test]
fn a_lost_connection_ends_what_was_published_and_what_has_waited_for_too_long() {
    let mut world = open();
    world.ask(None, 2);
    world.announce(other(), &[1]);
    world.request(CallId(8), None);
    let out = world.fail();
    let lost = Output::Ended { call: CallId(8), end: End::Disconnected };
    assert_eq!(out[0], Output::Failed("lost".into()), "the reason comes first");
    assert_eq!(out[1..4], [outcome(other(), 1, Status::Disconnected), ended(End::Disconnected), lost]);
    assert_eq!(world.answer(other(), 1), []);
    // One that is made while there is none waits.
    world.request(CALL, None);
    world.wait(LAST_BACKOFF);
    let out = world.open();
    assert!(published(&out).iter().any(|said| matches!(said, Said::Ask { call: CALL, .. })), "{out:?}");
    world.fail();
    world.request(CALL, None);
    let out = world.wait(HOLD);
    assert!(out.contains(&ended(End::Disconnected)) && out.contains(&Output::Room(4)), "{out:?}");
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn a_machine_that_says_nothing_or_is_connected_anew_is_gone() {
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
                all.extend(world.input(Input::Heard { topic, bytes, has_room: true }));
            }
        }
        let alive = published(&out).iter().filter(|said| **said == Said::Alive).count();
        assert!(alive <= 2);
        all.extend(out);
        all.extend(world.published(&[1, 1]));
        world.hears(two, Said::Alive);
    }
    let gone = outcome(one, 1, Status::Gone);
    assert_eq!(all.iter().filter(|it| **it == gone).count(), 1);
    let out = world.heard_on(2, Topic::Machine(this()), two, Said::Alive);
    assert_eq!(out[..2], [outcome(two, 1, Status::Gone), ended(End::Complete)]);
}

#[test]
fn what_another_machine_asks_is_answered_to_it() {
    let mut world = open();
    let out = world.asked_by(other(), 1, 5);
    let ask =
        Output::Ask { id: RequestId(1), worker: 9, leader: None, name: name("sum"), data: b"data".to_vec() };
    assert_eq!(out, [ask]);
    assert_eq!(world.asked_by(other(), 1, 5), [], "it is answered already");
    let out = world.input(Input::Asked { id: RequestId(1), workers: Some(vec![1, 2]) });
    let numbers = [[1, 0, 0, 0], [2, 0, 0, 0]];
    let call = CallId(5);
    assert_eq!(published(&out), [Said::Announce { call, workers: Some(Workers::new(&numbers)) }]);
    world.published(&[1]);
    for (worker, is_last) in [(2, false), (1, true)] {
        let (status, data) = (Status::Value, b"answer".to_vec());
        let out = world.input(Input::Answered { id: RequestId(1), worker, status, data, is_last });
        let said = Said::Outcome { call, worker, status, data: b"answer" };
        assert_eq!(published(&out), [said]);
        assert_eq!(world.published(&[1]), [Output::Room(6)]);
    }
    assert_eq!(world.machines.pending(), (0, 0));
}

#[test]
fn what_nobody_waits_for_any_more_is_cancelled() {
    let mut world = open();
    world.asked_by(other(), 1, 5);
    let cancel = Said::Cancel(CallId(5));
    assert_eq!(world.heard(Topic::Requests, machine(3), cancel), [], "it is of another machine");
    assert_eq!(world.heard(Topic::Requests, other(), cancel), [Output::Unask(RequestId(1))]);
    let late = Input::Answered {
        id: RequestId(1),
        worker: 1,
        status: Status::Value,
        data: b"late".to_vec(),
        is_last: true,
    };
    assert_eq!(world.input(late), [Output::Room(4)]);
    // The machine is connected anew, does not hear this one, or says nothing.
    world.asked_by(other(), 1, 6);
    assert_eq!(world.asked_by(other(), 2, 7)[0], Output::Unask(RequestId(2)));
    assert_eq!(world.asked_by(other(), 1, 8), [], "it comes from the connection before");
    world.input(Input::Asked { id: RequestId(3), workers: Some(vec![1]) });
    assert_eq!(world.published(&[0]), [Output::Unask(RequestId(3))]);
    world.asked_by(other(), 2, 9);
    let out = world.wait(SILENCE);
    assert!(out.contains(&Output::Unask(RequestId(4))), "{out:?}");
    // This one loses its connection.
    world.asked_by(other(), 2, 10);
    assert!(world.fail().contains(&Output::Unask(RequestId(5))));
}

#[test]
fn what_is_too_much_is_refused() {
    let mut world = open();
    let refused = |call| Said::Announce { call: CallId(call), workers: None };
    let ask = |call| Said::Ask { call: CallId(call), worker: 9, leader: None, name: b"sum", data: b"" };
    let bytes = Saying { machine: other(), session: 1, said: ask(1) }.encode();
    let out = world.input(Input::Heard { topic: Topic::Requests, bytes, has_room: false });
    assert_eq!(published(&out), [refused(1)]);
    world.published(&[1]);
    for call in 0..MAX_CALLS as u64 {
        world.machines.input(
            Input::Heard {
                topic: Topic::Requests,
                bytes: Saying { machine: other(), session: 1, said: ask(call) }.encode(),
                has_room: true,
            },
            world.now,
            &mut Vec::new(),
        );
    }
    assert_eq!(published(&world.asked_by(other(), 1, 1 << 40)), [refused(1 << 40)]);
    world.published(&[1]);
    // The machine that has asked is told for one of its workers.
    world.ask(None, 1);
    let out = world.hears(other(), Said::Announce { call: CALL, workers: None });
    assert_eq!(out, [outcome(other(), 0, Status::Busy), ended(End::Complete)]);
    // An answer that has no room on its way to the process.
    world.ask(None, 1);
    world.announce(other(), &[1]);
    let said = Said::Outcome { call: CALL, worker: 1, status: Status::Value, data: b"answer" };
    let bytes = Saying { machine: other(), session: 1, said }.encode();
    let out = world.input(Input::Heard { topic: Topic::Machine(this()), bytes, has_room: false });
    assert_eq!(out, [outcome(other(), 1, Status::Lost), ended(End::Complete)]);
}

#[test]
fn the_leader_is_told_on_whichever_machine() {
    let mut world = open();
    let tell =
        |data: &[u8]| Input::Tell { leader: name("cron"), name: name("sum"), worker: 3, data: data.to_vec() };
    let out = world.input(tell(b"one"));
    let said = Said::Tell { worker: 3, leader: b"cron", name: b"sum", data: b"one" };
    assert_eq!(published(&out), [said]);
    assert_eq!(world.heard(Topic::Requests, this(), said), [], "it is its own");
    let told = Output::Tell { leader: name("cron"), name: name("sum"), worker: 3, data: b"one".to_vec() };
    assert_eq!(world.heard(Topic::Requests, other(), said), [told]);
    // One that is lost is told to those that handle the name.
    world.fail();
    world.wait(LAST_BACKOFF);
    let out = world.open();
    let [Output::Publish(batch)] = &out[1..] else { panic!("{out:?}") };
    assert_eq!(batch[0].0, Topic::Handler(name("sum")));
    assert_eq!(published(&out), [Said::Lost(1)]);
}

#[test]
fn nothing_is_asked_before_the_answers_can_be_heard() {
    let mut world = World::new();
    world.request(CALL, None);
    let out = world.input(Input::Opened);
    assert!(
        published(&out).is_empty() && out.iter().any(|it| matches!(it, Output::Change { .. })),
        "{out:?}"
    );
    assert!(matches!(published(&world.input(Input::Changed))[..], [Said::Ask { call: CALL, .. }]));
}
