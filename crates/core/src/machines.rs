//! Messages and requests between machines. A Redis or Valkey server passes them on to the machines that have
//! subscribed.
//!
//! # Design
//! Each channel that spans machines has a channel on the server. A machine subscribes to it while one of its
//! processes does. The server stores nothing, so a machine misses what is published while it is not
//! connected.
//!
//! - **Losses are reported.** When a machine has subscribed again after a lost connection, subscribers of the
//!   affected channels learn that they may have missed messages. A machine counts what it could not publish,
//!   and publishes the count once it can.
//! - **Nothing is published twice.** If the connection ends before the server has answered, the outcome of
//!   the batch is unknown, and its messages count as lost.
//! - **A short interruption loses no message of this machine.** Messages wait for the server for up to
//!   [`HOLD`] ms, up to [`MAX_HELD`] bytes.
//! - **A machine subscribes to itself.** Every second it publishes a beat to itself, which must come back. So
//!   it notices when either of its two connections ends. It publishes nothing else before it has subscribed
//!   to what others send to it.
//! - **Every request ends**: see [`requests`]. Machines that wait for each other send a sign of life every
//!   second. A machine is gone if it sends nothing for [`SILENCE`] ms, reconnects, or does not receive what
//!   is published to it. Everything that it owes or waits for then ends. A machine that loses its connection
//!   ends all requests that it has published, and cancels those that others have made.
//!
//! Servers and other machines are not trusted: invalid data is dropped, and all state kept about them is
//! bounded.
//!
//! Times are in ms, from a monotonic clock of this machine.

pub mod bridge;
mod calls;
mod connection;
mod event;
mod outgoing;
mod peers;
mod requests;
mod served;
mod subscriptions;
mod topic;
pub mod wire;

use std::collections::BTreeMap;

use calls::{Calls, Context};
use connection::{Connection, Due};
pub use event::{End, Input, Output};
pub use outgoing::{HOLD, MAX_HELD};
use outgoing::{Held, Outgoing, Purpose};
pub use peers::SILENCE;
use subscriptions::{Change, Subscriptions};
pub use topic::{MachineId, Topic};
use wire::{Content, Publication};

/// The state of this machine: see the module.
#[derive(Debug)]
pub struct Machines {
    machine: MachineId,
    connection: Connection,
    subscriptions: Subscriptions,
    outgoing: Outgoing,
    /// Losses that processes of this machine have not been told yet.
    overrun: BTreeMap<Topic, u64>,
    calls: Calls,
    /// Why there is no connection, or why the last one ended.
    failure: String,
}

impl Machines {
    /// Starts without subscriptions. It connects when a connection is first needed.
    #[must_use]
    pub fn new(machine: MachineId, seed: u64) -> Self {
        Self {
            machine,
            connection: Connection::new(seed),
            subscriptions: Subscriptions::new([Topic::Requests, Topic::Machine(machine)]),
            outgoing: Outgoing::default(),
            overrun: BTreeMap::new(),
            calls: Calls::default(),
            failure: String::new(),
        }
    }

