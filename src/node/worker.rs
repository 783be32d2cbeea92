//! The worker's side: its link to the primary, on the event loop.

use std::os::fd::IntoRawFd;
use std::rc::Rc;

use napi::bindgen_prelude::{Buffer, FnArgs, Function};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use super::exchange::ExchangeLink;
use super::link_events::{Callbacks, LinkEvents};
use super::locks::LockLink;
use super::shared::{SharedStore, unreachable};
use super::tally::{self, SharedTallies};
use crate::io::lifeline;
use crate::io::link::{Link, LinkError, Passed};
use rcluster_core::channel::Kept;
use rcluster_core::dispatch::Refusal;
use rcluster_core::ids::ListenerId;
use rcluster_core::schedule::By;
use rcluster_js::callback::EventCallback;
use rcluster_js::v8::Interrupter;
use rcluster_sys::client::write_at_once;
use rcluster_sys::descriptor::{adopt, blank_socket, duplicate, duplicate_number, unread};
use rcluster_sys::listen::has_client_at;
use rcluster_sys::passing::message_pair;
use rcluster_sys::watch::Watch;

/// A connection to hand over.
#[napi(object)]
pub struct OpenConnection {
    /// Its descriptor.
    pub fd: i32,
    /// Whether a request has been answered on it.
    pub served: bool,
    /// The head of its last request as it was on the wire, one character for each byte; only where it is
    /// needed.
    pub head: Option<String>,
}

/// The inverse of converting each byte to one character.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect()
}

/// A worker's link to its primary. Created once, by the preload.
#[napi]
pub struct WorkerLink {
    events: Rc<LinkEvents>,
    watch: Watch,
}

