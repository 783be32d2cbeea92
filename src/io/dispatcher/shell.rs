//! The dispatcher's thread: turns events into inputs, and carries out the brain's outputs.

mod clients;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::arrivals::Arrivals;
use super::channel::WorkerChannel;
use super::connection::Conn;
use super::failure::Fatal;
use super::lingering_close::LingeringCloses;
use super::listeners::Listeners;
use super::listening::Listening;
use super::outcomes::Outcomes;
use super::sampler::Sampler;
use super::token::Token;
use super::tools::Tools;
use super::workers::Workers;
use super::{Command, DispatcherEvent, HookReport, ListenerReport, Report};
use crate::io::barrier::Barrier;
use crate::io::native_thread::Run;
use rcluster_core::dispatch::{Config, Dispatch, Input, ListenerStats, Output, Stats};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::schedule::be_patient;

/// The maximum number of connections accepted from one listener before the others get their turn.
const BURST: usize = 64;

/// The thread's own state.
pub(super) struct Shell {
    tools: Tools,
    waker: Waker,
    queue: Receiver<Command>,
    brain: Dispatch<Conn>,
    workers: Workers,
    listeners: Listeners,
    arrivals: Arrivals,
    lingering: LingeringCloses,
    sampler: Sampler,
    outcomes: Outcomes,
    /// Inputs that the brain has not handled yet, and whether it is handling one now.
    inputs: VecDeque<Input<Conn>>,
    telling: bool,
    /// Whether all workers are about to leave, and none will be started.
    is_ending: bool,
    /// Run when no connection waits here.
    when_passed_on: Vec<Barrier>,
    outputs: Vec<Output<Conn>>,
}

impl Run for Shell {
    const NAME: &'static str = "rcluster-accept";

    fn run(&mut self) -> Result<(), SysError> {
        self.turn_until_stopped().map_err(|Fatal(error)| error)
    }

    fn on_failure(&self, why: String) {
        self.tools.tell(DispatcherEvent::Failed(why));
    }
}

impl Shell {
    pub(super) fn new(
        waker: Waker,
        queue: Receiver<Command>,
        notify: Box<dyn Fn(DispatcherEvent) + Send>,
    ) -> Result<Self, SysError> {
        Ok(Self {
            tools: Tools::new(&waker, notify)?,
            outcomes: Outcomes::new(waker.clone()),
            waker,
            queue,
            brain: Dispatch::new(Config::default()),
            workers: Workers::default(),
            listeners: Listeners::default(),
            arrivals: Arrivals::default(),
            lingering: LingeringCloses::default(),
            sampler: Sampler::default(),
            inputs: VecDeque::new(),
            telling: false,
            is_ending: false,
            when_passed_on: Vec::new(),
            outputs: Vec::new(),
        })
    }

    fn turn_until_stopped(&mut self) -> Result<(), Fatal> {
        // An optimisation that some sandboxes forbid. It is not required.
        let _ = be_patient();
        loop {
            let deadlines = [
                self.brain.next_deadline(),
                self.tools.next_deadline(),
                self.arrivals.next_deadline(),
                self.lingering.next_deadline(),
                self.sampler.next_deadline(),
            ];
            let ready = self.tools.wait(deadlines.into_iter().flatten().min()).map_err(Fatal)?;
            for index in 0..ready {
                match self.tools.event(index) {
                    Token::Waker => {
                        if self.take_commands() == Stop::Yes {
                            return Ok(());
                        }
                    }
                    Token::Worker(worker) => {
                        // Level-triggered: if there is more, there is another event.
                        let _ = self.read_channel(worker);
                    }
                    Token::Listener(listener) => self.accept_burst(listener),
                    Token::Preread(number) => self.on_preread(number, false),
                    Token::FirstClient(listener) => self.on_first_client(listener),
                    Token::Lingering(number) => self.lingering.on_event(number, self.tools.poller()),
                }
            }
            self.on_time();
            self.call_hook();
            self.flush();
            self.release_clients();
            self.run_when_passed_on();
            self.limit_hand_over();
        }
    }

