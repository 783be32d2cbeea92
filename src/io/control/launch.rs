//! Starting a worker: its process, and what links it to the primary.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::forwarding::Forwarding;
use super::shared::InspectorCount;
use crate::io::dispatcher::{Command, Dispatcher};
use crate::io::forward::{Kind, Own, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::inspect::{Chosen, counted};
use rcluster_sys::error::SysError;
use rcluster_sys::exit::{SIGKILL, SIGTERM};
use rcluster_sys::package::Package;
use rcluster_sys::passing::{duplicate, message_pair};
use rcluster_sys::scoreboard::Scoreboard;
use rcluster_sys::socket_directory::Owner;
use rcluster_sys::spawn::{Child, Spawn, dev_null, socket_pair};

/// What one of a worker's first descriptors is to be.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`.
    Ignore,
    /// A new socket pair, of which the primary keeps the other end.
    Pipe,
    /// The same as this one.
    Same(OwnedFd),
}

/// Everything that a worker is started with, except for what is its own: so it can be used for
/// one worker after another, without asking anybody.
#[derive(Debug)]
pub struct Launch {
    /// The program: a path, or a name to look up in the `PATH` of `env`.
    pub file: CString,
    /// All arguments, the program's own name first.
    pub args: Vec<CString>,
    /// The environment as `NAME=value`.
    pub env: Vec<CString>,
    /// The working directory; the primary's if there is none.
    pub cwd: Option<CString>,
    /// The user to become.
    pub uid: Option<u32>,
    /// The group to become.
    pub gid: Option<u32>,
    /// Whether the process leads a session and a process group of its own.
    pub detached: bool,
    /// Whether it is a program that knows nothing of us: it gets SIGTERM when it is to go, and when the
    /// primary ends.
    pub external: bool,
    /// The descriptors from 0 on. The link to the primary comes right behind them.
    pub stdio: Vec<Stdio>,
    /// What Node loads first, if it is Node.
    pub preload: Option<Preload>,
    /// None where workers cannot be debugged, or all have the port that `args` say.
    pub inspect: Option<Inspect>,
}

/// The file that a worker loads before anything else.
#[derive(Debug)]
pub struct Preload {
    /// Its path, as `args` or the variable `NODE_OPTIONS` has it.
    pub path: CString,
    /// Where to have it from when it is not there any more.
    pub package: Arc<Package>,
}

impl Preload {
    /// Where it is instead, if it is not there any more.
    fn moved(&self) -> Result<Option<Moved<'_>>, SysError> {
        if self.package.is_intact() {
            return Ok(None);
        }
        let path = self.package.copy()?.into_os_string().into_vec();
        let path = CString::new(path).map_err(|_| SysError::invalid("naming what a worker loads first"))?;
        Ok(Some(Moved { from: &self.path, path, addon: self.package.addon() }))
    }
}

/// A preload that is in a copy of the package.
struct Moved<'a> {
    from: &'a CStr,
    path: CString,
    addon: BorrowedFd<'a>,
}

impl Moved<'_> {
    /// Names the new place in an argument.
    fn in_argument(&self, argument: &mut CString) {
        if argument.as_c_str() == self.from {
            self.path.clone_into(argument);
        }
    }

    /// Names the new place in a variable, if it is the one with options.
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
    /// Which argument names the port.
    pub argument: usize,
    /// Where the ports come from.
    pub ports: Ports,
}

/// Where the inspectors' ports come from.
#[derive(Debug)]
pub enum Ports {
    /// They are counted from the primary's own, in one count for all workers.
    Counted {
        /// The primary's own.
        debug_port: u32,
    },
    /// The app has chosen them.
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

/// A worker that has just been started.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Child,
    /// The primary's ends of the pipes in the order of stdio.
    pub(super) pipes: Vec<Option<OwnedFd>>,
    pub(super) link: Link,
    pub(super) newcomer: Newcomer,
}

