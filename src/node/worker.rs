//! The worker's side: its link to the primary, on the event loop.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use napi::bindgen_prelude::{Buffer, FnArgs, Function};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use super::locks::LockLink;
use super::shared::SharedStore;
use crate::io::lifeline;
use crate::io::link::{Accepted, Connections, Control, Link, LinkError, Passed, TURN};
use rcluster_core::channel::Kept;
use rcluster_core::dispatch::Refusal;
use rcluster_core::ids::ListenerId;
use rcluster_core::schedule::By;
use rcluster_js::callback::{Argument, EventCallback};
use rcluster_js::uv::{Interest, UvPoll, UvTurns};
use rcluster_js::v8::Interrupter;
use rcluster_sys::client::write_at_once;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::has_client_at;
use rcluster_sys::passing::{adopt, blank_socket, duplicate, duplicate_number, message_pair, unread};
use rcluster_sys::watch::Watch;

/// A connection that is handed over.
#[napi(object)]
pub struct OpenConnection {
    /// Its descriptor.
    pub fd: i32,
    /// Whether a request has been answered on it.
    pub served: bool,
    /// The head of its last request as it was on the wire, a character for each byte; where it matters.
    pub head: Option<String>,
}

/// The bytes that were made into a string one by one.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect()
}

/// A worker's link to its primary. Made once, by the preload.
#[napi]
pub struct WorkerLink {
    shared: Rc<Shared>,
    watch: Watch,
}

struct Shared {
    link: Link,
    callbacks: Callbacks,
    sides: OnceCell<Sides>,
    watch: Watch,
    /// What the primary says of this standby comes before the connections that follow from it.
    standby: Cell<bool>,
    /// What is known of the connection that JavaScript is just being told of.
    kept: Cell<Option<Kept>>,
    /// From which this worker accepts by itself, by listener: those of its slot.
    sockets: RefCell<HashMap<u32, Rc<SlotSocket>>>,
}

struct SlotSocket {
    fd: OwnedFd,
    poll: UvPoll,
    accepting: Cell<bool>,
}

struct Callbacks {
    connection: EventCallback,
    frame: EventCallback,
    no_room: EventCallback,
    gone: EventCallback,
}

struct Sides {
    control: Side,
    channel: Side,
    _turns: UvTurns,
}

/// One of the two sockets on the event loop.
struct Side {
    poll: UvPoll,
    writing: Cell<bool>,
}

impl Side {
    /// Watches for room to write as long as something is left to send.
    fn something_left(&self, left: bool) -> std::result::Result<(), SysError> {
        if self.writing.replace(left) == left {
            return Ok(());
        }
        self.poll.watch_for(if left { Interest::ReadAndWrite } else { Interest::Read })
    }
}

