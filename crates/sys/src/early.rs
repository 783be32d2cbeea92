//! The early worker: a process of Node that waits to become the first worker.
//!
//! Node takes longer to start than everything else before a first answer. So the command `rcluster start` starts the Node of
//! the first worker at the same time as that of the primary. The early worker waits in its preload. The primary sends it what
//! other workers get when they are started: their descriptors, and the variables that only the primary knows.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Pid;

use super::descriptor::{adopt, replace};
use super::error::{Doing, SysError};
use super::exit::{self, SIGKILL, send_signal};
use super::passing::{Loss, Received, Sent, message_pair, receive, send_from, wait_for_message};
use super::process_start::ProcessStart;
use super::spawn::{Child, Spawn, dev_null, make_blocking, socket_pair};

/// Tells the process that it is an early worker: the number of the socket on which it gets its orders.
pub const VARIABLE: &str = "RCLUSTER_EARLY";

/// The number of Node's IPC channel, behind those of stdin, stdout and stderr.
pub const CHANNEL: usize = 3;
/// The number of the first descriptor of the link to the primary. Until it has that, it gets its orders there.
const LINK: usize = 4;
/// How many descriptors a worker has.
const DESCRIPTORS: usize = 8;

/// The longest message to an early worker, in bytes.
const LONGEST: usize = 64 * 1024;

/// How long one wait for the orders takes at most. There is no limit for all of them.
const WAIT: Duration = Duration::from_secs(3600);

/// The numbers by which an early worker is handed over to the program that this process will execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The process id.
    pub pid: i32,
    /// The descriptors.
    pub pidfd: RawFd,
    /// The socket for its orders.
    pub orders: RawFd,
    /// The primary's end of Node's IPC channel.
    pub channel: RawFd,
}

/// An early worker. If it is dropped, the process is killed, and reaped.
#[derive(Debug)]
pub struct EarlyWorker {
    /// `None` once it has become a worker, or has been handed over.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    child: Child,
    orders: OwnedFd,
    channel: OwnedFd,
}

impl EarlyWorker {
    /// Starts the process. Its descriptors are added to `spawn`, and [`VARIABLE`].
    pub fn start(mut spawn: Spawn<'_>, stdio: [BorrowedFd<'_>; 3]) -> Result<Self, SysError> {
        let (orders, its_orders) = message_pair()?;
        let (channel, its_channel) = socket_pair()?;
        // They keep the numbers of the link's descriptors free.
        let null = dev_null()?;
        let mut fds = stdio.to_vec();
        fds.extend([its_channel.as_fd(), its_orders.as_fd()]);
        fds.resize(DESCRIPTORS, null.as_fd());
        spawn.set_env(VARIABLE, &LINK.to_string())?;
        let child = Spawn { fds, death_signal: Some(SIGKILL), ..spawn }.spawn()?;
        Ok(Self { parts: Some(Parts { child, orders, channel }) })
    }

    /// Leaves it to the program that this process executes next, which takes it over with [`EarlyWorker::adopt`].
    pub fn leave_to_program(mut self) -> Result<Numbers, SysError> {
        let doing = "handing an early worker over";
        for fd in
            self.parts.iter().flat_map(|Parts { child, orders, channel }| [&child.pidfd, orders, channel])
        {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).doing(doing)?;
        }
        let Some(Parts { child, orders, channel }) = self.parts.take() else {
            return Err(SysError::invalid(doing));
        };
        Ok(Numbers {
            pid: child.pid.as_raw(),
            pidfd: child.pidfd.into_raw_fd(),
            orders: orders.into_raw_fd(),
            channel: channel.into_raw_fd(),
        })
    }

    /// Takes over an early worker that the previous program of this process has started.
    pub fn adopt(numbers: Numbers) -> Result<Self, SysError> {
        let Numbers { pid, pidfd, orders, channel } = numbers;
        // All of them, so that none stays open if one is missing. Without its orders the process ends.
        let (pidfd, orders, channel) = (adopt(pidfd), adopt(orders), adopt(channel));
        let child = Child { pid: Pid::from_raw(pid), pidfd: pidfd? };
        Ok(Self { parts: Some(Parts { child, orders: orders?, channel: channel? }) })
    }

    /// Makes it the process that `spawn` would start, if it is equal to that but for the variables that `is_late` accepts.
    /// Returns the process, and the primary's end of its IPC channel.
    pub fn become_worker(
        mut self,
        spawn: &Spawn<'_>,
        is_late: impl Fn(&CString) -> bool,
    ) -> Option<(Child, OwnedFd)> {
        let parts = self.parts.as_ref()?;
        // Without a /proc it is not known.
        let started = ProcessStart::of(parts.child.pid).ok()?;
        let late = started.missing(spawn, VARIABLE)?;
        let has_identity = spawn.uid.is_some() || spawn.gid.is_some() || spawn.detached;
        if has_identity || spawn.fds.len() != DESCRIPTORS || !late.iter().all(|variable| is_late(variable)) {
            return None;
        }
        // An empty string ends them, so the message is never empty.
        let text: Vec<u8> =
            late.iter().flat_map(|variable| variable.to_bytes_with_nul()).chain(&[0]).copied().collect();
        if text.len() > LONGEST {
            return None;
        }
        let mut fds = spawn.fds.clone();
        fds.remove(CHANNEL);
        // An error means that it has ended meanwhile.
        send_from(parts.orders.as_fd(), &text, &fds).and_then(Sent::done).ok()?;
        self.parts.take().map(|Parts { child, channel, .. }| (child, channel))
    }
}