/// By what a worker gets connections, once it may have some.
#[derive(Debug)]
pub(super) struct Newcomer {
    pid: i32,
    channel: OwnedFd,
    worker_end: OwnedFd,
    board: Arc<Scoreboard>,
    /// Where it can listen by itself.
    addresses: Vec<Own>,
}

impl Newcomer {
    /// From now on it may get connections, as the worker of this slot.
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

/// What links the control thread to a worker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) control: OwnedFd,
    pub(super) lifeline: OwnedFd,
    pub(super) board: Arc<Scoreboard>,
    /// Whether the program knows nothing of the link.
    pub(super) external: bool,
}

impl Launch {
    /// Starts a worker; without a slot for the time being, if it is a standby. `own` comes behind the
    /// environment: what distinguishes this one. Its addresses, where anything is forwarded, come behind that.
    pub(super) fn start(
        &self,
        worker: WorkerId,
        slot: Option<Slot>,
        own: Vec<CString>,
        inspect_port: Option<&str>,
        forwarding: &Forwarding,
    ) -> Result<Launched, SysError> {
        let mut args = self.args.clone();
        if let (Some(inspect), Some(port)) = (&self.inspect, inspect_port)
            && let Some(argument) = args.get_mut(inspect.argument)
        {
            let text = CString::new(format!("--inspect-port={port}"));
            *argument = text.map_err(|_| SysError::invalid("writing the port of an inspector"))?;
        }
        let owner = Owner { uid: self.uid, gid: self.gid };
        let addresses = forwarding.reserve(worker, Kind { is_external: self.external, owner })?;
        let (theirs, pipes) = self.descriptors()?;
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
        let env = self.env.iter().cloned().chain(own).chain([link]).collect();
        let mut spawn = Spawn {
            file: self.file.clone(),
            args,
            env,
            cwd: self.cwd.clone(),
            uid: self.uid,
            gid: self.gid,
            detached: self.detached,
            // Node is killed until its preload has run, which watches the primary and lets JavaScript end.
            death_signal: Some(if self.external { SIGTERM } else { SIGKILL }),
            fds,
        };
        if let Some(moved) = &moved {
            spawn.args.iter_mut().for_each(|argument| moved.in_argument(argument));
            spawn.env.iter_mut().for_each(|variable| moved.in_variable(variable));
            // By this number the worker loads the native part.
            spawn.set_env("RCLUSTER_ADDON", &spawn.fds.len().to_string())?;
            spawn.fds.push(moved.addon);
        }
        for address in &addresses {
            spawn.set_env(address.name(), &address.value())?;
        }
        if !addresses.is_empty() {
            // By this a worker in Node knows which of its addresses are its own.
            let names: Vec<_> = addresses.iter().map(Own::name).collect();
            spawn.set_env("RCLUSTER_OWN", &names.join(","))?;
        }
        let child = spawn.spawn()?;
        let board = Arc::new(board);
        // Of the worker's ends only that of the channel stays open here.
        let newcomer =
            Newcomer { pid: child.pid.as_raw(), channel, worker_end, board: Arc::clone(&board), addresses };
        Ok(Launched {
            child,
            pipes,
            link: Link { control, lifeline, board, external: self.external },
            newcomer,
        })
    }

    /// The descriptors of the worker, and the primary's ends of those that are pipes.
    fn descriptors(&self) -> Result<(Vec<OwnedFd>, Vec<Option<OwnedFd>>), SysError> {
        let mut theirs = Vec::with_capacity(self.stdio.len());
        let mut ours = Vec::with_capacity(self.stdio.len());
        for stdio in &self.stdio {
            let (their, our) = match stdio {
                Stdio::Ignore => (dev_null()?, None),
                Stdio::Pipe => {
                    let (our, their) = socket_pair()?;
                    (their, Some(our))
                }
                Stdio::Same(fd) => (duplicate(fd)?, None),
            };
            theirs.push(their);
            ours.push(our);
        }
        Ok((theirs, ours))
    }
}
