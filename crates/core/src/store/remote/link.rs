//! The link between a store and its server, as a state machine. Times are in ms by the clock of this machine.

use super::backend::Backend;
use super::batch::check;
use super::payload::{EPOCH, read_answer, read_entry, read_kept};
use super::queue::Queue;
use crate::random::Random;
use crate::store::ops::{Outcome, Status as Result};

/// The error for an answer that cannot be parsed.
pub const NONSENSE: &str = "the server has answered what makes no sense";

/// The interval at which the server is polled for its revision and its time, in ms.
const BEAT: u64 = 1000;

/// The shortest and the longest backoff between attempts to connect, in ms.
const FIRST_BACKOFF: u64 = 25;
const LAST_BACKOFF: u64 = 500;

/// The longest backoff while the server answers but refuses, in ms.
const REFUSED_BACKOFF: u64 = 2000;

/// The shortest interval between requests to the server to remove expired keys, in ms.
const EXPIRY: u64 = 50;

/// The smallest number of bytes of changes that the server keeps, and the largest number of changes.
const MIN_HISTORY: u64 = 1 << 20;
const MAX_CHANGES: u64 = 100_000;

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It has not been connected yet.
    #[default]
    Connecting,
    /// Connected, and loading the whole store.
    Loading,
    /// Up to date, and following the changes.
    Following,
    /// The server cannot be used. Another attempt follows.
    Offline,
}

impl State {
    /// The code of this state for JavaScript; 0 is no state.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Connecting => 1,
            Self::Loading => 2,
            Self::Following => 3,
            Self::Offline => 4,
        }
    }
}

/// The public status of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The server's URL, without its password.
    pub url: String,
    /// The last time at which the store was up to date.
    pub synced_at: u64,
    /// The last entry of the stream that was applied.
    pub place: String,
    /// The number of unanswered requests.
    pub queued: u64,
    /// The number of successful connections.
    pub connects: u64,
    /// The number of lost connections.
    pub disconnects: u64,
    /// The number of full loads.
    pub loads: u64,
    /// The last error, until the next connection or successful write.
    pub error: Option<String>,
}

/// The server's answer to the greeting. See `greet.lua`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The incarnation of the store.
    pub epoch: Vec<u8>,
    /// The revision of the store.
    pub revision: u64,
    /// The time in ms since 1970.
    pub time: u64,
    /// Whether the stream still contains the changes after this machine's position.
    pub goes_on: bool,
    /// The last batch of this machine, and the answer to it.
    pub last: Option<(u64, Vec<u8>)>,
}

/// The whole content of the store. The values are in the format of [`read_kept`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The incarnation of the store.
    pub epoch: Vec<u8>,
    /// The revision of the store.
    pub revision: u64,
    /// The last entry of the stream; empty if there is none.
    pub place: String,
    /// Keys and values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection, or it was lost.
    Lost(String),
    /// The server answers, but refuses to let this machine use the store. With its message.
    Refused(String),
    /// The server does not know this connection: it must be greeted again.
    Unknown,
    /// The server is out of memory.
    Full(String),
    /// The server cannot execute the script.
    Script(String),
}

impl Failure {
    /// The error message.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Lost(why) | Self::Refused(why) | Self::Full(why) | Self::Script(why) => why,
            Self::Unknown => "the server does not know this connection".into(),
        }
    }
}

