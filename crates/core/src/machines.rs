//! Messages between machines, which a server of Redis or Valkey passes on to those that have subscribed.
//!
//! # Design
//! Each channel of all machines has one on the server, and a machine subscribes to it while a process of it hears the
//! channel. The server keeps nothing: what is published while a machine is not connected is lost for it.
//!
//! - **What may be lost is told.** When a machine has subscribed again after its connection was lost, the channels that it had
//!   heard before are told that they may have missed something. Whatever a machine could not publish it counts, and
//!   publishes the count when it can.
//! - **Nothing is published twice.** Of a batch that has no answer nobody knows what has become: it counts as lost.
//! - **A short interruption costs no message of this machine.** For [`HOLD`] ms they wait for the server, up to [`MAX_HELD`]
//!   bytes.
//! - **A machine hears itself**: what it publishes to itself each second has to come back, so that the end of either
//!   connection is noticed.
//!
//! Servers and other machines are not trusted: what makes no sense is dropped.
//!
//! Times are in ms by a clock of this machine that never goes back.

pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::random::Random;
use wire::{Said, Saying};

/// How long a message waits for a server that is not connected, in ms.
pub const HOLD: u64 = 1000;

/// How many bytes wait to be published.
pub const MAX_HELD: usize = 16 << 20;

/// How much is published at once, about.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// How many channels are subscribed to at once.
const CHANGES: usize = 256;

/// The shortest and the longest time between two attempts to connect.
const FIRST_BACKOFF: u64 = 25;
const LAST_BACKOFF: u64 = 500;

/// How often the connections are tried, and how long that may take.
const BEAT: u64 = 1000;
const BEAT_LIMIT: u64 = 3000;

/// What a message takes besides its bytes.
const OVERHEAD: usize = 64;

/// What a machine hears and where it publishes: the name by which the server knows it, without its prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What is posted to a channel.
    Channel(Arc<[u8]>),
    /// What handlers of a name are told.
    Handler(Arc<[u8]>),
    /// What is for a machine.
    Machine(Arc<[u8]>),
}

const CHANNEL: &[u8] = b"channel:";
const HANDLER: &[u8] = b"handler:";
const MACHINE: &[u8] = b"machine:";