    /// Processes an input, and appends the outputs.
    pub fn input(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        match input {
            Input::Subscribe(topic) => {
                self.subscriptions.want(topic);
                self.connection.need(now);
            }
            Input::Unsubscribe(topic) => {
                self.overrun.remove(&topic);
                self.subscriptions.forget(&topic);
            }
            Input::Post { topic, worker, data } => {
                let bytes = self.encode(Content::Message { worker, data: &data });
                self.hold(topic.clone(), topic, bytes, data.len(), now);
            }
            Input::NotifyLeader { leader, name, worker, data } => {
                let bytes =
                    self.encode(Content::LeaderNotice { worker, leader: &leader, name: &name, data: &data });
                self.hold(Topic::Requests, Topic::Handler(name), bytes, data.len(), now);
            }
            Input::Dropped { topic, count } => {
                self.outgoing.lose(topic, count);
                self.connection.need(now);
            }
            Input::Request { call, worker, leader, name, data } => {
                self.connection.need(now);
                let leader = leader.as_deref();
                let bytes = self.encode(Content::Ask { call, worker, leader, name: &name, data: &data });
                let (calls, mut cx) = self.context(now, out);
                calls.on_request(call, leader.is_some(), (bytes, data.len()), &mut cx);
            }
            Input::Cancel { call, tell } => {
                let (calls, mut cx) = self.context(now, out);
                calls.on_cancel(call, tell, &mut cx);
            }
            Input::Asked { id, workers } => {
                let (calls, mut cx) = self.context(now, out);
                calls.on_asked(id, workers.as_deref(), &mut cx);
            }
            Input::Answered { id, worker, status, data, is_last } => {
                let (calls, mut cx) = self.context(now, out);
                calls.on_answered((id, is_last), worker, status, &data, &mut cx);
            }
            Input::Opened => self.connection.on_opened(now),
            Input::Failed(why) => self.on_failed(why, now, out),
            Input::Changed => {
                self.connection.on_answered();
                let missed = self.subscriptions.on_changed();
                out.extend(missed.into_iter().map(|topic| Output::Lost { topic, count: 0 }));
            }
            Input::Published(counts) => {
                self.connection.on_answered();
                let reached = self.outgoing.on_published(&counts);
                let (calls, mut cx) = self.context(now, out);
                calls.on_reached(reached, &mut cx);
            }
            Input::Received { topic, bytes, has_room } if self.connection.is_open() => {
                self.on_received(topic, &bytes, has_room, now, out);
            }
            Input::Received { .. } | Input::Tick => {}
        }
        self.proceed(now, out);
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let held = self.outgoing.next_deadline().filter(|_| !self.connection.is_open());
        let all = [self.connection.next_deadline(), self.calls.next_deadline(), held];
        all.into_iter().flatten().min()
    }

