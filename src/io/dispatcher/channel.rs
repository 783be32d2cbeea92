//! The primary's end of one worker's connection channel.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::failure::WorkerError;
use super::watched::Watched;
use rcluster_core::channel::{Kept, MAX_CONNECTIONS, MAX_MESSAGE, Message, Tag, Writer, batch_limit};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::{limit, room_for, room_for_clients};
use rcluster_sys::passing::{Loss, Next, Received, Sent, peek, receive, receive_next, send, send_from};
use rcluster_sys::scoreboard::Scoreboard;

/// Connections that are sent in one message: either all new, or all handed over.
pub(super) struct Batch {
    message: Writer,
    entries: Vec<(ListenerId, Option<Kept>)>,
    conns: Vec<Descriptor>,
    /// The maximum number of connections.
    limit: usize,
}

/// A connection in a message.
type Entry = (ListenerId, Option<Kept>, Descriptor);

impl Batch {
    fn new() -> Self {
        Self {
            // The worker has inherited the primary's descriptor limit.
            limit: batch_limit(limit()),
            message: Writer::new(Tag::Connections),
            entries: Vec::with_capacity(MAX_CONNECTIONS),
            conns: Vec::with_capacity(MAX_CONNECTIONS),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.conns.len() >= self.limit
    }

    /// Whether this connection may be sent together with those in the batch.
    pub(super) fn takes(&self, kept: Option<Kept>) -> bool {
        self.entries.first().is_none_or(|(_, first)| first.is_some() == kept.is_some())
    }

    fn push(&mut self, listener: ListenerId, kept: Option<Kept>, conn: Descriptor) {
        if self.is_empty() {
            self.message = Writer::new(if kept.is_some() { Tag::HandedOver } else { Tag::Connections });
        }
        self.message.push(listener, kept);
        self.entries.push((listener, kept));
        self.conns.push(conn);
    }

    /// Empties the batch without sending it.
    fn take(&mut self) -> Vec<Entry> {
        self.message.clear();
        let entries = self.entries.drain(..).zip(self.conns.drain(..));
        entries.map(|((listener, kept), conn)| (listener, kept, conn)).collect()
    }
}

/// The number of sent connections for which the app's choice is remembered, in case they come back: more than
/// can be in flight.
const REMEMBERED: usize = 256;

/// A connection that its worker has not received.
pub(super) struct Unreceived {
    pub(super) listener: ListenerId,
    pub(super) fd: Descriptor,
    /// The worker that the app has chosen for it.
    pub(super) chosen: Option<WorkerId>,
    /// The state known from the worker that has handed it over.
    pub(super) kept: Option<Kept>,
}

/// The result of sending a batch. The default value means that it was sent.
#[derive(Default)]
#[must_use]
pub(super) struct Sending {
    /// What could not be sent, because the channel is full or broken.
    pub(super) unsent: Vec<Unreceived>,
    /// Why this worker can be sent nothing more.
    pub(super) broken: Option<WorkerError>,
    /// Whether the kernel accepts no more descriptors in flight from this user.
    pub(super) jammed: bool,
}

/// Connections reclaimed from a worker.
pub(super) struct Reclaimed {
    pub(super) conns: Vec<Unreceived>,
    /// Whether nothing had to stay in the channel.
    pub(super) all: bool,
}

/// The result of reading from a channel.
pub(super) enum Read {
    Message(Incoming),
    Nothing,
    /// Not read: descriptors that this worker has sent before must be closed first.
    HeldUp,
    /// Not read, for lack of descriptors.
    NoRoom,
    /// Not read for now: the next message brings connections, and only descriptors are left that clients must not have.
    Reserved(SysError),
    Broken(WorkerError),
}

/// A message of a worker.
pub(super) struct Incoming {
    /// In bytes.
    pub(super) length: usize,
    /// The number of descriptors with which it was sent; for lack of room, fewer may have been received.
    pub(super) descriptors: usize,
}

/// One worker, seen by the dispatcher.
pub(super) struct WorkerChannel {
    pub(super) slot: Slot,
    pub(super) pid: i32,
    channel: Watched,
    /// A duplicate of the worker's own end, kept open here so that unreceived connections survive the
    /// worker's death. For the same reason sending to a dead worker succeeds: its death is detected by its
    /// pidfd, not by this channel.
    worker_end: Descriptor,
    /// Closes descriptors that the worker also holds, or may hold.
    closer: Closer,
    pub(super) board: Arc<Scoreboard>,
    pub(super) batch: Batch,
    /// The app's choice for each connection sent last, newest at the end. The channel does not return this
    /// information.
    chosen: VecDeque<Option<WorkerId>>,
    /// Whether it is cut off: its messages are not read any more.
    pub(super) cut_off: bool,
    /// Whether the worker has died. It is removed as soon as there are descriptors for its connections.
    pub(super) dead: bool,
    /// Whether it is not read for a while, after [`Read::Reserved`].
    pub(super) rests: bool,
    /// The number of connections that it has handed over.
    pub(super) handed_over: u64,
}

impl WorkerChannel {
    pub(super) fn new(
        slot: Slot,
        pid: i32,
        channel: OwnedFd,
        worker_end: OwnedFd,
        board: Arc<Scoreboard>,
    ) -> Self {
        let closer = Closer::new();
        Self {
            slot,
            pid,
            // Messages still in the sockets when they close contain descriptors.
            channel: Watched::new(Descriptor::foreign(channel, &closer)),
            worker_end: Descriptor::foreign(worker_end, &closer),
            closer,
            board,
            batch: Batch::new(),
            chosen: VecDeque::new(),
            cut_off: false,
            dead: false,
            rests: false,
            handed_over: 0,
        }
    }

