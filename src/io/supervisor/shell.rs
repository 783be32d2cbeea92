//! The supervisor's thread: what happens to workers in, what is to be done out.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::control::Control;
use super::sockets::Sockets;
use super::{Command, Event, Happening, SharedSlots, Tell, broken, describe, lock};
use crate::core::ids::{ListenerId, Slot, WorkerId};
use crate::core::listeners::{Input, Listeners, Output};
use crate::core::schedule::Scheduling;
use crate::core::wire::{FromWorker, Reply, ToWorker};
use crate::io::dispatcher::{Afterwards, Command as ToDispatcher, Dispatcher, Notice};
use crate::sys::async_fd::watch;
use crate::sys::error::{Doing, SysError};
use crate::sys::exit::{Exit, reap};

/// How long the control socket of a dead worker may take to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// One worker, as the supervisor knows it.
struct WorkerHandle {
    pidfd: Arc<OwnedFd>,
    slot: Slot,
    /// None once it is cut off.
    control: Option<Control>,
}

/// The thread's own state.
pub(super) struct Shell {
    tell: Tell,
    dispatcher: Arc<Dispatcher>,
    slots: SharedSlots,
    listeners: Listeners,
    workers: HashMap<WorkerId, WorkerHandle>,
    sockets: Sockets,
    happenings: mpsc::Sender<Happening>,
    outputs: Vec<Output>,
    start: Instant,
}

impl Shell {
    pub(super) fn new(
        scheduling: Scheduling,
        tell: Tell,
        dispatcher: Arc<Dispatcher>,
        slots: SharedSlots,
        happenings: mpsc::Sender<Happening>,
    ) -> Self {
        Self {
            tell,
            listeners: Listeners::new(scheduling),
            workers: HashMap::new(),
            sockets: Sockets::new(Arc::clone(&dispatcher)),
            dispatcher,
            slots,
            happenings,
            outputs: Vec::new(),
            start: Instant::now(),
        }
    }

    pub(super) fn run_thread(
        mut self,
        runtime: &tokio::runtime::Runtime,
        queue: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Receiver<Happening>,
    ) {
        let tasks = LocalSet::new();
        // The thread's root: a panic must be told, it would be silence otherwise.
        let run = std::panic::AssertUnwindSafe(|| tasks.block_on(runtime, self.run(queue, events)));
        if std::panic::catch_unwind(run).is_err() {
            (self.tell)(Event::Failed("the supervisor panicked".into()));
        }
    }

    async fn run(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Command>,
        mut events: mpsc::Receiver<Happening>,
    ) {
        loop {
            let deadline = self.listeners.next_deadline();
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(happening) = events.recv() => self.hear(happening),
                () = until(self.start, deadline), if deadline.is_some() => self.decide(Input::Tick),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt { worker, slot, pidfd, control } => self.adopt(worker, slot, pidfd, control),
            Command::Leave { worker, done } => {
                lock(&self.slots).free(worker);
                self.dispatcher.tell(ToDispatcher::WorkerLeaving(worker));
                self.decide(Input::WorkerLeft { worker });
                // Answered by the dispatcher, which closes the sockets.
                self.dispatcher.tell(ToDispatcher::Then(Afterwards::new(move || {
                    // Nobody waits any more when the primary's thread is gone.
                    let _ = done.send(());
                })));
            }
            Command::Settle { worker } => self.decide(Input::Settled { worker }),
        }
    }

    fn adopt(&mut self, worker: WorkerId, slot: Slot, pidfd: Arc<OwnedFd>, control: OwnedFd) {
        self.decide(Input::WorkerStarted { worker });
        let watched = Arc::clone(&pidfd);
        let happenings = self.happenings.clone();
        let (control, all_read) = match Control::start(worker, control, happenings.clone()) {
            Ok((control, all_read)) => (Some(control), Some(all_read)),
            Err(error) => {
                (self.tell)(broken(worker, &error.to_string()));
                (None, None)
            }
        };
        tokio::task::spawn_local(async move {
            let happening = match wait_for_death(watched).await {
                Ok(()) => Happening::Died(worker),
                Err(error) => Happening::Unwatched(worker, error),
            };
            // What it has said comes before its end. The kernel has closed its end of the control
            // socket, unless a process that it started holds it: that is not waited for long.
            if let Some(all_read) = all_read {
                let _ = tokio::time::timeout(LAST_WORDS, all_read).await;
            }
            // The supervisor has stopped when nobody listens.
            let _stopped = happenings.send(happening).await;
        });
        self.workers.insert(worker, WorkerHandle { pidfd, slot, control });
    }

