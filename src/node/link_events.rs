//! The link of a worker on the event loop: passes what its sockets receive to JavaScript.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use napi::Env;

use super::slot_sockets::SlotSockets;
use crate::io::link::{Accepted, Connections, Control, Link, LinkError, Passed, TURN};
use rcluster_core::channel::Kept;
use rcluster_js::callback::{Argument, EventCallback};
use rcluster_js::uv::{Interest, Turn, UvPoll, UvTurns};
use rcluster_sys::alarm::alarm;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{JAM_PAUSE, Sent};
use rcluster_sys::watch::Watch;

/// The callbacks into JavaScript.
pub(super) struct Callbacks {
    pub(super) connection: EventCallback,
    pub(super) frame: EventCallback,
    pub(super) no_room: EventCallback,
    pub(super) gone: EventCallback,
}

pub(super) struct LinkEvents {
    link: Link,
    callbacks: Callbacks,
    sides: OnceCell<Sides>,
    watch: Watch,
    /// Whether this is a standby: then frames of the primary are handled before connections.
    standby: Cell<bool>,
    /// The state of the connection that is being passed to JavaScript.
    kept: Cell<Option<Kept>>,
    sockets: SlotSockets,
}

struct Sides {
    control: Side,
    channel: Side,
    _turns: UvTurns,
    retry: Retry,
}

/// When messages are tried again that could not be sent, although there is room for them.
struct Retry {
    env: Env,
    events: Weak<LinkEvents>,
    /// Set while they wait.
    timer: RefCell<Option<UvPoll>>,
}

impl Retry {
    fn start(&self) -> Result<(), SysError> {
        let mut timer = self.timer.borrow_mut();
        if timer.is_none() {
            let events = Weak::clone(&self.events);
            let on_time = Box::new(move || {
                if let Some(events) = events.upgrade() {
                    events.on_retry();
                }
            });
            *timer = Some(UvPoll::new(self.env, alarm(JAM_PAUSE)?, on_time)?);
        }
        Ok(())
    }
}

/// One of the two sockets on the event loop.
struct Side {
    poll: UvPoll,
    reading: Cell<bool>,
    writing: Cell<bool>,
}

impl Side {
    /// Watches `fd` and calls `on_ready`, while `events` exists.
    fn new(
        env: Env,
        fd: OwnedFd,
        events: &Rc<LinkEvents>,
        on_ready: fn(&LinkEvents),
    ) -> Result<Self, SysError> {
        let call = while_it_exists(events, move |events, ()| on_ready(events));
        let poll = UvPoll::new(env, fd, Box::new(move || call(())))?;
        Ok(Self { poll, reading: Cell::new(true), writing: Cell::new(false) })
    }

    /// Reads what comes, or leaves it in the socket for now.
    fn read(&self, reading: bool) -> Result<(), SysError> {
        if self.reading.replace(reading) == reading { Ok(()) } else { self.watch() }
    }

    /// Watches for room to write while the socket is full.
    fn write(&self, writing: bool) -> Result<(), SysError> {
        if self.writing.replace(writing) == writing { Ok(()) } else { self.watch() }
    }

    fn watch(&self) -> Result<(), SysError> {
        let interest = match (self.reading.get(), self.writing.get()) {
            (true, true) => Interest::ReadAndWrite,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => {
                self.poll.pause();
                return Ok(());
            }
        };
        self.poll.watch_for(interest)
    }

    /// The other end is gone.
    fn stop(&self) {
        self.reading.set(false);
        self.writing.set(false);
        self.poll.pause();
    }
}

/// What other workers have done with a connection before.
#[derive(Clone, Copy)]
enum History {
    /// None has had it.
    None = 0,
    /// One has answered requests on it.
    Served = 1,
    /// One has had it, and has answered nothing.
    Had = 2,
}

impl History {
    fn of(kept: Option<Kept>) -> Self {
        kept.map_or(Self::None, |kept| if kept.served { Self::Served } else { Self::Had })
    }
}

/// Wraps a callback of the event loop, so that it does not keep the link alive.
fn while_it_exists<A, F: Fn(&LinkEvents, A)>(events: &Rc<LinkEvents>, call: F) -> impl Fn(A) + use<A, F> {
    let weak = Rc::downgrade(events);
    move |argument| {
        if let Some(events) = weak.upgrade() {
            call(&events, argument);
        }
    }
}

