//! The primary's end of one worker's connection channel.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::core::channel::{MAX_CONNECTIONS, MAX_MESSAGE, Message, Tag, Writer};
use crate::core::ids::{ListenerId, Slot};
use crate::sys::epoll::Poller;
use crate::sys::error::SysError;
use crate::sys::headroom::room_for;
use crate::sys::passing::{Received, Sent, receive, send};
use crate::sys::scoreboard::Scoreboard;

/// Connections that go out in one message.
pub(super) struct Batch {
    message: Writer,
    listeners: Vec<ListenerId>,
    conns: Vec<OwnedFd>,
}

impl Batch {
    fn new() -> Self {
        Self {
            message: Writer::new(Tag::Connections),
            listeners: Vec::with_capacity(MAX_CONNECTIONS),
            conns: Vec::with_capacity(MAX_CONNECTIONS),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.conns.len() == MAX_CONNECTIONS
    }

    pub(super) fn push(&mut self, listener: ListenerId, conn: OwnedFd) {
        self.message.push(listener);
        self.listeners.push(listener);
        self.conns.push(conn);
    }

    /// Empties the batch without sending it.
    fn take(&mut self) -> Vec<(ListenerId, OwnedFd)> {
        self.message.clear();
        self.listeners.drain(..).zip(self.conns.drain(..)).collect()
    }
}

/// What was received in a worker's stead.
pub(super) struct TakenBack {
    pub(super) conns: Vec<(ListenerId, OwnedFd)>,
    /// Nothing had to be left in the channel.
    pub(super) all: bool,
}

/// One worker, as the dispatcher knows it.
pub(super) struct WorkerChannel {
    pub(super) slot: Slot,
    pub(super) pid: i32,
    channel: OwnedFd,
    /// The worker's own end, kept open here: what the worker has not received is not lost with
    /// the worker. For the same reason a send to a dead worker succeeds, so death is known by its
    /// pidfd and not by this channel.
    worker_end: OwnedFd,
    pub(super) board: Arc<Scoreboard>,
    pub(super) batch: Batch,
    /// The poller watches the channel.
    watched: bool,
    /// It has broken the rules: nothing that it says is read any more.
    pub(super) cut_off: bool,
    /// The worker is dead, and is buried as soon as there is room for what it leaves.
    pub(super) dead: bool,
}

impl WorkerChannel {
    pub(super) fn new(
        slot: Slot,
        pid: i32,
        channel: OwnedFd,
        worker_end: OwnedFd,
        board: Arc<Scoreboard>,
    ) -> Self {
        let batch = Batch::new();
        Self { slot, pid, channel, worker_end, board, batch, watched: true, cut_off: false, dead: false }
    }

    /// Sends the batch as one message. What comes back could not be sent: the channel is full.
    pub(super) fn send_batch(&mut self) -> Result<Vec<(ListenerId, OwnedFd)>, SysError> {
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        match send(self.channel.as_fd(), self.batch.message.bytes(), &self.batch.conns)? {
            Sent::Done => {
                // The kernel's references are on their way: ours are closed.
                self.batch.message.clear();
                self.batch.listeners.clear();
                self.batch.conns.clear();
                Ok(Vec::new())
            }
            Sent::Full => Ok(self.batch.take()),
        }
    }

    /// Makes a worker whose loop stands still wake us when it turns again.
    pub(super) fn probe(&self) -> Result<(), SysError> {
        match send(self.channel.as_fd(), Writer::new(Tag::Probe).bytes(), &[])? {
            // A channel that is full wakes the worker as well.
            Sent::Done | Sent::Full => Ok(()),
        }
    }

    /// Receives in the worker's stead everything it has not received, in order, and empties the
    /// batch. What this process has no descriptors for stays where it is.
    pub(super) fn take_back(&mut self) -> Result<TakenBack, SysError> {
        let mut taken = Vec::new();
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::new();
        let mut all = true;
        loop {
            if !room_for(&self.worker_end, MAX_CONNECTIONS) {
                all = false;
                break;
            }
            // What we sent ourselves is well-formed. Only when others have used up the room just
            // now is it cut, and then the first ones are there.
            let Received::Message { len, .. } = receive(self.worker_end.as_fd(), &mut bytes, &mut fds)?
            else {
                break;
            };
            if let Ok(message) = Message::parse(&bytes[..len], len.saturating_sub(1) / 4) {
                taken.extend(message.listeners().zip(fds.drain(..)));
            }
            fds.clear();
        }
        taken.extend(self.batch.take());
        Ok(TakenBack { conns: taken, all })
    }

    /// Reads one message of the worker; None when there is none.
    pub(super) fn read(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<Option<usize>, String> {
        match receive(self.channel.as_fd(), bytes, fds) {
            Ok(Received::Message { len, cut: false }) => Ok(Some(len)),
            Ok(Received::Message { cut: true, .. }) => Err("a worker's message was cut short".into()),
            // We hold the other end ourselves: it is an empty message and not the end.
            Ok(Received::Closed) => Err("a worker sent an empty message".into()),
            Ok(Received::Empty) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether what the worker says can be received: it may bring descriptors.
    pub(super) fn has_room(&self) -> bool {
        room_for(&self.channel, MAX_CONNECTIONS)
    }

    /// To be called with `false` before it is dropped, too: see [`Poller`].
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, watch: bool) -> Result<(), SysError> {
        if watch == self.watched {
            return Ok(());
        }
        self.watched = watch;
        if watch { poller.add(&self.channel, token) } else { poller.remove(&self.channel) }
    }
}
