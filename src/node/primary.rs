//! The primary's side: spawning, signals, and the news of the supervisor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use napi::bindgen_prelude::{Either3, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

use crate::core::ids::WorkerId;
use crate::core::schedule::Scheduling;
use crate::io::supervisor::{self, Event};
use crate::sys::error::SysError;
use crate::sys::exit::Exit;
use crate::sys::js::hold_loop;
use crate::sys::passing::duplicate_number;
use crate::sys::spawn::{Spawn, dev_null, socket_pair};

/// What a descriptor of the worker is to be.
#[napi(object)]
pub struct StdioSpec {
    /// `ignore`: /dev/null. `pipe`: a socket pair whose other end comes back. `fd`: a duplicate.
    #[napi(ts_type = "'ignore' | 'pipe' | 'fd'")]
    pub kind: String,
    /// The descriptor of this process that is meant by `fd`.
    pub fd: Option<i32>,
}

/// What to spawn.
#[napi(object)]
pub struct SpawnOptions {
    /// The worker's number.
    pub id: u32,
    /// The program; searched on the PATH of `env` when it has no slash.
    pub file: String,
    /// Its arguments, beginning with its name.
    pub args: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Its working directory; the primary's by default.
    pub cwd: Option<String>,
    /// Its descriptors from 0 on.
    pub stdio: Vec<StdioSpec>,
    /// The user to run as.
    pub uid: Option<u32>,
    /// The group to run as.
    pub gid: Option<u32>,
    /// Whether it leads a session and process group of its own.
    pub detached: Option<bool>,
}

/// What came of spawning.
#[napi(object)]
pub struct Spawned {
    /// The process id; 0 on error.
    pub pid: i32,
    /// 0 or a negative errno number.
    pub errno: i32,
    /// The primary's ends of the pipes in the order of stdio, -1 elsewhere. Empty on error.
    pub fds: Vec<i32>,
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

type AnyEvent = Either3<ExitEvent, WarningEvent, FailureEvent>;
type Listener = ThreadsafeFunction<AnyEvent, UnknownReturnValue, AnyEvent, Status, false, true>;

/// The native supervisor of a primary: two threads that spawn, reap, accept and pass.
#[napi]
pub struct Supervisor {
    threads: supervisor::Supervisor,
    listener: Arc<Listener>,
    pidfds: RefCell<HashMap<WorkerId, Arc<OwnedFd>>>,
}

#[napi]
impl Supervisor {
    /// Starts the threads. `scheduling` says, as JSON, how connections are distributed. `on_event` hears of
    /// everything that happens.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
    pub fn new(
        scheduling: String,
        #[napi(ts_arg_type = "(event: ExitEvent | WarningEvent | FailureEvent) => void")] on_event: Function<
            '_,
            AnyEvent,
            UnknownReturnValue,
        >,
    ) -> Result<Self> {
        let scheduling = Scheduling::parse(&scheduling).map_err(failure)?;
        let listener =
            on_event.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        let listener = Arc::new(listener);
        let tell = Arc::clone(&listener);
        let threads = supervisor::Supervisor::start(scheduling, move |event| {
            // Refused only when the environment is ending, when there is nobody to tell.
            let _ending = tell.call(convert(event), ThreadsafeFunctionCallMode::NonBlocking);
        })
        .map_err(failure)?;
        Ok(Self { threads, listener, pidfds: RefCell::default() })
    }

    /// Spawns a worker. Its end follows as an event.
    #[napi(catch_unwind)]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands objects over by value")]
    pub fn spawn(&self, options: SpawnOptions) -> Spawned {
        match self.try_spawn(options) {
            Ok(spawned) => spawned,
            Err(error) => Spawned { pid: 0, errno: error.negative_errno(), fds: Vec::new() },
        }
    }