#[napi]
impl WorkerLink {
    /// Takes over the four descriptors from `first_fd` on: control socket, connection channel,
    /// scoreboard, lifeline.
    ///
    /// `on_connection(listener, fd, served)` gets each connection; the descriptor is its to close. `served` is 1 if
    /// another worker has answered requests on it, and else 0.
    /// `on_frame(text, fd)` gets each control frame; fd is -1 when none came with it.
    /// `on_no_room()` is told when reading connections has paused for want of descriptors, until
    /// `resume()`. `on_gone(reason)` is told once when the primary is gone or has cut us off.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn new(
        env: Env,
        first_fd: i32,
        on_connection: Function<'_, FnArgs<(u32, i32, u32)>, ()>,
        on_frame: Function<'_, FnArgs<(String, i32)>, ()>,
        on_no_room: Function<'_, (), ()>,
        on_gone: Function<'_, String, ()>,
    ) -> Result<Self> {
        let control = adopt(first_fd).map_err(failure)?;
        let channel = adopt(first_fd + 1).map_err(failure)?;
        let board = adopt(first_fd + 2).map_err(failure)?;
        let polled_control = duplicate(&control).map_err(failure)?;
        let polled_channel = duplicate(&channel).map_err(failure)?;
        let lifeline = adopt(first_fd + 3).map_err(failure)?;
        let watch = lifeline::start(lifeline, Interrupter::new(env)).map_err(failure)?;
        watch.take_over().map_err(failure)?;
        let callbacks = Callbacks {
            connection: EventCallback::new(env, &on_connection, "RCLUSTERCONNECTION").map_err(failure)?,
            frame: EventCallback::new(env, &on_frame, "RCLUSTERCONTROL").map_err(failure)?,
            no_room: EventCallback::new(env, &on_no_room, "RCLUSTERCONTROL").map_err(failure)?,
            gone: EventCallback::new(env, &on_gone, "RCLUSTERCONTROL").map_err(failure)?,
        };
        let link = Link::new(control, channel, &board).map_err(failure)?;
        let shared = Rc::new(Shared {
            link,
            callbacks,
            sides: OnceCell::new(),
            watch: watch.clone(),
            standby: Cell::new(false),
            kept: Cell::new(None),
            sockets: RefCell::default(),
        });
        let sides = Sides {
            control: side(env, polled_control, &shared, Shared::control_ready)?,
            channel: side(env, polled_channel, &shared, Shared::channel_ready)?,
            _turns: turns(env, &shared)?,
        };
        let first = shared.sides.set(sides);
        debug_assert!(first.is_ok(), "the sides are made once");
        Ok(Self { shared, watch })
    }

    /// Opens a shared store. Waits for the answer of the primary's native side, which comes within a fraction of a
    /// millisecond whatever the primary's JavaScript does. `options` is JSON; see `SharedStore` for the rest.
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
        self.shared.link.share(&name, &options, theirs).map_err(failure)?;
        self.shared.send_rest().map_err(failure)?;
        SharedStore::connect(env, ours, &on_news, &on_end)
    }

    /// Uses the locks of the cluster, as [`WorkerLink::open_shared`] does a store.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn open_locks(&self, env: Env, on_news: Function<'_, (), ()>) -> Result<LockLink> {
        let (ours, theirs) = message_pair().map_err(failure)?;
        self.shared.link.use_locks(theirs).map_err(failure)?;
        self.shared.send_rest().map_err(failure)?;
        LockLink::connect(env, ours, &on_news)
    }

    /// Sends a control frame. Throws when the link is broken.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn send(&self, frame: String) -> Result<()> {
        self.shared.link.send(&frame).map_err(failure)?;
        self.shared.send_rest().map_err(failure)
    }

    /// Gives a connection back, to go to another worker; `full` when `maxConnections` is reached.
    #[napi(catch_unwind)]
    pub fn give_back(&self, listener: u32, fd: i32, full: bool) -> Result<()> {
        let passed = Passed {
            listener: ListenerId(listener),
            fd: adopt(fd).map_err(failure)?,
            // Whatever is given back is given back at once.
            kept: self.shared.kept.get(),
        };
        let why = if full { Refusal::Full } else { Refusal::NotListening };
        self.shared.link.give_back(passed, why).map_err(failure)?;
        self.shared.send_rest().map_err(failure)
    }

    /// Hands open connections over to other workers, at most 32 at a time. They are duplicated first: the
    /// caller closes its own descriptors afterwards, which `closed()` counts. `by` says, as JSON, what clients of this
    /// listener are recognised by.
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
        self.shared.link.hand_over(ListenerId(listener), duplicated).map_err(failure)?;
        self.shared.send_rest().map_err(failure)
    }

    /// How many connections may be handed over now. Negative while there is nobody who could take them.
    #[napi]
    #[must_use]
    pub fn hand_over_room(&self) -> i32 {
        let room = self.shared.link.hand_over_room();
        room.map_or(-1, |room| i32::try_from(room).unwrap_or(i32::MAX))
    }

    /// Writes bytes to a connection past everything that has it open here. All or, if there is no room for them just
    /// now, none: then it is false.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands buffers over by value")]
    pub fn write_through(&self, fd: i32, bytes: Buffer) -> Result<bool> {
        write_at_once(fd, &bytes).map_err(failure)
    }

    /// How many bytes of a connection have come in and have not been read by anybody.
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
        self.shared.link.slot().0
    }

    /// A connection that came by `on_connection` is closed.
    #[napi]
    pub fn closed(&self) {
        self.shared.link.closed();
    }

    /// Says that a server is full, and accepts nothing more there until `room()`, also if it is just about to.
    #[napi(catch_unwind)]
    pub fn no_room(&self, listener: u32) -> Result<()> {
        if let Some(socket) = self.shared.sockets.borrow().get(&listener) {
            socket.accepting.set(false);
            socket.poll.pause();
        }
        self.shared.link.no_room(ListenerId(listener)).map_err(failure)?;
        self.shared.send_rest().map_err(failure)
    }

    /// Says that a server which was full has room again.
    #[napi(catch_unwind)]
    pub fn room(&self, listener: u32) -> Result<()> {
        if let Some(socket) = self.shared.sockets.borrow().get(&listener) {
            socket.accepting.set(true);
            socket.poll.watch_for(Interest::Read).map_err(failure)?;
        }
        self.shared.link.room(ListenerId(listener)).map_err(failure)?;
        self.shared.send_rest().map_err(failure)
    }

    /// A new socket, neither bound nor connected, from which JavaScript learns the class of its
    /// handles: TCP when `tcp`, a unix stream otherwise. The descriptor is the caller's to close.
    #[napi(catch_unwind)]
    pub fn blank_socket(&self, tcp: bool) -> Result<i32> {
        let socket = blank_socket(tcp).map_err(failure)?;
        Ok(socket.into_raw_fd())
    }

    /// Accepts from the socket of this worker's slot from now on. Connections come by `on_connection`.
    #[napi(catch_unwind)]
    pub fn accept_from(&self, env: Env, listener: u32, fd: i32) -> Result<()> {
        let fd = adopt(fd).map_err(failure)?;
        let polled = duplicate(&fd).map_err(failure)?;
        let weak = Rc::downgrade(&self.shared);
        let call = move || {
            if let Some(shared) = weak.upgrade() {
                shared.slot_ready(listener);
            }
        };
        let poll = UvPoll::new(env, polled, Box::new(call)).map_err(failure)?;
        let socket = SlotSocket { fd, poll, accepting: Cell::new(true) };
        self.shared.sockets.borrow_mut().insert(listener, Rc::new(socket));
        Ok(())
    }

    /// Accepts no more there, also if it is just about to.
    #[napi]
    pub fn stop_accepting(&self, listener: u32) {
        if let Some(socket) = self.shared.sockets.borrow_mut().remove(&listener) {
            socket.accepting.set(false);
        }
    }

    /// Whether this worker is a standby: then it hears of its promotion before its first connection.
    #[napi]
    pub fn standby(&self, standby: bool) {
        self.shared.standby.set(standby);
    }

    /// Reads connections again after `on_no_room`.
    #[napi(catch_unwind)]
    pub fn resume(&self) -> Result<()> {
        for socket in self.shared.sockets.borrow().values().filter(|socket| socket.accepting.get()) {
            socket.poll.watch_for(Interest::Read).map_err(failure)?;
        }
        self.shared
            .sides
            .get()
            .map_or(Ok(()), |sides| sides.channel.poll.watch_for(Interest::Read).map_err(failure))
    }

    /// The worker disconnects by agreement: it may outlive its primary to finish its work.
    #[napi(catch_unwind)]
    pub fn leaving(&self) {
        self.watch.leaving();
    }
}

