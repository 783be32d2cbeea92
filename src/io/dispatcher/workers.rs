//! The workers that the dispatcher has a channel to. Implements the [`Board`] that policies read.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::channel::{Read, Reclaimed, Sending, WorkerChannel};
use super::connection::Conn;
use super::failure::WorkerError;
use super::token::Token;
use super::tools::Tools;
use rcluster_core::dispatch::Board;
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::scoreboard::Scoreboard;

#[derive(Default)]
pub(super) struct Workers {
    channels: HashMap<WorkerId, WorkerChannel>,
    /// Workers that are leaving and have not died yet.
    leaving: BTreeSet<WorkerId>,
    /// Workers whose batch is not empty.
    unflushed: Vec<WorkerId>,
}

impl Board for Workers {
    fn received(&self, worker: WorkerId) -> u64 {
        self.board(worker).map_or(0, Scoreboard::received)
    }

    fn open(&self, worker: WorkerId) -> u32 {
        self.board(worker).map_or(0, Scoreboard::open_connections)
    }

    fn busy(&self, worker: WorkerId) -> Duration {
        self.board(worker).map_or(Duration::ZERO, Scoreboard::busy)
    }
}

/// The result of queueing a connection.
#[must_use]
pub(super) enum Queued {
    HasRoom,
    /// It took the last free place.
    Full,
    /// There is no such worker.
    Nobody(Conn),
}

impl Workers {
    pub(super) fn insert(&mut self, worker: WorkerId, channel: WorkerChannel) {
        self.channels.insert(worker, channel);
    }

    /// Must be called when the worker has died and its channel is empty.
    pub(super) fn remove(&mut self, worker: WorkerId, tools: &Tools) {
        if let Some(mut channel) = self.channels.remove(&worker) {
            self.leaving.remove(&worker);
            channel.forget(tools.poller());
        }
    }

    pub(super) fn all(&self) -> Vec<WorkerId> {
        self.channels.keys().copied().collect()
    }

    pub(super) fn slot(&self, worker: WorkerId) -> Option<Slot> {
        self.channels.get(&worker).map(|channel| channel.slot)
    }

    pub(super) fn pid(&self, worker: WorkerId) -> Option<i32> {
        self.channels.get(&worker).map(|channel| channel.pid)
    }

    pub(super) fn board(&self, worker: WorkerId) -> Option<&Scoreboard> {
        self.channels.get(&worker).map(|channel| &*channel.board)
    }

    /// Starts or stops watching its channel. A failure for lack of memory is retried; any other error
    /// concerns the worker.
    pub(super) fn watch(&mut self, worker: WorkerId, tools: &mut Tools) -> Result<(), WorkerError> {
        let Some(channel) = self.channels.get_mut(&worker) else { return Ok(()) };
        let watch = !tools.is_paused() && !channel.cut_off && !channel.rests && !channel.is_held_up();
        match channel.watch(tools.poller(), Token::Worker(worker).pack(), watch) {
            Err(error) if error.is_shortage() => tools.try_later(error),
            other => other?,
        }
        Ok(())
    }

    /// Ends the rest of channels, so that they are watched and read again.
    pub(super) fn try_again(&mut self) {
        self.channels.values_mut().for_each(|channel| channel.rests = false);
    }

    /// A standby, which has no channel yet, hands nothing over.
    pub(super) fn set_leaving(&mut self, worker: WorkerId) {
        if self.channels.contains_key(&worker) {
            self.leaving.insert(worker);
        }
    }

    /// The worker has died. Returns false if it is unknown.
    pub(super) fn set_dead(&mut self, worker: WorkerId) -> bool {
        let Some(channel) = self.channels.get_mut(&worker) else { return false };
        channel.dead = true;
        self.leaving.remove(&worker);
        true
    }

    /// Dead workers whose channels must be emptied.
    pub(super) fn dead(&self) -> Vec<WorkerId> {
        self.channels.iter().filter(|(_, channel)| channel.dead).map(|(worker, _)| *worker).collect()
    }