/// An input of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A process sent a request. It is queued, and the next input of another kind sends it.
    Request {
        /// The process.
        peer: u64,
        /// The request, as it was received.
        request: Vec<u8>,
    },
    /// A value has expired here.
    Expired,
    /// The answer to [`Output::Open`].
    Greeted {
        /// What the server said.
        greeting: Greeting,
        /// When the greeting was sent.
        asked_at: u64,
    },
    /// The answer to [`Output::Load`].
    Loaded(Loaded),
    /// The answer to [`Output::Write`].
    Answered(Vec<u8>),
    /// The answer to [`Output::Follow`]: entries of the stream, each with its payload.
    Entries(Vec<(String, Vec<u8>)>),
    /// The answer to [`Output::Beat`].
    Beat {
        /// The incarnation of the store; `None` if the store no longer exists.
        epoch: Option<Vec<u8>>,
        /// The revision of the store.
        revision: u64,
        /// The time in ms since 1970.
        time: u64,
        /// When the request was sent.
        asked_at: u64,
    },
    /// Any output except `Write` has failed.
    Failed(Failure),
    /// [`Output::Write`] has failed.
    WriteFailed(Failure),
    /// A change does not fit into the memory of this machine.
    Overflow,
    /// Only time has passed.
    Tick,
}

/// An output of the link.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect, and greet the server.
    Open {
        /// A name that no other connection of this machine has.
        connection: String,
        /// The epoch to use if the server has none.
        new_epoch: Vec<u8>,
        /// The epoch known here; empty if none.
        epoch: Vec<u8>,
        /// The last revision applied here.
        revision: u64,
        /// The last entry of the stream applied here; empty if none.
        place: String,
    },
    /// Drop the connections, and the pending requests on them.
    Close,
    /// Load the whole store.
    Load,
    /// Request the changes after an entry.
    Follow(String),
    /// Request the revision and the time.
    Beat,
    /// Run the script with these arguments.
    Write {
        /// The connection, as it was greeted.
        connection: String,
        /// The number of the batch.
        number: u64,
        /// How many bytes of changes, and how many changes, the server keeps.
        history: (u64, u64),
        /// Whether the script also removes expired keys.
        expire: bool,
        /// The arguments of the batch.
        arguments: Vec<Vec<u8>>,
    },
    /// Apply an entry of the stream to the memory.
    Apply {
        /// The entry.
        payload: Vec<u8>,
        /// How far this machine's clock is ahead of the server's, in ms.
        ahead: i64,
    },
    /// Make the memory equal to this.
    Reload {
        /// The content.
        loaded: Loaded,
        /// How far this machine's clock is ahead of the server's, in ms.
        ahead: i64,
    },
    /// Answer a request.
    Answer {
        /// The process that sent it. A process gets its answers in the order of its requests.
        peer: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// Publish the status.
    Tell(Status),
}

/// How far this machine's clock is ahead of the server's.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    ahead: i64,
    /// The round-trip time of the measurement, and when it was made.
    took: u64,
    at: u64,
}

/// After this time in ms, a new measurement replaces the old one even if its round trip was longer.
const CLOCK_AGE: u64 = 60_000;

impl Clock {
    fn on_time(&mut self, time: u64, asked_at: u64, now: u64) {
        let took = now.saturating_sub(asked_at);
        if self.at == 0 || took <= self.took || now.saturating_sub(self.at) > CLOCK_AGE {
            let middle = i64::try_from(asked_at + took / 2).unwrap_or(i64::MAX);
            let time = i64::try_from(time).unwrap_or(i64::MAX);
            *self = Self { ahead: middle.saturating_sub(time), took, at: now };
        }
    }
}

/// Whether the server is to remove expired keys, and the earliest time of the next request for it.
#[derive(Clone, Copy, Debug, Default)]
struct Expiry {
    is_due: bool,
    next: u64,
}

