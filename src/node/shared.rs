//! A shared store, for JavaScript.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use napi::bindgen_prelude::{Float64Array, FromNapiValue, Function, Unknown};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use super::shared_value::{self, Held, KEY_ROOM};
use crate::io::store::{Client, ConnectError, Open, What, Woken, open};
use rcluster_core::store::cursor::{Cursor, Filter, Progress, Start, snapshot};
use rcluster_core::store::geometry::Field;
use rcluster_core::store::ops::{Condition, Lifetime, Op, Outcome};
use rcluster_core::store::request::encode;
use rcluster_core::store::ring::{Pushed, Wanted};
use rcluster_core::store::view::LogEntry;
use rcluster_core::wire::StoreOptions;
use rcluster_js::callback::EventCallback;
use rcluster_js::function::function;
use rcluster_js::uv::UvPoll;
use rcluster_sys::passing::message_pair;

/// How many bytes of requests may wait in this process for room in the ring.
const BACKLOG: usize = 64 << 20;

/// How often answers that are about to come are looked for at the most: a few µs.
const PATIENCE: u32 = 256;
const MIN_PATIENCE: u32 = 16;

/// Words of the log that a watch passes in one go.
const EFFORT: usize = 1 << 16;

/// How often a snapshot is begun anew because the log was cleaned up meanwhile.
const TRIES: usize = 100;

/// A store that this process uses. Keys are strings; what kinds of values there are is said in `lib/shared/values.js`.
#[napi]
pub struct SharedStore {
    shared: Rc<Shared>,
    poll: UvPoll,
}

struct Shared {
    client: Client,
    held: RefCell<Held>,
    /// Where keys are read to: clearing as much for each would cost more than reading most of them.
    key: RefCell<Box<[u8; KEY_ROOM]>>,
    /// The operations of the request that is being put together.
    request: RefCell<Vec<u64>>,
    /// Requests that wait for room in the ring.
    backlog: RefCell<VecDeque<Vec<u64>>>,
    waiting: Cell<usize>,
    /// How often answers that are about to come are looked for.
    patience: Cell<u32>,
    lru: bool,
}

struct Callbacks {
    news: EventCallback,
    end: EventCallback,
}

pub(super) fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}

/// The code goes in front of the message: JavaScript makes the error.
pub(super) fn refusal(error: &ConnectError) -> Error {
    match error {
        ConnectError::Refused { code, message } => failure(format!("{code} {message}")),
        error => failure(format!("ERR_RCLUSTER_SHARED {error}")),
    }
}

/// Opens a store of this process and its workers. `options` is JSON. `on_news` is called when there are answers, or
/// changes for a watch; `on_end` once, when the store can no longer be written to.
///
/// Throws with a message that begins with the code of the error.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings and functions over by value")]
pub fn open_shared(
    env: Env,
    name: String,
    options: String,
    on_news: Function<'_, (), ()>,
    on_end: Function<'_, (), ()>,
) -> Result<SharedStore> {
    let options: StoreOptions = serde_json::from_str(&options).map_err(failure)?;
    let (ours, theirs) = message_pair().map_err(failure)?;
    let what = What::Store { name, options };
    open(Open { what, socket: theirs, worker: None }).map_err(failure)?;
    SharedStore::connect(env, ours, &on_news, &on_end)
}

#[napi]
impl SharedStore {
    pub(super) fn connect(
        env: Env,
        socket: std::os::fd::OwnedFd,
        on_news: &Function<'_, (), ()>,
        on_end: &Function<'_, (), ()>,
    ) -> Result<Self> {
        let client = Client::connect(socket).map_err(|error| refusal(&error))?;
        let watched = client.watched().map_err(failure)?;
        let callbacks = Callbacks {
            news: EventCallback::new(env, on_news, "RCLUSTERSHARED").map_err(failure)?,
            end: EventCallback::new(env, on_end, "RCLUSTERSHARED").map_err(failure)?,
        };
        let shared = Rc::new(Shared {
            lru: client.is_lru(),
            client,
            held: RefCell::default(),
            key: RefCell::new(Box::new([0; KEY_ROOM])),
            request: RefCell::default(),
            backlog: RefCell::default(),
            waiting: Cell::new(0),
            patience: Cell::new(PATIENCE),
        });
        let weak = Rc::downgrade(&shared);
        let mut ended = false;
        let on_ready = move || {
            let Some(shared) = weak.upgrade() else { return };
            match shared.client.woken() {
                Ok(Woken::News) => callbacks.news.call([]),
                Ok(Woken::End) | Err(_) => {
                    if !std::mem::replace(&mut ended, true) {
                        callbacks.end.call([]);
                    }
                }
            }
        };
        let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
        Ok(Self { shared, poll })
    }