#[napi]
impl WorkerLink {
    /// Takes over four descriptors, starting with `first_fd`: control socket, connection channel, scoreboard,
    /// lifeline. `library` is the folder of this package's JavaScript, for stacks.
    ///
    /// `on_connection(listener, fd, history)` gets each connection, and must close the descriptor. `history` is 0 for a
    /// new one, 1 if another worker has answered requests on it, and 2 if another worker has had it and answered nothing.
    /// `on_frame(text, fd)` gets each control frame; fd is -1 if none came with it.
    /// `on_no_room()` is called when reading connections has paused for lack of descriptors, until
    /// `resume()`. `on_gone(reason)` is called once when the primary is gone or has cut off this worker.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn new(
        env: Env,
        first_fd: i32,
        library: String,
        on_connection: Function<'_, FnArgs<(u32, i32, u32)>, ()>,
        on_frame: Function<'_, FnArgs<(String, i32)>, ()>,
        on_no_room: Function<'_, (), ()>,
        on_gone: Function<'_, String, ()>,
    ) -> Result<Self> {
        let control = adopt(first_fd).map_err(failure)?;
        let channel = adopt(first_fd + 1).map_err(failure)?;
        let board = adopt(first_fd + 2).map_err(failure)?;
        let polled_control = duplicate(&control).map_err(failure)?;
        // Left to the system, which closes it when the process has ended. V8 takes seconds to free a heap of gigabytes; if
        // the socket were closed before, this process would seem to continue without a link, and would be killed.
        let _until_the_end = duplicate(&control).map_err(failure)?.into_raw_fd();
        let polled_channel = duplicate(&channel).map_err(failure)?;
        let lifeline = adopt(first_fd + 3).map_err(failure)?;
        let watch = lifeline::start(lifeline, Interrupter::new(env), library).map_err(failure)?;
        watch.take_over().map_err(failure)?;
        let callbacks = Callbacks {
            connection: EventCallback::new(env, &on_connection, "RCLUSTERCONNECTION").map_err(failure)?,
            frame: EventCallback::new(env, &on_frame, "RCLUSTERCONTROL").map_err(failure)?,
            no_room: EventCallback::new(env, &on_no_room, "RCLUSTERCONTROL").map_err(failure)?,
            gone: EventCallback::new(env, &on_gone, "RCLUSTERCONTROL").map_err(failure)?,
        };
        let link = Link::new(control, channel, &board).map_err(failure)?;
        let events = LinkEvents::start(env, link, callbacks, watch.clone(), polled_control, polled_channel);
        Ok(Self { events: events.map_err(failure)?, watch })
    }

    /// Opens a shared store. Blocks for the answer of the primary's native part, which arrives within a
    /// fraction of a millisecond, even while the primary's JavaScript is busy. `options` is JSON; see
    /// `SharedStore` for the rest.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings and functions over by value")]
    pub fn open_shared(
        &self,
        env: Env,
        name: String,
        options: String,
        on_news: Function<'_, (), ()>,
        on_end: Function<'_, (), ()>,
    ) -> Result<SharedStore> {
        let options = serde_json::from_str(&options).map_err(failure)?;
        let (ours, theirs) = message_pair().map_err(failure)?;
        self.events.link().share(&name, &options, theirs).map_err(|error| unasked(&error))?;
        self.events.send_rest().map_err(failure)?;
        SharedStore::connect(env, ours, &on_news, &on_end)
    }

    /// Opens the tallies of a store, which must be open.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn open_tallies(&self, name: String) -> Result<SharedTallies> {
        let (ours, theirs) = message_pair().map_err(failure)?;
        self.events.link().share(&name, &tally::options(), theirs).map_err(|error| unasked(&error))?;
        self.events.send_rest().map_err(failure)?;
        SharedTallies::connect(ours)
    }

    /// Opens the locks of the cluster, in the same way as [`WorkerLink::open_shared`].
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn open_locks(&self, env: Env, on_news: Function<'_, (), ()>) -> Result<LockLink> {
        let (ours, theirs) = message_pair().map_err(failure)?;
        self.events.link().use_locks(theirs).map_err(|error| unasked(&error))?;
        self.events.send_rest().map_err(failure)?;
        LockLink::connect(env, ours, &on_news)
    }

    /// Opens a link to the exchange, in the same way as [`WorkerLink::open_shared`].
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn open_exchange(&self, env: Env, on_news: Function<'_, (), ()>) -> Result<ExchangeLink> {
        let (ours, theirs) = message_pair().map_err(failure)?;
        self.events.link().use_exchange(theirs).map_err(|error| unasked(&error))?;
        self.events.send_rest().map_err(failure)?;
        ExchangeLink::connect(env, ours, &on_news)
    }

    /// Sends a control frame. Throws when the link is broken.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn send(&self, frame: String) -> Result<()> {
        self.events.link().send(&frame).map_err(failure)?;
        self.events.send_rest().map_err(failure)
    }

    /// Returns a connection, for another worker; `full` when `maxConnections` is reached.
    #[napi(catch_unwind)]
    pub fn return_connection(&self, listener: u32, fd: i32, full: bool) -> Result<()> {
        let passed = Passed {
            listener: ListenerId(listener),
            fd: adopt(fd).map_err(failure)?,
            // Connections are returned only from within `on_connection`.
            kept: self.events.kept(),
        };
        let why = if full { Refusal::Full } else { Refusal::NotListening };
        self.events.link().return_connection(passed, why).map_err(failure)?;
        self.events.send_rest().map_err(failure)
    }

    /// Returns the connections that have been received and not passed to `on_connection` yet.
    #[napi(catch_unwind)]
    pub fn return_undelivered(&self) -> Result<()> {
        self.events.link().return_undelivered().map_err(failure)
    }

    /// Returns a connection of which nothing has been read, and to which nothing was written. Its client has been
    /// counted here, so to the next worker it is no new one. The descriptor is duplicated, and stays the caller's.
    #[napi(catch_unwind)]
    pub fn return_untouched(&self, listener: u32, fd: i32) -> Result<()> {
        let fd = duplicate_number(fd).map_err(failure)?;
        let passed = Passed { listener: ListenerId(listener), fd, kept: Some(Kept::default()) };
        self.events.link().return_connection(passed, Refusal::NotListening).map_err(failure)
    }

    /// Hands over open connections to other workers, at most 32 at a time. The descriptors are duplicated:
    /// the caller then closes its own, which `closed()` counts. `by` is the rule by which clients of this
    /// listener are recognized, as JSON.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands arrays over by value")]
    pub fn hand_over(&self, listener: u32, connections: Vec<OpenConnection>, by: String) -> Result<()> {
        let by: By = serde_json::from_str(&by).map_err(failure)?;
        let duplicated = connections.into_iter().map(|OpenConnection { fd, served, head }| {
            let key = head.and_then(|head| by.key_in(&latin1(&head)));
            duplicate_number(fd).map(|fd| (fd, Kept { served, key }))
        });
        let duplicated: std::result::Result<Vec<_>, _> = duplicated.collect();
        let duplicated = duplicated.map_err(failure)?;
        self.events.link().hand_over(ListenerId(listener), duplicated).map_err(failure)?;
        self.events.send_rest().map_err(failure)
    }

    /// The number of connections that may be handed over now. Negative while no worker can take any.
    #[napi]
    #[must_use]
    pub fn hand_over_room(&self) -> i32 {
        let room = self.events.link().hand_over_room();
        room.map_or(-1, |room| i32::try_from(room).unwrap_or(i32::MAX))
    }

    /// Writes bytes to a connection directly, bypassing the stream that owns it. Writes all of them, or none
    /// if there is no room for all now: then it returns false.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands buffers over by value")]
    pub fn write_through(&self, fd: i32, bytes: Buffer) -> Result<bool> {
        write_at_once(fd, &bytes).map_err(failure)
    }

    /// The number of bytes of a connection that have been received and not read.
    #[napi(catch_unwind)]
    pub fn unread(&self, fd: i32) -> Result<u32> {
        unread(fd).map_err(failure)
    }

    /// Whether a client waits to be accepted at a listening socket of this process.
    #[napi(catch_unwind)]
    pub fn has_client(&self, fd: i32) -> Result<bool> {
        has_client_at(fd).map_err(failure)
    }

    /// The slot of this worker.
    #[napi]
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.events.link().slot().0
    }

    /// A connection that was passed to `on_connection` has been closed.
    #[napi]
    pub fn closed(&self) {
        self.events.link().closed();
    }

    /// Reports that a server is full, and stops accepting for it until `room()`, effective immediately.
    #[napi(catch_unwind)]
    pub fn no_room(&self, listener: u32) -> Result<()> {
        self.events.sockets().pause(listener);
        self.events.link().no_room(ListenerId(listener)).map_err(failure)?;
        self.events.send_rest().map_err(failure)
    }

    /// Reports that a server that was full has room again.
    #[napi(catch_unwind)]
    pub fn room(&self, listener: u32) -> Result<()> {
        self.events.sockets().resume(listener).map_err(failure)?;
        self.events.link().room(ListenerId(listener)).map_err(failure)?;
        self.events.send_rest().map_err(failure)
    }

    /// A new socket, neither bound nor connected, from which JavaScript learns the class of its handles: TCP
    /// if `tcp`, otherwise a Unix stream socket. The caller must close the descriptor.
    #[napi(catch_unwind)]
    pub fn blank_socket(&self, tcp: bool) -> Result<i32> {
        let socket = blank_socket(tcp).map_err(failure)?;
        Ok(socket.into_raw_fd())
    }

    /// Accepts from the socket of this worker's slot from now on. Connections are passed to `on_connection`.
    #[napi(catch_unwind)]
    pub fn accept_from(&self, env: Env, listener: u32, fd: i32) -> Result<()> {
        let fd = adopt(fd).map_err(failure)?;
        LinkEvents::accept_from(&self.events, env, listener, fd).map_err(failure)
    }

    /// Stops accepting from it, effective immediately.
    #[napi]
    pub fn stop_accepting(&self, listener: u32) {
        self.events.sockets().remove(listener);
    }

    /// Sets whether this worker is a standby: then its promotion is handled before its first connection.
    #[napi]
    pub fn standby(&self, standby: bool) {
        self.events.set_standby(standby);
    }

    /// Resumes reading connections after `on_no_room`.
    #[napi(catch_unwind)]
    pub fn resume(&self) -> Result<()> {
        self.events.resume().map_err(failure)
    }

    /// The worker disconnects by agreement: it may outlive its primary to finish its work.
    #[napi(catch_unwind)]
    pub fn leaving(&self) {
        self.watch.leaving();
    }
}

/// A part of the shared state could not be requested.
fn unasked(error: &LinkError) -> Error {
    match error {
        LinkError::System(error) => unreachable(error),
        error => failure(error),
    }
}

fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}
