//! Workers: sending to their channels, reading from them, and reclaiming.

use super::{BURST, Shell};
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::channel::{Incoming, Read, Reclaimed, Sending};
use crate::io::dispatcher::connection::Conn;
use crate::io::dispatcher::failure::WorkerError;
use crate::io::dispatcher::recognize;
use crate::io::dispatcher::workers::Queued;
use rcluster_core::channel::{MAX_MESSAGE, Message, Tag};
use rcluster_core::dispatch::{Input, Refusal};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::client::is_connection;
use rcluster_sys::closer::{Descriptor, do_not_linger};

/// The maximum number of turns in which a dead worker's channel is read: more than it can have filled. A child of it that
/// holds the channel as well may send without end.
const LAST_TURNS: usize = 32;

impl Shell {
    /// Queues a connection for a worker.
    pub(super) fn enqueue(&mut self, worker: WorkerId, listener: ListenerId, conn: Conn) {
        if !self.workers.takes(worker, &conn) {
            self.flush_worker(worker);
        }
        match self.workers.queue(worker, listener, conn) {
            Queued::HasRoom => {}
            Queued::Full => self.flush_worker(worker),
            Queued::Nobody(conn) => self.input(Input::Unsent { worker, conns: vec![(listener, conn)] }),
        }
    }

    /// Sends every batch.
    pub(super) fn flush(&mut self) {
        while let Some(worker) = self.workers.next_unflushed() {
            self.flush_worker(worker);
        }
    }

    fn flush_worker(&mut self, worker: WorkerId) {
        let Sending { unsent, broken, jammed } = self.workers.send(worker);
        if jammed {
            // A worker can keep any number of descriptors in flight in sockets, and the kernel does not report
            // when that ends. So this is retried after a pause, while clients wait in the backlog.
            self.tools.warn_of_jam();
            self.pause();
        }
        if !unsent.is_empty() {
            let conns = recognize::unreceived(&self.listeners, unsent);
            self.input(Input::Unsent { worker, conns });
        }
        if let Some(error) = broken {
            self.cut_off(worker, &error);
        }
    }

    /// Reclaims the connections that the worker has not received.
    pub(super) fn reclaim(&mut self, worker: WorkerId) {
        let reclaimed = self.workers.reclaim(worker, self.must_keep_descriptors());
        let Reclaimed { conns, all } =
            reclaimed.unwrap_or_else(|| Reclaimed { conns: Vec::new(), all: true });
        let conns = recognize::unreceived(&self.listeners, conns);
        self.input(Input::Reclaimed { worker, conns, all });
    }

    /// Starts or stops watching the channel of a worker, as its state requires.
    pub(super) fn watch_worker(&mut self, worker: WorkerId) {
        if let Err(error) = self.workers.watch(worker, &mut self.tools) {
            self.cut_off(worker, &error);
        }
    }

    /// Reads messages of a worker: that it woke, that it returns a connection.
    pub(super) fn read_channel(&mut self, worker: WorkerId) -> ReadOutcome {
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::new();
        let mut is_ample = false;
        // Bounded, so that a worker that sends endlessly does not delay the others: if there is more, there
        // is another event.
        for _ in 0..BURST {
            let others_wait = self.must_keep_descriptors();
            match self.workers.read(worker, others_wait, &mut is_ample, &mut bytes, &mut fds) {
                Read::Message(Incoming { length, descriptors }) => {
                    let outcome = match Message::parse(&bytes[..length], descriptors) {
                        Ok(message) => self.on_message(worker, message, fds.drain(..)),
                        Err(error) => Err(WorkerError::new(error)),
                    };
                    if let Err(error) = outcome {
                        self.cut_off(worker, &error);
                    }
                }
                Read::Nothing => return ReadOutcome::All,
                Read::HeldUp => {
                    self.tools.retry_later();
                    self.watch_worker(worker);
                    return ReadOutcome::Later;
                }
                Read::Reserved(error) => {
                    self.tools.try_later(error);
                    self.watch_worker(worker);
                    return ReadOutcome::Later;
                }
                Read::NoRoom => {
                    self.pause();
                    return ReadOutcome::Later;
                }
                Read::Broken(error) => {
                    self.cut_off(worker, &error);
                    return ReadOutcome::All;
                }
            }
        }
        ReadOutcome::More
    }

