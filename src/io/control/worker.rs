//! One worker, seen by the control thread: its process, and its link to the primary.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::mpsc;

use super::external::External;
use super::launch::{Link, Newcomer};
use super::logs::SharedLogs;
use super::messages::ThreadEvent;
use super::socket::{ControlSocket, SocketError};
use super::stack::{Lifeline, NoStack, OnStack};
use rcluster_core::control::operator::RecentTurns;
use rcluster_core::control::supervise::{KillSignal, Vitals};
use rcluster_core::frames::ToWorker;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::metrics::Spent;
use rcluster_sys::async_fd::watch;
use rcluster_sys::clock::monotonic;
use rcluster_sys::closer::Closer;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::exit::{SIGKILL, SIGTERM, has_ended, send_signal};
use rcluster_sys::figures::cpu_time;
use rcluster_sys::memory::Memory;
use rcluster_sys::scoreboard::{EventLoopLook, Scoreboard};

/// How long the control socket of a dead worker may take to be read to its end.
const LAST_READ: Duration = Duration::from_millis(100);

/// The polling interval for workers whose end the kernel cannot report.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// An event loop that has turned within this time is not blocked.
const STILL: Duration = Duration::from_secs(1);

/// An event loop that has not turned lately.
pub(super) struct StillLoop {
    board: Arc<Scoreboard>,
    /// The number of its turns so far.
    turns: u64,
}

impl StillLoop {
    pub(super) fn has_turned(&self) -> bool {
        self.board.turns() != self.turns
    }
}

/// A worker, until it has been reaped.
pub(super) struct WorkerHandle {
    pub(super) pidfd: Arc<OwnedFd>,
    /// `None` for a standby.
    pub(super) slot: Option<Slot>,
    /// `None` once it is cut off.
    socket: Option<ControlSocket>,
    /// Closed together with the socket: the hang-up ends a worker whose event loop is blocked.
    lifeline: Option<Arc<Lifeline>>,
    board: Arc<Scoreboard>,
    /// The number of turns of its event loop at its last ping.
    pinged_at: Option<u64>,
    /// Whether it has reported that it listens on an address of its own.
    pub(super) listens_alone: bool,
    /// `None` unless it is supervised.
    pub(super) supervised: Option<SupervisedWorker>,
}

/// Additional state of a supervised worker.
pub(super) struct SupervisedWorker {
    pub(super) pid: i32,
    /// `None` if its memory is not limited.
    pub(super) memory: Option<Memory>,
    /// Only for a standby: gives it connections once it is promoted.
    pub(super) newcomer: Option<Newcomer>,
    /// Polls for the first server of an external program, while it is kept.
    pub(super) external: Option<External>,
}