/// Watches `fd`, lending `shared` to `on_ready` as long as it exists.
fn side(env: Env, fd: OwnedFd, shared: &Rc<Shared>, on_ready: fn(&Shared)) -> Result<Side> {
    let weak: Weak<Shared> = Rc::downgrade(shared);
    let call = move || {
        if let Some(shared) = weak.upgrade() {
            on_ready(&shared);
        }
    };
    let poll = UvPoll::new(env, fd, Box::new(call)).map_err(failure)?;
    Ok(Side { poll, writing: Cell::new(false) })
}

/// Tells the scoreboard of each turn of the loop.
fn turns(env: Env, shared: &Rc<Shared>) -> Result<UvTurns> {
    let weak: Weak<Shared> = Rc::downgrade(shared);
    let turned = move |busy| {
        if let Some(shared) = weak.upgrade() {
            shared.link.turned(busy);
        }
    };
    UvTurns::new(env, turned).map_err(failure)
}

impl Shared {
    /// Sends what a full socket has kept back, and watches for room while something is left.
    fn send_rest(&self) -> std::result::Result<(), LinkError> {
        if let Some(sides) = self.sides.get() {
            sides.control.something_left(!self.link.flush_control()?)?;
            sides.channel.something_left(!self.link.flush_channel()?)?;
        }
        Ok(())
    }

