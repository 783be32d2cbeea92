//! Starting a worker: its process, and its link to the primary.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::forwarding::Forwarding;
use super::logs::Captured;
use super::shared::InspectorCount;
use crate::io::dispatcher::{Command, Dispatcher};
use crate::io::forward::{Kind, Own, Target};
use crate::io::logs::WorkerPipe;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::inspect::{Chosen, counted};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::early::{self, EarlyWorker};
use rcluster_sys::error::SysError;
use rcluster_sys::exit::{SIGKILL, SIGTERM};
use rcluster_sys::package::Package;
use rcluster_sys::passing::message_pair;
use rcluster_sys::pipe::pipe_from;
use rcluster_sys::scoreboard::Scoreboard;
use rcluster_sys::socket_directory::Owner;
use rcluster_sys::spawn::{Child, Spawn, dev_null, socket_pair};

/// The source of one of a worker's first descriptors.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`.
    Ignore,
    /// A new socket pair. The primary keeps the other end.
    Pipe,
    /// A duplicate of this one.
    Same(OwnedFd),
    /// The primary's descriptor of the same number. A supervised worker may get a pipe to the log thread
    /// instead.
    Inherit(OwnedFd),
}

/// Everything that a worker is started with, except what only that worker gets. It can start any number of
/// workers, without JavaScript.
#[derive(Debug)]
pub struct Launch {
    /// The program: a path, or a name to look up in the `PATH` of `env`.
    pub file: CString,
    /// All arguments, starting with the program's name.
    pub args: Vec<CString>,
    /// The environment as `NAME=value`.
    pub env: Vec<CString>,
    /// The working directory; the primary's if `None`.
    pub cwd: Option<CString>,
    /// The user id of the process.
    pub uid: Option<u32>,
    /// The group id of the process.
    pub gid: Option<u32>,
    /// Whether the process becomes the leader of a new session and process group.
    pub detached: bool,
    /// Whether it is an external program: it gets SIGTERM as its order to exit, and when the primary ends.
    pub external: bool,
    /// The descriptors from 0 on. Those of the link to the primary follow them.
    pub stdio: Vec<Stdio>,
    /// The preload, if the program is Node.
    pub preload: Option<Preload>,
    /// `None` if workers cannot be debugged, or all use the port in `args`.
    pub inspect: Option<Inspect>,
}

/// The file that a worker loads before the app.
#[derive(Debug)]
pub struct Preload {
    /// Its path, as it appears in `args` or the variable `NODE_OPTIONS`.
    pub path: CString,
    /// Supplies a copy if the file has been removed.
    pub package: Arc<Package>,
}

impl Preload {
    /// The new location, if the file has been removed.
    fn moved(&self) -> Result<Option<Moved<'_>>, SysError> {
        if self.package.is_intact() {
            return Ok(None);
        }
        let path = self.package.copy()?.into_os_string().into_vec();
        let path = CString::new(path).map_err(|_| SysError::invalid("naming what a worker loads first"))?;
        Ok(Some(Moved { from: &self.path, path, addon: self.package.addon() }))
    }
}

/// A preload in a copy of the package.
struct Moved<'a> {
    from: &'a CStr,
    path: CString,
    addon: BorrowedFd<'a>,
}

impl Moved<'_> {
    /// Replaces the path in an argument.
    fn in_argument(&self, argument: &mut CString) {
        if argument.as_c_str() == self.from {
            self.path.clone_into(argument);
        }
    }

    /// Replaces the path in a variable, if that is `NODE_OPTIONS`.
    fn in_variable(&self, variable: &mut CString) {
        let text = variable.to_string_lossy();
        if !text.starts_with("NODE_OPTIONS=") {
            return;
        }
        let new = text.replace(&*self.from.to_string_lossy(), &self.path.to_string_lossy());
        *variable = CString::new(new).expect("parts of C strings have no NUL byte");
    }
}

/// The inspectors of the workers.
#[derive(Debug)]
pub struct Inspect {
    /// The index of the argument that contains the port.
    pub argument: usize,
    /// The source of the ports.
    pub ports: Ports,
}

