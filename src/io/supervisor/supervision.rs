//! Supervision carried out: what [`Supervise`] decides, done on the supervisor's thread.
//!
//! Nothing here waits for JavaScript. Workers are started from a request that JavaScript has handed over
//! before; it hears of them as soon as it gets around to it.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::liveness::Threads;
use super::shell::Shell;
use super::stranger::Stranger;
use super::supervised::{Held, Member, Plan, Supervision, millis};
use super::systemd::Systemd;
use super::{Event, Happening, lock};
use crate::core::control::listeners;
use crate::core::control::supervise::{
    self, ExitKind, Input, KillSignal, Output, Reason, SlotState, Stats, Vitals,
};
use crate::core::ids::{Slot, Ticket, WorkerId};
use crate::core::wire::{Drain, ToWorker};
use crate::io::dispatcher::{Afterwards, Command as ToDispatcher};
use crate::sys::error::SysError;
use crate::sys::exit::{Exit, SIGKILL, SIGTERM, send_signal};
use crate::sys::memory::Memory;
use crate::sys::oom::OomKills;

impl Shell {
    /// Begins to supervise.
    pub(super) fn begin(&mut self, plan: Plan) {
        let systemd = Systemd::from_environment(self.start.elapsed()).unwrap_or_else(|error| {
            self.warn_of_systemd(error);
            None
        });
        self.supervision = Some(Supervision::new(plan, systemd));
        self.supervise(Input::Start);
    }

    /// Gives the brain an input and carries out what it says, in order. What follows from that waits until
    /// the whole answer has been carried out.
    pub(super) fn supervise(&mut self, input: Input) {
        let Some(supervision) = &mut self.supervision else { return };
        supervision.inputs.push_back(input);
        if std::mem::replace(&mut supervision.telling, true) {
            return;
        }
        let mut outputs = Vec::new();
        while let Some(supervision) = &mut self.supervision {
            let Some(input) = supervision.inputs.pop_front() else {
                supervision.telling = false;
                break;
            };
            let now = self.start.elapsed();
            // The brain keeps what a worker shows for the tick that follows, and says nothing to it. There is one
            // for each worker at each look.
            let is_look = matches!(input, Input::Vitals { .. });
            supervision.brain.handle(now, input, &mut outputs);
            if is_look {
                continue;
            }
            // Before anybody leaves: whether somebody is to come decides what becomes of the listeners.
            let expecting = is_expecting(&supervision.brain.stats(now));
            self.decide(listeners::Input::Expecting(expecting));
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
    }

    /// Tells whoever wants to know of a decision.
    fn announce(&mut self, event: supervise::Event) {
        let now = self.start.elapsed();
        if let Some(Supervision { brain, systemd: Some(systemd), .. }) = &mut self.supervision {
            let told = systemd.hear(&event, &brain.stats(now));
            told.unwrap_or_else(|error| self.warn_of_systemd(error));
        }
        self.tell_in_order(Event::Supervision(event));
    }

    /// A cluster that the service manager does not hear of goes on; but it may soon take it for dead.
    fn warn_of_systemd(&self, error: SysError) {
        let message = format!("The service manager cannot be notified: {error}");
        (self.tell)(Event::Warning { code: "RCLUSTER_NOTIFY", message });
    }

    /// Time has passed.
    pub(super) fn look_after(&mut self) {
        let now = self.start.elapsed();
        let Some(supervision) = &mut self.supervision else { return };
        let threads = Threads { dispatcher: &self.dispatcher, forwarding: &self.forwarding };
        let told = supervision.systemd.as_mut().map_or(Ok(None), |systemd| systemd.tick(now, threads));
        match told {
            Ok(None) => {}
            Ok(Some(blocked)) => {
                let message = format!(
                    "The service manager's watchdog is not fed, because the {blocked}'s thread does not answer"
                );
                (self.tell)(Event::Warning { code: "RCLUSTER_NOTIFY", message });
            }
            Err(error) => self.warn_of_systemd(error),
        }
        for look in self.looks() {
            self.supervise(look);
        }
        self.supervise(Input::Tick);
    }

    /// What every supervised worker shows just now.
    fn looks(&self) -> Vec<Input> {
        let Some(supervision) = &self.supervision else { return Vec::new() };
        let look = |(&worker, member): (&WorkerId, &Member)| {
            let board = &self.workers.get(&worker)?.board;
            let vitals = Vitals {
                turns: board.turns(),
                rss: member.memory.as_ref().and_then(Memory::resident),
                clients: board.clients(),
                connections: board.open_connections(),
            };
            Some(Input::Vitals { worker, vitals })
        };
        supervision.members.iter().filter_map(look).collect()
    }

    /// How the cluster stands; None if nobody supervises it.
    pub(super) fn supervision_stats(&self) -> Option<Stats> {
        let supervision = self.supervision.as_ref()?;
        let mut stats = supervision.brain.stats(self.start.elapsed());
        for slot in &mut stats.slots {
            let Some(worker) = slot.worker else { continue };
            let pid = supervision.members.get(&worker).map(|member| member.pid);
            // One that has just ended has no memory.
            slot.rss = pid.and_then(|pid| Memory::of(pid).ok()?.resident());
            // A program that is not Node has nothing to say about its event loop.
            let board = self.workers.get(&worker).map(|handle| &handle.board);
            slot.busy = board.filter(|board| board.turns() > 0).map(|board| board.busy());
        }
        Some(stats)
    }

    /// A worker says that it takes no more connections, or the app has told it so.
    pub(super) fn leaves(&mut self, worker: WorkerId) {
        // A worker that says so over and over must not fill the queues of the other threads.
        if self.has_left(worker) {
            return;
        }
        if self.supervision.as_ref().is_some_and(|supervision| supervision.has(worker)) {
            self.leavers.add(worker);
        }
        self.supervise(Input::Leaving { worker });
        // Supervision may have told it to drain.
        if !self.has_left(worker) {
            self.give_no_more(worker);
            self.leaves_listeners(listeners::Input::WorkerLeft { worker }, worker);
        }
    }

    fn has_left(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|handle| handle.left)
    }

