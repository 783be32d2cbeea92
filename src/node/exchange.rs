//! Messages between the processes of a cluster, for JavaScript.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use napi::bindgen_prelude::{Float64Array, Function, Object};
use napi::{Env, Result};
use napi_derive::napi;

use super::exchange_calls::calls;
use super::shared::{failure, refusal};
use crate::io::exchange::ExchangeClient;
use crate::io::store::{Open, Resource, has_backend, open};
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{RequestId, Scope};
use rcluster_js::callback::EventCallback;
use rcluster_js::uv::UvPoll;
use rcluster_sys::passing::message_pair;

/// The link of a process with the exchange.
#[napi]
pub struct ExchangeLink {
    client: Rc<ExchangeClient>,
    poll: Rc<UvPoll>,
}

pub(super) fn scope(all: bool) -> Scope {
    if all { Scope::All } else { Scope::Machine }
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
        Ok(Self { client, poll: Rc::new(poll) })
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

    /// Stops waiting for a request. Returns the worker that has not answered, if nothing else reports it.
    /// Otherwise, with `tell`, workers that have not answered are reported as outcomes.
    #[napi]
    #[must_use]
    pub fn cancel(&self, id: f64, tell: bool) -> Option<u32> {
        let cancelled = self.client.cancel(RequestId(whole(id)), tell);
        debug_assert!(cancelled.is_ok(), "what is short and asked for once is never refused");
        cancelled.unwrap_or(None)
    }

    /// Creates the functions that each message needs. `take` takes the next frame: it writes its kind, the flag, the worker that it
    /// is from or about, how many outcomes of the same request follow, the number, and the length of the name into `told`, and
    /// returns the value. Kind 0 is the end, -1 that there is no frame. Text is JSON; bytes are serialized by v8.
    ///
    /// The others return 0 on success; nothing is sent if they return 1 (too much is queued on this side) or 2 (the value is too
    /// long).
    #[napi(
        ts_return_type = "{ request(id: number, kind: number, number: number, leader: string, name: string, value: string | Buffer): number; notify(kind: number, number: number, leader: string, name: string, value: string | Buffer): number; reply(call: number, ok: boolean, value: string | Buffer): number; post(all: boolean, channel: string, origin: number, echo: boolean, value: string | Buffer): number; take(): string | Buffer | undefined; name(): string; hold(hold: boolean): void }"
    )]
    pub fn calls(&self, env: Env, told: Float64Array) -> Result<Object<'static>> {
        calls(env, &self.client, &self.poll, told)
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
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "JavaScript counts them from 1")]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}
