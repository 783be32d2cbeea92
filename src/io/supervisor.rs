//! The supervisor: the primary's thread that knows the workers.
//!
//! It reaps them, answers what they ask on their control sockets, and keeps the registry of the
//! listeners. It has a tokio runtime of its own, so it goes on while the primary's JavaScript is
//! busy, in the garbage collector or at a debugger.

mod control;
mod sockets;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as answer};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::core::ids::{ListenerId, WorkerId};
use crate::core::listeners::{Input, Listeners, Output};
use crate::core::wire::{FromWorker, Reply, ToWorker};
use crate::io::dispatcher::{Afterwards, Command as ToDispatcher, Dispatcher, Notice};
use crate::sys::async_fd::watch;
use crate::sys::error::{Doing, SysError};
use crate::sys::exit::{Exit, reap, send_signal};
use crate::sys::passing::message_pair;
use crate::sys::scoreboard::Scoreboard;
use crate::sys::spawn::Spawn;

use control::Control;
use sockets::Sockets;

/// How many events of one kind may wait for the supervisor. A worker that sends more has to wait
/// until the supervisor has read them.
const EVENTS: usize = 64;

/// How long the control socket of a dead worker may take to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What `kill` answers for a worker that is dead and forgotten: ESRCH, as for a process.
pub const NO_SUCH_WORKER: i32 = -3;

/// What the supervisor has to tell the application.
#[derive(Debug)]
pub enum Event {
    /// A worker is dead and has been reaped.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        exit: Exit,
    },
    /// Something that whoever runs the application should know; it goes on.
    Warning {
        /// A name for it, `RCLUSTER_…`.
        code: &'static str,
        /// What has happened.
        message: String,
    },
    /// The native part has failed: no connection is accepted and no worker reaped any more.
    Failed(String),
}

/// What the primary's JavaScript asks of the supervisor.
#[derive(Debug)]
enum Command {
    Adopt { worker: WorkerId, pidfd: Arc<OwnedFd>, control: OwnedFd },
    Leave { worker: WorkerId, done: Sender<()> },
    Settle { worker: WorkerId },
}

/// What happens to a worker.
#[derive(Debug)]
enum Happening {
    Died(WorkerId),
    Said(WorkerId, FromWorker),
    /// It has asked what cannot be answered but by an error.
    Misspoke(WorkerId, Reply),
    /// It has closed its control socket, which only a dying worker does.
    HungUp(WorkerId),
    Broke(WorkerId, String),
    /// Its end cannot be waited for.
    Unwatched(WorkerId, SysError),
    Noticed(Notice),
}

/// A worker that was spawned.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Names the process as long as this is kept, dead or alive; for signals.
    pub pidfd: Arc<OwnedFd>,
}