/// The source of the inspectors' ports.
#[derive(Debug)]
pub enum Ports {
    /// Counted up from the primary's own port, with one counter for all workers.
    Counted {
        /// The primary's own port.
        debug_port: u32,
    },
    /// Chosen by the app.
    Chosen(Chosen),
}

impl Inspect {
    /// The port of a worker that is about to be started.
    pub(super) fn port(&mut self, worker: WorkerId, count: &InspectorCount) -> String {
        match &mut self.ports {
            Ports::Counted { debug_port } => counted(*debug_port, count.next()).to_string(),
            Ports::Chosen(chosen) => chosen.take(worker),
        }
    }
}

/// What only one worker is started with.
#[derive(Debug)]
pub(super) struct OneWorker<'a> {
    pub(super) worker: WorkerId,
    /// `None` for a standby.
    pub(super) slot: Option<Slot>,
    /// A part of its environment. Its addresses follow it if forwarding is in use.
    pub(super) own: Vec<CString>,
    pub(super) inspect_port: Option<&'a str>,
    /// Which of its streams the log thread reads.
    pub(super) captured: Captured,
    /// A process that it may become.
    pub(super) early: Option<EarlyWorker>,
}

/// A worker that has just been started.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Child,
    /// The primary's ends of the pipes, indexed as in `stdio`.
    pub(super) pipes: Vec<Option<OwnedFd>>,
    /// The pipes that the log thread reads.
    pub(super) logs: Vec<WorkerPipe>,
    pub(super) link: Link,
    pub(super) newcomer: Newcomer,
}

/// What the dispatcher and the forwarder need to give a worker connections.
#[derive(Debug)]
pub(super) struct Newcomer {
    pid: i32,
    channel: OwnedFd,
    worker_end: OwnedFd,
    board: Arc<Scoreboard>,
    /// The addresses on which it can listen by itself.
    addresses: Vec<Own>,
}

impl Newcomer {
    /// From now on the worker may get connections, in this slot.
    pub(super) fn introduce(
        self,
        worker: WorkerId,
        slot: Slot,
        dispatcher: &Dispatcher,
        forwarding: &Forwarding,
    ) {
        let Self { pid, channel, worker_end, board, addresses } = self;
        board.set_slot(slot.0);
        dispatcher.tell(Command::AddWorker { worker, slot, pid, channel, worker_end, board });
        forwarding.add(worker, slot, addresses);
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.addresses.iter().map(|own| own.target().clone()).collect()
    }
}

/// The control thread's link to a worker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) control: OwnedFd,
    pub(super) lifeline: OwnedFd,
    pub(super) board: Arc<Scoreboard>,
    /// Whether the worker is an external program, which does not use the link.
    pub(super) external: bool,
}

/// Whether a variable makes a Node process a worker.
fn is_for_workers(variable: &CStr) -> bool {
    let names = ["NODE_UNIQUE_ID=", "RCLUSTER_LINK=", "RCLUSTER_SETTINGS="];
    names.iter().any(|name| variable.to_bytes().starts_with(name.as_bytes()))
}

/// Whether a variable is for the preload.
fn is_ours(variable: &CStr) -> bool {
    variable.to_bytes().starts_with(b"RCLUSTER_")
}