    fn hear(&mut self, happening: Happening) {
        match happening {
            Happening::Died(worker) => self.bury(worker),
            Happening::Said(worker, frame) => self.answer(worker, frame),
            Happening::Misspoke(worker, refusal) => {
                // A refusal names no listener.
                let _ = self.reply(worker, refusal);
            }
            // It is about to die: what it has not received is better off elsewhere at once.
            Happening::HungUp(worker) => self.dispatcher.tell(ToDispatcher::WorkerLeaving(worker)),
            Happening::Broke(worker, why) => self.cut_off(worker, &why),
            Happening::Unwatched(worker, error) => {
                (self.tell)(Event::Failed(format!("the end of {worker} cannot be waited for: {error}")));
            }
            Happening::Noticed(notice) => {
                if let Notice::Broken(worker, why) = &notice {
                    self.cut_off(*worker, why);
                } else {
                    (self.tell)(describe(&notice));
                }
            }
        }
    }

    fn answer(&mut self, worker: WorkerId, frame: FromWorker) {
        match frame {
            FromWorker::Hello => {}
            FromWorker::Query(query) => self.decide(Input::Query { worker, query: *query }),
            FromWorker::Listening { listener } => self.decide(Input::Listening { worker, listener }),
            FromWorker::Close { listener } => self.decide(Input::Close { worker, listener }),
            FromWorker::Leaving => {
                lock(&self.slots).free(worker);
                self.dispatcher.tell(ToDispatcher::WorkerLeaving(worker));
                self.decide(Input::WorkerLeft { worker });
            }
        }
    }

    /// Ends a worker's link. It takes that for the loss of its primary and exits, by itself or by
    /// the watch inside it.
    fn cut_off(&mut self, worker: WorkerId, why: &str) {
        let Some(handle) = self.workers.get_mut(&worker) else { return };
        if handle.control.take().is_some() {
            (self.tell)(broken(worker, why));
        }
        self.dispatcher.tell(ToDispatcher::WorkerLeaving(worker));
    }

    fn bury(&mut self, worker: WorkerId) {
        let Some(handle) = self.workers.remove(&worker) else { return };
        lock(&self.slots).free(worker);
        let event = match reap(handle.pidfd.as_fd()) {
            Ok(Some(exit)) => Event::Exited { worker, exit },
            Ok(None) => Event::Failed(format!("{worker} is dead and cannot be reaped")),
            Err(error) => Event::Failed(error.to_string()),
        };
        self.dispatcher.tell(ToDispatcher::WorkerGone(worker));
        // Who exits with 0 has meant to go, and its listeners go with it. After anything else
        // they stay open for a replacement.
        if matches!(event, Event::Exited { exit: Exit::Code(0), .. }) {
            self.decide(Input::WorkerLeft { worker });
        }
        self.decide(Input::WorkerDied { worker });
        // First what its clients are waiting for, and the listeners that close, then the news.
        let tell = Arc::clone(&self.tell);
        self.dispatcher.tell(ToDispatcher::Then(Afterwards::new(move || tell(event))));
    }

    /// Gives the registry an input and carries out what it says.
    fn decide(&mut self, input: Input) {
        let now = self.start.elapsed();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut outputs = std::mem::take(&mut self.outputs);
            self.listeners.handle(now, input, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Open { listener, spec } => {
                        let result = self.sockets.open(listener, &spec);
                        inputs.push(Input::Opened { listener, result });
                    }
                    Output::Reply { worker, reply } => {
                        let declined = self.reply(worker, reply);
                        inputs.extend(declined.map(|listener| Input::Close { worker, listener }));
                    }
                    Output::Join { worker, listener } => {
                        self.dispatcher.tell(ToDispatcher::Join(worker, listener));
                    }
                    Output::Leave { worker, listener } => {
                        self.dispatcher.tell(ToDispatcher::Leave(worker, listener));
                    }
                    Output::CloseListener { listener } => self.sockets.close(listener),
                }
            }
            self.outputs = outputs;
        }
    }

    /// Answers a worker. Returns the listener that it could not be given after all.
    fn reply(&mut self, worker: WorkerId, reply: Reply) -> Option<ListenerId> {
        let handle = self.workers.get(&worker)?;
        let control = handle.control.as_ref()?;
        // What fails for want of a descriptor fails for this one server, as binding would have.
        let (reply, fd, declined) = match self.sockets.shared(handle.slot, &reply) {
            Ok(fd) => (reply, fd, None),
            Err(error) => (Reply::refusal(reply.seq, error.negative_errno()), None, reply.listener),
        };
        if let Err(error) = control.send(&ToWorker::Reply(reply), fd) {
            self.cut_off(worker, &error.to_string());
        }
        declined
    }
}

async fn until(start: Instant, deadline: Option<Duration>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until((start + deadline).into()).await;
    }
}

/// A pidfd can be read from the moment its process is dead.
async fn wait_for_death(pidfd: Arc<OwnedFd>) -> Result<(), SysError> {
    let doing = "waiting for a worker to end";
    let watched = watch(pidfd, Interest::READABLE, doing)?;
    watched.readable().await.doing(doing)?.retain_ready();
    Ok(())
}