/// The link of one store: see the module.
#[derive(Debug)]
pub struct Link {
    wait: u64,
    longest: usize,
    history: u64,
    random: Random,
    /// The prefix of the names of this machine's connections.
    writer: String,
    opened: u64,
    epoch: Vec<u8>,
    revision: u64,
    clock: Clock,
    queue: Queue,
    is_open: bool,
    /// The earliest time of the next attempt to connect.
    next_attempt: u64,
    attempts: u32,
    next_beat: u64,
    is_beating: bool,
    /// The local content differs from the server's, even if the server says that it is up to date.
    must_load: bool,
    expiry: Expiry,
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
            random: Random::new(seed),
            writer,
            opened: 0,
            epoch: Vec::new(),
            revision: 0,
            clock: Clock::default(),
            queue: Queue::default(),
            is_open: false,
            next_attempt: 0,
            attempts: 0,
            next_beat: 0,
            is_beating: false,
            must_load: false,
            expiry: Expiry::default(),
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
            Input::Overflow => {
                self.must_load = true;
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
        let attempt = (!self.is_open).then_some(self.next_attempt);
        attempt.into_iter().chain(self.queue.next_deadline()).min()
    }

    fn connection(&self) -> String {
        format!("{}-{}", self.writer, self.opened)
    }

    fn go_on(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.status.state == State::Following {
            self.write(now, out);
            if !self.is_beating && now >= self.next_beat {
                self.is_beating = true;
                out.push(Output::Beat);
            }
        } else {
            let given_up = self.queue.give_up(now);
            out.extend(given_up.into_iter().map(|(peer, outcome)| Output::Answer { peer, outcome }));
            if !self.is_open && now >= self.next_attempt {
                self.open(out);
            }
        }
        self.status.queued = self.queue.len() as u64;
        // A change of the queue length alone is not published.
        self.told.queued = self.status.queued;
        if self.told != self.status {
            self.told.clone_from(&self.status);
            out.push(Output::Tell(self.status.clone()));
        }
    }