impl Launch {
    /// Starts a worker.
    pub(super) fn start(&self, one: OneWorker<'_>, forwarding: &Forwarding) -> Result<Launched, SysError> {
        let OneWorker { worker, slot, own, inspect_port, captured, early } = one;
        let mut args = self.args.clone();
        if let (Some(inspect), Some(port)) = (&self.inspect, inspect_port)
            && let Some(argument) = args.get_mut(inspect.argument)
        {
            let text = CString::new(format!("--inspect-port={port}"));
            *argument = text.map_err(|_| SysError::invalid("writing the port of an inspector"))?;
        }
        let owner = Owner { uid: self.uid, gid: self.gid };
        let addresses = forwarding.reserve(worker, Kind { is_external: self.external, owner })?;
        let Descriptors { theirs, ours: mut pipes, logs } = self.descriptors(captured)?;
        let (control, worker_control) = message_pair()?;
        let (channel, worker_end) = message_pair()?;
        let (board, worker_board) = Scoreboard::create()?;
        if let Some(slot) = slot {
            board.set_slot(slot.0);
        }
        let (lifeline, worker_lifeline) = message_pair()?;
        let mut fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        fds.extend([&worker_control, &worker_end, &worker_board, &worker_lifeline].map(AsFd::as_fd));
        let moved = self.preload.as_ref().map(Preload::moved).transpose()?.flatten();
        let link = CString::new(format!("RCLUSTER_LINK={}", theirs.len())).expect("a number has no NUL");
        let mut env: Vec<_> = self.env.iter().cloned().chain(own).chain([link]).collect();
        if self.external {
            // It may be Node, or start Node: that would take itself for a worker that lacks its preload.
            env.retain(|variable| !is_for_workers(variable));
        }
        let mut spawn = Spawn {
            file: self.file.clone(),
            args,
            env,
            cwd: self.cwd.clone(),
            uid: self.uid,
            gid: self.gid,
            detached: self.detached,
            // Node gets SIGKILL until its preload has run, which then watches the primary and lets JavaScript
            // exit.
            death_signal: Some(if self.external { SIGTERM } else { SIGKILL }),
            fds,
        };
        if let Some(moved) = &moved {
            spawn.args.iter_mut().for_each(|argument| moved.in_argument(argument));
            spawn.env.iter_mut().for_each(|variable| moved.in_variable(variable));
            // The worker loads the native part from the descriptor of this number.
            spawn.set_env("RCLUSTER_ADDON", &spawn.fds.len().to_string())?;
            spawn.fds.push(moved.addon);
        }
        for address in &addresses {
            spawn.set_env(address.name(), &address.value())?;
        }
        if !addresses.is_empty() && !self.external {
            // A Node worker finds the names of its own addresses here.
            let names: Vec<_> = addresses.iter().map(Own::name).collect();
            spawn.set_env("RCLUSTER_OWN", &names.join(","))?;
        }
        // An early worker gets these while it waits in its preload; nothing has read them before.
        let is_late = |variable: &CString| is_ours(variable) || !self.env.contains(variable);
        let child = match early.and_then(|early| early.become_worker(&spawn, is_late)) {
            Some((child, channel)) => {
                // Its own, instead of the one that was made for another process.
                pipes[early::CHANNEL] = Some(channel);
                child
            }
            None => spawn.spawn()?,
        };
        let board = Arc::new(board);
        // Of the worker's ends, only that of the connection channel stays open here.
        let newcomer =
            Newcomer { pid: child.pid.as_raw(), channel, worker_end, board: Arc::clone(&board), addresses };
        Ok(Launched {
            child,
            pipes,
            logs,
            link: Link { control, lifeline, board, external: self.external },
            newcomer,
        })
    }

    fn descriptors(&self, captured: Captured) -> Result<Descriptors, SysError> {
        let mut theirs = Vec::with_capacity(self.stdio.len());
        let mut ours = Vec::with_capacity(self.stdio.len());
        let mut logs = Vec::new();
        for (index, stdio) in self.stdio.iter().enumerate() {
            let (their, our) = match stdio {
                Stdio::Ignore => (dev_null()?, None),
                Stdio::Pipe => {
                    let (our, their) = socket_pair()?;
                    (their, Some(our))
                }
                Stdio::Inherit(fd) => match captured.stream(index) {
                    Some(stream) => {
                        let (pipe, their) = pipe_from()?;
                        logs.push(WorkerPipe { stream, pipe });
                        (their, None)
                    }
                    None => (duplicate(fd)?, None),
                },
                Stdio::Same(fd) => (duplicate(fd)?, None),
            };
            theirs.push(their);
            ours.push(our);
        }
        Ok(Descriptors { theirs, ours, logs })
    }
}

/// The descriptors of a worker.
struct Descriptors {
    theirs: Vec<OwnedFd>,
    /// The primary's ends of those that are pipes.
    ours: Vec<Option<OwnedFd>>,
    /// The ends that the log thread reads.
    logs: Vec<WorkerPipe>,
}
