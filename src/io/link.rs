//! A worker's link to its primary: the control socket, the connection channel, the scoreboard.
//!
//! Everything here runs on the worker's event loop and never blocks.

mod outbox;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde_json::json;
use thiserror::Error;

use self::outbox::{MAX_WAITING, Outbox};
use rcluster_core::channel::{
    ChannelError, Kept, MAX_CONNECTIONS, MAX_MESSAGE, Message, Tag, Writer, batch_limit,
};
use rcluster_core::dispatch::Refusal;
use rcluster_core::event_loop::{self, class};
use rcluster_core::frames::{MAX_FRAME, PING, StoreOptions};
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::{Room, limit, room_for};
use rcluster_sys::listen::{accept, has_client};
use rcluster_sys::passing::{Loss, Received, Sent, peek, receive};
use rcluster_sys::scoreboard::{CLASSES, Scoreboard};

const _: () = assert!(CLASSES == event_loop::CLASSES, "the page has room for all classes");

/// The maximum number of connections taken in one turn of the event loop. The others wait for the next turn,
/// so that a flood of new connections does not starve established ones.
pub const TURN: usize = 32;

/// An error of a link. It ends the link.
#[derive(Debug, Error)]
pub enum LinkError {
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
    /// The primary sent an invalid message.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A control frame is not text, or too long.
    #[error("a control frame that is not text of at most {MAX_FRAME} bytes")]
    Frame,
    /// Too many messages wait to be sent.
    #[error("more than {MAX_WAITING} messages wait for a primary that does not read")]
    Outbox,
}

/// The result of reading the control socket.
#[derive(Debug)]
#[must_use]
pub enum Control {
    /// A frame, and the descriptor that came with it; without one, also if this process had no room for it.
    Frame(String, Option<OwnedFd>),
    /// A ping, which was only sent to make the event loop turn.
    Ping,
    /// Nothing (more) for now.
    Empty,
    /// The primary is gone, or has cut off this worker.
    Closed,
}

/// The result of reading the connection channel.
#[derive(Debug)]
#[must_use]
pub enum Connections {
    /// The turn is over.
    Open,
    /// This process has too few descriptors left for the next message. It is not received, because the kernel
    /// would close the descriptors that it cannot deliver. Try again a little later; meanwhile the primary
    /// may reclaim the connections and give them to another worker.
    NoRoom,
    /// The primary is gone, or has cut off this worker.
    Closed,
}

/// The result of reading one message of the channel.
#[must_use]
enum Read {
    /// The number of connections that the message named, which the primary has counted as sent.
    Message(usize),
    /// There is no message.
    Empty,
    /// See [`Connections::NoRoom`].
    NoRoom,
    /// See [`Connections::Closed`].
    Closed,
}

/// The result of accepting from the socket of this worker's slot.
#[derive(Debug)]
#[must_use]
pub enum Accepted {
    /// A connection, which counts as open from now on.
    Connection(OwnedFd),
    /// No client waits.
    Nothing,
    /// There is no descriptor or memory for the waiting client. Try again a little later.
    NoRoom,
}

/// A connection received from the channel.
#[derive(Debug)]
pub struct Passed {
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// The socket.
    pub fd: OwnedFd,
    /// Its state if another worker has handed it over; `None` for a new client.
    pub kept: Option<Kept>,
}

/// The worker's end of its link to the primary.
#[derive(Debug)]
pub struct Link {
    control: Outbox,
    channel: Outbox,
    board: Scoreboard,
    frame: RefCell<Vec<u8>>,
    /// The number of connections handed over so far.
    handed_over: Cell<u64>,
    /// Received connections that have not been delivered yet.
    undelivered: RefCell<VecDeque<Passed>>,
}

impl Link {
    /// Creates the link from the three descriptors that the primary has passed to this worker.
    pub fn new(control: OwnedFd, channel: OwnedFd, board: &OwnedFd) -> Result<Self, SysError> {
        Ok(Self {
            control: Outbox::new(control),
            channel: Outbox::new(channel),
            board: Scoreboard::open(board)?,
            frame: RefCell::new(vec![0; MAX_FRAME]),
            handed_over: Cell::new(0),
            undelivered: RefCell::default(),
        })
    }

    /// Sends a control frame.
    pub fn send(&self, frame: &str) -> Result<(), LinkError> {
        self.control.send(frame.as_bytes(), Vec::new())
    }