    fn on_time(&mut self) {
        let is_retry_due = self.tools.is_retry_due();
        if is_retry_due {
            self.listeners.try_again();
            self.workers.try_again();
        }
        if self.tools.has_hold_ended() {
            self.listeners.watch_all(&mut self.tools);
        }
        if self.tools.has_pause_ended() || is_retry_due {
            self.watch_all();
            for worker in self.workers.dead() {
                self.reap(worker);
            }
        }
        let now = self.tools.now();
        if self.brain.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.input(Input::Tick);
        }
        self.sample_due();
        self.expire_arrivals(now);
        self.lingering.expire(now, self.tools.poller());
    }

    /// Stops watching everything that yields descriptors, for a while.
    fn pause(&mut self) {
        self.tools.pause();
        self.watch_all();
    }

    /// Watches the sockets as wanted, or none during a shortage of descriptors.
    fn watch_all(&mut self) {
        self.listeners.watch_all(&mut self.tools);
        for worker in self.workers.all() {
            self.watch_worker(worker);
        }
    }

    fn take_commands(&mut self) -> Stop {
        self.waker.clear();
        self.take_slot_outcomes();
        loop {
            match self.queue.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Stop::Yes,
                Ok(command) => self.on_command(command),
                Err(TryRecvError::Empty) => return Stop::No,
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::AddWorker { worker, slot, pid, channel, worker_end, board } => {
                self.workers.insert(worker, WorkerChannel::new(slot, pid, channel, worker_end, board));
                self.watch_worker(worker);
                self.input(Input::WorkerAdded { worker, slot });
            }
            Command::WorkerLeaving(worker) => {
                self.listeners.vacate(worker, None, &mut self.tools);
                self.workers.set_leaving(worker);
                self.input(Input::WorkerLeaving { worker });
            }
            Command::WorkerExited(worker) => self.reap(worker),
            Command::AddListener { listener, socket, path, name, plan } => {
                self.listeners.insert(listener, Listening::new(socket, path, name, (*plan).clone()));
                self.input(Input::ListenerAdded { listener, plan: *plan });
            }
            Command::AddSocket { listener, socket, path } => {
                self.listeners.add_socket(listener, socket, path, &mut self.tools);
            }
            Command::AddSlot { listener, slot, socket } => {
                self.listeners.add_slot(listener, slot, socket, &mut self.tools);
            }
            Command::RemoveListener(listener, closed) => {
                self.sampler.forget(listener);
                self.input(Input::ListenerRemoved { listener });
                self.listeners.remove(listener, closed, &self.tools);
            }
            Command::AcceptAllAndClose(act) => {
                self.accept_all_and_close();
                self.when_passed_on.push(act);
            }
            Command::Join(worker, listener) => {
                // Occupy the slot first, because the brain may order accepting on the worker's behalf at
                // once.
                let slot = self.workers.slot(worker);
                self.listeners.occupy(worker, slot, listener, &mut self.tools);
                self.input(Input::Joined { worker, listener });
            }
            Command::Leave(worker, listener) => {
                self.listeners.vacate(worker, Some(listener), &mut self.tools);
                self.input(Input::Left { worker, listener });
            }
            Command::Barrier(act) => {
                self.flush();
                act.run();
            }
            Command::Answer { batch, answers } => self.on_hook_answers(batch, answers),
            Command::Report(answer) => {
                // The send fails if the requester is gone.
                let _ = answer.send(self.report());
            }
            Command::Stop => unreachable!("handled by take_commands"),
        }
    }

    /// Gives the brain an input and carries out its outputs, in order.
    ///
    /// Inputs that result from this (a full channel, reclaimed connections) wait until all outputs have been
    /// carried out: the brain counts them as done, and its orders must not overtake one another.
    fn input(&mut self, input: Input<Conn>) {
        self.inputs.push_back(input);
        if self.telling {
            return;
        }
        self.telling = true;
        let mut outputs = std::mem::take(&mut self.outputs);
        while let Some(input) = self.inputs.pop_front() {
            self.brain.handle(self.tools.now(), input, &self.workers, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
        }
        self.outputs = outputs;
        self.telling = false;
    }

    fn carry_out(&mut self, output: Output<Conn>) {
        match output {
            Output::Send { worker, listener, conn } => self.enqueue(worker, listener, conn),
            Output::Shed { listener, conn } => self.shed(listener, conn.into_fd()),
            Output::Ask { listener, conn } => {
                let arrived = self.arrivals.ask_again(listener, conn, &self.listeners, &self.tools);
                self.on_arrived(arrived);
            }
            Output::Close { conn } => drop(conn),
            Output::Pause { listener } => self.listeners.want(listener, false, &mut self.tools),
            Output::Resume { listener } => self.listeners.want(listener, true, &mut self.tools),
            Output::Reclaim { worker } => self.reclaim(worker),
            Output::WantWake { worker } => {
                self.workers.want_wake(worker);
                // The worker may have received everything before it could see the request, and would never
                // answer it: the brain checks the scoreboard once more.
                self.input(Input::Tick);
            }
            Output::AcceptOnBehalf { worker, listener } => {
                self.listeners.accept_on_behalf(worker, listener, true, &mut self.tools);
            }
            Output::StopAcceptingOnBehalf { worker, listener } => {
                self.listeners.accept_on_behalf(worker, listener, false, &mut self.tools);
            }
            Output::Probe { worker } => {
                if let Err(error) = self.workers.probe(worker) {
                    self.cut_off(worker, &error);
                }
            }
        }
    }

    fn report(&self) -> Report {
        let Stats { listeners, workers } = self.brain.stats(&self.workers);
        let name = |id| self.listeners.name(id).unwrap_or_default().to_owned();
        let report = |stats: ListenerStats| ListenerReport {
            name: name(stats.listener),
            sockets: self.listeners.report(stats.listener),
            stats,
        };
        let listeners = listeners.into_iter().map(report).collect();
        let (counts, waiting) = self.arrivals.hook_report();
        Report { listeners, workers, hook: HookReport { counts, waiting } }
    }
}

#[derive(PartialEq, Eq)]
enum Stop {
    Yes,
    No,
}