    fn open(&mut self, out: &mut Vec<Output>) {
        self.is_open = true;
        self.opened += 1;
        let mut new_epoch = Vec::with_capacity(EPOCH);
        // Printable, so that an operator can read it on the server.
        new_epoch.extend((0..EPOCH).map(|_| b"0123456789abcdefghijklmnopqrstuv"[self.random.below(32)]));
        out.push(Output::Open {
            connection: self.connection(),
            new_epoch,
            epoch: self.epoch.clone(),
            revision: self.revision,
            place: self.status.place.clone(),
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
        if expire {
            self.expiry.is_due = false;
            self.expiry.next = now + EXPIRY;
        }
        let history = (self.history, MAX_CHANGES);
        out.push(Output::Write { connection: self.connection(), number, history, expire, arguments });
    }

    fn answer(&mut self, out: &mut Vec<Output>) {
        let answers = self.queue.take_answers(self.revision);
        out.extend(answers.into_iter().map(|(peer, outcome)| Output::Answer { peer, outcome }));
    }

    fn on_greeted(&mut self, greeting: &Greeting, asked_at: u64, now: u64, out: &mut Vec<Output>) {
        if !self.is_open || greeting.epoch.len() != EPOCH {
            return self.fail_with_nonsense(now, out);
        }
        self.clock.on_time(greeting.time, asked_at, now);
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
        if greeting.goes_on && self.status.loads > 0 && !self.must_load {
            return self.follow(now, out);
        }
        self.status.state = State::Loading;
        out.push(Output::Load);
    }

    fn follow(&mut self, now: u64, out: &mut Vec<Output>) {
        self.status.state = State::Following;
        self.status.connects += 1;
        self.status.error = None;
        self.status.synced_at = now;
        self.attempts = 0;
        self.next_beat = now + BEAT;
        self.ask_for_changes(out);
        self.answer(out);
    }

    /// Requests the changes after the last applied entry of the stream.
    fn ask_for_changes(&self, out: &mut Vec<Output>) {
        let place = if self.status.place.is_empty() { "0-0" } else { &self.status.place };
        out.push(Output::Follow(place.to_owned()));
    }

    fn on_loaded(&mut self, loaded: Loaded, now: u64, out: &mut Vec<Output>) {
        let sound = loaded.values.iter().all(|(_, raw)| read_kept(raw).is_some());
        if self.status.state != State::Loading || loaded.epoch.len() != EPOCH || !sound {
            return self.fail_with_nonsense(now, out);
        }
        self.must_load = false;
        self.epoch.clone_from(&loaded.epoch);
        self.revision = loaded.revision;
        self.status.place.clone_from(&loaded.place);
        self.status.loads += 1;
        out.push(Output::Reload { loaded, ahead: self.clock.ahead });
        self.follow(now, out);
    }

    fn on_answered(&mut self, answer: &[u8], now: u64, out: &mut Vec<Output>) {
        let Some(sent) = self.queue.sent() else { return };
        let Some((revision, _, outcomes)) = read_answer(answer, sent.asked()) else {
            return self.fail_with_nonsense(now, out);
        };
        if !outcomes.is_empty() {
            self.status.error = None;
        }
        self.queue.on_answer(revision, outcomes);
        self.answer(out);
    }

    fn on_entries(&mut self, entries: Vec<(String, Vec<u8>)>, now: u64, out: &mut Vec<Output>) {
        if self.status.state != State::Following {
            return;
        }
        for (place, payload) in entries {
            let Some((epoch, groups)) = read_entry(&payload) else {
                return self.fail_with_nonsense(now, out);
            };
            let mut revision = self.revision;
            let is_next = epoch == self.epoch
                && groups.iter().all(|group| {
                    revision += 1;
                    group.revision == revision
                });
            if !is_next {
                // Changes have been trimmed, or the server has another store under this name.
                return self.load_again(now, out);
            }
            self.revision = revision;
            self.status.place = place;
            self.status.synced_at = now;
            out.push(Output::Apply { payload, ahead: self.clock.ahead });
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
        self.clock.on_time(time, asked_at, now);
        if epoch != Some(self.epoch.as_slice()) || revision < self.revision {
            return self.load_again(now, out);
        }
        if revision == self.revision {
            self.status.synced_at = now;
        }
    }

    fn load_again(&mut self, now: u64, out: &mut Vec<Output>) {
        self.must_load = true;
        self.disconnect(now, out);
    }

    fn disconnect(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.status.state == State::Following {
            self.status.disconnects += 1;
        }
        self.status.state = if self.status.loads == 0 { State::Connecting } else { State::Offline };
        self.is_open = false;
        self.is_beating = false;
        self.next_attempt = now;
        out.push(Output::Close);
    }

    fn fail_with_nonsense(&mut self, now: u64, out: &mut Vec<Output>) {
        self.on_failed(Failure::Refused(NONSENSE.into()), now, out);
    }

    fn on_failed(&mut self, failure: Failure, now: u64, out: &mut Vec<Output>) {
        if !self.is_open {
            return;
        }
        self.disconnect(now, out);
        let (why, longest) = match failure {
            Failure::Unknown => return,
            Failure::Lost(why) => (why, LAST_BACKOFF),
            Failure::Refused(why) | Failure::Full(why) | Failure::Script(why) => (why, REFUSED_BACKOFF),
        };
        self.status.error = Some(why);
        if longest == REFUSED_BACKOFF {
            self.status.state = State::Offline;
        }
        // The first attempt is immediate: the server may just have closed an idle connection.
        if self.attempts > 0 {
            let backoff = (FIRST_BACKOFF << self.attempts.min(16)).min(longest);
            let spread = u32::try_from(backoff / 4).unwrap_or(0);
            self.next_attempt = now + backoff - u64::from(self.random.number(0, spread));
        }
        self.attempts += 1;
    }

    fn on_write_failed(&mut self, failure: Failure, now: u64, out: &mut Vec<Output>) {
        let (status, why) = match failure {
            Failure::Full(why) => (Result::ServerFull, why),
            Failure::Script(why) => (Result::ServerRefused, why),
            failure => return self.on_failed(failure, now, out),
        };
        if self.queue.on_refusal(status) {
            self.status.error = Some(why);
            self.answer(out);
        }
    }
}
