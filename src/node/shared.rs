//! A shared store, for JavaScript.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use napi::bindgen_prelude::{Float64Array, FromNapiValue, Function, Unknown};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use super::shared_requests::Requests;
use super::shared_value::{self, Held, KEY_ROOM};
use crate::io::store::persist;
use crate::io::store::{Client, ConnectError, Open, Resource, Woken, open};
use rcluster_core::frames::StoreOptions;
use rcluster_core::store::follow::read_told;
use rcluster_core::store::geometry::Field;
use rcluster_core::store::ring::Wanted;
use rcluster_js::callback::EventCallback;
use rcluster_js::function::function;
use rcluster_js::uv::UvPoll;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::message_pair;

/// A store that this process uses. Keys are strings; `lib/shared/values.js` lists the kinds of values.
#[napi]
pub struct SharedStore {
    pub(super) shared: Rc<Shared>,
    poll: UvPoll,
}

pub(super) struct Shared {
    pub(super) client: Client,
    held: RefCell<Held>,
    /// The buffer for keys. It is reused, because clearing it for each key would cost more than reading most
    /// keys.
    pub(super) key: RefCell<Box<[u8; KEY_ROOM]>>,
    requests: Requests,
    lru: bool,
}

/// The state of a store's server that is text.
#[napi(object)]
pub struct SharedServer {
    /// Its URL, without the password.
    pub url: String,
    /// The last entry of the stream that has arrived.
    pub last_id: String,
    /// Why the last connection was lost.
    pub lost: Option<String>,
    /// The last error.
    pub error: Option<String>,
}

/// How often to retry reading text about the server that is being written at the moment.
const TRIES: usize = 1000;

struct Callbacks {
    news: EventCallback,
    end: EventCallback,
}

pub(super) fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}

/// A number that JavaScript never sends: a bug in rcluster.
pub(super) fn unknown(what: &str, number: u32) -> Error {
    Error::new(Status::InvalidArg, format!("unknown {what}: {number}"))
}

/// The request could not be sent to the primary.
pub(super) fn unreachable(error: &SysError) -> Error {
    if error.is_peer_gone() {
        return failure("ERR_RCLUSTER_GONE The primary of this process is gone");
    }
    failure(format!("ERR_RCLUSTER_SHARED {error}"))
}

/// The code precedes the message: JavaScript creates the error from both.
pub(super) fn refusal(error: &ConnectError) -> Error {
    match error {
        ConnectError::Refused { code, message } => failure(format!("{code} {message}")),
        ConnectError::System(error) => unreachable(error),
        error @ ConnectError::NoAnswer => failure(format!("ERR_RCLUSTER_SHARED {error}")),
    }
}

