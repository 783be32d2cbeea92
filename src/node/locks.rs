//! The locks of a cluster, for JavaScript.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use napi::bindgen_prelude::Function;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::{failure, refusal, unknown};
use crate::io::store::{self, Incoming, LockClient, Open, Resource, open};
use rcluster_core::locks::wire::{Ask, Message, Terms, encode};
use rcluster_core::locks::{Mode, Otherwise, Request, RequestId, Space};
use rcluster_core::store::remote::backend::Backend;
use rcluster_core::store::ring::Pushed;
use rcluster_js::callback::EventCallback;
use rcluster_js::uv::UvPoll;
use rcluster_sys::passing::message_pair;

/// The link of a process with the locks of its cluster.
#[napi]
pub struct LockLink {
    shared: Rc<Shared>,
    poll: UvPoll,
}

struct Shared {
    client: LockClient,
    /// Requests that wait for room in the ring. JavaScript limits their number.
    backlog: RefCell<VecDeque<Vec<u64>>>,
}

/// A message about locks.
#[napi(object)]
pub struct LockMessage {
    /// 1 granted, 2 unavailable, 3 stolen, 4 settled, 5 too many requests, 6 part of an answer to a query, 7
    /// the end, 8 the lease is lost, 9 the server cannot be reached, 10 there is no server.
    pub kind: u32,
    /// The request.
    pub id: f64,
    /// The fencing token of a grant, or the number of parts of an answer that follow.
    pub number: f64,
    /// The outcome, the part, or why the server cannot be reached.
    pub text: String,
}

const END: u32 = 7;

/// Opens the locks of this process and its workers. `on_news` is called when messages may have arrived.
///
/// Throws with a message that begins with the code of the error.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
pub fn open_locks(env: Env, on_news: Function<'_, (), ()>) -> Result<LockLink> {
    let (ours, theirs) = message_pair().map_err(failure)?;
    open(Open::new(Resource::Locks, theirs, None)).map_err(failure)?;
    LockLink::connect(env, ours, &on_news)
}

#[napi]
impl LockLink {
    pub(super) fn connect(env: Env, socket: OwnedFd, on_news: &Function<'_, (), ()>) -> Result<Self> {
        let client = LockClient::connect(socket).map_err(|error| refusal(&error))?;
        let watched = client.watched().map_err(failure)?;
        let news = EventCallback::new(env, on_news, "RCLUSTERLOCKS").map_err(failure)?;
        let on_ready = move || news.call([]);
        let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
        Ok(Self { shared: Rc::new(Shared { client, backlog: RefCell::default() }), poll })
    }

