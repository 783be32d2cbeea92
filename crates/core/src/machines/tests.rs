use std::sync::Arc;

use super::connection::{BEAT, BEAT_LIMIT, LAST_BACKOFF};
use super::*;

mod anything;
mod requests;

fn machine(number: u64) -> MachineId {
    MachineId::new([number, 0])
}

/// The tested machine, and another one.
fn this() -> MachineId {
    machine(1)
}

fn other() -> MachineId {
    machine(2)
}

fn name(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn channel(text: &str) -> Topic {
    Topic::Channel(name(text))
}

fn content(data: &[u8]) -> Content<'_> {
    Content::Message { worker: 3, data }
}

fn message(topic: Topic, data: &[u8]) -> Output {
    Output::Message { topic, worker: 3, data: data.to_vec() }
}

struct World {
    machines: Machines,
    now: u64,
}

impl World {
    fn new() -> Self {
        Self { machines: Machines::new(this(), 1), now: 1 }
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.machines.input(input, self.now, &mut out);
        self.machines.check_invariants();
        out
    }

    fn wait(&mut self, ms: u64) -> Vec<Output> {
        self.now += ms;
        self.input(Input::Tick)
    }

    fn post(&mut self, text: &str) -> Vec<Output> {
        self.input(Input::Post { topic: channel("news"), worker: 3, data: text.into() })
    }

    fn heard(&mut self, topic: Topic, machine: MachineId, content: Content<'_>) -> Vec<Output> {
        self.heard_on(1, topic, machine, content)
    }

    /// Like [`Self::heard`], on this connection of the other machine.
    fn heard_on(
        &mut self,
        session: u32,
        topic: Topic,
        machine: MachineId,
        content: Content<'_>,
    ) -> Vec<Output> {
        let bytes = Publication { machine, session, content }.encode();
        self.input(Input::Received { topic, bytes, has_room: true })
    }

    /// The current batch has reached this many subscribers.
    fn published(&mut self, counts: &[u64]) -> Vec<Output> {
        self.input(Input::Published(counts.to_vec()))
    }

    /// Connects, and subscribes to everything. Returns the reported losses and the publications.
    fn open(&mut self) -> Vec<Output> {
        let mut all = self.input(Input::Opened);
        all.extend(self.input(Input::Changed));
        all.retain(|it| !matches!(it, Output::Change { .. }));
        all
    }

    fn fail(&mut self) -> Vec<Output> {
        let out = self.input(Input::Failed("lost".into()));
        assert!(out.contains(&Output::Close));
        out
    }
}

fn published(out: &[Output]) -> Vec<Content<'_>> {
    let batches = out.iter().filter_map(|it| match it {
        Output::Publish(batch) => Some(batch),
        _ => None,
    });
    batches.flatten().map(|(_, bytes)| Publication::decode(bytes).unwrap().content).collect()
}

#[test]
fn nothing_is_connected_before_it_is_needed() {
    let mut world = World::new();
    assert_eq!(world.wait(100_000), []);
    assert_eq!(world.machines.next_deadline(), None);
    assert_eq!(world.input(Input::Subscribe(channel("news"))), [Output::Open]);
    let out = world.input(Input::Opened);
    let subscribe = vec![Topic::Requests, Topic::Machine(this()), channel("news")];
    assert_eq!(out, [Output::Change { subscribe, unsubscribe: vec![] }]);
    assert_eq!(world.input(Input::Changed), []);
    let out = world.input(Input::Unsubscribe(channel("news")));
    assert_eq!(out, [Output::Change { subscribe: vec![], unsubscribe: vec![channel("news")] }]);
}

#[test]
fn messages_are_published_in_order_one_batch_after_the_other() {
    let mut world = World::new();
    world.post("1");
    world.post("2");
    let out = world.open();
    assert_eq!(published(&out), [content(b"1"), content(b"2")]);
    assert_eq!(published(&world.post("3")), [], "a batch is under way");
    assert_eq!(published(&world.post("4")), []);
    let out = world.published(&[1]);
    assert_eq!(out[0], Output::Room(2));
    assert_eq!(published(&out), [content(b"3"), content(b"4")]);
}

#[test]
fn messages_of_others_are_delivered_and_its_own_are_not() {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.open();
    let out = world.heard(channel("news"), other(), content(b"hello"));
    assert_eq!(out, [message(channel("news"), b"hello")]);
    assert_eq!(world.heard(channel("news"), this(), content(b"own")), []);
    assert_eq!(world.heard(Topic::Machine(this()), other(), content(b"lost its way")), []);
    let rubbish = b"rubbish".to_vec();
    let heard = Input::Received { topic: channel("news"), bytes: rubbish, has_room: true };
    assert_eq!(world.input(heard), []);
    let out = world.heard(channel("news"), other(), Content::Lost(3));
    assert_eq!(out, [Output::Lost { topic: channel("news"), count: 3 }]);
}