    /// No longer waits for anything: `on_end` has been called.
    #[napi]
    pub fn stop(&self) {
        self.poll.pause();
    }

    /// Whether an answer that is waited for keeps the event loop alive.
    #[napi]
    pub fn hold(&self, hold: bool) {
        self.poll.hold_loop(hold);
    }

    /// Makes a function that takes a key and returns its value: `undefined` if it has none, or one that JavaScript has to
    /// make; `rest()` returns then what that is made of.
    #[napi(ts_return_type = "(key: string) => any")]
    pub fn reader(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let read = function(env, c"get", move |env, [key]| {
            let mut held = shared.held.borrow_mut();
            if shared.find(env, &key, &mut held)? && held.is_plain() {
                return held.value(env);
            }
            shared_value::undefined(env)
        });
        read.map_err(failure)
    }

    /// Makes a function that returns what the value that was found last is made of: a string if it is JSON, a Buffer if
    /// it is a structured clone; `undefined` if there was none.
    #[napi(ts_return_type = "() => string | Buffer | undefined")]
    pub fn rest(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        function(env, c"rest", move |env, []| shared.held.borrow().value(env)).map_err(failure)
    }

    /// Makes a function that takes a key and returns whether it has a value, which is then told by `kind()`, `value()` and
    /// `times()`.
    #[napi(ts_return_type = "(key: string) => boolean")]
    pub fn finder(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let find = function(env, c"has", move |env, [key]| {
            let found = shared.find(env, &key, &mut shared.held.borrow_mut())?;
            shared_value::boolean(env, found)
        });
        find.map_err(failure)
    }

    /// What kind the value is that was found last; 0 if there was none.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.shared.held.borrow().kind()
    }

    /// The value that was found last.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.shared.held.borrow().value(*env)
    }

    /// The revision of what was found last, and in how many ms it expires; Infinity if it does not.
    #[napi]
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.shared.held.borrow().times(self.shared.client.now())
    }

    /// What the header says: 0 the revision, 1 how many keys, 2 bytes of values and their records, 3 bytes of memory,
    /// 4 evicted, 5 expired, 6 the longest value in bytes, 7 how many bytes there may be, 8 the last revision that is no
    /// longer in the history.
    #[napi]
    #[must_use]
    pub fn field(&self, number: u32) -> f64 {
        let view = self.shared.client.view();
        let geometry = view.geometry();
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
        match number {
            0 => view.field(Field::Revision) as f64,
            1 => view.field(Field::Count) as f64,
            2 => (view.field(Field::Live) * 8) as f64,
            3 => (view.field(Field::Used) * 8 + (8 << view.field(Field::IndexBits))) as f64,
            4 => view.field(Field::Evicted) as f64,
            5 => view.field(Field::Expired) as f64,
            6 => geometry.max_value() as f64,
            7 => (geometry.live_limit() * 8) as f64,
            _ => view.field(Field::Compacted) as f64,
        }
    }

    /// Makes a function that adds an operation to the request: 1 set, 2 delete, 3 touch, 4 increment, 5 check, 6 clear.
    /// `ms` is how long it lasts: -1 for ever, -2 as before. `revision` is the condition; -1 for none. `by` and `initial`
    /// are an increment's. False if the key or the value is too long.
    #[napi(
        ts_return_type = "(number: number, key: string, kind: number, value: unknown, ms: number, revision: number, by: number, initial: number) => boolean"
    )]
    pub fn adder(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let add = function(env, c"add", move |env, arguments| {
            shared_value::boolean(env, shared.add(env, arguments)?)
        });
        add.map_err(failure)
    }

    /// Forgets the request that was being put together.
    #[napi]
    pub fn discard(&self) {
        self.shared.request.borrow_mut().clear();
    }

    /// Makes a function that sends the request. Answers come in the order of the requests. 0: it is on its way; 1: it is
    /// too long; 2: too many wait.
    #[napi(ts_return_type = "() => number")]
    pub fn submitter(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let submit = function(env, c"submit", move |env, []| {
            let mut request = shared.request.borrow_mut();
            let sent = shared.submit(&request);
            request.clear();
            shared_value::number(env, sent.into())
        });
        submit.map_err(failure)
    }

    /// Makes a function that writes answers into `into`, three numbers for each: how it went, the revision, the number.
    /// It returns how many. Fewer than there is room for means that it will be woken for the next one. `wait`: for a
    /// moment, if they are about to come.
    #[napi(ts_return_type = "(into: Float64Array, wait: boolean) => number")]
    pub fn taker(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let take = function(env, c"take", move |env, [into, wait]| {
            let mut into = Float64Array::from_unknown(into)?;
            let count = shared.take(shared_value::numbers(&mut into), bool::from_unknown(wait)?)?;
            shared_value::number(env, count.into())
        });
        take.map_err(failure)
    }

    /// Begins to watch a key, or all that begin with `text`. `since` is a revision; -1: what there is comes first. None if
    /// the history does not go back that far.
    #[napi]
    pub fn watch(
        &self,
        env: &Env,
        text: Unknown<'_>,
        prefix: bool,
        since: f64,
        history: bool,
    ) -> Result<Option<SharedWatch>> {
        let mut name = self.shared.key.borrow_mut();
        let key =
            shared_value::read_key(*env, &text, &mut name)?.ok_or_else(|| failure("the key is too long"))?;
        let filter = if prefix { Filter::Prefix(key.to_vec()) } else { Filter::Key(key.to_vec()) };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "JavaScript has checked it"
        )]
        let start = if since < 0.0 { Start::Snapshot } else { Start::Since(since as u64) };
        let cursor = Cursor::new(self.shared.client.view(), filter, start, history);
        Ok(cursor.map(|cursor| SharedWatch {
            shared: Rc::clone(&self.shared),
            cursor: RefCell::new(cursor),
            entry: RefCell::default(),
            held: RefCell::default(),
        }))
    }

    /// All keys, or all that begin with `prefix`, as they are at one moment.
    #[napi]
    pub fn snapshot(&self, env: &Env, prefix: Unknown<'_>, with_values: bool) -> Result<SharedSnapshot> {
        let mut name = self.shared.key.borrow_mut();
        let prefix = shared_value::read_key(*env, &prefix, &mut name)?
            .ok_or_else(|| failure("the key is too long"))?;
        let client = &self.shared.client;
        let taken = (0..TRIES).find_map(|_| snapshot(client.view(), prefix, client.now(), with_values));
        let (revision, entries) =
            taken.ok_or_else(|| failure("the store changes faster than it can be read"))?;
        Ok(SharedSnapshot { revision, entries: RefCell::new(entries.into_iter()), held: RefCell::default() })
    }
}