    fn try_spawn(&self, options: SpawnOptions) -> std::result::Result<Spawned, SysError> {
        let worker = WorkerId(options.id);
        let (theirs, ours) = stdio(&options.stdio)?;
        let mut env = texts(options.env)?;
        env.push(text(format!("RCLUSTER_LINK={}", theirs.len()))?);
        let spawn = Spawn {
            file: text(options.file)?,
            args: texts(options.args)?,
            env,
            cwd: options.cwd.map(text).transpose()?,
            uid: options.uid,
            gid: options.gid,
            detached: options.detached.unwrap_or(false),
            fds: theirs.iter().map(AsFd::as_fd).collect(),
        };
        let spawned = self.threads.spawn(worker, None, spawn)?;
        self.pidfds.borrow_mut().insert(worker, spawned.pidfd);
        let fds = ours.into_iter().map(|fd| fd.map_or(-1, IntoRawFd::into_raw_fd)).collect();
        Ok(Spawned { pid: spawned.pid, errno: 0, fds })
    }

    /// Sends a signal, by number. Returns 0 or a negative errno number, -3 (ESRCH) for a worker
    /// that is dead.
    #[napi(catch_unwind)]
    pub fn kill(&self, id: u32, signal: i32) -> i32 {
        match self.pidfds.borrow().get(&WorkerId(id)) {
            Some(pidfd) => supervisor::signal(pidfd, signal).map_or_else(|e| e.negative_errno(), |()| 0),
            None => supervisor::NO_SUCH_WORKER,
        }
    }

    /// The application knows that the worker is dead and has had its chance to fork another.
    #[napi(catch_unwind)]
    pub fn settle(&self, id: u32) {
        self.pidfds.borrow_mut().remove(&WorkerId(id));
        self.threads.settle(WorkerId(id));
    }

    /// Takes a worker from all its listeners. Those with nobody left are closed on return.
    #[napi(catch_unwind)]
    pub fn leave(&self, id: u32) {
        self.threads.leave(WorkerId(id));
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

/// How many CPUs this process may use: those it is bound to, within the limit of its cgroup.
#[napi]
#[must_use]
pub fn available_parallelism() -> u32 {
    // An error means that the system does not tell; one worker is right everywhere.
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn convert(event: Event) -> AnyEvent {
    match event {
        Event::Exited { worker, exit } => {
            let (code, signal) = match exit {
                Exit::Code(code) => (code, 0),
                Exit::Signal { number, .. } => (0, number),
            };
            Either3::A(ExitEvent { kind: "exit", id: worker.0, code, signal })
        }
        Event::Warning { code, message } => Either3::B(WarningEvent { kind: "warning", code, message }),
        Event::Failed(message) => Either3::C(FailureEvent { kind: "failed", message }),
    }
}

type Ends = (Vec<OwnedFd>, Vec<Option<OwnedFd>>);

/// The descriptors of the worker, and the primary's ends of those that are pipes.
fn stdio(specs: &[StdioSpec]) -> std::result::Result<Ends, SysError> {
    let mut theirs = Vec::with_capacity(specs.len());
    let mut ours = Vec::with_capacity(specs.len());
    for spec in specs {
        let (their, our) = match (spec.kind.as_str(), spec.fd) {
            ("ignore", _) => (dev_null()?, None),
            ("pipe", _) => {
                let (our, their) = socket_pair()?;
                (their, Some(our))
            }
            ("fd", Some(number)) => (duplicate_number(number)?, None),
            _ => return Err(SysError::invalid("reading what a descriptor of a worker is to be")),
        };
        theirs.push(their);
        ours.push(our);
    }
    Ok((theirs, ours))
}

fn texts(texts: Vec<String>) -> std::result::Result<Vec<CString>, SysError> {
    texts.into_iter().map(text).collect()
}

fn text(text: String) -> std::result::Result<CString, SysError> {
    CString::new(text).map_err(|_| SysError::invalid("reading a text that may not hold a NUL character"))
}

fn failure(error: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}