impl Topic {
    /// As the server knows it, behind the prefix.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        match self {
            Self::Channel(name) => [CHANNEL, name].concat(),
            Self::Handler(name) => [HANDLER, name].concat(),
            Self::Machine(name) => [MACHINE, name].concat(),
        }
    }

    /// Reads that.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let behind = |kind| name.strip_prefix(kind).map(Arc::from);
        let channel = behind(CHANNEL).map(Self::Channel);
        channel.or_else(|| behind(HANDLER).map(Self::Handler)).or_else(|| behind(MACHINE).map(Self::Machine))
    }
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody of this machine hears a channel, or handles a name.
    Listen(Topic),
    /// Nobody does any more.
    Unlisten(Topic),
    /// A process of this machine has something for others.
    Post {
        /// Where they hear it.
        topic: Topic,
        /// The worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// So many of these had no room on their way here.
    Dropped {
        /// Where others would have heard them.
        topic: Topic,
        /// How many.
        count: u64,
    },
    /// The server is connected.
    Opened,
    /// It cannot be connected, or is not connected any more: why.
    Failed(String),
    /// What was to be subscribed to and no more is.
    Changed,
    /// What was to be published is.
    Published,
    /// A publication has come.
    Heard {
        /// The topic on which it has come.
        topic: Topic,
        /// What; `None` where there was no room for it on its way to the processes.
        bytes: Option<Vec<u8>>,
    },
    /// Nothing but that time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server.
    Open,
    /// Forget the connection, and what is under way on it.
    Close,
    /// Hear and hear no longer. Answered by [`Input::Changed`].
    Change {
        /// What to subscribe to.
        subscribe: Vec<Topic>,
        /// What not to be subscribed to any more.
        unsubscribe: Vec<Topic>,
    },
    /// Publish in order. Answered by [`Input::Published`].
    Publish(Vec<(Topic, Vec<u8>)>),
    /// Publish what nobody waits for.
    Beat(Topic, Vec<u8>),
    /// Tell the processes that hear a channel, or handle a name, what has come from another machine.
    Message {
        /// The channel, or the name.
        topic: Topic,
        /// The worker of that machine; 0 is its primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Tell them that messages are lost.
    Lost {
        /// The channel, or the name.
        topic: Topic,
        /// How many; 0 if it is not known.
        count: u64,
    },
    /// So many bytes of this machine's processes have been published or are lost: there is room for others.
    Room(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Nobody has needed it so far.
    Unused,
    /// The next attempt is at this time.
    None {
        next: u64,
    },
    Opening,
    Open {
        /// When the next beat is due, or until when the last one has to come back.
        beat: u64,
        is_beating: bool,
    },
}

/// What is to be published.
#[derive(Debug)]
struct Held {
    topic: Topic,
    bytes: Vec<u8>,
    /// Since when it waits.
    since: u64,
    /// How many bytes of a process it takes.
    cost: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Machines {
    machine: Arc<[u8]>,
    connection: Connection,
    attempts: u32,
    random: Random,
    wanted: BTreeSet<Topic>,
    /// What of that is subscribed to on this connection.
    heard: BTreeSet<Topic>,
    /// What was, on one before.
    missed: BTreeSet<Topic>,
    /// The change that is under way.
    changing: Option<(Vec<Topic>, Vec<Topic>)>,
    queue: VecDeque<Held>,
    queued: usize,
    /// Where the batch that is under way goes, and how many messages are lost there by its failure.
    publishing: Option<Vec<(Topic, u64)>>,
    /// Bytes of the batch that processes have room for again when it is over.
    published: usize,
    /// What others have to be told is lost.
    unpublished: BTreeMap<Topic, u64>,
    /// What processes of this machine have to be told is lost.
    overrun: BTreeMap<Topic, u64>,
    beats: u64,
}

impl Machines {
    /// Nothing is heard. It connects when something is needed for the first time.
    #[must_use]
    pub fn new(machine: &[u8], seed: u64) -> Self {
        let machine: Arc<[u8]> = machine.into();
        Self {
            wanted: BTreeSet::from([Topic::Machine(Arc::clone(&machine))]),
            machine,
            connection: Connection::Unused,
            attempts: 0,
            random: Random::new(seed),
            heard: BTreeSet::new(),
            missed: BTreeSet::new(),
            changing: None,
            queue: VecDeque::new(),
            queued: 0,
            publishing: None,
            published: 0,
            unpublished: BTreeMap::new(),
            overrun: BTreeMap::new(),
            beats: 0,
        }
    }

    /// Takes what has happened, and appends what is to be done.
    pub fn input(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        match input {
            Input::Listen(topic) => {
                self.wanted.insert(topic);
                self.need(now);
            }
            Input::Unlisten(topic) => {
                self.overrun.remove(&topic);
                self.wanted.remove(&topic);
                self.missed.remove(&topic);
            }
            Input::Post { topic, worker, data } => self.on_post(topic, worker, &data, now, out),
            Input::Dropped { topic, count } => {
                self.lose(topic, count);
                self.need(now);
            }
            Input::Opened if self.connection == Connection::Opening => {
                self.connection = Connection::Open { beat: now + BEAT, is_beating: false };
            }
            Input::Failed(_) => self.on_failed(now, out),
            Input::Changed => self.on_changed(out),
            Input::Published => {
                self.attempts = 0;
                self.publishing = None;
                self.give_room(out);
            }
            Input::Heard { topic, bytes } => self.on_heard(topic, bytes.as_deref(), now, out),
            Input::Opened | Input::Tick => {}
        }
        self.proceed(now, out);
    }

    /// When it wants to be told that time has passed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let connection = match self.connection {
            Connection::None { next } => Some(next),
            Connection::Unused | Connection::Opening => None,
            Connection::Open { beat, .. } => Some(beat),
        };
        let held = self.queue.front().filter(|_| !self.is_open()).map(|held| held.since + HOLD);
        connection.into_iter().chain(held).min()
    }

    fn is_open(&self) -> bool {
        matches!(self.connection, Connection::Open { .. })
    }

    fn need(&mut self, now: u64) {
        if self.connection == Connection::Unused {
            self.connection = Connection::None { next: now };
        }
    }

    fn on_post(&mut self, topic: Topic, worker: u32, data: &[u8], now: u64, out: &mut Vec<Output>) {
        self.need(now);
        let cost = data.len() + OVERHEAD;
        if self.queued + cost > MAX_HELD {
            self.lose(topic, 1);
            out.push(Output::Room(data.len()));
            return;
        }
        let bytes = self.say(Said::Message { worker, data });
        self.queued += cost;
        self.queue.push_back(Held { topic, bytes, since: now, cost: data.len() });
    }

    fn say(&self, said: Said<'_>) -> Vec<u8> {
        Saying { machine: &self.machine, said }.encode()
    }

    fn lose(&mut self, topic: Topic, count: u64) {
        let lost = self.unpublished.entry(topic).or_default();
        *lost = lost.saturating_add(count);
    }

    fn inbox(&self) -> Topic {
        Topic::Machine(Arc::clone(&self.machine))
    }

    fn give_room(&mut self, out: &mut Vec<Output>) {
        let bytes = std::mem::take(&mut self.published);
        if bytes > 0 {
            out.push(Output::Room(bytes));
        }
    }

    fn on_failed(&mut self, now: u64, out: &mut Vec<Output>) {
        if matches!(self.connection, Connection::None { .. } | Connection::Unused) {
            return;
        }
        let limit = (FIRST_BACKOFF << self.attempts.min(5)).min(LAST_BACKOFF);
        self.attempts += 1;
        let wait = self.random.ms(u32::try_from(limit / 2).unwrap_or(0), u32::try_from(limit).unwrap_or(0));
        self.connection = Connection::None { next: now + u64::try_from(wait.as_millis()).unwrap_or(0) };
        self.missed.append(&mut self.heard);
        // Of a change that is under way nobody knows how far it has come.
        let (subscribing, _) = self.changing.take().unwrap_or_default();
        self.missed.extend(subscribing);
        self.missed.retain(|topic| self.wanted.contains(topic));
        for (topic, count) in self.publishing.take().unwrap_or_default() {
            self.lose(topic, count);
        }
        self.give_room(out);
        out.push(Output::Close);
    }

    fn on_changed(&mut self, out: &mut Vec<Output>) {
        let Some((subscribed, unsubscribed)) = self.changing.take() else { return };
        self.attempts = 0;
        for topic in unsubscribed {
            self.heard.remove(&topic);
        }
        for topic in subscribed {
            if self.missed.remove(&topic) && topic != self.inbox() {
                out.push(Output::Lost { topic: topic.clone(), count: 0 });
            }
            self.heard.insert(topic);
        }
    }

    fn on_heard(&mut self, topic: Topic, bytes: Option<&[u8]>, now: u64, out: &mut Vec<Output>) {
        let Some(bytes) = bytes else {
            if self.wanted.contains(&topic) {
                *self.overrun.entry(topic).or_default() += 1;
            }
            return;
        };
        let Some(Saying { machine, said }) = Saying::decode(bytes) else { return };
        let is_own = *machine == *self.machine;
        match (topic, said) {
            (Topic::Machine(_), Said::Beat(number)) if is_own && number == self.beats => {
                if let Connection::Open { beat, is_beating: is_beating @ true } = &mut self.connection {
                    (*beat, *is_beating) = (now + BEAT, false);
                    self.tell_overrun(out);
                }
            }
            (topic @ (Topic::Channel(_) | Topic::Handler(_)), said) if !is_own => {
                if let Some(count) = self.overrun.remove(&topic) {
                    out.push(Output::Lost { topic: topic.clone(), count });
                }
                match said {
                    Said::Message { worker, data } => {
                        out.push(Output::Message { topic, worker, data: data.to_vec() });
                    }
                    Said::Lost(count @ 1..) => out.push(Output::Lost { topic, count }),
                    Said::Lost(0) | Said::Beat(_) => {}
                }
            }
            _ => {}
        }
    }

    fn tell_overrun(&mut self, out: &mut Vec<Output>) {
        for (topic, count) in std::mem::take(&mut self.overrun) {
            out.push(Output::Lost { topic, count });
        }
    }

    /// Does what can be done by now.
    fn proceed(&mut self, now: u64, out: &mut Vec<Output>) {
        match self.connection {
            Connection::None { next } if next <= now => {
                self.connection = Connection::Opening;
                out.push(Output::Open);
            }
            Connection::Open { beat, is_beating: true } if beat <= now => self.on_failed(now, out),
            Connection::Open { beat, is_beating: false } if beat <= now => {
                self.beats += 1;
                self.connection = Connection::Open { beat: now + BEAT_LIMIT, is_beating: true };
                out.push(Output::Beat(self.inbox(), self.say(Said::Beat(self.beats))));
            }
            _ => {}
        }
        if self.is_open() {
            self.change(out);
            self.publish(out);
        } else {
            self.drop_old(now, out);
        }
    }

    fn change(&mut self, out: &mut Vec<Output>) {
        if self.changing.is_some() || self.wanted == self.heard {
            return;
        }
        let subscribe: Vec<Topic> = self.wanted.difference(&self.heard).take(CHANGES).cloned().collect();
        let unsubscribe: Vec<Topic> = self.heard.difference(&self.wanted).take(CHANGES).cloned().collect();
        self.changing = Some((subscribe.clone(), unsubscribe.clone()));
        out.push(Output::Change { subscribe, unsubscribe });
    }

    fn publish(&mut self, out: &mut Vec<Output>) {
        if self.publishing.is_some() {
            return;
        }
        let (mut batch, mut about, mut bytes) = (Vec::new(), Vec::new(), 0);
        // What is lost is older than what waits.
        while batch.len() < BATCH
            && let Some((topic, count)) = self.unpublished.pop_first()
        {
            batch.push((topic.clone(), self.say(Said::Lost(count))));
            about.push((topic, count));
        }
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some(held) = self.queue.pop_front()
        {
            bytes += held.bytes.len();
            self.queued -= held.cost + OVERHEAD;
            self.published += held.cost;
            about.push((held.topic.clone(), 1));
            batch.push((held.topic, held.bytes));
        }
        if !batch.is_empty() {
            self.publishing = Some(about);
            out.push(Output::Publish(batch));
        }
    }

    /// Drops what has waited for too long.
    fn drop_old(&mut self, now: u64, out: &mut Vec<Output>) {
        while self.queue.front().is_some_and(|held| held.since + HOLD <= now)
            && let Some(held) = self.queue.pop_front()
        {
            self.queued -= held.cost + OVERHEAD;
            self.published += held.cost;
            self.lose(held.topic, 1);
        }
        self.give_room(out);
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self) {
        assert_eq!(self.queued, self.queue.iter().map(|it| it.cost + OVERHEAD).sum::<usize>());
        assert!(self.queued <= MAX_HELD, "what waits is bounded");
        assert!(self.is_open() || self.heard.is_empty() && self.changing.is_none());
        assert!(self.is_open() || self.publishing.is_none() && self.published == 0);
        assert!(self.missed.is_subset(&self.wanted), "nobody is told of what nobody hears");
    }
}

#[cfg(test)]
mod tests;