    /// Requests a lock. `space`: 0 locks of the app, 1 leadership, 2 computing a value. `otherwise`, if it is
    /// not free: 0 wait, 1 give up, 2 steal.
    #[napi]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn request(&self, id: f64, space: u32, name: String, shared: bool, otherwise: u32) -> Result<()> {
        let request = Request {
            space: match space {
                0 => Space::Lock,
                1 => Space::Lead,
                2 => Space::Flight,
                other => return Err(unknown("space", other)),
            },
            name: name.as_bytes(),
            mode: if shared { Mode::Shared } else { Mode::Exclusive },
            otherwise: otherwise_of(otherwise)?,
        };
        self.shared.send(&Ask::Request(request_id(id), request))
    }

    /// Requests a lock of several machines, leased for `ttl` ms. `space`: 3 locks of the app, 4 leadership.
    /// `otherwise`: as for `request`.
    #[napi]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn lease(&self, id: f64, space: u32, name: String, ttl: u32, otherwise: u32) -> Result<()> {
        let request = Request {
            space: match space {
                3 => Space::LeasedLock,
                4 => Space::LeasedLead,
                other => return Err(unknown("space", other)),
            },
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            otherwise: otherwise_of(otherwise)?,
        };
        let id = request_id(id);
        let Some(place) = self.shared.client.place_of(id) else {
            return Err(failure("a process has more requests for locks than JavaScript allows"));
        };
        self.shared.send(&Ask::Lease(id, request, Terms { ttl, place }))
    }

    /// How many ms a granted lease is still valid, unless it is renewed: 0 if it has ended. The primary is not asked.
    #[napi]
    #[must_use]
    pub fn left(&self, id: f64) -> f64 {
        self.shared.client.left(request_id(id)).as_secs_f64() * 1000.0
    }

    /// Releases a lock, or stops waiting for it.
    #[napi]
    pub fn end(&self, id: f64) -> Result<()> {
        self.shared.client.on_end(request_id(id));
        self.shared.send(&Ask::End(request_id(id)))
    }

    /// Sends the outcome to all that wait for the same lock, and releases it.
    #[napi]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn settle(&self, id: f64, outcome: String) -> Result<()> {
        self.shared.send(&Ask::Settle(request_id(id), outcome.as_bytes()))
    }

    /// Queries what is held and pending. Only one query may be pending at a time.
    #[napi]
    pub fn query(&self, id: f64) -> Result<()> {
        self.shared.send(&Ask::Query(request_id(id)))
    }

    /// The next message, if there is any.
    #[napi]
    pub fn take(&self) -> Result<Option<LockMessage>> {
        loop {
            let end = LockMessage { kind: END, id: 0.0, number: 0.0, text: String::new() };
            match self.shared.client.receive() {
                Ok(Incoming::Nothing) => return Ok(None),
                Ok(Incoming::Room) => self.shared.flush()?,
                Ok(Incoming::End) | Err(_) => return Ok(Some(end)),
                Ok(Incoming::Message(bytes)) => {
                    let Message { kind, request, number, text } =
                        Message::decode(&bytes).ok_or_else(|| failure("an invalid message about locks"))?;
                    if kind.ends_request() {
                        self.shared.client.on_end(request);
                    }
                    let text = String::from_utf8_lossy(text).into_owned();
                    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which is far away")]
                    let (id, number) = (request.0 as f64, number as f64);
                    return Ok(Some(LockMessage { kind: kind as u32, id, number, text }));
                }
            }
        }
    }

    /// Sets whether the link keeps the event loop alive.
    #[napi]
    pub fn hold(&self, hold: bool) {
        self.poll.hold_loop(hold);
    }

    /// Stops watching the link, after its end has been reported.
    #[napi]
    pub fn stop(&self) {
        self.poll.pause();
    }
}

fn otherwise_of(number: u32) -> Result<Otherwise> {
    Ok(match number {
        0 => Otherwise::Wait,
        1 => Otherwise::GiveUp,
        2 => Otherwise::Steal,
        other => return Err(unknown("way to go on without the lock", other)),
    })
}

/// Sets the server that leases the locks of several machines: JSON, as in `shared()`.
///
/// Throws with a message that begins with the code of the error.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
pub fn set_backend(backend: String) -> Result<()> {
    let backend: Backend = serde_json::from_str(&backend).map_err(failure)?;
    if let Some(mistake) = backend.mistake() {
        return Err(failure(mistake));
    }
    store::set_backend(backend).map_err(failure)
}

impl Shared {
    fn send(&self, ask: &Ask<'_>) -> Result<()> {
        let mut words = Vec::new();
        encode(ask, &mut words);
        self.backlog.borrow_mut().push_back(words);
        self.flush()
    }

    fn flush(&self) -> Result<()> {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(request) = backlog.front() {
            let pushed = self.client.push(request);
            if pushed == Pushed::Full {
                return Ok(());
            }
            backlog.pop_front();
            if pushed == Pushed::TooLong {
                return Err(failure("a request for a lock is too long"));
            }
        }
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "JavaScript counts them from 1")]
fn request_id(id: f64) -> RequestId {
    RequestId(id as u64)
}
