//! Messages between the processes of a cluster, for JavaScript.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use napi::bindgen_prelude::{Buffer, Either, FnArgs, Function};
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::{failure, refusal, unknown};
use crate::io::exchange::ExchangeClient;
use crate::io::store::{Open, Resource, has_backend, open};
use rcluster_core::exchange::endpoint::{Incoming, SendError};
use rcluster_core::exchange::frame::{Frame, Status, TEXT};
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{CallId, MAX_DATA, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_js::callback::EventCallback;
use rcluster_js::uv::UvPoll;
use rcluster_sys::passing::message_pair;

/// The first byte of a message is the type of the rest: [`TEXT`], or this.
const BYTES: u8 = 1;

const BUSY: u32 = 1;
const TOO_LONG: u32 = 2;

/// The link of a process with the exchange.
#[napi]
pub struct ExchangeLink {
    client: Rc<ExchangeClient>,
    poll: UvPoll,
}

/// The maximum number of frames passed on by one call.
const BATCH: u32 = 128;

/// A frame: its [`Kind`](rcluster_core::exchange::frame::Kind), where 0 is the end; the flag; the worker that
/// it is from or about; how many outcomes of the same request follow; the number; the name of the channel or
/// handler; and the value, if there is one: text is JSON, bytes are serialized by v8.
type Told = FnArgs<(u32, u32, u32, u32, f64, String, Option<Either<String, Buffer>>)>;

fn scope(all: bool) -> Scope {
    if all { Scope::All } else { Scope::Machine }
}

/// The target: 1 a worker, 2 a slot, 3 any worker, 4 all workers, 5 the primary, 6 the leader of a name on this machine, 7 all
/// workers of all machines, 8 the leader of a name on any machine.
fn target(kind: u32, number: u32, leader: &str) -> Result<Target<'_>> {
    Ok(match kind {
        1 => Target::Worker(WorkerId(number)),
        2 => Target::Slot(Slot(number)),
        3 => Target::Any,
        4 => Target::All,
        5 => Target::Primary,
        6 => Target::Leader(Scope::Machine, leader.as_bytes()),
        7 => Target::Everywhere,
        8 => Target::Leader(Scope::All, leader.as_bytes()),
        other => return Err(unknown("target", other)),
    })
}

/// Opens a link to the exchange of this process and its workers. `on_news` is called when frames may have
/// arrived.
///
/// Throws with a message that begins with the code of the error.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
pub fn open_exchange(env: Env, on_news: Function<'_, (), ()>) -> Result<ExchangeLink> {
    let (ours, theirs) = message_pair().map_err(failure)?;
    open(Open::new(Resource::Exchange, theirs, None)).map_err(failure)?;
    ExchangeLink::connect(env, ours, &on_news)
}

#[napi]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings and buffers over by value")]
impl ExchangeLink {
    pub(super) fn connect(env: Env, socket: OwnedFd, on_news: &Function<'_, (), ()>) -> Result<Self> {
        let client = Rc::new(ExchangeClient::connect(socket).map_err(|error| refusal(&error))?);
        let watched = client.watched().map_err(failure)?;
        let news = EventCallback::new(env, on_news, "RCLUSTEREXCHANGE").map_err(failure)?;
        let reader = Rc::clone(&client);
        let on_ready = move || {
            reader.begin_turn();
            news.call([]);
        };
        let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
        Ok(Self { client, poll })
    }

    /// Whether other machines can be reached.
    #[napi]
    #[must_use]
    pub fn reaches_all(&self) -> bool {
        self.client.has_link() || has_backend()
    }

    /// Subscribes to a channel, of this machine or of all machines.
    #[napi]
    pub fn subscribe(&self, all: bool, channel: String) {
        self.say(&Ask::Subscribe(scope(all), channel.as_bytes()));
    }

    /// Unsubscribes from a channel.
    #[napi]
    pub fn unsubscribe(&self, all: bool, channel: String) {
        self.say(&Ask::Unsubscribe(scope(all), channel.as_bytes()));
    }

    /// Posts to all subscribers of a channel, including this process if `echo`, with the origin. Returns 0 on
    /// success; nothing is sent if it returns 1 (too much is queued on this side) or 2 (the value is too
    /// long).
    #[napi]
    #[must_use]
    pub fn post(
        &self,
        all: bool,
        channel: String,
        origin: u32,
        echo: bool,
        value: Either<String, Buffer>,
    ) -> u32 {
        self.send_value(&bytes_of(&value), |data| Ask::Post {
            scope: scope(all),
            channel: channel.as_bytes(),
            origin: origin.into(),
            echo,
            data,
        })
    }

    /// Registers this process as a handler of a name.
    #[napi]
    pub fn handle(&self, name: String) {
        self.say(&Ask::Handle(name.as_bytes()));
    }

