//! Listeners: accepting, and what is accepted where.

use std::time::Duration;

use super::accept_watch::tokens;
use super::{BURST, EXHAUSTED_PAUSE, Shell, Token};
use crate::io::dispatcher::DispatcherEvent;
use crate::io::dispatcher::listening::{Accepted, Listening};
use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_sys::closer::Descriptor;
use rcluster_sys::error::SysError;

/// How many bursts are accepted at the most before a socket is closed: more than a backlog holds.
const LAST_BURSTS: usize = 128;

impl Shell {
    pub(super) fn accept_burst(&mut self, listener: ListenerId) {
        if self.listeners.get(&listener).is_some_and(Listening::is_ordered) {
            self.order(listener);
        }
        for turn in 0..BURST {
            let listening = self.listeners.get_mut(&listener).filter(|listening| listening.is_watched());
            let Some(listening) = listening else { return };
            // The poller has seen the first one.
            if turn > 0 && !listening.has_client() {
                return;
            }
            match listening.accept() {
                Accepted::Connection(fd) => self.on_client(listener, Descriptor::own(fd)),
                Accepted::Nothing => return,
                Accepted::Exhausted(error) => return self.exhausted(listener, error),
                Accepted::Refused(error) => {
                    self.try_later(error);
                    return self.watch_listener(listener);
                }
            }
        }
    }

    /// Accepts everybody who waits, and closes the sockets. What is accepted is on its way to workers afterwards.
    pub(super) fn accept_all_and_close(&mut self) {
        for listener in self.listeners.keys().copied().collect::<Vec<_>>() {
            for _ in 0..LAST_BURSTS {
                let waits = self.listeners.get(&listener).is_some_and(Listening::has_client);
                if !waits {
                    break;
                }
                self.accept_burst(listener);
            }
            self.order_and_wait(listener);
            if let Some(listening) = self.listeners.get_mut(&listener) {
                listening.close_sockets(&self.poller);
            }
        }
        while let Some(number) = self.preread.overdue(Duration::MAX) {
            self.preread_again(number, true);
        }
        for (listener, conn) in self.hook.overdue(Duration::MAX) {
            self.input(Input::Accepted { listener, conn: conn.answered(None) });
        }
        self.flush();
    }

    /// There is no descriptor for a connection that waits. The one in reserve serves it: it is
    /// needed only until the connection has been passed on.
    pub(super) fn exhausted(&mut self, listener: ListenerId, error: SysError) {
        self.warn_exhausted(error);
        if self.reserve.release() {
            if let Some(Accepted::Connection(fd)) = self.listeners.get_mut(&listener).map(Listening::accept) {
                self.on_client(listener, Descriptor::own(fd));
                self.flush();
            }
            if self.reserve.refill().is_ok() {
                return;
            }
        }
        self.pause();
    }

    /// Tells that clients have to wait for something that the process or the system is short of, unless that has been
    /// told lately.
    pub(super) fn warn_exhausted(&mut self, error: SysError) {
        if self.exhaustion.is_due(self.now) {
            (self.notify)(DispatcherEvent::Exhausted(error));
        }
    }

    /// No connection can be passed on: this user has too many descriptors on their way in the system's sockets, of which
    /// a worker may hold any number. Only the system knows when that is over. So it is tried again after a pause, and
    /// clients wait in the backlog meanwhile.
    pub(super) fn too_many_on_their_way(&mut self) {
        if self.jam.is_due(self.now) {
            (self.notify)(DispatcherEvent::Jammed);
        }
        self.pause();
    }

    /// Something concerning one listener or one worker has failed for want of memory. The others go on, and it is tried
    /// again in a while.
    pub(super) fn try_later(&mut self, error: SysError) {
        self.warn_exhausted(error);
        self.retry_at.get_or_insert(self.now + EXHAUSTED_PAUSE);
    }

    pub(super) fn want(&mut self, listener: ListenerId, wanted: bool) {
        if let Some(listening) = self.listeners.get_mut(&listener) {
            listening.wanted = wanted;
        }
        self.watch_listener(listener);
    }

    pub(super) fn watch_listener(&mut self, listener: ListenerId) {
        let able = self.exhausted_until.is_none();
        let Some(listening) = self.listeners.get_mut(&listener) else { return };
        if let Err(error) = listening.watch(&self.poller, tokens(listener), able) {
            self.try_later(error);
        }
    }

    pub(super) fn watch_worker(&mut self, worker: WorkerId) {
        let able = self.exhausted_until.is_none();
        let Some(channel) = self.workers.get_mut(&worker) else { return };
        let watch = able && !channel.cut_off && !channel.is_held_up();
        match channel.watch(&self.poller, Token::Worker(worker).pack(), watch) {
            Ok(()) => {}
            Err(error) if error.is_shortage() => self.try_later(error),
            Err(error) => self.cut_off(worker, &error.into()),
        }
    }

    /// What a worker says is not read for a while: what it has sent before has to be closed first.
    pub(super) fn leave_unread(&mut self, worker: WorkerId) {
        self.retry_at.get_or_insert(self.now + EXHAUSTED_PAUSE);
        self.watch_worker(worker);
    }

    /// From now on the worker accepts what comes to its slot, if the listener has a socket for it.
    pub(super) fn occupy(&mut self, worker: WorkerId, listener: ListenerId) {
        let slot = self.workers.get(&worker).map(|channel| channel.slot);
        if let (Some(slot), Some(listening)) = (slot, self.listeners.get_mut(&listener)) {
            listening.occupy(worker, slot);
            self.arrange(listener);
        }
    }

    /// The worker accepts nothing more, at one listener or at all.
    pub(super) fn vacate(&mut self, worker: WorkerId, which: Option<ListenerId>) {
        let concerned = self.listeners.iter_mut().filter(|(id, _)| which.is_none_or(|which| which == **id));
        let left: Vec<ListenerId> =
            concerned.filter_map(|(id, listening)| listening.vacate(worker).then_some(*id)).collect();
        for listener in left {
            self.arrange(listener);
        }
    }

    /// Where a kernel cannot steer, it spreads connections over all sockets, and those without a worker are
    /// accepted here.
    pub(super) fn arrange(&mut self, listener: ListenerId) {
        if let Some(Err(error)) = self.listeners.get(&listener).map(Listening::arrange)
            && !std::mem::replace(&mut self.reported_unsteered, true)
        {
            (self.notify)(DispatcherEvent::Unsteered(error));
        }
        self.watch_listener(listener);
    }

    /// Leaves everything that brings descriptors alone for a while.
    pub(super) fn pause(&mut self) {
        self.exhausted_until = Some(self.now + EXHAUSTED_PAUSE);
        self.watch_all();
    }

    /// Watches what is wanted, or nothing while there are no descriptors.
    pub(super) fn watch_all(&mut self) {
        let listeners: Vec<ListenerId> = self.listeners.keys().copied().collect();
        for listener in listeners {
            self.watch_listener(listener);
        }
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            self.watch_worker(worker);
        }
    }
}
