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
use rcluster_sys::headroom::{Room, limit, room_for, room_for_next};
use rcluster_sys::passing::{Loss, Received, Sent, peek, receive, send, send_from};
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
    /// which this process has no descriptors stay in the channel.
    ///
    /// If the worker has broken the channel, nothing more can be reclaimed.
    pub(super) fn reclaim(&mut self) -> Reclaimed {
        let mut taken = Vec::new();
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::new();
        let (mut all, mut whole) = (true, true);
        while let Ok(named) = Self::named(&self.worker_end) {
            if !room_for(named) {
                all = false;
                break;
            }
            // These are our own messages, so they are well-formed. One is truncated only if descriptors have
            // run out just now, and then its first descriptors are there.
            let received = receive(self.worker_end.as_fd(), &mut bytes, &mut fds);
            // The worker may have peeked at the message, which gave it these descriptors as well.
            let mut conns = self.foreign(&mut fds);
            let Ok(Received::Message { len, loss }) = received else { break };
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

    /// Reads one message of the worker; `None` if there is none.
    pub(super) fn read(
        &self,
        bytes: &mut [u8],
        fds: &mut Vec<Descriptor>,
    ) -> Result<Option<Incoming>, WorkerError> {
        let mut received = Vec::new();
        let outcome = receive(self.channel.as_fd(), bytes, &mut received);
        fds.extend(self.foreign(&mut received));
        match outcome? {
            Received::Message { len, loss: Loss::Nothing } => {
                Ok(Some(Incoming { length: len, descriptors: fds.len() }))
            }
            // Other code of this process has used up the descriptors since `room()`. The worker is not to blame.
            Received::Message { len, loss: Loss::Descriptors } => {
                Ok(Some(Incoming { length: len, descriptors: Message::descriptors(&bytes[..len]) }))
            }
            Received::Message { loss: Loss::Bytes, .. } => {
                Err(WorkerError::new(format!("it sent more than {MAX_MESSAGE} bytes")))
            }
            // This process holds the other end itself, so this is an empty message and not the end of the
            // stream.
            Received::Closed => Err(WorkerError::new("a worker sent an empty message")),
            Received::Empty => Ok(None),
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

    /// Whether there are enough descriptors to receive the worker's next message. The error concerns the worker.
    pub(super) fn room(&self) -> Result<Room, WorkerError> {
        match room_for_next(self.channel.as_fd(), &self.closer, || Self::named(&self.channel))? {
            Room::TooMany => Err(WorkerError::new("a message carries more descriptors than it names")),
            room => Ok(room),
        }
    }

    /// How many descriptors the next message of a socket names.
    fn named(socket: &impl AsFd) -> Result<usize, SysError> {
        let mut bytes = [0; MAX_MESSAGE];
        let next = peek(socket.as_fd(), &mut bytes)?;
        Ok(next.map_or(0, |len| Message::descriptors(&bytes[..len])))
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
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use super::*;
    use rcluster_testing::alone_with_limit;

    #[test]
    fn a_worker_is_not_to_blame_for_descriptors_that_are_lost_here() {
        if !alone_with_limit(
            "io::dispatcher::channel::tests::a_worker_is_not_to_blame_for_descriptors_that_are_lost_here",
            100,
        ) {
            return;
        }
        let (channel, worker) = WorkerChannel::with_worker();
        let mut message = Writer::new(Tag::NotListening);
        message.push(ListenerId(1), None);
        message.push(ListenerId(1), None);
        let clients: Vec<OwnedFd> = (0..2).map(|_| UnixStream::pair().unwrap().0.into()).collect();
        assert_eq!(
            rcluster_sys::passing::send(worker.as_fd(), message.bytes(), &clients).unwrap(),
            Sent::Done
        );
        drop(clients);

        let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        all.pop();
        let (mut bytes, mut fds) = ([0; MAX_MESSAGE], Vec::new());
        let read = channel.read(&mut bytes, &mut fds).unwrap().unwrap();
        assert_eq!((read.descriptors, fds.len()), (2, 1));
        assert!(Message::parse(&bytes[..read.length], read.descriptors).is_ok());
    }

    #[test]
    fn what_comes_back_is_the_latest_and_keeps_what_the_app_has_chosen() {
        let (mut channel, worker) = WorkerChannel::with_worker();
        let send = |channel: &mut WorkerChannel, chosen: &[Option<u32>]| {
            for chosen in chosen {
                let conn = Descriptor::own(UnixStream::pair().unwrap().0.into());
                channel.push(ListenerId(1), conn, chosen.map(WorkerId), None);
            }
        };
        send(&mut channel, &[Some(1), None]);
        assert!(channel.send_batch().unsent.is_empty());
        send(&mut channel, &[Some(2), None, Some(3)]);
        assert!(channel.send_batch().unsent.is_empty());
        send(&mut channel, &[Some(4)]);
        let mut received = Vec::new();
        assert!(matches!(
            receive(worker.as_fd(), &mut [0; MAX_MESSAGE], &mut received),
            Ok(Received::Message { .. })
        ));
        assert_eq!(received.len(), 2);
        let chosen =
            |back: Reclaimed| back.conns.into_iter().map(|it| it.chosen.map(|it| it.0)).collect::<Vec<_>>();
        assert_eq!(chosen(channel.reclaim()), [Some(2), None, Some(3), Some(4)]);
        send(&mut channel, &[None, Some(5)]);
        assert_eq!(chosen(channel.reclaim()), [None, Some(5)]);
        // More connections than are remembered: only the choices of the latest are known.
        send(&mut channel, &[Some(6)]);
        channel.chosen.clear();
        send(&mut channel, &[Some(7)]);
        assert_eq!(chosen(channel.reclaim()), [None, Some(7)]);
    }
}