/// The primary's hold on its supervisor. Dropping it ends the threads; workers notice that their
/// primary has gone.
#[derive(Debug)]
pub struct Supervisor {
    commands: Option<mpsc::UnboundedSender<Command>>,
    dispatcher: Arc<Dispatcher>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the supervisor's and the dispatcher's thread. `tell` is called on either.
    ///
    /// With `share` (`SCHED_NONE`) workers get the listening sockets themselves.
    pub fn start(share: bool, tell: impl Fn(Event) + Send + Sync + 'static) -> Result<Self, SysError> {
        let (commands, queue) = mpsc::unbounded_channel();
        let (happenings, events) = mpsc::channel(EVENTS);
        let notices = happenings.clone();
        let tell: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(tell);
        let tell_directly = Arc::clone(&tell);
        let dispatcher = Arc::new(Dispatcher::start(move |notice| {
            // The supervisor has the last word on what a notice means, but must not be waited
            // for: it may be waiting for the dispatcher.
            if let Err(unheard) = notices.try_send(Happening::Noticed(notice))
                && let Happening::Noticed(notice) = unheard.into_inner()
            {
                tell_directly(describe(&notice));
            }
        })?);
        let shell = Shell {
            tell,
            dispatcher: Arc::clone(&dispatcher),
            listeners: Listeners::new(share),
            workers: HashMap::new(),
            sockets: Sockets::new(Arc::clone(&dispatcher)),
            happenings,
            outputs: Vec::new(),
            start: Instant::now(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("starting the supervisor's runtime")?;
        let thread = std::thread::Builder::new()
            .name("rcluster-super".into())
            .spawn(move || shell.run_thread(&runtime, queue, events))
            .doing("starting the supervisor's thread")?;
        Ok(Self { commands: Some(commands), dispatcher, thread: Some(thread) })
    }

    /// Spawns a worker. The worker's link to the primary comes right behind the descriptors that
    /// `spawn` has already.
    pub fn spawn(&self, worker: WorkerId, mut spawn: Spawn<'_>) -> Result<Spawned, SysError> {
        let (control, worker_control) = message_pair()?;
        let (channel, worker_channel) = message_pair()?;
        let (board, worker_board) = Scoreboard::create()?;
        let link = [worker_control.as_fd(), worker_channel.as_fd(), worker_board.as_fd()];
        let mut fds = std::mem::take(&mut spawn.fds);
        fds.extend(link);
        let child = Spawn { fds, ..spawn }.spawn()?;
        // Of the worker's ends only that of the channel stays open here.
        let worker_end = worker_channel;
        let pidfd = Arc::new(child.pidfd);
        self.dispatcher.tell(ToDispatcher::AddWorker { worker, channel, worker_end, board });
        self.tell(Command::Adopt { worker, pidfd: Arc::clone(&pidfd), control });
        Ok(Spawned { pid: child.pid.as_raw(), pidfd })
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    pub fn leave(&self, worker: WorkerId) {
        let (done, wait) = answer();
        self.tell(Command::Leave { worker, done });
        // An error means that the threads have ended, and with them every listener.
        let _ = wait.recv();
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    pub fn settle(&self, worker: WorkerId) {
        self.tell(Command::Settle { worker });
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A supervisor that has failed has said so.
            let _failed = commands.send(command);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The end of the queue is the order to stop.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // It has caught its own panics.
            let _ = thread.join();
        }
    }
}

/// Sends a signal to a worker, by number. 0 only asks whether it is there.
pub fn signal(pidfd: &impl AsFd, number: i32) -> Result<(), SysError> {
    send_signal(pidfd.as_fd(), number)
}

fn describe(notice: &Notice) -> Event {
    match notice {
        Notice::Exhausted(error) => Event::Warning {
            code: "RCLUSTER_EXHAUSTED",
            message: format!("New connections wait, because the primary cannot accept them: {error}"),
        },
        Notice::Broken(worker, why) => broken(*worker, why),
        Notice::Failed(why) => Event::Failed(why.clone()),
    }
}

fn broken(worker: WorkerId, why: &str) -> Event {
    let message = format!("{worker} broke the rules of its link to the primary and is cut off: {why}");
    Event::Warning { code: "RCLUSTER_PROTOCOL", message }
}

/// One worker, as the supervisor knows it.
struct WorkerHandle {
    pidfd: Arc<OwnedFd>,
    /// None once it is cut off.
    control: Option<Control>,
}

/// The thread's own state.
struct Shell {
    tell: Arc<dyn Fn(Event) + Send + Sync>,
    dispatcher: Arc<Dispatcher>,
    listeners: Listeners,
    workers: HashMap<WorkerId, WorkerHandle>,
    sockets: Sockets,
    happenings: mpsc::Sender<Happening>,
    outputs: Vec<Output>,
    start: Instant,
}

impl Shell {
    fn run_thread(
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
            Command::Adopt { worker, pidfd, control } => self.adopt(worker, pidfd, control),
            Command::Leave { worker, done } => {
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

    fn adopt(&mut self, worker: WorkerId, pidfd: Arc<OwnedFd>, control: OwnedFd) {
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
        self.workers.insert(worker, WorkerHandle { pidfd, control });
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
        let control = self.workers.get(&worker)?.control.as_ref()?;
        // What fails for want of a descriptor fails for this one server, as binding would have.
        let (reply, fd, declined) = match self.sockets.shared(&reply) {
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
