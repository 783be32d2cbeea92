//! The primary's side: its native threads, as an object for JavaScript.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use super::early::taken_over;
use super::event_queue::EventQueue;
use super::events::{AnyEvent, convert};
use super::launch::{PackageFiles, SpawnOptions, launch, numbers};
use super::processes::Processes;
use crate::io::control::{self, ControlThread, OperatorSetup, PrimaryStack, SuperviseSetup};
use rcluster_core::control::operator::Surroundings;
use rcluster_core::control::supervise::{By, Input, Options, Reason};
use rcluster_core::hook::Answer;
use rcluster_core::ids::{Request, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_js::callback::hold_loop;
use rcluster_js::uv::{BlockedClock, UvTurns, awaited_processes, mend_closing_process};
use rcluster_js::v8::Interrupter;
use rcluster_sys::cgroup::{Cgroups, usable_cpus};
use rcluster_sys::error::SysError;
use rcluster_sys::listen::private::own_user;
use rcluster_sys::orphans::reap_own;
use rcluster_sys::package::Package;

/// The result of spawning.
#[napi(object)]
pub struct Spawned {
    /// The process id; 0 on error.
    pub pid: i32,
    /// 0 or a negative errno number.
    pub errno: i32,
    /// The primary's ends of the pipes, indexed as in `stdio`; -1 for other descriptors. Empty on error.
    pub fds: Vec<i32>,
    /// A description of the error.
    pub failure: Option<String>,
}

/// How long a worker may take to report its stack.
const STACK_LIMIT: Duration = Duration::from_millis(500);

type StackAnswer = FnArgs<(Option<String>, Option<String>)>;
/// Called for each event, which is in the queue.
type Listener = ThreadsafeFunction<(), UnknownReturnValue, AnyEvent, Status, false, true>;

/// The native part of a primary: the threads that spawn, reap, accept and pass.
#[napi]
pub struct Primary {
    pub(super) threads: ControlThread,
    listener: Arc<Listener>,
    processes: Arc<Processes>,
    /// The files that workers load.
    package: Option<Arc<Package>>,
    /// Watches the event loop, once the cluster is supervised.
    turns: RefCell<Option<UvTurns>>,
}

#[napi]
impl Primary {
    /// Starts the threads. `scheduling` is the distribution of connections, as JSON. `package` is the files
    /// that workers load. `on_event` is called for every event. System errors have their name as `code`.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn new(
        scheduling: String,
        package: PackageFiles,
        #[napi(
            ts_arg_type = "(event: ExitEvent | WarningEvent | FailureEvent | SpawnedEvent | SupervisionEvent | HookEvent | OrphansEvent | ExamineEvent) => void"
        )]
        on_event: Function<'_, AnyEvent, UnknownReturnValue>,
    ) -> std::result::Result<Self, Error<String>> {
        let scheduling = Scheduling::parse(&scheduling).map_err(coded)?;
        let processes = Arc::new(Processes::default());
        let (known, events) = (Arc::clone(&processes), EventQueue::default());
        let queue = events.clone();
        let listener = on_event
            .build_threadsafe_function()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(move |_| {
                let event = events.take().ok_or_else(|| Error::from_reason("an event is missing"))?;
                Ok(convert(event, &known))
            })
            .map_err(coded)?;
        let listener = Arc::new(listener);
        let tell = Arc::clone(&listener);
        let threads = ControlThread::start(scheduling, move |event| {
            queue.push(event);
            // Refused only while the environment is being torn down.
            if tell.call((), ThreadsafeFunctionCallMode::NonBlocking) != Status::Ok {
                queue.clear();
            }
        })
        .map_err(system_failure)?;
        Ok(Self { threads, listener, processes, package: package.keep(), turns: RefCell::default() })
    }

    /// Spawns a worker. Its exit is reported as an event.
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
        self.processes.add(worker, spawned.pidfd, spawned.pid);
        Ok(Spawned { pid: spawned.pid, errno: 0, fds: numbers(spawned.pipes), failure: None })
    }

    /// Sends a signal, by number. Returns 0 or a negative errno number; -3 (ESRCH) for a worker that has
    /// exited.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn kill(&self, id: u32, signal: i32) -> i32 {
        match self.processes.signal(WorkerId(id), signal) {
            Some(sent) => sent.map_or_else(|error| error.negative_errno(), |()| 0),
            None => control::NO_SUCH_WORKER,
        }
    }

    /// The application has been notified that the worker has exited, and could have forked a replacement.
    #[napi(catch_unwind)]
    pub fn on_exit_reported(&self, id: u32) {
        self.processes.remove(WorkerId(id));
        self.threads.leaving().remove(WorkerId(id));
        self.threads.on_exit_reported(WorkerId(id));
    }

    /// Removes a worker from all its listeners. Listeners without members are closed on return.
    #[napi(catch_unwind)]
    pub fn leave(&self, id: u32) {
        self.threads.leave(WorkerId(id));
    }

    /// The number of the next worker: 1, 2, 3 …, with one counter for all threads.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.threads.numbers().next().0
    }

    /// The offset of the next worker's inspector port from the primary's own: 1, 2, 3 …, with one counter for
    /// all threads.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn next_inspector(&self) -> u32 {
        self.threads.inspectors().next()
    }

    /// Adds ports that the app has chosen for the inspectors of further supervised workers.
    #[napi(catch_unwind)]
    pub fn add_inspect_ports(&self, ports: Vec<String>) {
        self.threads.add_inspect_ports(ports);
    }

    /// Whether a supervised worker is leaving, or has left, by agreement.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn is_leaving(&self, id: u32) -> bool {
        self.threads.leaving().contains(WorkerId(id))
    }

    /// Starts supervision: the workers are started with `template`, whose `id` is ignored, and kept up.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn supervise(
        &self,
        env: Env,
        options: String,
        template: SpawnOptions,
        seed: u32,
    ) -> Result<(), String> {
        let options = Options::from_json(&options)
            .map_err(|invalid| Error::new(Status::InvalidArg.to_string(), invalid.to_string()))?;
        let (turns, blocked) = UvTurns::clock(env).ok().unzip();
        *self.turns.borrow_mut() = turns;
        let setup = SuperviseSetup {
            options,
            launch: launch(template, self.package.as_ref()).map_err(system_failure)?,
            seed: u64::from(seed),
            operator: operator(env, blocked),
            early: taken_over(),
        };
        self.threads.supervise(setup);
        Ok(())
    }

    /// Sets the number of workers. The answer arrives as an event.
    #[napi(catch_unwind)]
    pub fn scale(&self, workers: u32, request: u32) {
        self.ask(Input::Scale { workers, request: Request(request.into()) });
    }

    /// Replaces all workers by new ones, which are started with `template`, as are all later ones. The answer
    /// arrives as an event.
    #[napi(catch_unwind)]
    pub fn reload(&self, template: SpawnOptions, concurrency: u32, request: u32) -> Result<(), String> {
        let launch = launch(template, self.package.as_ref()).map_err(system_failure)?;
        self.threads.reload(launch, concurrency, Request(request.into()));
        Ok(())
    }

    /// Drains all workers after `delay` ms, and kills them after another `timeout` ms. The answer arrives as
    /// an event.
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

    /// Replaces a worker, and drains it.
    #[napi(catch_unwind)]
    pub fn retire(&self, id: u32, reason: String) {
        let (worker, reason) = (WorkerId(id), Reason::Asked(reason));
        self.ask(Input::RetireAsked { worker, reason, detail: String::new(), by: By::Primary });
    }

    /// Writes the pending output of workers. Waits at most `limit` ms for its reader.
    #[napi(catch_unwind)]
    pub fn flush_logs(&self, limit: u32) {
        self.threads.flush_logs(Duration::from_millis(limit.into()));
    }

    /// The statistics of the supervised cluster, as JSON; null if it is not supervised.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Result<Option<String>> {
        self.threads.stats().map(|stats| serde_json::to_string(&stats)).transpose().map_err(failure)
    }

    fn ask(&self, input: Input) {
        self.threads.tell_supervision(input);
    }

    /// Orders a worker to drain: take no more connections, finish, and exit. It is not killed.
    #[napi(catch_unwind)]
    pub fn drain(&self, id: u32, reason: String, timeout_ms: u32) {
        self.threads.drain(WorkerId(id), reason, Duration::from_millis(timeout_ms.into()));
    }

    /// Requests the JavaScript stack of a worker, which works while its event loop is blocked. `then(stack,
    /// reason)` is called once, within 500 ms, with the stack, or with null and the reason why there is none.
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
            // Refused only while the environment is being torn down.
            let _ending = then.call(answer.into(), ThreadsafeFunctionCallMode::NonBlocking);
        });
        Ok(())
    }

    /// Handles what the worker has written to its control socket so far.
    #[napi(catch_unwind)]
    pub fn flush(&self, id: u32) {
        self.threads.flush(WorkerId(id));
    }

    /// Answers a `hook` event with the worker of each connection, in order: its number; 0 for no preference;
    /// a negative number if the hook gave no valid answer.
    #[napi(catch_unwind)]
    pub fn answer(&self, batch: u32, workers: Vec<i32>) {
        let answer = |number| match u32::try_from(number) {
            Ok(0) => Answer::Anybody,
            Ok(number) => Answer::Worker(WorkerId(number)),
            Err(_) => Answer::Refused,
        };
        self.threads.answer(batch, workers.into_iter().map(answer).collect());
    }

    /// Reaps those children of an `orphans` event that this process has not started: orphans that it has
    /// adopted because it is PID 1 or a child subreaper. Throws on any thread but the main one.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands arrays over by value")]
    pub fn reap_orphans(&self, env: Env, pids: Vec<i32>) -> Result<()> {
        let awaited = awaited_processes(env).map_err(failure)?;
        let workers = self.processes.pids();
        for pid in pids {
            if !awaited.contains(&pid) && !workers.contains(&pid) {
                // None if other code has reaped it meanwhile.
                let _was_there = reap_own(pid).map_err(failure)?;
            }
        }
        self.threads.on_orphans_reaped();
        Ok(())
    }

    /// The counts of connections, as JSON.
    #[napi(catch_unwind)]
    pub fn report(&self) -> Result<String> {
        serde_json::to_string(&self.threads.report()).map_err(failure)
    }

    /// From now on, the primary keeps the event loop alive.
    #[napi(catch_unwind, js_name = "ref")]
    pub fn hold(&self, env: Env) {
        hold_loop(env, &self.listener, true);
    }

    /// From now on, the primary does not keep the event loop alive. This is the initial state.
    #[napi(catch_unwind, js_name = "unref")]
    pub fn release(&self, env: Env) {
        hold_loop(env, &self.listener, false);
    }
}

