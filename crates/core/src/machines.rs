//! Messages and requests between machines, which a server of Redis or Valkey passes on to those that have subscribed.
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
//!   connection is noticed. Nothing is published before it has subscribed to what others have for it.
//! - **A request ends**: see [`requests`]. Machines that wait for each other say each second that they are there. One that has
//!   said nothing for [`SILENCE`] ms, has been connected anew, or does not hear what is published to it, is gone, with all that
//!   it owes and all that it waits for. A machine that loses its connection ends all requests that have been published, and
//!   cancels all that others have made.
//!
//! Servers and other machines are not trusted: what makes no sense is dropped, and all that is remembered of it is bounded.
//!
//! Times are in ms by a clock of this machine that never goes back.

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

use calls::{Calls, Means};
use connection::{Connection, Due};
pub use event::{End, Input, Output};
pub use outgoing::{HOLD, MAX_HELD};
use outgoing::{Held, Outgoing, Purpose};
pub use peers::SILENCE;
use subscriptions::{Change, Subscriptions};
pub use topic::{MachineId, Topic};
use wire::{Said, Saying};

/// See the module.
#[derive(Debug)]
pub struct Machines {
    machine: MachineId,
    connection: Connection,
    subscriptions: Subscriptions,
    outgoing: Outgoing,
    /// What processes of this machine have to be told is lost.
    overrun: BTreeMap<Topic, u64>,
    calls: Calls,
    /// Why the last connection has ended, or was none.
    failure: String,
}

impl Machines {
    /// Nothing is heard. It connects when something is needed for the first time.
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

    /// Takes what has happened, and appends what is to be done.
    pub fn input(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        match input {
            Input::Listen(topic) => {
                self.subscriptions.want(topic);
                self.connection.need(now);
            }
            Input::Unlisten(topic) => {
                self.overrun.remove(&topic);
                self.subscriptions.forget(&topic);
            }
            Input::Post { topic, worker, data } => {
                let bytes = self.say(Said::Message { worker, data: &data });
                self.hold(topic.clone(), topic, bytes, data.len(), now);
            }
            Input::Tell { leader, name, worker, data } => {
                let bytes = self.say(Said::Tell { worker, leader: &leader, name: &name, data: &data });
                self.hold(Topic::Requests, Topic::Handler(name), bytes, data.len(), now);
            }
            Input::Dropped { topic, count } => {
                self.outgoing.lose(topic, count);
                self.connection.need(now);
            }
            Input::Request { call, worker, leader, name, data } => {
                self.connection.need(now);
                let leader = leader.as_deref();
                let bytes = self.say(Said::Ask { call, worker, leader, name: &name, data: &data });
                let (calls, mut means) = self.means(now, out);
                calls.on_request(call, leader.is_some(), (bytes, data.len()), &mut means);
            }
            Input::Cancel { call, tell } => {
                let (calls, mut means) = self.means(now, out);
                calls.on_cancel(call, tell, &mut means);
            }
            Input::Asked { id, workers } => {
                let (calls, mut means) = self.means(now, out);
                calls.on_asked(id, workers.as_deref(), &mut means);
            }
            Input::Answered { id, worker, status, data, is_last } => {
                let (calls, mut means) = self.means(now, out);
                calls.on_answered((id, is_last), worker, status, &data, &mut means);
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
                let (calls, mut means) = self.means(now, out);
                calls.on_reached(reached, &mut means);
            }
            Input::Heard { topic, bytes, has_room } if self.connection.is_open() => {
                self.on_heard(topic, &bytes, has_room, now, out);
            }
            Input::Heard { .. } | Input::Tick => {}
        }
        self.proceed(now, out);
    }