    /// Adds a connection to the batch, with the worker that the app has chosen, if any.
    pub(super) fn push(
        &mut self,
        listener: ListenerId,
        fd: Descriptor,
        chosen: Option<WorkerId>,
        kept: Option<Kept>,
    ) {
        if self.chosen.len() == REMEMBERED {
            self.chosen.pop_front();
        }
        self.chosen.push_back(chosen);
        self.batch.push(listener, kept, fd);
    }

    /// Restores the app's choices for connections that have come back: `conns`, oldest first, are the last
    /// ones sent.
    fn unreceived(&mut self, conns: Vec<Entry>) -> Vec<Unreceived> {
        let mut chosen = self.chosen.split_off(self.chosen.len().saturating_sub(conns.len()));
        let forgotten = conns.len() - chosen.len();
        let conns = conns.into_iter().enumerate().map(|(index, (listener, kept, fd))| {
            let chosen = if index < forgotten { None } else { chosen.pop_front().flatten() };
            Unreceived { listener, fd, chosen, kept }
        });
        conns.collect()
    }

    /// Sends the batch as one message.
    pub(super) fn send_batch(&mut self) -> Sending {
        if self.batch.is_empty() {
            return Sending::default();
        }
        let (broken, jammed) =
            match send_from(self.channel.as_fd(), self.batch.message.bytes(), &self.batch.conns) {
                Ok(Sent::Done) => {
                    // The kernel holds references now, so these can be closed.
                    self.batch.message.clear();
                    self.batch.entries.clear();
                    self.closer.close_sent(self.batch.conns.drain(..));
                    let broken = self
                        .closer
                        .has_reached_limit()
                        .then(|| WorkerError::new("closing the connections that it shares takes too long"));
                    return Sending { broken, ..Sending::default() };
                }
                Ok(Sent::Full) => (None, false),
                Ok(Sent::TooManyOnTheirWay) => (None, true),
                Err(error) => (Some(error.into()), false),
            };
        let conns = self.batch.take();
        Sending { unsent: self.unreceived(conns), broken, jammed }
    }

    /// Makes a worker whose event loop is blocked report when it turns again. The error concerns the worker.
    pub(super) fn probe(&self) -> Result<(), WorkerError> {
        match send(self.channel.as_fd(), Writer::new(Tag::Probe).bytes(), &[])? {
            // A full channel also wakes the worker.
            Sent::Done | Sent::Full | Sent::TooManyOnTheirWay => Ok(()),
        }
    }