    /// Requests a shared store. The answer arrives on the other end of `socket`.
    pub fn share(&self, name: &str, options: &StoreOptions, socket: OwnedFd) -> Result<(), LinkError> {
        let frame = json!({ "act": "share", "name": name, "options": options }).to_string();
        if frame.len() > MAX_FRAME {
            return Err(LinkError::Frame);
        }
        self.control.send(frame.as_bytes(), vec![socket])
    }

    /// Requests the locks. The answer arrives on the other end of `socket`.
    pub fn use_locks(&self, socket: OwnedFd) -> Result<(), LinkError> {
        self.control.send(json!({ "act": "locks" }).to_string().as_bytes(), vec![socket])
    }

    /// Requests a link to the exchange. The answer arrives on the other end of `socket`.
    pub fn use_exchange(&self, socket: OwnedFd) -> Result<(), LinkError> {
        self.control.send(json!({ "act": "exchange" }).to_string().as_bytes(), vec![socket])
    }

    /// Reads the next control frame.
    pub fn read_control(&self) -> Result<Control, LinkError> {
        let mut bytes = self.frame.borrow_mut();
        let mut fds = Vec::new();
        match receive(self.control.as_fd(), &mut bytes, &mut fds)? {
            Received::Empty => Ok(Control::Empty),
            Received::Closed => Ok(Control::Closed),
            Received::Message { loss: Loss::Bytes, .. } => Err(LinkError::Frame),
            Received::Message { len, .. } if &bytes[..len] == PING.as_bytes() => Ok(Control::Ping),
            Received::Message { len, .. } => {
                let text = std::str::from_utf8(&bytes[..len]).map_err(|_| LinkError::Frame)?;
                Ok(Control::Frame(text.to_owned(), fds.pop()))
            }
        }
    }

    /// Receives connections from the channel, at most one turn's worth, and updates the scoreboard.
    ///
    /// Each message is delivered before the next one is read. Connections that are still in the channel when
    /// this worker dies or blocks go to another worker; those that have been read are lost with this one.
    pub fn read_connections(&self, mut deliver: impl FnMut(Passed)) -> Result<Connections, LinkError> {
        let (mut bytes, mut fds) = ([0; MAX_MESSAGE], Vec::with_capacity(MAX_CONNECTIONS));
        let mut passed = Vec::new();
        let mut taken = 0;
        // Usually there is room for everything that one turn can bring. Otherwise each message is checked.
        let room = Room::of(MAX_CONNECTIONS + TURN);
        let state = loop {
            if taken >= TURN {
                break Connections::Open;
            }
            match self.read_message(room, (&mut bytes, &mut fds), &mut passed)? {
                Read::Message(count) => {
                    taken += count;
                    // Fewer than the message named if descriptors were lost on the way.
                    self.board.add_open(u32::try_from(passed.len()).unwrap_or(u32::MAX));
                    self.board
                        .add_clients(passed.iter().filter(|passed| passed.kept.is_none()).count() as u64);
                    self.board.add_received(count as u64);
                    self.undelivered.borrow_mut().extend(passed.drain(..));
                    while let Some(passed) = self.next_undelivered() {
                        deliver(passed);
                    }
                }
                Read::Empty => break Connections::Open,
                Read::Closed => break Connections::Closed,
                // A turn that took nothing is not reported, so that the primary gives the connections to others.
                Read::NoRoom if taken == 0 => return Ok(Connections::NoRoom),
                Read::NoRoom => break Connections::NoRoom,
            }
        };
        if self.board.take_wake_request() {
            self.channel.send(Writer::new(Tag::Woke).bytes(), Vec::new())?;
        }
        Ok(state)
    }

    fn next_undelivered(&self) -> Option<Passed> {
        self.undelivered.borrow_mut().pop_front()
    }

    /// Returns the connections of the current message that have not been delivered, because the app ends this process
    /// while it handles one of them.
    pub fn return_undelivered(&self) -> Result<(), LinkError> {
        while let Some(passed) = self.next_undelivered() {
            self.return_connection(passed, Refusal::NotListening)?;
        }
        Ok(())
    }

    /// Reads the next message of the channel. The buffers are reused within a turn.
    fn read_message(
        &self,
        room: Option<Room>,
        (bytes, fds): (&mut [u8; MAX_MESSAGE], &mut Vec<OwnedFd>),
        into: &mut Vec<Passed>,
    ) -> Result<Read, LinkError> {
        if !room.is_some_and(Room::is_left)
            && let Some(len) = peek(self.channel.as_fd(), bytes)?
            && !room_for(Message::descriptors(&bytes[..len]))
        {
            return Ok(Read::NoRoom);
        }
        match receive(self.channel.as_fd(), bytes, fds)? {
            Received::Empty => Ok(Read::Empty),
            Received::Closed => Ok(Read::Closed),
            Received::Message { len, loss } => {
                // A message that was truncated for lack of descriptors contains the first ones; the kernel
                // has closed the other connections.
                let bytes = &bytes[..len];
                let is_whole = loss == Loss::Nothing;
                let count = if is_whole { fds.len() } else { Message::descriptors(bytes) };
                let message = Message::parse(bytes, count)?;
                let connections = message.connections().zip(fds.drain(..));
                into.extend(connections.map(|((listener, kept), fd)| Passed { listener, fd, kept }));
                Ok(Read::Message(message.listeners().len()))
            }
        }
    }

