//! A worker's link to its primary: the control socket, the connection channel, the scoreboard.
//!
//! Everything here runs on the worker's event loop and never blocks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde_json::json;
use thiserror::Error;

use rcluster_core::channel::{
    ChannelError, Kept, MAX_CONNECTIONS, MAX_MESSAGE, Message, Tag, Writer, batch_limit,
};
use rcluster_core::dispatch::Refusal;
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_core::wire::{MAX_FRAME, StoreOptions};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::{limit, room_for};
use rcluster_sys::listen::accept;
use rcluster_sys::passing::{Received, Sent, peek, receive, send};
use rcluster_sys::scoreboard::Scoreboard;

/// The connections taken in one turn of the loop. More wait for the next turn, so that a flood
/// of new connections does not starve those that are being served.
pub const TURN: usize = 32;

/// What can go wrong on a link. It ends the link.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The system refused.
    #[error(transparent)]
    System(#[from] SysError),
    /// The primary sent what it never should.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A control frame was not text or longer than allowed.
    #[error("a control frame that is not text of at most {MAX_FRAME} bytes")]
    Frame,
    /// The worker has too many messages unsent.
    #[error("more than {OUTBOX} messages wait for a primary that does not read")]
    Outbox,
}

/// The most messages that wait for a full socket. The primary's native threads read at once, so
/// a handful is all that ever waits, unless the primary is stopped.
const OUTBOX: usize = 4096;

/// What a read of the control socket found.
#[derive(Debug)]
#[must_use]
pub enum Control {
    /// A frame, and the descriptor that came with it.
    Frame(String, Option<OwnedFd>),
    /// Nothing (more) for now.
    Empty,
    /// The primary is gone, or has cut this worker off.
    Closed,
}

/// What a read of the connection channel found.
#[derive(Debug)]
#[must_use]
pub enum Connections {
    /// Some were appended, or none: the turn is over.
    Open,
    /// This process has too few descriptors left for the next message, which stays where it is: what the kernel
    /// cannot deliver it would close. Look again a little later; meanwhile the primary may take
    /// the connections back and give them to another worker.
    NoRoom,
    /// The primary is gone, or has cut this worker off.
    Closed,
}

/// What a look at the socket of this worker's slot found.
#[derive(Debug)]
#[must_use]
pub enum Accepted {
    /// A connection, which counts as open from now on.
    Connection(OwnedFd),
    /// Nobody waits any more.
    Nothing,
    /// There is no descriptor or memory for whoever waits. Look again a little later.
    NoRoom,
}

/// A connection from the channel.
#[derive(Debug)]
pub struct Passed {
    /// Where it was accepted.
    pub listener: ListenerId,
    /// The socket.
    pub fd: OwnedFd,
    /// What is known of it if another worker has handed it over; `None` if its client is new.
    pub kept: Option<Kept>,
}

/// A message that waits until its socket has room.
#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// One of the two sockets, with what could not be sent yet.
#[derive(Debug)]
struct Outbox {
    socket: OwnedFd,
    waiting: RefCell<VecDeque<Unsent>>,
}

