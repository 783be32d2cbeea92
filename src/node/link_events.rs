//! The link of a worker on the event loop: passes what its sockets receive to JavaScript.

use std::cell::{Cell, OnceCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use napi::Env;

use super::slot_sockets::SlotSockets;
use crate::io::link::{Accepted, Connections, Control, Link, LinkError, Passed, TURN};
use rcluster_core::channel::Kept;
use rcluster_js::callback::{Argument, EventCallback};
use rcluster_js::uv::{Interest, Turn, UvPoll, UvTurns};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::error::SysError;
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
}

/// One of the two sockets on the event loop.
struct Side {
    poll: UvPoll,
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
        Ok(Self { poll, writing: Cell::new(false) })
    }

    /// Also watches for room to write while something is left to send.
    fn something_left(&self, left: bool) -> Result<(), SysError> {
        if self.writing.replace(left) == left {
            return Ok(());
        }
        self.poll.watch_for(if left { Interest::ReadAndWrite } else { Interest::Read })
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

    /// Sends what is queued for a full socket, and watches for room while something is left.
    pub(super) fn send_rest(&self) -> Result<(), LinkError> {
        if let Some(sides) = self.sides.get() {
            sides.control.something_left(!self.link.flush_control()?)?;
            sides.channel.something_left(!self.link.flush_channel()?)?;
        }
        Ok(())
    }

    /// Resumes reading connections.
    pub(super) fn resume(&self) -> Result<(), SysError> {
        self.sockets.resume_all()?;
        self.sides.get().map_or(Ok(()), |sides| sides.channel.poll.watch_for(Interest::Read))
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
        let state = self.link.read_connections(|Passed { listener, fd, kept }| {
            self.kept.set(kept);
            let served = kept.is_some_and(|kept| kept.served);
            self.tell_connection(listener.0, fd, served);
        });
        self.kept.set(None);
        match state {
            Ok(Connections::Open) => {}
            Ok(Connections::NoRoom) => {
                self.pause();
                self.callbacks.no_room.call([]);
            }
            // The hang-up of the control socket reports the same, and is the one that is handled.
            Ok(Connections::Closed) => self.pause(),
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
                Accepted::Connection(fd) => self.tell_connection(listener, fd, false),
                Accepted::Nothing => return,
                Accepted::NoRoom => {
                    socket.wait_for_descriptors();
                    return self.callbacks.no_room.call([]);
                }
            }
        }
    }

    fn tell_connection(&self, listener: u32, fd: OwnedFd, served: bool) {
        let served = Argument::Number(served.into());
        self.callbacks.connection.call([Argument::Number(listener), Argument::Descriptor(Some(fd)), served]);
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