impl Shared {
    fn find(&self, env: Env, key: &Unknown<'_>, held: &mut Held) -> Result<bool> {
        let mut name = self.key.borrow_mut();
        let Some(key) = shared_value::read_key(env, key, &mut name)? else {
            held.forget();
            return Ok(false);
        };
        let view = self.client.view();
        let key = view.key(key);
        let found = view.get(key, || self.client.now(), held.entry()).map_err(failure)?;
        if !found {
            held.forget();
        } else if self.lru {
            self.client.touch(key.hash);
        }
        Ok(found)
    }

    fn submit(&self, request: &[u64]) -> u32 {
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            match self.client.push(request) {
                Pushed::Done { .. } => return 0,
                Pushed::TooLong => return 1,
                Pushed::Full => {}
            }
        }
        let bytes = size_of_val(request);
        if self.waiting.get() + bytes > BACKLOG {
            return 2;
        }
        self.waiting.set(self.waiting.get() + bytes);
        backlog.push_back(request.to_vec());
        0
    }

    fn flush(&self) -> Result<()> {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(request) = backlog.front() {
            match self.client.push(request) {
                Pushed::Done { .. } => {}
                Pushed::Full => return Ok(()),
                Pushed::TooLong => return Err(failure("a request that waited is too long")),
            }
            self.waiting.set(self.waiting.get() - size_of_val(request.as_slice()));
            backlog.pop_front();
        }
        Ok(())
    }

    fn add(&self, env: Env, arguments: [Unknown<'_>; 8]) -> Result<bool> {
        let [number, key, kind, value, ms, revision, by, initial] = arguments;
        let read = |argument| shared_value::read_number(env, &argument);
        let mut name = self.key.borrow_mut();
        let Some(key) = shared_value::read_key(env, &key, &mut name)? else { return Ok(false) };
        let mut request = self.request.borrow_mut();
        let (lifetime, revision) = (lifetime(read(ms)?), read(revision)?);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "JavaScript has checked it"
        )]
        let condition = if revision < 0.0 { Condition::Any } else { Condition::Revision(revision as u64) };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are small numbers")]
        let (number, kind) = (read(number)? as u32, read(kind)? as u32);
        let op = match number {
            1 => {
                return shared_value::with_bytes(env, kind, &value, |kind, value| {
                    if value.len() > self.client.view().geometry().max_value() {
                        return false;
                    }
                    encode(&Op::Set { key, kind, value, lifetime, condition }, &mut request);
                    true
                });
            }
            2 => Op::Delete { key, condition },
            3 => Op::Touch { key, lifetime },
            4 => Op::Increment { key, by: read(by)?, initial: read(initial)?, lifetime },
            5 => Op::Check { key, condition },
            _ => Op::Clear { prefix: key },
        };
        encode(&op, &mut request);
        Ok(true)
    }

    fn take(&self, into: &mut [f64], wait: bool) -> Result<u32> {
        let mut patience = if wait { self.patience.get() } else { 0 };
        let had = patience;
        let mut count = 0;
        for place in into.chunks_exact_mut(3) {
            let Some(outcome) = self.next_answer(&mut patience)? else { break };
            #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
            place.copy_from_slice(&[outcome.status.number().into(), outcome.revision as f64, outcome.number]);
            count += 1;
        }
        if wait {
            self.judge_patience(had, patience);
        }
        Ok(count)
    }

    /// Where looking for answers is in vain, as with a single core, there is less of it the next time.
    fn judge_patience(&self, had: u32, left: u32) {
        if left == 0 {
            self.patience.set((had / 2).max(MIN_PATIENCE));
        } else if left < had {
            self.patience.set((had * 2).min(PATIENCE));
        }
    }

    /// The next answer. `None` means that it will be woken for it.
    fn next_answer(&self, patience: &mut u32) -> Result<Option<Outcome>> {
        if let Some(outcome) = self.client.answer_soon(patience) {
            return Ok(Some(outcome));
        }
        // First: what gets its way now is to be answered, too.
        self.flush()?;
        if !self.client.is_waiting() {
            return Ok(None);
        }
        self.client.want(Wanted::Answers);
        Ok(self.client.answer())
    }
}

