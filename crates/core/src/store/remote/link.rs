//! The link between a store and its server, as a state machine. Times are in ms by the clock of this machine.

use super::backend::Backend;
use super::batch::check;
use super::clock::Clock;
use super::connection::Connection;
use super::expiry::Expiry;
use super::failure::{Failure, INVALID_ANSWER};
use super::messages::{Greeting, Input, Loaded, Output};
use super::payload::{EPOCH, read_answer, read_entry, read_kept};
use super::portion::Portion;
use super::position::Position;
use super::queue::Queue;
use super::stall::Stall;
use super::status::{State, Status};
use crate::store::ops;

/// The interval at which the server is polled for its revision and its time, in ms.
const BEAT: u64 = 1000;

/// The shortest interval between requests to the server to remove expired keys, in ms.
const EXPIRY: u64 = 50;

/// The smallest number of bytes of changes that the server keeps, and the largest number of changes.
const MIN_HISTORY: u64 = 1 << 20;
const MAX_CHANGES: u64 = 100_000;

/// Why everything is loaded again.
const REPLACED: &str = "the store on the server was emptied, replaced, or set back to an earlier revision";

/// The link of one store: see the module.
#[derive(Debug)]
pub struct Link {
    wait: u64,
    longest: usize,
    history: u64,
    connection: Connection,
    position: Position,
    clock: Clock,
    queue: Queue,
    /// The number of the last load.
    load: u64,
    next_beat: u64,
    is_beating: bool,
    /// The revision applied here when the last beat was sent. Its answer may arrive after later changes.
    beat_from: u64,
    stall: Stall,
    portion: Portion,
    expiry: Expiry,
    /// The last batch failed in the middle. Its error is shown until another one succeeds, because connecting does.
    is_torn: bool,
    status: Status,
    told: Status,
}

impl Link {
    /// Creates a link that is not connected yet. `writer` is unique to this machine, `longest` is the largest
    /// number of words of a record, and `size` is the size of the store in bytes.
    #[must_use]
    pub fn new(backend: &Backend, writer: String, longest: usize, size: u64, seed: u64) -> Self {
        Self {
            wait: backend.wait,
            longest,
            history: (size / 4).max(MIN_HISTORY),
            connection: Connection::new(writer, seed),
            position: Position::default(),
            clock: Clock::default(),
            queue: Queue::default(),
            load: 0,
            next_beat: 0,
            is_beating: false,
            beat_from: 0,
            stall: Stall::default(),
            portion: Portion::default(),
            expiry: Expiry::default(),
            is_torn: false,
            status: Status { url: backend.to_string(), ..Status::default() },
            told: Status::default(),
        }
    }

    /// Processes an input, and appends the outputs.
    pub fn input(&mut self, input: Input, now: u64, out: &mut Vec<Output>) {
        match input {
            Input::Request { peer, request } => {
                // Requests that arrive together are sent together: the next input sends them.
                let deadline = now.saturating_add(self.wait);
                return self.queue.push(peer, check(&request, self.longest), deadline);
            }
            Input::Expired => self.expiry.is_due = true,
            Input::Greeted { greeting, asked_at } => self.on_greeted(&greeting, asked_at, now, out),
            Input::Loaded(loaded) => self.on_loaded(loaded, now, out),
            Input::Answered(answer) => self.on_answered(&answer, now, out),
            Input::Entries(entries) => self.on_entries(entries, now, out),
            Input::Beat { epoch, revision, time, asked_at } => {
                self.on_beat(epoch.as_deref(), revision, (time, asked_at), now, out);
            }
            Input::Failed(failure) => self.on_failed(failure, now, out),
            Input::WriteFailed(failure) => self.on_write_failed(failure, now, out),
            Input::Reloaded(number) => self.on_reloaded(number, now, out),
            Input::Overflow => {
                self.position.invalidate();
                let why =
                    "what is in the store does not fit into its size here: it has another one elsewhere";
                self.on_failed(Failure::Refused(why.into()), now, out);
            }
            Input::Tick => {}
        }
        self.go_on(now, out);
    }