    /// When it wants to be told that time has passed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let held = self.outgoing.next_deadline().filter(|_| !self.connection.is_open());
        let all = [self.connection.next_deadline(), self.calls.next_deadline(), held];
        all.into_iter().flatten().min()
    }

    /// How many requests of this machine, and how many of others, have not ended.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        self.calls.pending()
    }

    fn means<'a>(&'a mut self, now: u64, out: &'a mut Vec<Output>) -> (&'a mut Calls, Means<'a>) {
        let (outgoing, machine, is_open) = (&mut self.outgoing, self.machine, self.connection.is_open());
        (&mut self.calls, Means { machine, is_open, outgoing, now, out })
    }

    fn say(&self, said: Said<'_>) -> Vec<u8> {
        Saying { machine: self.machine, session: self.connection.session(), said }.encode()
    }

    /// Queues a message. If it is lost, those are told that hear `about`.
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
        let (calls, mut means) = self.means(now, out);
        calls.on_disconnected(&mut means);
        self.outgoing.on_failed();
        out.push(Output::Close);
    }

    fn on_heard(&mut self, topic: Topic, bytes: &[u8], has_room: bool, now: u64, out: &mut Vec<Output>) {
        let Some(Saying { machine, session, said }) = Saying::decode(bytes) else { return };
        let is_own = machine == self.machine;
        match (topic, said) {
            (Topic::Machine(_), Said::Beat(number)) if is_own => {
                let has_waited = self.connection.on_beat(number, now);
                if has_waited {
                    self.tell_overrun(out);
                }
            }
            (topic @ (Topic::Channel(_) | Topic::Handler(_)), said) if !is_own => {
                self.on_message(topic, said, has_room, out);
            }
            (Topic::Requests, Said::Tell { name, .. }) if !is_own && !has_room => {
                self.overrun(Topic::Handler(name.into()));
            }
            (Topic::Requests, said) => {
                let (calls, mut means) = self.means(now, out);
                calls.on_said((machine, session), said, has_room, &mut means);
            }
            (Topic::Machine(to), said) if to == self.machine && !is_own => {
                let (calls, mut means) = self.means(now, out);
                calls.on_answer((machine, session), said, has_room, &mut means);
            }
            _ => {}
        }
    }

    fn on_message(&mut self, topic: Topic, said: Said<'_>, has_room: bool, out: &mut Vec<Output>) {
        match said {
            Said::Message { .. } if !has_room => self.overrun(topic),
            Said::Message { worker, data } => {
                self.tell_overrun_of(&topic, out);
                out.push(Output::Message { topic, worker, data: data.to_vec() });
            }
            Said::Lost(count @ 1..) => {
                self.tell_overrun_of(&topic, out);
                out.push(Output::Lost { topic, count });
            }
            _ => {}
        }
    }

    /// A message has no room on its way to the processes that hear this.
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

    /// Does what can be done by now.
    fn proceed(&mut self, now: u64, out: &mut Vec<Output>) {
        match self.connection.take_due(now) {
            Some(Due::Open) => out.push(Output::Open),
            Some(Due::Beat(number)) => {
                out.push(Output::Beat(Topic::Machine(self.machine), self.say(Said::Beat(number))));
            }
            Some(Due::End) => self.on_failed("the server has not answered in time".into(), now, out),
            None => {}
        }
        self.give_room(out);
        if self.connection.is_open() {
            let (calls, mut means) = self.means(now, out);
            calls.on_time(&mut means);
            if let Some(Change { subscribe, unsubscribe }) = self.subscriptions.next_change() {
                out.push(Output::Change { subscribe, unsubscribe });
            }
            if self.subscriptions.is_ready() {
                self.publish(out);
            }
        } else {
            let late = self.outgoing.drop_old(now);
            let (calls, mut means) = self.means(now, out);
            calls.on_unpublished(late, &mut means);
        }
        // What is dropped, or has no reader any more, leaves room as well.
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
        let say_lost = |count| Saying { machine, session, said: Said::Lost(count) }.encode();
        if let Some(batch) = outgoing.next_batch(session, |call| calls.send(call), say_lost) {
            out.push(Output::Publish(batch));
        }
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self) {
        let is_open = self.connection.is_open();
        self.subscriptions.check_invariants(is_open);
        self.outgoing.check_invariants(is_open);
        self.calls.check_invariants(is_open);
    }
}

#[cfg(test)]
mod tests;
