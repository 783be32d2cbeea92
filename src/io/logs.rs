//! The log thread: the primary's thread that reads what workers write to stdout and stderr.
//!
//! It writes their lines to the primary's own stdout and stderr, keeps the last ones, and passes them to
//! clients of the control socket. [`rcluster_core::logs`] decides on the lines. A slow reader of the output
//! blocks neither the primary's JavaScript nor the control thread nor this thread.

mod follower;
mod sink;
mod thread;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

pub use self::follower::Follow;
use self::thread::{FLUSHES, LogThread};
use crate::io::native_thread::{NativeThread, Stop};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::logs::{Lost, Mode, Record, Stream, Tail};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::output::Output;

/// The destination of each stream's lines; `None` for a stream that workers write to by themselves.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) stdout: Option<Output>,
    pub(super) stderr: Option<Output>,
}

/// The primary's end of a worker's pipe.
#[derive(Debug)]
pub(super) struct WorkerPipe {
    pub(super) stream: Stream,
    pub(super) pipe: OwnedFd,
}

/// A command for the log thread.
#[derive(Debug)]
enum Command {
    /// A worker has been started.
    Add {
        worker: WorkerId,
        slot: Option<Slot>,
        pipes: Vec<WorkerPipe>,
    },
    /// A standby has been given a slot.
    Promote {
        worker: WorkerId,
        slot: Slot,
    },
    /// A worker's process has ended: read the rest of its output.
    Finish {
        worker: WorkerId,
        done: oneshot::Sender<()>,
    },
    /// Answer with the last lines, and pass on new ones.
    Recent {
        slot: Option<Slot>,
        lines: usize,
        follow: Option<Follow>,
        answer: oneshot::Sender<Vec<Record>>,
    },
    /// Read and write all pending output. A reader may take `limit` for some of it.
    Flush {
        limit: Duration,
        done: Sender<()>,
    },
    Stop,
}

impl Stop for Command {
    const STOP: Self = Self::Stop;
}

/// The counts of what has been read and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCounts {
    /// The number of lines read.
    pub lines: u64,
    /// The number of bytes read.
    pub bytes: u64,
    /// The output lost because the reader of stdout was too slow.
    #[serde(rename = "lostStdout")]
    pub stdout: Lost,
    /// The output lost because the reader of stderr was too slow.
    #[serde(rename = "lostStderr")]
    pub stderr: Lost,
}

/// How workers write, with the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogStatus {
    /// The option `logs`.
    pub mode: Mode,
    /// The counts.
    #[serde(flatten)]
    pub counts: LogCounts,
}

#[derive(Debug, Default)]
struct Counts {
    lines: AtomicU64,
    bytes: AtomicU64,
    lost: [(AtomicU64, AtomicU64); 2],
}

impl Counts {
    fn set_lost(&self, stream: Stream, lost: Lost) {
        let (lines, bytes) = &self.lost[index(stream)];
        lines.store(lost.lines, Ordering::Relaxed);
        bytes.store(lost.bytes, Ordering::Relaxed);
    }

    fn lost(&self, stream: Stream) -> Lost {
        let (lines, bytes) = &self.lost[index(stream)];
        Lost { lines: lines.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// The last lines of stderr of each worker. They can be read from any thread.
#[derive(Clone, Debug, Default)]
struct Tails(Arc<Mutex<HashMap<WorkerId, Tail>>>);

impl Tails {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Tail>> {
        // A panic is reported where it happens, and the lines can be read all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner's side of the log thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Logs {
    thread: NativeThread<Command>,
    mode: Mode,
    stdout: bool,
    stderr: bool,
    tails: Tails,
    counts: Arc<Counts>,
}

impl Logs {
    /// Starts the thread. It calls `on_failure` if it fails.
    pub(super) fn start(
        mode: Mode,
        outputs: Outputs,
        on_failure: impl Fn(String) + Send + 'static,
    ) -> Result<Self, SysError> {
        let (commands, queue) = channel();
        let waker = Waker::new()?;
        let (tails, counts) = (Tails::default(), Arc::new(Counts::default()));
        let (stdout, stderr) = (outputs.stdout.is_some(), outputs.stderr.is_some());
        let shared = (tails.clone(), Arc::clone(&counts));
        let run = LogThread::new(mode, outputs, (queue, waker.clone()), shared, Box::new(on_failure))?;
        let thread = NativeThread::start(run, commands, waker)?;
        Ok(Self { thread, mode, stdout, stderr, tails, counts })
    }

    /// Whether workers write this stream to a pipe of the log thread.
    pub(super) fn captures(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    /// A worker has been started, with these pipes.
    pub(super) fn add(&self, worker: WorkerId, slot: Option<Slot>, pipes: Vec<WorkerPipe>) {
        if pipes.iter().any(|it| it.stream == Stream::Stderr) {
            self.tails.lock().insert(worker, Tail::default());
        }
        self.thread.tell(Command::Add { worker, slot, pipes });
    }

    /// A standby has been given a slot.
    pub(super) fn promote(&self, worker: WorkerId, slot: Slot) {
        self.thread.tell(Command::Promote { worker, slot });
    }

    /// A worker's process has ended. Resolves when all its output has been read; an error means that the
    /// thread has ended.
    pub(super) fn finish(&self, worker: WorkerId) -> oneshot::Receiver<()> {
        let (done, finished) = oneshot::channel();
        self.thread.tell(Command::Finish { worker, done });
        finished
    }

    /// The last lines that a worker has written to stderr. `None` if they are not captured.
    pub(super) fn tail(&self, worker: WorkerId) -> Option<Arc<[String]>> {
        self.tails.lock().get(&worker).map(Tail::lines)
    }

    /// A worker has exited, and its last lines are not needed any more.
    pub(super) fn forget(&self, worker: WorkerId) {
        self.tails.lock().remove(&worker);
    }

    /// The last lines of a slot, or of all. `follow` receives those that come after them.
    pub(super) fn recent(
        &self,
        slot: Option<Slot>,
        lines: usize,
        follow: Option<Follow>,
    ) -> oneshot::Receiver<Vec<Record>> {
        let (answer, recent) = oneshot::channel();
        self.thread.tell(Command::Recent { slot, lines, follow, answer });
        recent
    }

    /// Reads and writes all pending output. A reader may take `limit` to read some of it, and five times that
    /// for all of it.
    pub fn flush(&self, limit: Duration) {
        let (done, flushed) = channel();
        self.thread.tell(Command::Flush { limit, done });
        // The thread keeps to the limit; an error means that it has ended.
        let _ = flushed.recv_timeout(limit * (FLUSHES + 1));
    }

    /// The mode and the counts.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        let counts = LogCounts {
            lines: self.counts.lines.load(Ordering::Relaxed),
            bytes: self.counts.bytes.load(Ordering::Relaxed),
            stdout: self.counts.lost(Stream::Stdout),
            stderr: self.counts.lost(Stream::Stderr),
        };
        LogStatus { mode: self.mode, counts }
    }
}