impl Outbox {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: RefCell::default() }
    }

    /// Sends a message, or keeps it until [`Outbox::flush`] can.
    fn send(&self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && send(self.socket.as_fd(), bytes, &fds)? == Sent::Done {
            return Ok(());
        }
        if waiting.len() == OUTBOX {
            return Err(LinkError::Outbox);
        }
        waiting.push_back(Unsent { bytes: bytes.to_vec(), fds });
        Ok(())
    }

    /// Sends what waits, in order, as far as there is room. True when nothing is left.
    fn flush(&self) -> Result<bool, LinkError> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.front() {
            match send(self.socket.as_fd(), &first.bytes, &first.fds)? {
                Sent::Done => drop(waiting.pop_front()),
                Sent::Full | Sent::TooManyOnTheirWay => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The worker's end of everything it shares with its primary.
#[derive(Debug)]
pub struct Link {
    control: Outbox,
    channel: Outbox,
    board: Scoreboard,
    frame: RefCell<Vec<u8>>,
    /// How many connections have been handed over.
    handed_over: Cell<u64>,
}

impl Link {
    /// A link over the three descriptors that the primary gave this worker.
    pub fn new(control: OwnedFd, channel: OwnedFd, board: &OwnedFd) -> Result<Self, SysError> {
        Ok(Self {
            control: Outbox::new(control),
            channel: Outbox::new(channel),
            board: Scoreboard::open(board)?,
            frame: RefCell::new(vec![0; MAX_FRAME]),
            handed_over: Cell::new(0),
        })
    }

    /// Sends a control frame.
    pub fn send(&self, frame: &str) -> Result<(), LinkError> {
        self.control.send(frame.as_bytes(), Vec::new())
    }

    /// Sends a control frame that asks to use a shared store. The answer comes on the other end of `socket`.
    pub fn share(&self, name: &str, options: &StoreOptions, socket: OwnedFd) -> Result<(), LinkError> {
        let frame = json!({ "act": "share", "name": name, "options": options }).to_string();
        if frame.len() > MAX_FRAME {
            return Err(LinkError::Frame);
        }
        self.control.send(frame.as_bytes(), vec![socket])
    }

    /// Sends a control frame that asks to use locks. The answer comes on the other end of `socket`.
    pub fn use_locks(&self, socket: OwnedFd) -> Result<(), LinkError> {
        self.control.send(json!({ "act": "locks" }).to_string().as_bytes(), vec![socket])
    }

    /// Reads the next control frame.
    pub fn read_control(&self) -> Result<Control, LinkError> {
        let mut bytes = self.frame.borrow_mut();
        let mut fds = Vec::new();
        match receive(self.control.socket.as_fd(), &mut bytes, &mut fds)? {
            Received::Empty => Ok(Control::Empty),
            Received::Closed => Ok(Control::Closed),
            Received::Message { cut: true, .. } => Err(LinkError::Frame),
            Received::Message { len, cut: false } => {
                let text = std::str::from_utf8(&bytes[..len]).map_err(|_| LinkError::Frame)?;
                Ok(Control::Frame(text.to_owned(), fds.pop()))
            }
        }
    }

    /// Takes what the channel holds, at most one turn's worth, and tells the scoreboard.
    pub fn read_connections(&self, into: &mut Vec<Passed>) -> Result<Connections, LinkError> {
        let (state, taken) = self.read_channel(into)?;
        if taken > 0 {
            // Fewer than were taken, if descriptors got lost on the way.
            self.board.add_open(u32::try_from(into.len()).unwrap_or(u32::MAX));
            self.board.add_clients(into.iter().filter(|passed| passed.kept.is_none()).count() as u64);
            self.board.add_received(taken);
        }
        if taken == 0 && matches!(state, Connections::NoRoom) {
            // Nothing is said of a turn that took nothing, so that the primary gives what waits to others.
            return Ok(state);
        }
        if self.board.take_wake_request() {
            self.channel.send(Writer::new(Tag::Woke).bytes(), Vec::new())?;
        }
        Ok(state)
    }

    /// Reads the channel for one turn. Returns how many connections the messages named, which
    /// is what the primary has counted as sent.
    fn read_channel(&self, into: &mut Vec<Passed>) -> Result<(Connections, u64), LinkError> {
        let mut taken = 0;
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::with_capacity(MAX_CONNECTIONS);
        // As a rule there is room for whatever comes in this turn. With few descriptors left each message is looked at.
        let ample = room_for(MAX_CONNECTIONS + TURN);
        while taken < TURN {
            if !ample
                && let Some(len) = peek(self.channel.socket.as_fd(), &mut bytes)?
                && !room_for(Message::descriptors(&bytes[..len]))
            {
                return Ok((Connections::NoRoom, taken as u64));
            }
            match receive(self.channel.socket.as_fd(), &mut bytes, &mut fds)? {
                Received::Empty => break,
                Received::Closed => return Ok((Connections::Closed, taken as u64)),
                Received::Message { len, cut } => {
                    // In a message that was cut for want of descriptors the first ones are there
                    // and the rest is gone; the kernel has closed those connections.
                    let bytes = &bytes[..len];
                    let count = if cut { Message::descriptors(bytes) } else { fds.len() };
                    let message = Message::parse(bytes, count)?;
                    taken += message.listeners().len();
                    let passed = message.connections().zip(fds.drain(..));
                    into.extend(passed.map(|((listener, kept), fd)| Passed { listener, fd, kept }));
                }
            }
        }
        Ok((Connections::Open, taken as u64))
    }

    /// Accepts a connection from the socket of this worker's slot.
    pub fn accept(&self, socket: &OwnedFd) -> Accepted {
        loop {
            match accept(socket) {
                Ok(Some(connection)) => {
                    self.board.accept();
                    return Accepted::Connection(connection);
                }
                Ok(None) => return Accepted::Nothing,
                // That client is gone; the next one is as good as any.
                Err(error) if error.is_of_the_connection() => {}
                // Whatever else it is, the pause keeps the loop from spinning.
                Err(_) => return Accepted::NoRoom,
            }
        }
    }

    /// Gives a connection that has just come back to the primary, which gives it to another worker.
    pub fn give_back(&self, Passed { listener, fd, kept }: Passed, why: Refusal) -> Result<(), LinkError> {
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

    /// How many connections may be handed over now: as many as others have room for. `None` while there is nobody who
    /// could take them.
    #[must_use]
    pub fn hand_over_room(&self) -> Option<u64> {
        let limit = self.board.hand_over_limit()?;
        Some(limit.saturating_sub(self.handed_over.get()))
    }

    /// Hands connections that this worker has served over to others. What is closed here afterwards are
    /// this worker's own descriptors of them, which [`Link::closed`] counts.
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

    /// A connection that was taken is closed.
    pub fn closed(&self) {
        self.board.remove_open();
    }

    /// The slot of this worker.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot(self.board.slot())
    }

    /// The event loop has turned, and has been at work for `busy` so far.
    pub fn turned(&self, busy: Duration) {
        self.board.turn(busy);
    }

    /// Tells the primary that a server which was full has room again.
    pub fn room(&self, listener: ListenerId) -> Result<(), LinkError> {
        self.say_of(Tag::Room, listener)
    }

    /// Tells the primary that a server is full for which this worker accepts by itself.
    pub fn no_room(&self, listener: ListenerId) -> Result<(), LinkError> {
        self.say_of(Tag::NoRoom, listener)
    }

    fn say_of(&self, tag: Tag, listener: ListenerId) -> Result<(), LinkError> {
        let mut message = Writer::new(tag);
        message.push(listener, None);
        self.channel.send(message.bytes(), Vec::new())
    }

    /// Sends on the control socket what could not be sent before. True when nothing is left.
    pub fn flush_control(&self) -> Result<bool, LinkError> {
        self.control.flush()
    }

    /// Sends on the connection channel what could not be sent before. True when nothing is left.
    pub fn flush_channel(&self) -> Result<bool, LinkError> {
        self.channel.flush()
    }
}