impl WorkerHandle {
    /// Starts to read from a worker and to wait for its end. The second value is the error if its link cannot
    /// be used.
    pub(super) fn adopt(
        worker: WorkerId,
        slot: Option<Slot>,
        pidfd: Arc<OwnedFd>,
        link: Link,
        (events, logs): (&mpsc::Sender<ThreadEvent>, SharedLogs),
    ) -> (Self, Option<SysError>) {
        let Link { control, lifeline, board, .. } = link;
        let closer = Closer::new();
        let started = ControlSocket::start(worker, control, &closer, events.clone())
            .and_then(|(socket, all_read)| Ok((socket, all_read, Lifeline::new(lifeline, &closer)?)));
        let (socket, all_read, lifeline, failure) = match started {
            Ok((socket, all_read, lifeline)) => {
                (Some(socket), Some(all_read), Some(Arc::new(lifeline)), None)
            }
            Err(error) => (None, None, None, Some(error)),
        };
        let (watched, events) = (Arc::clone(&pidfd), events.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = wait_for_end(Arc::clone(&watched)).await {
                // The send fails only if the control thread has stopped.
                let _stopped = events.send(ThreadEvent::Unwatched(worker, error)).await;
                poll_for_end(&watched).await;
            }
            // Its frames come before its end. The kernel has closed its end of the control socket, unless a
            // child process of it holds that: hence the short limit.
            if let Some(all_read) = all_read {
                let _ = tokio::time::timeout(LAST_READ, all_read).await;
            }
            logs.finish(worker).await;
            // The send fails only if the control thread has stopped.
            let _stopped = events.send(ThreadEvent::Ended(worker)).await;
        });
        (
            Self {
                pidfd,
                slot,
                socket,
                lifeline,
                board,
                pinged_at: None,
                listens_alone: false,
                supervised: None,
            },
            failure,
        )
    }

    /// Whether its control socket can be used.
    pub(super) fn is_linked(&self) -> bool {
        self.socket.is_some()
    }

    /// Closes the control socket and the lifeline.
    pub(super) fn unlink(&mut self) {
        self.lifeline = None;
        self.socket = None;
    }

    /// Sends a frame to the worker, unless it is cut off.
    pub(super) fn send(&self, frame: &ToWorker, fd: Option<OwnedFd>) -> Result<(), SocketError> {
        self.socket.as_ref().map_or(Ok(()), |socket| socket.send(frame, fd))
    }

    /// See [`ControlSocket::flush`]. If the socket is no longer read, `done` is dropped, which is an answer
    /// as well.
    pub(super) fn flush(&self, done: std::sync::mpsc::Sender<()>) {
        if let Some(socket) = &self.socket {
            socket.flush(done);
        }
    }

    pub(super) fn kill(&self, signal: KillSignal) {
        let number = match signal {
            KillSignal::Term => SIGTERM,
            KillSignal::Kill => SIGKILL,
        };
        // It fails only if the worker has died, which is reported separately.
        let _ = send_signal(self.pidfd.as_fd(), number);
    }

    /// Reports the end of the worker again, after [`POLL`].
    pub(super) fn poll_again(worker: WorkerId, events: mpsc::Sender<ThreadEvent>) {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(POLL).await;
            // The send fails only if the control thread has stopped.
            let _stopped = events.send(ThreadEvent::Ended(worker)).await;
        });
    }

    /// Requests the worker's stack, in a task of its own, so that nothing else waits for the answer.
    pub(super) fn capture_stack(this: Option<&Self>, limit: Duration, then: OnStack) {
        let lifeline = this.and_then(|handle| handle.lifeline.clone());
        tokio::task::spawn_local(async move {
            then.call(match lifeline {
                Some(lifeline) => lifeline.stack(limit).await,
                None => Err(NoStack::Exited),
            });
        });
    }

    /// The process id of a supervised worker.
    pub(super) fn pid(&self) -> Option<i32> {
        self.supervised.as_ref().map(|it| it.pid)
    }

    /// The counts of a supervised worker so far.
    pub(super) fn spent(&self) -> Option<Spent> {
        let Vitals { clients, .. } = self.vitals()?;
        Some(Spent { cpu_ms: self.pid().and_then(cpu_time), busy: self.busy(), clients: Some(clients) })
    }

    /// A sample of a supervised worker.
    pub(super) fn vitals(&self) -> Option<Vitals> {
        let supervised = self.supervised.as_ref()?;
        Some(Vitals {
            turns: self.board.turns(),
            rss: supervised.memory.as_ref().and_then(Memory::resident),
            clients: self.board.clients(),
            connections: self.board.open_connections(),
        })
    }

    /// The resident memory of a supervised worker in bytes. `None` if it has just ended.
    pub(super) fn resident(&self) -> Option<u64> {
        Memory::of(self.supervised.as_ref()?.pid).ok()?.resident()
    }

    /// The recent activity of its event loop. `None` if the worker does not report it.
    pub(super) fn recent_turns(&self) -> Option<RecentTurns> {
        let EventLoopLook { recent_turns: turns, recent_busy: busy, recent: time, .. } =
            self.board.event_loop(monotonic())?;
        Some(RecentTurns { busy, time, turns })
    }

    /// Its event loop, if that has not turned lately: it is idle or blocked.
    pub(super) fn still_loop(&self) -> Option<StillLoop> {
        let board = Arc::clone(&self.board);
        let (turns, since) = (board.turns(), monotonic().saturating_sub(board.last_turn()));
        (turns > 0 && since >= STILL && self.is_linked()).then_some(StillLoop { board, turns })
    }

    /// Whether to ping a still event loop: once, because a blocked one does not read.
    pub(super) fn take_ping(&mut self, event_loop: &StillLoop) -> bool {
        self.pinged_at.replace(event_loop.turns) != Some(event_loop.turns)
    }

    /// How long its event loop has been busy in total. `None` for an external program.
    pub(super) fn busy(&self) -> Option<Duration> {
        (self.board.turns() > 0).then(|| self.board.busy())
    }
}

/// Polls, for when the system cannot watch another descriptor.
async fn poll_for_end(pidfd: &OwnedFd) {
    while !has_ended(pidfd) {
        tokio::time::sleep(POLL).await;
    }
}

/// A pidfd becomes readable when its process ends.
async fn wait_for_end(pidfd: Arc<OwnedFd>) -> Result<(), SysError> {
    let doing = "waiting for a worker to end";
    let watched = watch(pidfd, Interest::READABLE, doing)?;
    watched.readable().await.doing(doing)?.retain_ready();
    Ok(())
}
