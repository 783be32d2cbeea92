//! The primary's side: spawning, signals, and the news of the control thread.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{Either7, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use serde_json::{Value, json};

use super::launch::{PackageFiles, SpawnOptions, launch, numbers};
use super::supervision;
use crate::io::control::{self, ControlThread, Event, SuperviseSetup};
use rcluster_core::control::supervise::{By, ExitKind, Input, Options, Reason};
use rcluster_core::hook::Answer;
use rcluster_core::ids::{Request, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_js::callback::hold_loop;
use rcluster_js::uv::{awaited_processes, mend_closing_process};
use rcluster_sys::error::SysError;
use rcluster_sys::exit::SIGKILL;
use rcluster_sys::orphans::reap_own;
use rcluster_sys::package::Package;
use rcluster_sys::passing::{adopt, replace};

/// What came of spawning.
#[napi(object)]
pub struct Spawned {
    /// The process id; 0 on error.
    pub pid: i32,
    /// 0 or a negative errno number.
    pub errno: i32,
    /// The primary's ends of the pipes in the order of stdio, -1 elsewhere. Empty on error.
    pub fds: Vec<i32>,
    /// What failed, on error.
    pub failure: Option<String>,
}

/// A worker is dead and has been reaped.
#[napi(object, object_from_js = false)]
pub struct ExitEvent {
    /// Always `exit`.
    #[napi(ts_type = "'exit'")]
    pub kind: &'static str,
    /// The worker's number.
    pub id: u32,
    /// Its exit code; 0 when a signal ended it.
    pub code: i32,
    /// The number of the signal that ended it, or 0.
    pub signal: i32,
}

/// Something that whoever runs the application should know.
#[napi(object, object_from_js = false)]
pub struct WarningEvent {
    /// Always `warning`.
    #[napi(ts_type = "'warning'")]
    pub kind: &'static str,
    /// A name for it, `RCLUSTER_…`.
    pub code: &'static str,
    /// What has happened.
    pub message: String,
}

/// The native part has failed for good.
#[napi(object, object_from_js = false)]
pub struct FailureEvent {
    /// Always `failed`.
    #[napi(ts_type = "'failed'")]
    pub kind: &'static str,
    /// What has happened.
    pub message: String,
}

/// Puts what is open under the number `source` in the place of what is open under `number`, and closes `source`.
#[napi(catch_unwind)]
pub fn replace_descriptor(number: i32, source: i32) -> Result<()> {
    replace(number, &adopt(source).map_err(failure)?).map_err(failure)
}

/// How long a worker may take to say where its JavaScript is.
const STACK_LIMIT: Duration = Duration::from_millis(500);

type StackAnswer = FnArgs<(Option<String>, Option<String>)>;
/// Supervision has started a worker, which wants to be adopted.
#[napi(object, object_from_js = false)]
pub struct SpawnedEvent {
    /// Always `spawned`.
    #[napi(ts_type = "'spawned'")]
    pub kind: &'static str,
    /// The worker's number.
    pub id: u32,
    /// Its slot; none for a standby.
    pub slot: Option<u32>,
    /// Its process id.
    pub pid: i32,
    /// The primary's ends of the pipes in the order of stdio, -1 elsewhere.
    pub fds: Vec<i32>,
    /// The port of its inspector, if it has one of its own.
    pub inspect_port: Option<String>,
}

/// Supervision has decided something, or answers.
#[napi(object, object_from_js = false)]
pub struct SupervisionEvent {
    /// Always `supervision`.
    #[napi(ts_type = "'supervision'")]
    pub kind: &'static str,
    /// What, as JSON.
    pub text: String,
}

/// Where connections go is for JavaScript to say, by `answer()`.
#[napi(object, object_from_js = false)]
pub struct QuestionsEvent {
    /// Always `questions`.
    #[napi(ts_type = "'questions'")]
    pub kind: &'static str,
    /// Which ones, as JSON.
    pub text: String,
}

/// Children have ended and nobody has reaped them: wants `reapOrphans()`.
#[napi(object, object_from_js = false)]
pub struct OrphansEvent {
    /// Always `orphans`.
    #[napi(ts_type = "'orphans'")]
    pub kind: &'static str,
    /// Their process ids.
    pub pids: Vec<i32>,
}

type AnyEvent = Either7<
    ExitEvent,
    WarningEvent,
    FailureEvent,
    SpawnedEvent,
    SupervisionEvent,
    QuestionsEvent,
    OrphansEvent,
>;
type Pidfds = Arc<Mutex<HashMap<WorkerId, Arc<OwnedFd>>>>;
type Listener = ThreadsafeFunction<AnyEvent, UnknownReturnValue, AnyEvent, Status, false, true>;

/// The native part of a primary: two threads that spawn, reap, accept and pass.
#[napi]
pub struct Supervisor {
    pub(super) threads: ControlThread,
    listener: Arc<Listener>,
    /// Written by the control thread, too, for the workers that it starts.
    pidfds: Pidfds,
    /// The processes that this thread has started, until the app knows that they have ended. Those of the control
    /// thread are not among the children of this one.
    pids: Mutex<HashMap<WorkerId, i32>>,
    /// What workers load.
    package: Option<Arc<Package>>,
}

#[napi]
impl Supervisor {
    /// Starts the threads. `scheduling` says, as JSON, how connections are distributed. `package` is what workers
    /// load. `on_event` hears of everything that happens. An error of the system has its name as `code`.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn new(
        scheduling: String,
        package: PackageFiles,
        #[napi(
            ts_arg_type = "(event: ExitEvent | WarningEvent | FailureEvent | SpawnedEvent | SupervisionEvent | QuestionsEvent | OrphansEvent) => void"
        )]
        on_event: Function<'_, AnyEvent, UnknownReturnValue>,
    ) -> std::result::Result<Self, Error<String>> {
        let scheduling = Scheduling::parse(&scheduling).map_err(coded)?;
        let listener = on_event
            .build_threadsafe_function()
            .callee_handled::<false>()
            .weak::<true>()
            .build()
            .map_err(coded)?;
        let listener = Arc::new(listener);
        let tell = Arc::clone(&listener);
        let pidfds = Pidfds::default();
        let known = Arc::clone(&pidfds);
        let threads = ControlThread::start(scheduling, move |event| {
            // Refused only when the environment is ending, when there is nobody to tell.
            let _ending = tell.call(convert(event, &known), ThreadsafeFunctionCallMode::NonBlocking);
        })
        .map_err(system_failure)?;
        Ok(Self { threads, listener, pidfds, pids: Mutex::default(), package: package.keep() })
    }

    /// Spawns a worker. Its end follows as an event.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands objects over by value")]
    #[must_use]
    pub fn spawn(&self, options: SpawnOptions) -> Spawned {
        match self.try_spawn(options) {
            Ok(spawned) => spawned,
            Err(error) => Spawned {
                pid: 0,
                errno: error.negative_errno(),
                fds: Vec::new(),
                failure: Some(error.to_string()),
            },
        }
    }

    fn try_spawn(&self, options: SpawnOptions) -> std::result::Result<Spawned, SysError> {
        let worker = WorkerId(options.id);
        let spawned = self.threads.spawn(worker, &launch(options, self.package.as_ref())?, Vec::new())?;
        locked(&self.pidfds).insert(worker, spawned.pidfd);
        locked(&self.pids).insert(worker, spawned.pid);
        Ok(Spawned { pid: spawned.pid, errno: 0, fds: numbers(spawned.pipes), failure: None })
    }

    /// Sends a signal, by number. Returns 0 or a negative errno number, -3 (ESRCH) for a worker
    /// that is dead.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn kill(&self, id: u32, signal: i32) -> i32 {
        match locked(&self.pidfds).get(&WorkerId(id)) {
            Some(pidfd) => control::signal(pidfd, signal).map_or_else(|e| e.negative_errno(), |()| 0),
            None => control::NO_SUCH_WORKER,
        }
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    #[napi(catch_unwind)]
    pub fn on_exit_reported(&self, id: u32) {
        locked(&self.pidfds).remove(&WorkerId(id));
        locked(&self.pids).remove(&WorkerId(id));
        self.threads.leaving().remove(WorkerId(id));
        self.threads.on_exit_reported(WorkerId(id));
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    #[napi(catch_unwind)]
    pub fn leave(&self, id: u32) {
        self.threads.leave(WorkerId(id));
    }

    /// A number for the next worker: 1, 2, 3 …, whoever starts it.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.threads.numbers().next().0
    }

    /// How far the inspector's port of the next worker is from the primary's own: 1, 2, 3 …, whoever starts it.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn next_inspector(&self) -> u32 {
        self.threads.inspectors().next()
    }

    /// Ports that the app has chosen for the inspectors of further supervised workers.
    #[napi(catch_unwind)]
    pub fn add_inspect_ports(&self, ports: Vec<String>) {
        self.threads.add_inspect_ports(ports);
    }

    /// Whether a supervised worker leaves, or has left, by agreement.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn is_leaving(&self, id: u32) -> bool {
        self.threads.leaving().contains(WorkerId(id))
    }

    /// Starts the workers that are asked for, with this launch (whose `id` does not count), and keeps them up.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn supervise(&self, options: String, template: SpawnOptions, seed: u32) -> Result<()> {
        let options = Options::from_json(&options)
            .map_err(|invalid| Error::new(Status::InvalidArg, invalid.to_string()))?;
        let setup = SuperviseSetup {
            options,
            launch: launch(template, self.package.as_ref()).map_err(failure)?,
            seed: u64::from(seed),
        };
        self.threads.supervise(setup);
        Ok(())
    }

    /// Has that many workers. The answer follows as an event.
    #[napi(catch_unwind)]
    pub fn scale(&self, workers: u32, request: u32) {
        self.ask(Input::Scale { workers, request: Request(request.into()) });
    }

    /// Replaces all workers by new ones, which are started with `template`, as all later ones are. The answer follows
    /// as an event.
    #[napi(catch_unwind)]
    pub fn reload(&self, template: SpawnOptions, concurrency: u32, request: u32) -> Result<()> {
        let launch = launch(template, self.package.as_ref()).map_err(failure)?;
        self.threads.reload(launch, concurrency, Request(request.into()));
        Ok(())
    }

    /// Drains all workers after `delay` ms; after `timeout` ms more they are forced. The answer follows as an event.
    #[napi(catch_unwind)]
    pub fn shutdown(&self, delay: u32, timeout: u32, request: u32) {
        let (delay, timeout) = (Duration::from_millis(delay.into()), Duration::from_millis(timeout.into()));
        self.ask(Input::Shutdown { delay, timeout, request: Request(request.into()) });
    }

    /// Kills all workers.
    #[napi(catch_unwind)]
    pub fn force(&self) {
        self.ask(Input::Force);
    }

    /// Replaces a worker, which drains.
    #[napi(catch_unwind)]
    pub fn retire(&self, id: u32, reason: String) {
        let (worker, reason) = (WorkerId(id), Reason::Asked(reason));
        self.ask(Input::RetireAsked { worker, reason, detail: String::new(), by: By::Primary });
    }

    /// How the supervised cluster stands, as JSON; null if nobody supervises it.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn stats(&self) -> Option<String> {
        self.threads.stats().map(|stats| supervision::stats(&stats).to_string())
    }

    fn ask(&self, input: Input) {
        self.threads.tell_supervision(input);
    }

    /// Tells a worker to take no more connections, to finish, and to exit. Nothing forces it.
    #[napi(catch_unwind)]
    pub fn drain(&self, id: u32, reason: String, timeout_ms: u32) {
        self.threads.drain(WorkerId(id), reason, Duration::from_millis(timeout_ms.into()));
    }

    /// Asks where the JavaScript of a worker is, also while it is blocked. `then(stack, reason)` is called
    /// once, within 500 ms, with the stack, or with null and the reason why there is none.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn capture_stack(
        &self,
        id: u32,
        #[napi(ts_arg_type = "(stack: string | null, reason: string | null) => void")] then: Function<
            '_,
            StackAnswer,
            UnknownReturnValue,
        >,
    ) -> Result<()> {
        let then = then.build_threadsafe_function().callee_handled::<false>().build()?;
        self.threads.capture_stack(WorkerId(id), STACK_LIMIT, move |stack| {
            let answer = match stack {
                Ok(text) => (Some(text), None),
                Err(error) => (None, Some(error.to_string())),
            };
            // Refused only when the environment is ending, when there is nobody to tell.
            let _ending = then.call(answer.into(), ThreadsafeFunctionCallMode::NonBlocking);
        });
        Ok(())
    }

    /// Does first what the worker has asked for so far, on the socket of its own for that.
    #[napi(catch_unwind)]
    pub fn catch_up(&self, id: u32) {
        self.threads.flush(WorkerId(id));
    }

    /// Says for each of a batch of questions, in their order, which worker gets the connection: its number; 0 for
    /// whoever is next; anything below if there was no proper answer.
    #[napi(catch_unwind)]
    pub fn answer(&self, batch: u32, workers: Vec<i32>) {
        let answer = |number| match u32::try_from(number) {
            Ok(0) => Answer::Anybody,
            Ok(number) => Answer::Worker(WorkerId(number)),
            Err(_) => Answer::Refused,
        };
        self.threads.answer(batch, workers.into_iter().map(answer).collect());
    }

    /// Reaps those of the children of an `orphans` event that were never started by this process: orphans that became
    /// its children because it is PID 1, or a child subreaper. Throws on any thread but the main one.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands arrays over by value")]
    pub fn reap_orphans(&self, env: Env, pids: Vec<i32>) -> Result<()> {
        let awaited = awaited_processes(env).map_err(failure)?;
        let workers = locked(&self.pids).clone();
        for pid in pids {
            if !awaited.contains(&pid) && !workers.values().any(|worker| *worker == pid) {
                // None is left where somebody else has reaped it by now.
                let _was_there = reap_own(pid).map_err(failure)?;
            }
        }
        self.threads.on_orphans_reaped();
        Ok(())
    }

    /// What has been done with connections so far, as JSON.
    #[napi(catch_unwind)]
    pub fn report(&self) -> Result<String> {
        serde_json::to_string(&self.threads.report()).map_err(failure)
    }

    /// From now on, events to come keep the event loop alive.
    #[napi(catch_unwind, js_name = "ref")]
    pub fn hold(&self, env: Env) {
        hold_loop(env, &self.listener, true);
    }

    /// From now on, the event loop does not wait for events. So it is at first.
    #[napi(catch_unwind, js_name = "unref")]
    pub fn release(&self, env: Env) {
        hold_loop(env, &self.listener, false);
    }
}

