//! Workers: what they say in their channels, and what they leave behind.

use super::{BURST, Shell};
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::channel::Reclaimed;
use crate::io::dispatcher::failure::WorkerError;
use rcluster_core::channel::{MAX_MESSAGE, Message, Tag};
use rcluster_core::dispatch::{Input, Refusal};
use rcluster_core::ids::WorkerId;
use rcluster_sys::client::is_connection;
use rcluster_sys::closer::{Descriptor, do_not_linger};

impl Shell {
    /// Reads what a worker says: that it woke, that it cannot take a connection.
    pub(super) fn read_channel(&mut self, worker: WorkerId) -> ReadOutcome {
        let mut bytes = [0; MAX_MESSAGE];
        let mut fds = Vec::new();
        let mut look = true;
        // Bounded, so that a worker that sends without end does not hold up the others: what is
        // left brings another event.
        for _ in 0..BURST {
            let Some(channel) = self.workers.get(&worker).filter(|channel| !channel.cut_off) else {
                return ReadOutcome::All;
            };
            if channel.is_held_up() {
                self.leave_unread(worker);
                return ReadOutcome::All;
            }
            // Only what brings descriptors makes it less.
            match if std::mem::take(&mut look) { channel.can_read() } else { Ok(true) } {
                Ok(true) => {}
                Ok(false) => {
                    self.pause();
                    return ReadOutcome::NoRoom;
                }
                Err(error) => {
                    self.cut_off(worker, &error);
                    return ReadOutcome::All;
                }
            }
            match channel.read(&mut bytes, &mut fds) {
                Ok(Some(len)) => {
                    look = !fds.is_empty();
                    let outcome = match Message::parse(&bytes[..len], fds.len()) {
                        Ok(message) => self.on_message(worker, message, fds.drain(..)),
                        Err(error) => Err(WorkerError::new(error)),
                    };
                    if let Err(error) = outcome {
                        self.cut_off(worker, &error);
                    }
                }
                Ok(None) => return ReadOutcome::All,
                Err(error) => self.cut_off(worker, &error),
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
        let mut from = None;
        if let Some(channel) = self.workers.get_mut(&worker) {
            from = Some(channel.slot);
            channel.handed_over += if why == Refusal::HandedOver { fds.len() as u64 } else { 0 };
        }
        for ((listener, kept), conn) in message.connections().zip(fds) {
            if !is_connection(&conn) {
                return Err(WorkerError::new("it gave back what is no connection"));
            }
            // Or it would hold up whoever closes it next, be it another worker.
            do_not_linger(&conn);
            let conn = match kept {
                Some(kept) => self.handed_over(listener, conn, kept, from),
                None => self.with_key(listener, conn),
            };
            self.input(Input::Returned { worker, listener, conn, why });
        }
        Ok(())
    }

    /// Tells those who leave how many of their idle connections they may hand over: as fast as others take them.
    pub(super) fn limit_hand_over(&self) {
        for worker in &self.leaving {
            let Some(channel) = self.workers.get(worker).filter(|channel| !channel.cut_off) else { continue };
            let room = self.brain.hand_over_room(*worker);
            channel.board.allow_hand_over(room.map(|room| channel.handed_over + room as u64));
        }
    }

    /// A worker that breaks the rules gets nothing more and is not listened to any more.
    pub(super) fn cut_off(&mut self, worker: WorkerId, why: &WorkerError) {
        let known = self.workers.get_mut(&worker).filter(|channel| !channel.cut_off);
        let Some(channel) = known else { return };
        channel.cut_off = true;
        self.watch_worker(worker);
        self.vacate(worker, None);
        self.input(Input::WorkerLeaving { worker });
        (self.notify)(DispatcherEvent::Broken(worker, why.to_string()));
    }

    /// Takes back what a dead worker had not received, and what it had given back. When there is
    /// no descriptor for it, it stays in the channel until there is one.
    pub(super) fn reap(&mut self, worker: WorkerId) {
        let Some(channel) = self.workers.get_mut(&worker) else { return };
        channel.dead = true;
        self.leaving.remove(&worker);
        self.vacate(worker, None);
        let outcome = loop {
            match self.read_channel(worker) {
                ReadOutcome::More => {}
                outcome => break outcome,
            }
        };
        let Some(channel) = self.workers.get_mut(&worker) else { return };
        let Reclaimed { conns, all } = channel.reclaim();
        let conns = self.recognise_all(conns);
        // There may be room by now that there was not a moment ago.
        if !all || outcome == ReadOutcome::NoRoom {
            self.input(Input::WorkerLeaving { worker });
            self.input(Input::Reclaimed { worker, conns });
            return self.pause();
        }
        self.input(Input::WorkerExited { worker, conns });
        if let Some(mut channel) = self.workers.remove(&worker) {
            channel.forget(&self.poller);
        }
    }
}

/// How much of what a worker has said was read.
#[derive(PartialEq, Eq)]
#[must_use]
pub(super) enum ReadOutcome {
    All,
    More,
    /// Not all, for want of descriptors.
    NoRoom,
}