    /// Accepts a connection from the socket of this worker's slot.
    ///
    /// Looks first: another worker of the slot, which holds the socket as well, may have made it blocking.
    pub fn accept(&self, socket: &OwnedFd) -> Accepted {
        if !has_client(socket) {
            return Accepted::Nothing;
        }
        match accept(socket) {
            Ok(Some(connection)) => {
                self.board.accept();
                Accepted::Connection(connection)
            }
            Ok(None) => Accepted::Nothing,
            // The pause keeps the event loop from spinning.
            Err(_) => Accepted::NoRoom,
        }
    }

    /// Returns a connection that was just received to the primary, which gives it to another worker.
    pub fn return_connection(
        &self,
        Passed { listener, fd, kept }: Passed,
        why: Refusal,
    ) -> Result<(), LinkError> {
        let tag = match (why, kept) {
            (Refusal::NotListening, None) => Tag::NotListening,
            (Refusal::Full, None) => Tag::Full,
            (Refusal::Full, Some(_)) => Tag::KeptFull,
            (Refusal::NotListening, Some(_)) | (Refusal::HandedOver, _) => Tag::HandedOver,
        };
        let mut message = Writer::new(tag);
        message.push(listener, kept);
        self.board.remove_open();
        if kept.is_none() {
            self.board.remove_client();
        }
        if tag == Tag::HandedOver {
            self.handed_over.set(self.handed_over.get() + 1);
        }
        self.channel.send(message.bytes(), vec![fd])
    }

    /// The number of connections that may be handed over now, for which other workers have room. `None` while
    /// no worker can take any.
    #[must_use]
    pub fn hand_over_room(&self) -> Option<u64> {
        let limit = self.board.hand_over_limit()?;
        Some(limit.saturating_sub(self.handed_over.get()))
    }

    /// Hands over connections that this worker has served to others. Afterwards this worker's own descriptors
    /// of them are closed, which is counted by [`Link::closed`].
    pub fn hand_over(
        &self,
        listener: ListenerId,
        connections: Vec<(OwnedFd, Kept)>,
    ) -> Result<(), LinkError> {
        let most = batch_limit(limit());
        let mut connections = connections.into_iter().peekable();
        while connections.peek().is_some() {
            let mut message = Writer::new(Tag::HandedOver);
            let mut fds = Vec::with_capacity(most);
            for (fd, kept) in connections.by_ref().take(most) {
                message.push(listener, Some(kept));
                fds.push(fd);
            }
            let count = fds.len() as u64;
            self.channel.send(message.bytes(), fds)?;
            self.handed_over.set(self.handed_over.get() + count);
        }
        Ok(())
    }

    /// A received connection has been closed.
    pub fn closed(&self) {
        self.board.remove_open();
    }

    /// The slot of this worker.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot(self.board.slot())
    }

    /// The event loop turns at `now` of the monotonic clock, and has been busy for `busy` in total.
    pub fn turned(&self, now: Duration, busy: Duration) {
        self.board.turn(now, busy, class);
    }

    /// Tells the primary that a server that was full has room again.
    pub fn room(&self, listener: ListenerId) -> Result<(), LinkError> {
        self.say_of(Tag::Room, listener)
    }

    /// Tells the primary that a server is full.
    pub fn no_room(&self, listener: ListenerId) -> Result<(), LinkError> {
        self.say_of(Tag::NoRoom, listener)
    }

    fn say_of(&self, tag: Tag, listener: ListenerId) -> Result<(), LinkError> {
        let mut message = Writer::new(tag);
        message.push(listener, None);
        self.channel.send(message.bytes(), Vec::new())
    }

    /// Sends messages queued for the control socket.
    pub fn flush_control(&self) -> Result<Sent, LinkError> {
        self.control.flush()
    }

    /// Sends messages queued for the connection channel.
    pub fn flush_channel(&self) -> Result<Sent, LinkError> {
        self.channel.flush()
    }
}

#[cfg(test)]
mod tests;