    /// The worker gets nothing more, and its messages are not read. Returns false if it was cut off before.
    pub(super) fn cut_off(&mut self, worker: WorkerId) -> bool {
        self.channels.get_mut(&worker).is_some_and(|channel| !std::mem::replace(&mut channel.cut_off, true))
    }

    /// Whether this connection may be sent together with the worker's batch.
    pub(super) fn takes(&self, worker: WorkerId, conn: &Conn) -> bool {
        self.channels.get(&worker).is_none_or(|channel| channel.batch.takes(conn.kept()))
    }

    /// Queues a connection for the next [`Workers::send`].
    pub(super) fn queue(&mut self, worker: WorkerId, listener: ListenerId, conn: Conn) -> Queued {
        let Some(channel) = self.channels.get_mut(&worker) else { return Queued::Nobody(conn) };
        if channel.batch.is_empty() {
            self.unflushed.push(worker);
        }
        let (chosen, kept) = (conn.chosen(), conn.kept());
        channel.push(listener, conn.into_fd(), chosen, kept);
        if channel.batch.is_full() { Queued::Full } else { Queued::HasRoom }
    }

    /// A worker whose batch is not empty; each is returned once.
    pub(super) fn next_unflushed(&mut self) -> Option<WorkerId> {
        self.unflushed.pop()
    }

    pub(super) fn send(&mut self, worker: WorkerId) -> Sending {
        self.channels.get_mut(&worker).map(WorkerChannel::send_batch).unwrap_or_default()
    }

    /// Requests that a worker report when its event loop turns.
    pub(super) fn want_wake(&self, worker: WorkerId) {
        if let Some(board) = self.board(worker) {
            board.want_wake();
        }
    }

    /// Makes a worker whose event loop is blocked report when it turns again.
    pub(super) fn probe(&self, worker: WorkerId) -> Result<(), WorkerError> {
        self.channels.get(&worker).map_or(Ok(()), WorkerChannel::probe)
    }

    /// Reads one message, if there is room for its descriptors. `is_ample`: there is known to be room for any message. If
    /// `others_wait`, what a worker that serves nobody any more sends back must not take reserved descriptors. From other
    /// workers it is received all the same: the report that such a worker has room, for which the others may wait, comes
    /// after it; and there are not many, because it was sent at most a window of them at a time.
    pub(super) fn read(
        &mut self,
        worker: WorkerId,
        others_wait: bool,
        is_ample: &mut bool,
        bytes: &mut [u8],
        fds: &mut Vec<Descriptor>,
    ) -> Read {
        let Some(channel) = self.channels.get_mut(&worker).filter(|channel| !channel.cut_off) else {
            return Read::Nothing;
        };
        let may_rest = others_wait && (channel.dead || self.leaving.contains(&worker));
        channel.read(may_rest, is_ample, bytes, fds)
    }

    /// Reclaims the connections that the worker has not received: see [`WorkerChannel::reclaim`]. `None` if there is no
    /// such worker.
    pub(super) fn reclaim(&mut self, worker: WorkerId, others_wait: bool) -> Option<Reclaimed> {
        self.channels.get_mut(&worker).map(|channel| channel.reclaim(others_wait))
    }

    /// The worker has handed over this many connections.
    pub(super) fn on_handed_over(&mut self, worker: WorkerId, count: usize) {
        if let Some(channel) = self.channels.get_mut(&worker) {
            channel.handed_over += count as u64;
        }
    }