    /// When the link needs an [`Input::Tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.status.state == State::Following {
            let expiry = (self.expiry.is_due && !self.queue.is_sending()).then_some(self.expiry.next);
            let beat = (!self.is_beating).then_some(self.next_beat);
            return expiry.into_iter().chain(beat).min();
        }
        self.connection.next_attempt().into_iter().chain(self.queue.next_deadline()).min()
    }

    fn go_on(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.status.state == State::Following {
            self.write(now, out);
            if !self.is_beating && now >= self.next_beat {
                self.is_beating = true;
                self.beat_from = self.position.revision();
                out.push(Output::Beat);
            }
        } else {
            let given_up = self.queue.give_up(now);
            out.extend(given_up.into_iter().map(|(peer, outcome)| Output::Answer { peer, outcome }));
            if self.connection.next_attempt().is_some_and(|at| now >= at) {
                self.open(out);
            }
        }
        self.status.place.clear();
        self.status.place.push_str(self.position.place());
        self.status.queued = self.queue.len() as u64;
        // A change of the queue length alone is not published.
        self.told.queued = self.status.queued;
        if self.told != self.status {
            self.told.clone_from(&self.status);
            out.push(Output::Tell(self.status.clone()));
        }
    }

    fn open(&mut self, out: &mut Vec<Output>) {
        let new_epoch = self.connection.open();
        out.push(Output::Open {
            connection: self.connection.name(),
            new_epoch,
            epoch: self.position.epoch().to_owned(),
            revision: self.position.revision(),
            place: self.position.place().to_owned(),
        });
    }

    fn write(&mut self, now: u64, out: &mut Vec<Output>) {
        let expire = self.expiry.is_due && now >= self.expiry.next;
        if self.queue.is_sending() || !(expire || self.queue.has_waiting()) {
            return;
        }
        let batch = self.queue.send();
        if batch.asked() == 0 && !expire {
            // None of the requests is for the server.
            self.queue.on_answer(0, Vec::new());
            return self.answer(out);
        }
        let (number, arguments) = (batch.number, batch.arguments());
        self.expiry.is_sent = expire;
        if expire {
            self.expiry.is_due = false;
            self.expiry.next = now + EXPIRY;
        }
        let history = (self.history, MAX_CHANGES);
        let connection = self.connection.name();
        out.push(Output::Write { connection, number, history, expire, arguments });
    }

    fn answer(&mut self, out: &mut Vec<Output>) {
        let answers = self.queue.take_answers(self.position.revision());
        out.extend(answers.into_iter().map(|(peer, outcome)| Output::Answer { peer, outcome }));
    }

    fn on_greeted(&mut self, greeting: &Greeting, asked_at: u64, now: u64, out: &mut Vec<Output>) {
        if !self.connection.is_open() || greeting.epoch.len() != EPOCH {
            return self.fail_with_nonsense(now, out);
        }
        if self.clock.on_time(greeting.time, asked_at, now) {
            self.position.invalidate();
        }
        self.queue.on_greeting(greeting.revision);
        if let Some(sent) = self.queue.sent() {
            match &greeting.last {
                Some((number, answer)) if *number == sent.number => {
                    let Some((revision, _, outcomes)) = read_answer(answer, sent.asked()) else {
                        return self.fail_with_nonsense(now, out);
                    };
                    self.queue.on_answer(revision, outcomes);
                }
                _ => self.queue.unsend(),
            }
        }
        if greeting.goes_on && self.position.is_sound() {
            return self.follow(now, out);
        }
        self.status.state = State::Loading;
        self.load += 1;
        out.push(Output::Load);
    }

    fn follow(&mut self, now: u64, out: &mut Vec<Output>) {
        self.status.state = State::Following;
        self.status.connects += 1;
        if !self.is_torn {
            self.status.error = None;
        }
        self.status.synced_at = now;
        self.next_beat = now + BEAT;
        self.stall = Stall::default();
        self.portion = Portion::default();
        self.ask_for_changes(out);
        self.answer(out);
    }

    /// Requests the changes after the last applied entry of the stream.
    fn ask_for_changes(&self, out: &mut Vec<Output>) {
        let place = self.position.place();
        let place = if place.is_empty() { "0-0" } else { place };
        out.push(Output::Follow { place: place.to_owned(), entries: self.portion.entries() });
    }

    fn on_loaded(&mut self, loaded: Loaded, now: u64, out: &mut Vec<Output>) {
        if self.status.state != State::Loading || loaded.epoch.len() != EPOCH {
            return self.fail_with_nonsense(now, out);
        }
        if let Some((key, _)) = loaded.values.iter().find(|(_, raw)| read_kept(raw).is_none()) {
            let key = String::from_utf8_lossy(key);
            let why = format!("what the server has for the key {key:?} was not written by a store");
            return self.on_failed(Failure::Refused(why), now, out);
        }
        self.position.on_loaded(&loaded.epoch, loaded.revision, &loaded.place);
        out.push(Output::Reload { number: self.load, loaded, ahead: self.clock.most() });
    }

    /// What was loaded fits into the memory. The connection may have been lost since.
    fn on_reloaded(&mut self, number: u64, now: u64, out: &mut Vec<Output>) {
        if number != self.load {
            return;
        }
        self.status.loads += 1;
        if self.status.state == State::Loading {
            self.follow(now, out);
        }
    }

    fn on_answered(&mut self, answer: &[u8], now: u64, out: &mut Vec<Output>) {
        let Some(sent) = self.queue.sent() else { return };
        let Some((revision, has_expired, outcomes)) = read_answer(answer, sent.asked()) else {
            return self.fail_with_nonsense(now, out);
        };
        if has_expired {
            // A script removes some at a time, so that others are served in between.
            self.expiry = Expiry { is_due: true, next: now, is_sent: false };
        }
        if !outcomes.is_empty() {
            self.is_torn = false;
            self.status.error = None;
        }
        self.queue.on_answer(revision, outcomes);
        self.answer(out);
    }

    fn on_entries(&mut self, entries: Vec<(String, Vec<u8>)>, now: u64, out: &mut Vec<Output>) {
        if self.status.state != State::Following {
            return;
        }
        if entries.is_empty() && self.stall.is_missing_at(self.position.revision()) {
            return self.load_again("the server has made changes that are not in its stream", now, out);
        }
        self.portion.on_entries(&entries);
        for (place, payload) in entries {
            let Some((epoch, groups)) = read_entry(&payload) else {
                // The next attempt must begin after it.
                self.position.invalidate();
                return self.fail_with_nonsense(now, out);
            };
            if !self.position.advance(place, epoch, &groups) {
                let is_same = epoch == self.position.epoch();
                let why = if is_same { "changes are missing: the stream was trimmed" } else { REPLACED };
                return self.load_again(why, now, out);
            }
            for leap in groups.iter().filter(|group| group.changes.is_empty()) {
                self.queue.on_leap(leap.before, leap.revision);
            }
            self.status.synced_at = now;
            out.push(Output::Apply { payload, ahead: self.clock.most() });
        }
        self.ask_for_changes(out);
        self.answer(out);
    }

    fn on_beat(
        &mut self,
        epoch: Option<&[u8]>,
        revision: u64,
        (time, asked_at): (u64, u64),
        now: u64,
        out: &mut Vec<Output>,
    ) {
        if self.status.state != State::Following {
            return;
        }
        self.is_beating = false;
        self.next_beat = now + BEAT;
        // Until now, the server might have accepted each connection and refused each use of it.
        self.connection.on_success();
        if self.clock.on_time(time, asked_at, now) {
            return self.load_again("the server's clock was set", now, out);
        }
        if !self.position.is_known_to(epoch, revision, self.beat_from) {
            return self.load_again(REPLACED, now, out);
        }
        if revision == self.position.revision() {
            self.status.synced_at = now;
        }
        self.stall.on_beat(self.position.revision(), revision);
    }

    fn load_again(&mut self, why: &str, now: u64, out: &mut Vec<Output>) {
        self.position.invalidate();
        self.disconnect(why, now, out);
    }

    fn disconnect(&mut self, why: &str, now: u64, out: &mut Vec<Output>) {
        if self.status.state == State::Following {
            self.status.disconnects += 1;
            why.clone_into(&mut self.status.lost);
        }
        self.status.state = if self.status.loads == 0 { State::Connecting } else { State::Offline };
        self.connection.close(now);
        self.is_beating = false;
        out.push(Output::Close);
    }

    fn fail_with_nonsense(&mut self, now: u64, out: &mut Vec<Output>) {
        self.on_failed(Failure::Refused(INVALID_ANSWER.into()), now, out);
    }

    fn on_failed(&mut self, failure: Failure, now: u64, out: &mut Vec<Output>) {
        if !self.connection.is_open() {
            return;
        }
        let is_unknown = failure == Failure::Unknown;
        let is_refused = !matches!(failure, Failure::Unknown | Failure::Lost(_));
        let why = failure.into_text();
        self.disconnect(&why, now, out);
        if is_unknown {
            return;
        }
        self.status.error = Some(why);
        if is_refused {
            self.status.state = State::Offline;
        }
        self.connection.back_off(is_refused, now);
    }

    fn on_write_failed(&mut self, failure: Failure, now: u64, out: &mut Vec<Output>) {
        let (status, why) = match failure {
            Failure::Full(why) => (ops::Status::ServerFull, why),
            Failure::Script(why) => (ops::Status::ServerRefused, why),
            Failure::Torn(why) => {
                // After a reload it is known what was executed of the batch, but not for which request.
                self.queue.on_torn();
                self.is_torn = true;
                self.position.invalidate();
                return self.on_failed(Failure::Torn(why), now, out);
            }
            failure => return self.on_failed(failure, now, out),
        };
        if std::mem::take(&mut self.expiry.is_sent) {
            // What it refuses may be the removal of expired keys, which are not part of any request.
            self.expiry.next = now + BEAT;
            if self.queue.sent().is_some_and(|batch| batch.asked() > 0) {
                self.expiry.is_due = true;
                return self.queue.unsend();
            }
        }
        if self.queue.on_refusal(status) {
            self.status.error = Some(why);
            self.answer(out);
        }
    }
}

#[cfg(test)]
mod tests;