impl Drop for EarlyWorker {
    fn drop(&mut self) {
        let Some(Parts { child, .. }) = self.parts.take() else { return };
        // Both can fail only if somebody else has reaped it.
        let _ = send_signal(child.pidfd.as_fd(), SIGKILL);
        let wait = move || {
            let _ = exit::wait(child.pidfd.as_fd());
        };
        // Without a thread for it, it stays a zombie until this process ends.
        let _ = thread::Builder::new().name("rcluster-reap".into()).spawn(wait);
    }
}

/// Waits in an early worker for its orders, and puts its descriptors in their places. Returns the variables to set, as
/// `NAME=value`; `None` if it is not needed.
///
/// `number` is the value of [`VARIABLE`]: the caller gives the descriptor up.
pub fn await_orders(number: RawFd) -> Result<Option<Vec<String>>, SysError> {
    let doing = "becoming a worker";
    let socket = adopt(number)?;
    while !wait_for_message(socket.as_fd(), WAIT)? {}
    let (mut bytes, mut fds) = (vec![0; LONGEST], Vec::new());
    let len = match receive(socket.as_fd(), &mut bytes, &mut fds)? {
        Received::Closed => return Ok(None),
        Received::Message { len, loss: Loss::Nothing } if fds.len() == DESCRIPTORS - 1 => len,
        Received::Message { .. } | Received::Empty => return Err(SysError::invalid(doing)),
    };
    // Its number becomes that of the first descriptor of the link.
    let _replaced = socket.into_raw_fd();
    let places = (0..DESCRIPTORS).filter(|place| *place != CHANNEL);
    for (place, fd) in places.zip(&fds) {
        if place < CHANNEL {
            make_blocking(fd.as_raw_fd()).doing("changing the mode of a descriptor")?;
        }
        replace(RawFd::try_from(place).map_err(|_| SysError::invalid(doing))?, fd)?;
    }
    let texts = bytes[..len].split(|byte| *byte == 0).filter(|text| !text.is_empty());
    let texts = texts.map(|text| String::from_utf8(text.to_vec()));
    texts.collect::<Result<_, _>>().map(Some).map_err(|_| Errno::EILSEQ).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, has_ended};

    /// A program that says nothing until its stdin ends.
    fn cat() -> Spawn<'static> {
        Spawn {
            file: c"/bin/cat".into(),
            args: vec![c"cat".into()],
            env: vec![c"ONE=1".into(), c"TWO=2".into()],
            ..Spawn::default()
        }
    }

    fn start(spawn: Spawn<'_>) -> EarlyWorker {
        let null = dev_null().unwrap();
        let (open, stdin) = socket_pair().unwrap();
        let early = EarlyWorker::start(spawn, [stdin.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
        // Until this process ends, so that its stdin does not end before.
        std::mem::forget(open);
        // The kernel continues the parent of a new process a moment before it has noted the arguments.
        let pid = early.parts.as_ref().unwrap().child.pid;
        while !ProcessStart::of(pid).is_ok_and(|start| start.has_environment()) {
            thread::yield_now();
        }
        early
    }

    fn with_descriptors<'fd>(spawn: Spawn<'fd>, null: &'fd OwnedFd) -> Spawn<'fd> {
        Spawn { fds: vec![null.as_fd(); DESCRIPTORS], ..spawn }
    }

    #[test]
    fn it_gets_the_variables_that_it_lacks_and_all_descriptors_but_the_channel() {
        let null = dev_null().unwrap();
        let early = start(cat());
        let mut spawn = with_descriptors(cat(), &null);
        spawn.set_env("LATE", "3").unwrap();
        let (child, channel) =
            early.become_worker(&spawn, |variable| variable.as_c_str() == c"LATE=3").unwrap();
        assert!(!has_ended(&child.pidfd));
        drop(channel);
        send_signal(child.pidfd.as_fd(), SIGKILL).unwrap();
        let exit = exit::wait(child.pidfd.as_fd()).unwrap();
        assert_eq!(exit, Exit::Signal { number: SIGKILL, core_dumped: false });
    }

    #[test]
    fn any_difference_ends_it() {
        let null = dev_null().unwrap();
        let change = |change: &dyn Fn(&mut Spawn<'_>)| {
            let early = start(cat());
            let pidfd = early.parts.as_ref().unwrap().child.pidfd.try_clone().unwrap();
            let mut spawn = with_descriptors(cat(), &null);
            change(&mut spawn);
            let became = early.become_worker(&spawn, |_| false).is_some();
            (became, pidfd)
        };
        let (became, _) = change(&|_| {});
        assert!(became, "without a difference");
        let differences: [&dyn Fn(&mut Spawn<'_>); 8] = [
            &|spawn| spawn.file = c"/proc/self/exe".into(),
            &|spawn| spawn.args.push(c"-u".into()),
            &|spawn| spawn.set_env("MORE", "3").unwrap(),
            &|spawn| spawn.set_env("ONE", "2").unwrap(),
            &|spawn| spawn.env.truncate(1),
            &|spawn| spawn.cwd = Some(c"/".into()),
            &|spawn| spawn.uid = Some(0),
            &|spawn| spawn.fds.truncate(DESCRIPTORS - 1),
        ];
        for (index, difference) in differences.iter().enumerate() {
            let (became, pidfd) = change(difference);
            assert!(!became, "{index}");
            // It is being killed and reaped by another thread.
            while !has_ended(&pidfd) {
                thread::yield_now();
            }
        }
    }
}