    /// Unregisters this process as a handler of a name.
    #[napi]
    pub fn unhandle(&self, name: String) {
        self.say(&Ask::Unhandle(name.as_bytes()));
    }

    /// Sends a request to handlers of a name. Returns the same codes as `post`.
    #[napi]
    pub fn request(
        &self,
        id: f64,
        kind: u32,
        number: u32,
        leader: String,
        name: String,
        value: Either<String, Buffer>,
    ) -> Result<u32> {
        let target = target(kind, number, &leader)?;
        Ok(self.send_value(&bytes_of(&value), |data| Ask::Request {
            id: RequestId(whole(id)),
            target,
            name: name.as_bytes(),
            data,
        }))
    }

    /// Sends a notice to handlers of a name. Returns the same codes as `post`.
    #[napi]
    pub fn notify(
        &self,
        kind: u32,
        number: u32,
        leader: String,
        name: String,
        value: Either<String, Buffer>,
    ) -> Result<u32> {
        let target = target(kind, number, &leader)?;
        Ok(self.send_value(&bytes_of(&value), |data| Ask::Notify { target, name: name.as_bytes(), data }))
    }

    /// Stops waiting for a request. Returns the worker that has not answered, if nothing else reports it.
    /// Otherwise, with `tell`, workers that have not answered are reported as outcomes.
    #[napi]
    #[must_use]
    pub fn cancel(&self, id: f64, tell: bool) -> Option<u32> {
        let cancelled = self.client.cancel(RequestId(whole(id)), tell);
        debug_assert!(cancelled.is_ok(), "what is short and asked for once is never refused");
        cancelled.unwrap_or(None)
    }

    /// Answers a call. Returns the same codes as `post`.
    #[napi]
    #[must_use]
    pub fn reply(&self, call: f64, ok: bool, value: Either<String, Buffer>) -> u32 {
        let status = if ok { Status::Value } else { Status::Error };
        self.send_value(&bytes_of(&value), |data| Ask::Reply { call: CallId(whole(call)), status, data })
    }

    /// Passes on the frames that have arrived, up to a maximum. Returns true if there may be more. Rethrows
    /// what the function throws.
    #[napi(
        ts_args_type = "onFrame: (kind: number, flag: number, worker: number, rest: number, number: number, name: string, value: string | Buffer | null | undefined) => void"
    )]
    pub fn drain(&self, on_frame: Function<'_, Told, ()>) -> Result<bool> {
        for _ in 0..BATCH {
            let told = match self.client.next(|frame| told(&frame)) {
                Ok(Incoming::Nothing) => return Ok(false),
                Ok(Incoming::Frame(told)) => told,
                // An invalid frame is reported as the end, because the link cannot be used any more.
                Ok(Incoming::End) | Err(_) => {
                    on_frame.call((0, 0, 0, 0, 0.0, String::new(), None).into())?;
                    return Ok(false);
                }
            };
            on_frame.call(told)?;
        }
        Ok(true)
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

    fn say(&self, ask: &Ask<'_>) {
        let sent = self.client.send(ask);
        debug_assert!(sent.is_ok(), "what is short and asked for once is never refused");
    }

    fn send_value<'a>(&self, data: &'a [u8], ask: impl FnOnce(&'a [u8]) -> Ask<'a>) -> u32 {
        if data.len() > MAX_DATA {
            return TOO_LONG;
        }
        match self.client.send(&ask(data)) {
            Ok(()) => 0,
            Err(SendError::Busy) => BUSY,
            Err(SendError::TooLong) => TOO_LONG,
        }
    }
}

fn told(frame: &Frame<'_>) -> Told {
    let Frame { kind, flag, worker, rest, number, name, data } = *frame;
    let value = match data.split_first() {
        Some((&TEXT, text)) => Some(Either::A(String::from_utf8_lossy(text).into_owned())),
        Some((_, bytes)) => Some(Either::B(bytes.into())),
        None => None,
    };
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which is far away")]
    let number = number as f64;
    let name = String::from_utf8_lossy(name).into_owned();
    (kind as u32, flag.into(), worker, rest, number, name, value).into()
}

/// The bytes of a message: its type and the value.
fn bytes_of(value: &Either<String, Buffer>) -> Vec<u8> {
    let (kind, bytes) = match value {
        Either::A(text) => (TEXT, text.as_bytes()),
        Either::B(bytes) => (BYTES, bytes.as_ref()),
    };
    let mut data = Vec::with_capacity(1 + bytes.len());
    data.push(kind);
    data.extend(bytes);
    data
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "JavaScript counts them from 1")]
fn whole(number: f64) -> u64 {
    number as u64
}