/// To be called right after JavaScript has closed a process handle whose spawn failed: libuv could
/// break its list of handles otherwise. Throws when this libuv is not known.
#[napi(catch_unwind)]
pub fn mend_closed_process(env: Env) -> Result<()> {
    // Whatever was found is in order now.
    mend_closing_process(env).map(|_found| ()).map_err(failure)
}

/// The version that this binary was built from, to be compared with the package's.
#[napi]
#[must_use]
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// How many CPUs this process may use: those it is bound to, within the limit of its cgroup.
#[napi]
#[must_use]
pub fn available_parallelism() -> u32 {
    // An error means that the system does not tell; one worker is right everywhere.
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn convert(event: Event, pidfds: &Pidfds) -> AnyEvent {
    let said = |value: Value| Either7::E(SupervisionEvent { kind: "supervision", text: value.to_string() });
    match event {
        Event::Exited { worker, exit } => {
            let (code, signal) = match exit {
                ExitKind::Code(code) => (code, 0),
                ExitKind::Signal(number) => (0, number),
                ExitKind::OutOfMemory => (0, SIGKILL),
            };
            Either7::A(ExitEvent { kind: "exit", id: worker.0, code, signal })
        }
        Event::Warning { code, message } => Either7::B(WarningEvent { kind: "warning", code, message }),
        Event::Failed(message) => Either7::C(FailureEvent { kind: "failed", message }),
        Event::Spawned { worker, slot, pid, pidfd, pipes, inspect_port } => {
            locked(pidfds).insert(worker, pidfd);
            let (slot, fds) = (slot.map(|slot| slot.0), numbers(pipes));
            Either7::D(SpawnedEvent { kind: "spawned", id: worker.0, slot, pid, fds, inspect_port })
        }
        Event::Supervision(event) => said(supervision::describe(&event)),
        Event::Answered { request, result } => said(supervision::answered(request, &result)),
        Event::Hook(questions) => match serde_json::to_string(&questions) {
            Ok(text) => Either7::F(QuestionsEvent { kind: "questions", text }),
            Err(error) => Either7::C(FailureEvent { kind: "failed", message: error.to_string() }),
        },
        Event::Orphans(pids) => Either7::G(OrphansEvent { kind: "orphans", pids }),
        Event::StopPrimary { code } => said(json!({ "type": "stop", "code": code })),
    }
}

/// With the name of the system's error as its `code`: "EMFILE".
fn system_failure(error: SysError) -> Error<String> {
    Error::new(format!("{:?}", error.errno), error.to_string())
}

fn coded(error: impl std::fmt::Display) -> Error<String> {
    Error::new(Status::GenericFailure.to_string(), error.to_string())
}

fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}