    fn leaves_listeners(&mut self, input: listeners::Input, worker: WorkerId) {
        if let Some(handle) = self.workers.get_mut(&worker) {
            handle.left = true;
        }
        self.decide(input);
    }

    /// A supervised worker is dead.
    pub(super) fn lost(&mut self, worker: WorkerId, exit: Exit) {
        let Some(supervision) = &mut self.supervision else { return };
        supervision.members.remove(&worker);
        supervision.free_inspect_port(worker);
        let exit = match exit {
            Exit::Code(code) => ExitKind::Code(code),
            Exit::Signal { number, .. } => ExitKind::Signal(number),
        };
        let kills = supervision.oom_kills.as_mut();
        let exit = if exit == ExitKind::Signal(SIGKILL) {
            if kills.is_some_and(OomKills::take) { ExitKind::OutOfMemory } else { exit }
        } else {
            kills.into_iter().for_each(OomKills::forget);
            exit
        };
        self.supervise(Input::Exited { worker, exit });
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Spawn { ticket, slot, .. } => {
                let answer = match self.start_worker(ticket, slot) {
                    Ok(answer) => answer,
                    Err(error) => Input::SpawnFailed { ticket, errno: -error.negative_errno() },
                };
                if let Some(supervision) = &mut self.supervision {
                    supervision.inputs.push_front(answer);
                }
            }
            Output::Promote { worker, slot } => self.promote(worker, slot),
            Output::Drain { worker, reason, timeout } => self.drain(worker, &reason, timeout),
            Output::Keep { worker } => self.send(worker, &ToWorker::Keep, None),
            Output::Kill { worker, signal } => {
                if signal == KillSignal::Term {
                    // Others may send it SIGTERM while it drains, which is no reason to end early.
                    self.send(worker, &ToWorker::Terminate, None);
                }
                self.kill(worker, signal);
            }
            Output::TakeBack { worker } => self.give_no_more(worker),
            Output::Probe { worker } => self.send(worker, &ToWorker::Ping, None),
            Output::CaptureStack { worker } => self.find_hang(worker),
            Output::Tell(event) => self.announce(event),
            Output::Done { request, result } => self.tell_in_order(Event::Answered { request, result }),
            Output::StopPrimary { code } => self.tell_in_order(Event::StopPrimary { code }),
        }
    }

    fn start_worker(&mut self, ticket: Ticket, slot: Option<Slot>) -> Result<Input, SysError> {
        let Some(supervision) = &mut self.supervision else {
            return Err(SysError::invalid("starting a worker without supervision"));
        };
        let worker = self.numbers.next();
        let own = supervision.own(worker, slot)?;
        let inspect = supervision.plan.launch.inspect.as_mut();
        let inspect_port = inspect.map(|inspect| inspect.port(worker, &self.inspectors));
        let started =
            supervision.plan.launch.start(worker, slot, own, inspect_port.as_deref(), &self.forwarding);
        let launched = started.inspect_err(|_| supervision.free_inspect_port(worker))?;
        let pid = launched.child.pid.as_raw();
        let limited = supervision.plan.options.recycle.memory.is_some();
        // Without its figures a worker is not recycled for its memory, which is no reason to have none.
        let memory = limited.then(|| Memory::of(pid).ok()).flatten();
        let stranger = supervision
            .plan
            .launch
            .stranger
            .then(|| Stranger::watch(worker, launched.newcomer.targets(), self.happenings.clone()));
        let held = if let Some(slot) = slot {
            lock(&self.slots).take(worker, Some(slot));
            launched.newcomer.introduce(worker, slot, &self.dispatcher, &self.forwarding);
            None
        } else {
            Some(Held { newcomer: launched.newcomer, joins: Vec::new(), replies: Vec::new() })
        };
        supervision.members.insert(worker, Member { pid, memory, held, stranger });
        let pidfd = Arc::new(launched.child.pidfd);
        self.adopt(worker, slot, Arc::clone(&pidfd), launched.link);
        self.tell_in_order(Event::Spawned { worker, slot, pid, pidfd, pipes: launched.pipes, inspect_port });
        Ok(Input::Spawned { ticket, worker })
    }

    fn promote(&mut self, worker: WorkerId, slot: Slot) {
        let held = self.supervision.as_mut().and_then(|supervision| {
            let member = supervision.members.get_mut(&worker)?;
            member.held.take()
        });
        let Some(held) = held else { return };
        if let Some(handle) = self.workers.get_mut(&worker) {
            handle.slot = Some(slot);
        }
        lock(&self.slots).take(worker, Some(slot));
        held.newcomer.introduce(worker, slot, &self.dispatcher, &self.forwarding);
        for listener in held.joins {
            self.dispatcher.tell(ToDispatcher::Join(worker, listener));
        }
        self.send(worker, &ToWorker::Promote { slot }, None);
        for reply in held.replies {
            if let Some(listener) = self.reply(worker, reply) {
                self.decide(listeners::Input::Close { worker, listener });
            }
        }
    }

    /// All workers drain: what waits for one goes to one first, and the worker says itself when it leaves. What came by
    /// then would have nowhere to go.
    fn drain_at_last(&self, worker: WorkerId, order: Drain) {
        let (called, on_called) = oneshot::channel();
        self.dispatcher.tell(ToDispatcher::LastCall);
        // A thread that has ended has closed its sockets as well, so the order is given in any case.
        self.dispatcher.tell(ToDispatcher::Then(Afterwards::new(move || {
            let _ended = called.send(());
        })));
        let happenings = self.happenings.clone();
        tokio::task::spawn_local(async move {
            let _ended = on_called.await;
            // It fails when this thread ends, and then everything does.
            let _ended = happenings.send(Happening::LastCalled(worker, order)).await;
        });
    }

    /// Tells a worker to go. It gets nothing more from now on, whenever it hears of it.
    fn drain(&mut self, worker: WorkerId, reason: &Reason, timeout: Duration) {
        self.leavers.add(worker);
        self.forwarding.take_away(worker);
        let member = self.supervision.as_ref().and_then(|supervision| supervision.members.get(&worker));
        if member.is_some_and(|member| member.stranger.is_some()) {
            self.kill(worker, KillSignal::Term);
        } else {
            let order = Drain { reason: reason.to_string(), timeout_ms: millis(timeout) };
            if *reason == Reason::Shutdown {
                self.forwarding.leaving(worker);
                return self.drain_at_last(worker, order);
            }
            self.send(worker, &ToWorker::Drain(order), None);
        }
        self.give_no_more(worker);
        let input = if self.is_replaced(reason) {
            listeners::Input::WorkerReplaced { worker }
        } else {
            listeners::Input::WorkerLeft { worker }
        };
        self.leaves_listeners(input, worker);
    }

    /// Whether a worker that drains has, or will have, a successor.
    fn is_replaced(&self, reason: &Reason) -> bool {
        let filled =
            |state| matches!(state, SlotState::Serving | SlotState::Filling | SlotState::BackingOff { .. });
        !matches!(reason, Reason::Scale | Reason::Shutdown)
            && self.supervision_stats().is_some_and(|stats| stats.slots.iter().any(|slot| filled(slot.state)))
    }

    pub(super) fn kill(&self, worker: WorkerId, signal: KillSignal) {
        let Some(handle) = self.workers.get(&worker) else { return };
        let number = match signal {
            KillSignal::Term => SIGTERM,
            KillSignal::Kill => SIGKILL,
        };
        // It can only be dead already, of which we hear in due time.
        let _ = send_signal(handle.pidfd.as_fd(), number);
    }
}

/// Whether a slot has no ready worker, and will have one.
fn is_expecting(stats: &Stats) -> bool {
    let coming = |state| matches!(state, SlotState::Filling | SlotState::BackingOff { .. });
    !stats.shutting_down && stats.slots.iter().any(|slot| coming(slot.state))
}