#[test]
fn possible_losses_are_reported_after_a_reconnect() {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.input(Input::Subscribe(channel("ended")));
    assert_eq!(world.open(), [], "nothing was heard before");
    world.fail();
    world.input(Input::Unsubscribe(channel("ended")));
    world.input(Input::Subscribe(channel("new")));
    world.wait(LAST_BACKOFF);
    assert_eq!(world.open(), [Output::Lost { topic: channel("news"), count: 0 }]);
    world.fail();
    world.wait(LAST_BACKOFF);
    world.input(Input::Opened);
    // The connection is lost before all subscriptions are made.
    world.fail();
    world.wait(LAST_BACKOFF);
    let told = ["new", "news"].map(|it| Output::Lost { topic: channel(it), count: 0 });
    assert_eq!(world.open(), told);
}

#[test]
fn unpublished_messages_are_counted_and_reported_to_others() {
    let mut world = World::new();
    world.post("1");
    world.open();
    world.post("2");
    // The first batch may have been published; the second one waits.
    assert!(world.fail().contains(&Output::Room(1)));
    let out = world.wait(LAST_BACKOFF);
    assert_eq!(out, [Output::Open]);
    let out = world.open();
    assert_eq!(published(&out), [Content::Lost(1), content(b"2")]);
    world.published(&[1]);
    world.fail();
    world.post("3");
    world.post("4");
    let out = world.wait(HOLD);
    assert!(out.contains(&Output::Room(2)), "{out:?}");
    world.post("5");
    world.input(Input::Dropped { topic: channel("news"), count: 10 });
    let out = world.open();
    assert_eq!(published(&out), [Content::Lost(12), content(b"5")]);
    // The report of lost messages is itself lost.
    world.fail();
    world.wait(LAST_BACKOFF);
    assert_eq!(published(&world.open()), [Content::Lost(13)]);
}

#[test]
fn losses_of_any_number_of_topics_are_bounded_and_reported() {
    let mut world = World::new();
    for number in 0..10_000 {
        world.input(Input::Dropped { topic: channel(&format!("news {number}")), count: 1 });
    }
    let (mut named, mut others) = (0, 0);
    let mut out = world.open();
    while !published(&out).is_empty() {
        for output in &out {
            let Output::Publish(batch) = output else { continue };
            for (topic, bytes) in batch {
                let Content::Lost(count) = Publication::decode(bytes).unwrap().content else { panic!() };
                if *topic == Topic::Requests { others += count } else { named += count }
            }
        }
        let counts = vec![1; published(&out).len()];
        out = world.published(&counts);
    }
    assert!(named > 1000 && others > 1000, "{named} and {others}");
    assert_eq!(named + others, 10_000);
}

#[test]
fn a_loss_of_topics_that_are_not_named_may_concern_all() {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.input(Input::Subscribe(Topic::Handler(b"name"[..].into())));
    world.open();
    let out = world.heard(Topic::Requests, other(), Content::Lost(7));
    let told = [channel("news"), Topic::Handler(b"name"[..].into())];
    assert_eq!(out, told.map(|topic| Output::Lost { topic, count: 0 }));
    assert_eq!(world.heard(Topic::Requests, this(), Content::Lost(7)), [], "its own are told by the outbox");
}

#[test]
fn the_queue_is_bounded() {
    let mut world = World::new();
    let data = vec![0; 1 << 20];
    for _ in 0..100 {
        world.input(Input::Post { topic: channel("news"), worker: 3, data: data.clone() });
    }
    let mut out = world.open();
    let (mut messages, mut lost) = (0, 0);
    while !published(&out).is_empty() {
        for content in published(&out) {
            match content {
                Content::Message { .. } => messages += 1,
                Content::Lost(count) => lost += count,
                content => panic!("{content:?}"),
            }
        }
        out = world.published(&[1]);
    }
    assert_eq!(messages + lost, 100);
    assert!(messages < 17);
}

#[test]
fn a_connection_without_its_own_beats_is_lost() {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.open();
    for _ in 0..3 {
        let out = world.wait(BEAT);
        let [Output::Beat(topic, bytes)] = &out[..] else { panic!("{out:?}") };
        let (topic, bytes, has_room) = (topic.clone(), bytes.clone(), true);
        assert_eq!(world.wait(BEAT_LIMIT - 1), []);
        assert_eq!(world.heard(Topic::Machine(this()), this(), Content::Beat(99)), [], "another one");
        assert_eq!(world.input(Input::Received { topic, bytes, has_room }), []);
    }
    world.wait(BEAT);
    let why = "the server has not answered in time".into();
    assert_eq!(world.wait(BEAT_LIMIT), [Output::Failed(why), Output::Close]);
}

#[test]
fn messages_without_room_are_reported_at_their_place() {
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.open();
    let bytes = Publication { machine: other(), session: 1, content: content(b"no room") }.encode();
    for _ in 0..2 {
        let heard = Input::Received { topic: channel("news"), bytes: bytes.clone(), has_room: false };
        assert_eq!(world.input(heard), []);
    }
    let out = world.heard(channel("news"), other(), content(b"next"));
    let told = Output::Lost { topic: channel("news"), count: 2 };
    assert_eq!(out, [told, message(channel("news"), b"next")]);
}