impl LinkEvents {
    /// Watches the two sockets, through descriptors owned by the event loop, and counts its turns.
    pub(super) fn start(
        env: Env,
        link: Link,
        callbacks: Callbacks,
        watch: Watch,
        control: OwnedFd,
        channel: OwnedFd,
    ) -> Result<Rc<Self>, SysError> {
        let events = Rc::new(Self {
            link,
            callbacks,
            sides: OnceCell::new(),
            watch,
            standby: Cell::new(false),
            kept: Cell::new(None),
            sockets: SlotSockets::default(),
        });
        let turned = while_it_exists(&events, |events, Turn { now, busy }| events.link.turned(now, busy));
        let sides = Sides {
            control: Side::new(env, control, &events, Self::on_control)?,
            channel: Side::new(env, channel, &events, Self::on_channel)?,
            _turns: UvTurns::new(env, turned)?,
            retry: Retry { env, events: Rc::downgrade(&events), timer: RefCell::default() },
        };
        let first = events.sides.set(sides);
        debug_assert!(first.is_ok(), "the sides are made once");
        Ok(events)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn sockets(&self) -> &SlotSockets {
        &self.sockets
    }

    /// The state of the connection that is being passed to JavaScript.
    pub(super) fn kept(&self) -> Option<Kept> {
        self.kept.get()
    }

    /// Sets whether this is a standby, for which frames of the primary are handled before connections.
    pub(super) fn set_standby(&self, standby: bool) {
        self.standby.set(standby);
    }

    /// Accepts from the socket of this worker's slot from now on.
    pub(super) fn accept_from(
        events: &Rc<Self>,
        env: Env,
        listener: u32,
        fd: OwnedFd,
    ) -> Result<(), SysError> {
        let call = while_it_exists(events, move |events, ()| events.on_slot(listener));
        let poll = UvPoll::new(env, duplicate(&fd)?, Box::new(move || call(())))?;
        events.sockets.insert(listener, fd, poll);
        Ok(())
    }

    /// Sends what is queued. If something is left, it is sent when there is room, or tried again after a while.
    pub(super) fn send_rest(&self) -> Result<(), LinkError> {
        let Some(sides) = self.sides.get() else { return Ok(()) };
        let (control, channel) = (self.link.flush_control()?, self.link.flush_channel()?);
        sides.control.write(control == Sent::Full)?;
        sides.channel.write(channel == Sent::Full)?;
        if [control, channel].contains(&Sent::TooManyOnTheirWay) {
            sides.retry.start()?;
        }
        Ok(())
    }

    fn on_retry(&self) {
        if let Some(sides) = self.sides.get() {
            sides.retry.timer.take();
        }
        if let Err(error) = self.send_rest() {
            self.gone(Some(&error));
        }
    }

    /// Resumes reading connections.
    pub(super) fn resume(&self) -> Result<(), SysError> {
        self.sockets.resume_all()?;
        self.sides.get().map_or(Ok(()), |sides| sides.channel.read(true))
    }

    fn on_control(&self) {
        if let Err(error) = self.send_rest() {
            return self.gone(Some(&error));
        }
        loop {
            match self.link.read_control() {
                Ok(Control::Frame(text, fd)) => {
                    self.callbacks.frame.call([Argument::Text(&text), Argument::Descriptor(fd)]);
                }
                Ok(Control::Ping) => {}
                Ok(Control::Empty) => return,
                Ok(Control::Closed) => return self.gone(None),
                Err(error) => return self.gone(Some(&error)),
            }
        }
    }

    fn on_channel(&self) {
        if self.standby.get() {
            self.on_control();
        }
        if let Err(error) = self.send_rest() {
            return self.gone(Some(&error));
        }
        // There may only be room to write.
        if !self.sides.get().is_some_and(|sides| sides.channel.reading.get()) {
            return;
        }
        let state = self.link.read_connections(|Passed { listener, fd, kept }| {
            self.kept.set(kept);
            self.tell_connection(listener.0, fd, History::of(kept));
        });
        self.kept.set(None);
        match state {
            Ok(Connections::Open) => {}
            Ok(Connections::NoRoom) => {
                // If the watch cannot be changed, the next event has the same result.
                let _unchanged = self.sides.get().map(|sides| sides.channel.read(false));
                self.callbacks.no_room.call([]);
            }
            // The hang-up of the control socket reports the same, and is the one that is handled.
            Ok(Connections::Closed) => self.stop_channel(),
            Err(error) => self.gone(Some(&error)),
        }
    }

    /// Clients wait at the socket of this worker's slot. Up to a limit, all are accepted in one turn of the
    /// event loop, which is much cheaper than a turn for each.
    fn on_slot(&self, listener: u32) {
        let Some(socket) = self.sockets.get(listener) else { return };
        for _ in 0..TURN {
            // The callback for the last connection may have closed the server.
            if !socket.is_accepting() {
                return;
            }
            match self.link.accept(socket.fd()) {
                Accepted::Connection(fd) => self.tell_connection(listener, fd, History::None),
                Accepted::Nothing => return,
                Accepted::NoRoom => {
                    socket.wait_for_descriptors();
                    return self.callbacks.no_room.call([]);
                }
            }
        }
    }

    fn tell_connection(&self, listener: u32, fd: OwnedFd, history: History) {
        let history = Argument::Number(history as u32);
        self.callbacks.connection.call([Argument::Number(listener), Argument::Descriptor(Some(fd)), history]);
    }

    fn stop_channel(&self) {
        if let Some(sides) = self.sides.get() {
            sides.channel.stop();
        }
    }

    fn gone(&self, error: Option<&LinkError>) {
        self.stop_channel();
        if let Some(sides) = self.sides.get() {
            sides.control.stop();
            sides.retry.timer.take();
        }
        self.watch.reacted();
        let reason = error.map(ToString::to_string).unwrap_or_default();
        self.callbacks.gone.call([Argument::Text(&reason)]);
    }
}