    fn control_ready(&self) {
        if let Err(error) = self.send_rest() {
            return self.gone(Some(&error));
        }
        loop {
            match self.link.read_control() {
                Ok(Control::Frame(text, fd)) => {
                    self.callbacks.frame.call([Argument::Text(&text), Argument::Descriptor(fd)]);
                }
                Ok(Control::Empty) => return,
                Ok(Control::Closed) => return self.gone(None),
                Err(error) => return self.gone(Some(&error)),
            }
        }
    }

    fn channel_ready(&self) {
        if self.standby.get() {
            self.control_ready();
        }
        if let Err(error) = self.send_rest() {
            return self.gone(Some(&error));
        }
        let mut connections = Vec::new();
        let state = self.link.read_connections(&mut connections);
        for Passed { listener, fd, kept } in connections {
            self.kept.set(kept);
            let served = u32::from(kept.is_some_and(|kept| kept.served));
            let arguments =
                [Argument::Number(listener.0), Argument::Descriptor(Some(fd)), Argument::Number(served)];
            self.callbacks.connection.call(arguments);
        }
        self.kept.set(None);
        match state {
            Ok(Connections::Open) => {}
            Ok(Connections::NoRoom) => {
                self.pause();
                self.callbacks.no_room.call([]);
            }
            // The control socket's hang-up tells the same story and is the one that is acted on.
            Ok(Connections::Closed) => self.pause(),
            Err(error) => self.gone(Some(&error)),
        }
    }

    /// Somebody waits at the socket of this worker's slot. As many as there are, within limits, are taken in one turn
    /// of the loop: that is much cheaper than a turn for each.
    fn slot_ready(&self, listener: u32) {
        let Some(socket) = self.sockets.borrow().get(&listener).map(Rc::clone) else { return };
        for _ in 0..TURN {
            // What the last connection led to may have closed the server.
            if !socket.accepting.get() {
                return;
            }
            match self.link.accept(&socket.fd) {
                Accepted::Connection(fd) => {
                    let arguments =
                        [Argument::Number(listener), Argument::Descriptor(Some(fd)), Argument::Number(0)];
                    self.callbacks.connection.call(arguments);
                }
                Accepted::Nothing => return,
                Accepted::NoRoom => {
                    socket.poll.pause();
                    return self.callbacks.no_room.call([]);
                }
            }
        }
    }

    /// Stops reading connections.
    fn pause(&self) {
        if let Some(sides) = self.sides.get() {
            sides.channel.poll.pause();
        }
    }

    fn gone(&self, error: Option<&LinkError>) {
        self.pause();
        if let Some(sides) = self.sides.get() {
            sides.control.poll.pause();
        }
        self.watch.reacted();
        let reason = error.map(ToString::to_string).unwrap_or_default();
        self.callbacks.gone.call([Argument::Text(&reason)]);
    }
}

fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}