    fn on_message(
        &mut self,
        worker: WorkerId,
        message: Message<'_>,
        fds: std::vec::Drain<'_, Descriptor>,
    ) -> Result<(), WorkerError> {
        let why = match message.tag {
            Tag::Woke => {
                self.input(Input::Woke { worker });
                return Ok(());
            }
            Tag::NotListening => Refusal::NotListening,
            Tag::Full | Tag::KeptFull => Refusal::Full,
            Tag::HandedOver => Refusal::HandedOver,
            Tag::Room => {
                for listener in message.listeners() {
                    self.input(Input::Room { worker, listener });
                }
                return Ok(());
            }
            Tag::NoRoom => {
                for listener in message.listeners() {
                    self.input(Input::Full { worker, listener });
                }
                return Ok(());
            }
            Tag::Connections | Tag::Probe => {
                return Err(WorkerError::new(format!("it sent {:?}", message.tag)));
            }
        };
        if why == Refusal::HandedOver {
            self.workers.on_handed_over(worker, message.listeners().len());
        }
        let from = self.workers.slot(worker);
        for ((listener, kept), conn) in message.connections().zip(fds) {
            if !is_connection(&conn) {
                return Err(WorkerError::new("it returned what is no connection"));
            }
            // Otherwise its close could block another process, such as the next worker.
            do_not_linger(&conn);
            let plan = self.listeners.plan(listener);
            let conn = match kept {
                Some(kept) => recognize::handed_over(plan, conn, kept, from),
                None => recognize::returned(plan, conn),
            };
            self.input(Input::Returned { worker, listener, conn, why });
        }
        Ok(())
    }

    /// Tells leaving workers how many connections they may hand over now. What is handed over while only reserved
    /// descriptors are left would wait in the channel.
    pub(super) fn limit_hand_over(&self) {
        let may = |worker| self.brain.hand_over_room(worker).filter(|_| self.room_for_clients(1).is_ok());
        self.workers.limit_hand_over(may);
    }

    /// A worker that breaks the rules gets nothing more, and its messages are not read any more.
    pub(super) fn cut_off(&mut self, worker: WorkerId, why: &WorkerError) {
        if !self.workers.cut_off(worker) {
            return;
        }
        self.watch_worker(worker);
        self.listeners.vacate(worker, None, &mut self.tools);
        self.input(Input::WorkerLeaving { worker });
        self.tools.tell(DispatcherEvent::Broken(worker, why.to_string()));
    }

    /// Reclaims what a dead worker has not received, and takes in what it has returned. What cannot be read now stays in the
    /// channel until it can.
    pub(super) fn reap(&mut self, worker: WorkerId) {
        if !self.workers.set_dead(worker) {
            return;
        }
        self.listeners.vacate(worker, None, &mut self.tools);
        let mut turns = (0..LAST_TURNS).map(|_| self.read_channel(worker));
        let outcome = turns.find(|outcome| *outcome != ReadOutcome::More);
        let reclaimed = self.workers.reclaim(worker, self.must_keep_descriptors());
        let Some(Reclaimed { conns, all }) = reclaimed else { return };
        let conns = recognize::unreceived(&self.listeners, conns);
        // Descriptors may have become available only after the reads above.
        if !all || outcome == Some(ReadOutcome::Later) {
            self.tools.retry_later();
            self.input(Input::WorkerLeaving { worker });
            return self.input(Input::Reclaimed { worker, conns, all });
        }
        self.input(Input::WorkerExited { worker, conns });
        self.workers.remove(worker, &self.tools);
    }
}

/// How much of a worker's messages has been read.
#[derive(PartialEq, Eq)]
#[must_use]
pub(super) enum ReadOutcome {
    All,
    More,
    /// Not all: there are no descriptors for it, or too many of the worker wait to be closed. The rest can be read later.
    Later,
}