fn lifetime(ms: f64) -> Lifetime {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
    match ms {
        -2.0 => Lifetime::Keep,
        ms if ms < 0.0 => Lifetime::Forever,
        ms => Lifetime::Ms(ms.ceil() as u64),
    }
}

/// A walk along the changes of a store.
#[napi]
pub struct SharedWatch {
    shared: Rc<Shared>,
    cursor: RefCell<Cursor>,
    entry: RefCell<LogEntry>,
    held: RefCell<Held>,
}

#[napi]
impl SharedWatch {
    /// Goes on: 1 set, 2 delete, 3 expire, 4 evict, 5 clear, 6 all has been told up to here, 7 what comes next is no
    /// longer in the history, 8 there is more. 0: nothing more has happened; `on_news` will be called when something has.
    #[napi]
    pub fn next(&self) -> Result<u32> {
        let client = &self.shared.client;
        let mut cursor = self.cursor.borrow_mut();
        let mut entry = self.entry.borrow_mut();
        let mut progress = cursor.next(client.view(), &mut entry, EFFORT).map_err(failure)?;
        if progress == Progress::Idle {
            client.want(Wanted::Changes);
            progress = cursor.next(client.view(), &mut entry, EFFORT).map_err(failure)?;
        }
        Ok(match progress {
            Progress::Idle => 0,
            Progress::Change => {
                self.held.borrow_mut().set(&mut entry.value);
                entry.change.number().into()
            }
            Progress::Synced(revision) => {
                self.held.borrow_mut().entry().revision = revision;
                6
            }
            Progress::Compacted => 7,
            Progress::More => 8,
        })
    }

    /// The key of the change.
    #[napi]
    pub fn key<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        shared_value::key(*env, &self.entry.borrow().key)
    }

    /// What kind the value is that was set.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.held.borrow().kind()
    }

    /// The value that was set.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.held.borrow().value(*env)
    }

    /// The revision, and in how many ms what was set expires; Infinity if it does not.
    #[napi]
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.held.borrow().times(self.shared.client.now())
    }
}

/// What there was at one moment.
#[napi]
pub struct SharedSnapshot {
    revision: u64,
    entries: RefCell<std::vec::IntoIter<LogEntry>>,
    held: RefCell<(Vec<u8>, Held)>,
}

#[napi]
impl SharedSnapshot {
    /// Of the last change.
    #[napi]
    #[must_use]
    pub fn revision(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
        let revision = self.revision as f64;
        revision
    }

    /// Goes on to the next key. False at the end.
    #[napi]
    #[must_use]
    pub fn next(&self) -> bool {
        let Some(mut entry) = self.entries.borrow_mut().next() else { return false };
        let (key, held) = &mut *self.held.borrow_mut();
        *key = entry.key;
        held.set(&mut entry.value);
        true
    }

    /// The key.
    #[napi]
    pub fn key<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        shared_value::key(*env, &self.held.borrow().0)
    }

    /// What kind its value is.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.held.borrow().1.kind()
    }

    /// Its value.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.held.borrow().1.value(*env)
    }
}