/// Must be called right after JavaScript has closed a process handle whose spawn failed; otherwise libuv
/// could corrupt its list of handles. Throws if this version of libuv is not known.
#[napi(catch_unwind)]
pub fn mend_closed_process(env: Env) -> Result<()> {
    // In every case, the list is in order now.
    mend_closing_process(env).map(|_found| ()).map_err(failure)
}

/// The version that this binary was built from, to be compared with that of the package.
#[napi]
#[must_use]
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The number of CPUs that this process may use: its affinity mask, limited by its cgroup.
#[napi]
#[must_use]
pub fn available_parallelism() -> u32 {
    usable_cpus(&Cgroups::of_this_process())
}

/// Gathers what the control socket needs. The environment is read here, on the thread that may change it.
fn operator(env: Env, blocked: Option<BlockedClock>) -> OperatorSetup {
    let variable = |name| std::env::var(name).ok();
    let node = env.get_node_version().map_or_else(
        |_| String::new(),
        |version| format!("{}.{}.{}", version.major, version.minor, version.patch),
    );
    OperatorSetup {
        surroundings: Surroundings {
            runtime_directory: variable("RUNTIME_DIRECTORY"),
            session_directory: variable("XDG_RUNTIME_DIR"),
            uid: own_user(),
            pid: std::process::id(),
        },
        node,
        stack: PrimaryStack::new(Interrupter::new(env)),
        blocked,
    }
}

/// An error whose `code` is the name of the system error, such as "EMFILE".
fn system_failure(error: SysError) -> Error<String> {
    Error::new(format!("{:?}", error.errno), error.to_string())
}

fn coded(error: impl std::fmt::Display) -> Error<String> {
    Error::new(Status::GenericFailure.to_string(), error.to_string())
}

fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}