    /// Tells leaving workers how many idle connections they may hand over: as many as there is `room` for
    /// elsewhere; none while no other worker can take them.
    pub(super) fn limit_hand_over(&self, room: impl Fn(WorkerId) -> Option<usize>) {
        for worker in &self.leaving {
            let Some(channel) = self.channels.get(worker).filter(|channel| !channel.cut_off) else {
                continue;
            };
            channel.board.allow_hand_over(room(*worker).map(|room| channel.handed_over + room as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rcluster_core::channel::{Kept, MAX_MESSAGE, Tag, Writer};
    use rcluster_sys::passing::{Sent, send};
    use rcluster_testing::alone_with_limit;

    use super::super::channel::Incoming;
    use super::*;

    #[test]
    fn without_descriptors_no_message_that_brings_some_is_received() {
        if !alone_with_limit(
            "io::dispatcher::workers::tests::without_descriptors_no_message_that_brings_some_is_received",
            100,
        ) {
            return;
        }
        let (channel, worker) = WorkerChannel::with_worker();
        let mut workers = Workers::default();
        workers.insert(WorkerId(1), channel);

        let mut returned = Writer::new(Tag::NotListening);
        returned.push(ListenerId(1), None);
        let woke = Writer::new(Tag::Woke);
        assert_eq!(send(worker.as_fd(), woke.bytes(), &[]).unwrap(), Sent::Done);
        let client = [UnixStream::pair().unwrap().0.into()];
        assert_eq!(send(worker.as_fd(), returned.bytes(), &client).unwrap(), Sent::Done);
        drop(client);

        let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let (mut bytes, mut fds, mut is_ample) = ([0; MAX_MESSAGE], Vec::new(), false);
        let mut read = || workers.read(WorkerId(1), false, &mut is_ample, &mut bytes, &mut fds);
        assert!(matches!(read(), Read::Message(Incoming { length: 1, descriptors: 0 })), "it brings none");
        assert!(matches!(read(), Read::NoRoom));
        all.truncate(all.len() - 6);
        assert!(matches!(read(), Read::Message(Incoming { descriptors: 1, .. })));
        assert!(matches!(read(), Read::Nothing));
        assert_eq!(fds.len(), 1);
    }

    #[test]
    fn what_a_leaving_worker_sends_back_does_not_take_reserved_descriptors() {
        if !alone_with_limit(
            "io::dispatcher::workers::tests::what_a_leaving_worker_sends_back_does_not_take_reserved_descriptors",
            200,
        ) {
            return;
        }
        let mut workers = Workers::default();
        let mut send_from = |id| {
            let (channel, worker) = WorkerChannel::with_worker();
            workers.insert(WorkerId(id), channel);
            let mut handed_over = Writer::new(Tag::HandedOver);
            handed_over.push(ListenerId(1), Some(Kept::default()));
            assert_eq!(send(worker.as_fd(), Writer::new(Tag::Woke).bytes(), &[]).unwrap(), Sent::Done);
            let client = [UnixStream::pair().unwrap().0.into()];
            assert_eq!(send(worker.as_fd(), handed_over.bytes(), &client).unwrap(), Sent::Done);
            worker
        };
        let _ends = [1, 2, 3].map(&mut send_from);
        workers.set_leaving(WorkerId(1));
        workers.set_dead(WorkerId(2));

        // 20 of the 50 that are reserved are left.
        let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        all.truncate(all.len() - 20);
        let (mut bytes, mut fds) = ([0; MAX_MESSAGE], Vec::new());
        let mut read = |id, others_wait| {
            fds.clear();
            workers.read(WorkerId(id), others_wait, &mut false, &mut bytes, &mut fds)
        };
        for id in [1, 2] {
            assert!(
                matches!(read(id, true), Read::Message(Incoming { descriptors: 0, .. })),
                "it brings none"
            );
            assert!(matches!(read(id, true), Read::Reserved(_)));
        }
        assert!(matches!(read(1, false), Read::Message(Incoming { descriptors: 1, .. })), "no client waits");
        for descriptors in [0, 1] {
            let Read::Message(message) = read(3, true) else { panic!("it still serves") };
            assert_eq!(message.descriptors, descriptors);
        }
        all.truncate(100);
        assert!(matches!(read(2, true), Read::Message(Incoming { descriptors: 1, .. })));
    }

    #[test]
    fn a_standby_that_leaves_without_a_channel_is_not_remembered() {
        let mut workers = Workers::default();
        workers.set_leaving(WorkerId(1));
        assert!(!workers.set_dead(WorkerId(1)), "it is unknown here");
        assert!(workers.leaving.is_empty());
    }
}