/// Opens a store of this process and its workers. `options` is JSON. `on_news` is called when there may be
/// answers, or changes for a watch; `on_end` once, when the store can no longer be written to.
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
    let resource = match options.persist.clone().filter(|path| !path.is_empty() && !persist::is_kept(&name)) {
        None => Resource::Store { name, options },
        Some(path) => {
            let restored = persist::restore(Path::new(&path)).map_err(|error| {
                let code =
                    if error.is_locked() { "ERR_RCLUSTER_PERSIST_LOCKED" } else { "ERR_RCLUSTER_PERSIST" };
                failure(format!("{code} {error}"))
            })?;
            Resource::Kept { name, options, restored: Box::new(restored) }
        }
    };
    let (ours, theirs) = message_pair().map_err(failure)?;
    open(Open::new(resource, theirs, None)).map_err(failure)?;
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
            requests: Requests::default(),
        });
        let weak = Rc::downgrade(&shared);
        let ended = Cell::new(false);
        let on_ready = move || {
            let Some(shared) = weak.upgrade() else { return };
            match shared.client.woken() {
                Ok(Woken::Ready) => callbacks.news.call([]),
                Ok(Woken::End) | Err(_) => {
                    if !ended.replace(true) {
                        callbacks.end.call([]);
                    }
                }
            }
        };
        let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
        Ok(Self { shared, poll })
    }

    /// Stops watching the link, after `on_end` has been called.
    #[napi]
    pub fn stop(&self) {
        self.poll.pause();
    }

    /// Sets whether an outstanding answer keeps the event loop alive.
    #[napi]
    pub fn hold(&self, hold: bool) {
        self.poll.hold_loop(hold);
    }

    /// Creates a function that takes a key and returns its value, or its raw form if JavaScript must convert it: a
    /// string if it is JSON, a Buffer if it is a structured clone; `undefined` if there is none. It stores the kind in the
    /// first element of `kind`: a second call to ask for it would cost as much as the first.
    #[napi(ts_return_type = "(key: string) => any")]
    pub fn reader(&self, env: Env, kind: Float64Array) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let told = RefCell::new(kind);
        let read = function(env, c"get", move |env, [key]| {
            let mut held = shared.held.borrow_mut();
            let found = shared.find(env, &key, &mut held)?;
            if let Some(kind) = shared_value::numbers(&mut told.borrow_mut()).first_mut() {
                *kind = held.kind().into();
            }
            if found { held.value(env) } else { shared_value::undefined(env) }
        });
        read.map_err(failure)
    }

    /// Creates a function that takes a key and returns whether it has a value, which `kind()`, `value()` and
    /// `times()` then return.
    #[napi(ts_return_type = "(key: string) => boolean")]
    pub fn finder(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let find = function(env, c"has", move |env, [key]| {
            let found = shared.find(env, &key, &mut shared.held.borrow_mut())?;
            shared_value::boolean(env, found)
        });
        find.map_err(failure)
    }

    /// The kind of the value found last; 0 if there was none.
    #[napi]
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.shared.held.borrow().kind()
    }

    /// The value found last.
    #[napi]
    pub fn value<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        self.shared.held.borrow().value(*env)
    }

    /// The revision of the value found last, and in how many ms it expires; Infinity if it does not.
    #[napi]
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.shared.held.borrow().times(self.shared.client.now())
    }

    /// A field of the header: 0 the revision, 1 the number of keys, 2 the bytes of values and their records,
    /// 3 the bytes of memory, 4 evicted, 5 expired, 6 the longest value in bytes, 7 the maximum number of
    /// bytes, 8 the last revision that is no longer in the history. Of the server: 9 the state, 10 ms since
    /// the memory was last known to be complete, 11 requests that wait, 12 the number of connections made, 13
    /// of connections lost, 14 of complete loads.
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
            3 => view.memory() as f64,
            4 => view.field(Field::Evicted) as f64,
            5 => view.field(Field::Expired) as f64,
            6 => geometry.max_value() as f64,
            7 => (geometry.live_limit() * 8) as f64,
            9 => view.field(Field::ServerState) as f64,
            10 => self.shared.client.now().saturating_sub(view.field(Field::ServerSynced)) as f64,
            11 => view.field(Field::ServerQueued) as f64,
            12 => view.field(Field::ServerConnects) as f64,
            13 => view.field(Field::ServerDisconnects) as f64,
            14 => view.field(Field::ServerLoads) as f64,
            _ => view.field(Field::Compacted) as f64,
        }
    }

    /// The state of the server that is text.
    #[napi]
    #[must_use]
    pub fn server(&self) -> SharedServer {
        // A write takes only a moment.
        let told = (0..TRIES).find_map(|_| read_told(self.shared.client.view())).unwrap_or_default();
        SharedServer { url: told.url, last_id: told.place, lost: told.lost, error: told.error }
    }

    /// Requests one call of `on_news` at the next change.
    #[napi]
    pub fn want_changes(&self) {
        self.shared.client.want(Wanted::Changes);
    }

    /// Creates a function that adds an operation to the request: 1 set, 2 delete, 3 touch, 4 increment, 5
    /// check, 6 clear. `ms` is the lifetime: -1 unlimited, -2 unchanged. `revision` is the condition; -1 for
    /// none. `by` and `initial` are for increments. The function returns false if the key or the value is too
    /// long.
    #[napi(
        ts_return_type = "(number: number, key: string, kind: number, value: unknown, ms: number, revision: number, by: number, initial: number) => boolean"
    )]
    pub fn adder(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let add = function(env, c"add", move |env, arguments| {
            let added = shared.requests.add(&shared.client, env, arguments, &mut shared.key.borrow_mut())?;
            shared_value::boolean(env, added)
        });
        add.map_err(failure)
    }

    /// Discards the request that is being built.
    #[napi]
    pub fn discard(&self) {
        self.shared.requests.discard();
    }

    /// Creates a function that sends the request. Answers arrive in the order of the requests. It returns 0
    /// if the request is queued, 1 if it is too long, 2 if too many wait.
    #[napi(ts_return_type = "() => number")]
    pub fn submitter(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let submit = function(env, c"submit", move |env, []| {
            shared_value::number(env, shared.requests.submit(&shared.client).into())
        });
        submit.map_err(failure)
    }

    /// Creates a function that writes answers into `into`, three numbers for each: the status, the revision,
    /// the number. It returns the number of answers. If that is less than there is room for, a wake-up
    /// follows for the next one. `wait`: poll for a moment if answers are imminent.
    #[napi(ts_return_type = "(into: Float64Array, wait: boolean) => number")]
    pub fn taker(&self, env: Env) -> Result<Unknown<'static>> {
        let shared = Rc::clone(&self.shared);
        let take = function(env, c"take", move |env, [into, wait]| {
            let mut into = Float64Array::from_unknown(into)?;
            let wait = bool::from_unknown(wait)?;
            let count = shared.requests.take(&shared.client, shared_value::numbers(&mut into), wait)?;
            shared_value::number(env, count.into())
        });
        take.map_err(failure)
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
}