    /// The numbers of unfinished requests: this machine's own, and those of other machines.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        self.calls.pending()
    }

    fn context<'a>(&'a mut self, now: u64, out: &'a mut Vec<Output>) -> (&'a mut Calls, Context<'a>) {
        let (outgoing, machine, is_open) = (&mut self.outgoing, self.machine, self.connection.is_open());
        (&mut self.calls, Context { machine, is_open, outgoing, now, out })
    }

    fn encode(&self, content: Content<'_>) -> Vec<u8> {
        Publication { machine: self.machine, session: self.connection.session(), content }.encode()
    }

    /// Queues a message. If it is lost, the subscribers of `about` are told.
    fn hold(&mut self, topic: Topic, about: Topic, bytes: Vec<u8>, cost: usize, now: u64) {
        self.connection.need(now);
        let held = Held { topic, bytes, purpose: Purpose::Message(about), cost };
        self.outgoing.push_or_lose(held, now);
    }

    fn on_failed(&mut self, why: String, now: u64, out: &mut Vec<Output>) {
        if !self.connection.on_failed(now) {
            return;
        }
        if self.failure != why {
            self.failure.clone_from(&why);
            out.push(Output::Failed(why));
        }
        self.subscriptions.on_failed();
        let (calls, mut cx) = self.context(now, out);
        calls.on_disconnected(&mut cx);
        self.outgoing.on_failed();
        out.push(Output::Close);
    }

    fn on_received(&mut self, topic: Topic, bytes: &[u8], has_room: bool, now: u64, out: &mut Vec<Output>) {
        let Some(Publication { machine, session, content }) = Publication::decode(bytes) else { return };
        let is_own = machine == self.machine;
        match (topic, content) {
            (Topic::Machine(_), Content::Beat(number)) if is_own => {
                let has_waited = self.connection.on_beat(number, now);
                if has_waited {
                    self.tell_overrun(out);
                }
            }
            (topic @ (Topic::Channel(_) | Topic::Handler(_)), content) if !is_own => {
                self.on_message(topic, content, has_room, out);
            }
            (Topic::Requests, Content::LeaderNotice { name, .. }) if !is_own && !has_room => {
                self.overrun(Topic::Handler(name.into()));
            }
            // Of too many topics to name them all.
            (Topic::Requests, Content::Lost(_)) if !is_own => {
                let topics = self.subscriptions.of_processes();
                out.extend(topics.map(|topic| Output::Lost { topic, count: 0 }));
            }
            (Topic::Requests, content) => {
                let (calls, mut cx) = self.context(now, out);
                calls.on_broadcast((machine, session), content, has_room, &mut cx);
            }
            (Topic::Machine(to), content) if to == self.machine && !is_own => {
                let (calls, mut cx) = self.context(now, out);
                calls.on_direct((machine, session), content, has_room, &mut cx);
            }
            _ => {}
        }
    }

    fn on_message(&mut self, topic: Topic, content: Content<'_>, has_room: bool, out: &mut Vec<Output>) {
        match content {
            Content::Message { .. } if !has_room => self.overrun(topic),
            Content::Message { worker, data } => {
                self.tell_overrun_of(&topic, out);
                out.push(Output::Message { topic, worker, data: data.to_vec() });
            }
            Content::Lost(count @ 1..) => {
                self.tell_overrun_of(&topic, out);
                out.push(Output::Lost { topic, count });
            }
            _ => {}
        }
    }

    /// There is no room for a message to the processes of this machine that subscribe to a topic.
    fn overrun(&mut self, topic: Topic) {
        if self.subscriptions.is_wanted(&topic) {
            *self.overrun.entry(topic).or_default() += 1;
        }
    }

    fn tell_overrun_of(&mut self, topic: &Topic, out: &mut Vec<Output>) {
        if let Some(count) = self.overrun.remove(topic) {
            out.push(Output::Lost { topic: topic.clone(), count });
        }
    }

    fn tell_overrun(&mut self, out: &mut Vec<Output>) {
        let all = std::mem::take(&mut self.overrun).into_iter();
        out.extend(all.map(|(topic, count)| Output::Lost { topic, count }));
    }

    /// Does everything that is possible by now.
    fn proceed(&mut self, now: u64, out: &mut Vec<Output>) {
        match self.connection.take_due(now) {
            Some(Due::Open) => out.push(Output::Open),
            Some(Due::Beat(number)) => {
                out.push(Output::Beat(Topic::Machine(self.machine), self.encode(Content::Beat(number))));
            }
            Some(Due::End) => self.on_failed("the server has not answered in time".into(), now, out),
            None => {}
        }
        self.give_room(out);
        if self.connection.is_open() {
            let (calls, mut cx) = self.context(now, out);
            calls.on_time(&mut cx);
            if let Some(Change { subscribe, unsubscribe }) = self.subscriptions.next_change() {
                out.push(Output::Change { subscribe, unsubscribe });
            }
            if self.subscriptions.is_ready() {
                self.publish(out);
            }
        } else {
            let late = self.outgoing.drop_old(now);
            let (calls, mut cx) = self.context(now, out);
            calls.on_unpublished(late, &mut cx);
        }
        // Dropped messages and cancelled requests free room, too.
        self.give_room(out);
    }

    fn give_room(&mut self, out: &mut Vec<Output>) {
        let room = self.outgoing.take_room();
        if room > 0 {
            out.push(Output::Room(room));
        }
    }

    fn publish(&mut self, out: &mut Vec<Output>) {
        let Self { calls, outgoing, machine, connection, .. } = self;
        let (machine, session) = (*machine, connection.session());
        let encode_loss = |count| Publication { machine, session, content: Content::Lost(count) }.encode();
        if let Some(batch) = outgoing.next_batch(session, |call| calls.send(call), encode_loss) {
            out.push(Output::Publish(batch));
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        let is_open = self.connection.is_open();
        self.subscriptions.check_invariants(is_open);
        self.outgoing.check_invariants(is_open);
        self.calls.check_invariants(is_open);
    }
}

#[cfg(test)]
mod tests;
