//! One worker, as the control thread knows it: its process, and what links it to the primary.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::mpsc;

use super::external::External;
use super::launch::{Link, Newcomer};
use super::messages::Heard;
use super::socket::{ControlSocket, SocketError};
use super::stack::{Lifeline, NoStack, OnStack};
use rcluster_core::control::supervise::{KillSignal, Vitals};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::wire::ToWorker;
use rcluster_sys::async_fd::watch;
use rcluster_sys::closer::Closer;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::exit::{SIGKILL, SIGTERM, has_ended, send_signal};
use rcluster_sys::memory::Memory;
use rcluster_sys::scoreboard::Scoreboard;

/// How long the control socket of a dead worker may take to end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How often the end of a worker is looked for that cannot be waited for.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// A worker, until it has been reaped.
pub(super) struct WorkerHandle {
    pub(super) pidfd: Arc<OwnedFd>,
    /// None for a standby.
    pub(super) slot: Option<Slot>,
    /// None once it is cut off.
    socket: Option<ControlSocket>,
    /// Closed together with the socket: its hang-up is what ends a worker whose loop is blocked.
    lifeline: Option<Arc<Lifeline>>,
    board: Arc<Scoreboard>,
    /// It has said that it listens at an address of its own.
    pub(super) listens_alone: bool,
    /// None unless supervised.
    pub(super) supervised: Option<SupervisedWorker>,
}

/// What the control thread has of a supervised worker besides.
pub(super) struct SupervisedWorker {
    pub(super) pid: i32,
    /// None where nobody limits it.
    pub(super) memory: Option<Memory>,
    /// A standby's: by what it gets connections once it is promoted.
    pub(super) newcomer: Option<Newcomer>,
    /// Looks for the first server of an external program, as long as this is kept.
    pub(super) external: Option<External>,
}

impl WorkerHandle {
    /// Begins to listen to a worker and to wait for its end. The second value says why its link cannot be used, if so.
    pub(super) fn adopt(
        worker: WorkerId,
        slot: Option<Slot>,
        pidfd: Arc<OwnedFd>,
        link: Link,
        heard: &mpsc::Sender<Heard>,
    ) -> (Self, Option<SysError>) {
        let Link { control, lifeline, board, .. } = link;
        let closer = Closer::new();
        let started = ControlSocket::start(worker, control, &closer, heard.clone())
            .and_then(|(socket, all_read)| Ok((socket, all_read, Lifeline::new(lifeline, &closer)?)));
        let (socket, all_read, lifeline, failure) = match started {
            Ok((socket, all_read, lifeline)) => {
                (Some(socket), Some(all_read), Some(Arc::new(lifeline)), None)
            }
            Err(error) => (None, None, None, Some(error)),
        };
        let (watched, heard) = (Arc::clone(&pidfd), heard.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = wait_for_end(Arc::clone(&watched)).await {
                // The control thread has stopped when nobody listens.
                let _stopped = heard.send(Heard::Unwatched(worker, error)).await;
                look_for_end(&watched).await;
            }
            // What it has said comes before its end. The kernel has closed its end of the control
            // socket, unless a process that it started holds it: that is not waited for long.
            if let Some(all_read) = all_read {
                let _ = tokio::time::timeout(LAST_WORDS, all_read).await;
            }
            // The control thread has stopped when nobody listens.
            let _stopped = heard.send(Heard::Ended(worker)).await;
        });
        (Self { pidfd, slot, socket, lifeline, board, listens_alone: false, supervised: None }, failure)
    }

    /// Whether it can be written to.
    pub(super) fn is_linked(&self) -> bool {
        self.socket.is_some()
    }

    /// Hangs up.
    pub(super) fn unlink(&mut self) {
        self.lifeline = None;
        self.socket = None;
    }

    /// Writes a frame to the worker, unless it is cut off.
    pub(super) fn send(&self, frame: &ToWorker, fd: Option<OwnedFd>) -> Result<(), SocketError> {
        self.socket.as_ref().map_or(Ok(()), |socket| socket.send(frame, fd))
    }

    /// See [`ControlSocket::flush`]. Dropping `done` is an answer, too: nobody listens to this worker.
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
        // It can only be dead already, of which we hear in due time.
        let _ = send_signal(self.pidfd.as_fd(), number);
    }

    /// Sends word again that the worker has ended, a moment from now.
    pub(super) fn look_again(worker: WorkerId, heard: mpsc::Sender<Heard>) {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LOOK).await;
            // The control thread has stopped when nobody listens.
            let _stopped = heard.send(Heard::Ended(worker)).await;
        });
    }

    /// Asks where the worker is, in a task of its own: nobody else has to wait for the answer.
    pub(super) fn capture_stack(this: Option<&Self>, limit: Duration, then: OnStack) {
        let lifeline = this.and_then(|handle| handle.lifeline.clone());
        tokio::task::spawn_local(async move {
            then.call(match lifeline {
                Some(lifeline) => lifeline.stack(limit).await,
                None => Err(NoStack::Exited),
            });
        });
    }

    /// What a supervised worker shows just now.
    pub(super) fn vitals(&self) -> Option<Vitals> {
        let supervised = self.supervised.as_ref()?;
        Some(Vitals {
            turns: self.board.turns(),
            rss: supervised.memory.as_ref().and_then(Memory::resident),
            clients: self.board.clients(),
            connections: self.board.open_connections(),
        })
    }

    /// The resident memory of a supervised worker in bytes. One that has just ended has none.
    pub(super) fn resident(&self) -> Option<u64> {
        Memory::of(self.supervised.as_ref()?.pid).ok()?.resident()
    }

    /// How long its event loop has been at work. A program that is not Node has nothing to say about that.
    pub(super) fn busy(&self) -> Option<Duration> {
        (self.board.turns() > 0).then(|| self.board.busy())
    }
}

/// Where the system has no room to watch one more.
async fn look_for_end(pidfd: &OwnedFd) {
    while !has_ended(pidfd) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A pidfd can be read from the moment its process is dead.
async fn wait_for_end(pidfd: Arc<OwnedFd>) -> Result<(), SysError> {
    let doing = "waiting for a worker to end";
    let watched = watch(pidfd, Interest::READABLE, doing)?;
    watched.readable().await.doing(doing)?.retain_ready();
    Ok(())
}