    /// Reclaims everything that the worker has not received, in order, and empties the batch. Connections for
    /// which this process has no descriptors stay in the channel; if `others_wait`, also those for which only reserved
    /// ones are left.
    ///
    /// If the worker has broken the channel, nothing more can be reclaimed.
    pub(super) fn reclaim(&mut self, others_wait: bool) -> Reclaimed {
        let mut taken = Vec::new();
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::new();
        let (mut all, mut whole) = (true, true);
        // The worker receives from the same socket, so a message must be taken in one step.
        while let Ok(next) = peek(self.worker_end.as_fd(), &mut bytes) {
            let count = next.map_or(0, |len| Message::descriptors(&bytes[..len]));
            if !room_for(count) || (others_wait && room_for_clients(count).is_err()) {
                all = false;
                break;
            }
            let received = receive(self.worker_end.as_fd(), &mut bytes, &mut fds);
            // The worker may have peeked at the message, which gave it these descriptors as well.
            let mut conns = self.foreign(&mut fds);
            let Ok(Received::Message { len, loss }) = received else { break };
            // These are our own messages, so they are well-formed. One is truncated only if descriptors have
            // run out just now, and then its first descriptors are there.
            whole &= loss == Loss::Nothing;
            let bytes = &bytes[..len];
            if let Ok(message) = Message::parse(bytes, Message::descriptors(bytes)) {
                let entries = message.connections().zip(conns.drain(..));
                taken.extend(entries.map(|((listener, kept), fd)| (listener, kept, fd)));
            }
        }
        taken.extend(self.batch.take());
        if !(all && whole) {
            // With gaps, the choices can no longer be assigned.
            self.chosen.clear();
        }
        Reclaimed { conns: self.unreceived(taken), all }
    }

    /// Reads one message of the worker. `may_rest`: connections for which only reserved descriptors are left stay in the
    /// channel. `is_ample`: there is known to be room for the descriptors of any message.
    pub(super) fn read(
        &mut self,
        may_rest: bool,
        is_ample: &mut bool,
        bytes: &mut [u8],
        fds: &mut Vec<Descriptor>,
    ) -> Read {
        if self.is_held_up() {
            return Read::HeldUp;
        }
        let mut received = Vec::new();
        let socket = self.channel.as_fd();
        if may_rest
            && let Ok(Some(len)) = peek(socket, bytes)
            && let Err(error) = room_for_clients(Message::descriptors(&bytes[..len]))
        {
            self.rests = true;
            return Read::Reserved(error);
        }
        let closer = Some(&self.closer);
        let next = receive_next(socket, closer, is_ample, Message::descriptors, bytes, &mut received);
        fds.extend(self.foreign(&mut received));
        match next {
            Ok(Next::Received(received)) => Self::interpret(received, bytes, fds.len()),
            Ok(Next::NoRoom) => Read::NoRoom,
            Ok(Next::TooMany) => {
                Read::Broken(WorkerError::new("a message carries more descriptors than it names"))
            }
            Err(error) => Read::Broken(error.into()),
        }
    }

    fn interpret(received: Received, bytes: &[u8], descriptors: usize) -> Read {
        match received {
            Received::Message { len, loss: Loss::Nothing } => {
                Read::Message(Incoming { length: len, descriptors })
            }
            // The limit of this process was lowered just now. The worker is not to blame.
            Received::Message { len, loss: Loss::Descriptors } => {
                let descriptors = Message::descriptors(&bytes[..len]);
                Read::Message(Incoming { length: len, descriptors })
            }
            Received::Message { loss: Loss::Bytes, .. } => {
                Read::Broken(WorkerError::new(format!("it sent more than {MAX_MESSAGE} bytes")))
            }
            // This process holds the other end itself, so this is an empty message and not the end of the
            // stream.
            Received::Closed => Read::Broken(WorkerError::new("a worker sent an empty message")),
            Received::Empty => Read::Nothing,
        }
    }

    /// Descriptors received from the channel, which the worker also holds.
    fn foreign(&self, fds: &mut Vec<OwnedFd>) -> Vec<Descriptor> {
        fds.drain(..).map(|fd| Descriptor::foreign(fd, &self.closer)).collect()
    }

    /// Whether too many of the worker's descriptors wait to be closed, so that no more must be received from it.
    pub(super) fn is_held_up(&self) -> bool {
        self.closer.is_full()
    }

    /// Starts or stops watching the channel.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, watch: bool) -> Result<(), SysError> {
        let interest = if watch { Interest::Readable } else { Interest::Nothing };
        self.channel.watch(poller, token, interest)
    }

    /// Must be called before it is dropped.
    pub(super) fn forget(&mut self, poller: &Poller) {
        self.channel.forget(poller);
    }
}

#[cfg(test)]
impl WorkerChannel {
    /// A channel, and the end of its worker.
    pub(super) fn with_worker() -> (Self, OwnedFd) {
        let (channel, worker_end) = rcluster_sys::passing::message_pair().unwrap();
        let worker = rcluster_sys::descriptor::duplicate(&worker_end).unwrap();
        let (board, _page) = Scoreboard::create().unwrap();
        (Self::new(Slot(0), 0, channel, worker_end, board.into()), worker)
    }
}

#[cfg(test)]
mod tests;
