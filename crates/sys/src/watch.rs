//! The watchdog thread in a worker: kills the worker if its primary is gone and JavaScript does not react,
//! and receives the primary's messages on the lifeline, whatever JavaScript is doing.
//!
//! JavaScript comes first: when the IPC channel closes, Node runs the `disconnect` listeners and exits. A
//! worker whose event loop is blocked cannot do that, and would live forever as an orphaned worker.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use std::os::fd::AsFd;

use super::error::{Doing, SysError};
use super::passing::{Received, receive};

/// The maximum length of a message to a worker, in bytes. Longer ones are not ours.
const MESSAGE: usize = 16;

/// What the event loop has reported to the watchdog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The worker disconnects by agreement: it may outlive the primary to finish its work.
    leaving: bool,
    /// The event loop has turned since the primary has gone.
    reacted: bool,
}

/// The event loop's side of the watchdog.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Watch {
    /// Starts the thread. `lifeline` is the worker's end of a dedicated socket, whose hang-up shows that the
    /// primary is gone, however it died. The thread calls `hear` with each message on it.
    ///
    /// After the hang-up a worker has `grace` to exit by itself; then it is killed, unless it was leaving by
    /// agreement and its event loop turns.
    pub fn start(
        lifeline: Arc<OwnedFd>,
        grace: Duration,
        hear: impl FnMut(&[u8]) + Send + 'static,
    ) -> Result<Self, SysError> {
        let watch = Self::default();
        let shared = watch.clone();
        std::thread::Builder::new()
            .name("rcluster-watch".into())
            .stack_size(64 * 1024)
            .spawn(move || shared.run(&lifeline, grace, hear))
            .doing("starting the watch thread")?;
        Ok(watch)
    }

    /// From now on this process may outlive its parent for as long as JavaScript takes to exit. Before, the
    /// kernel would have killed it together with the parent. Must be called on the main thread.
    pub fn take_over(&self) -> Result<(), SysError> {
        // Needs no state: `self` only shows that the watchdog exists.
        let _ = self;
        set_pdeathsig(None).doing("untying a process from its parent")
    }

    /// The worker is disconnecting by agreement.
    pub fn leaving(&self) {
        self.tell(|seen| seen.leaving = true);
    }

    /// The event loop has noticed that the primary is gone.
    pub fn reacted(&self) {
        self.tell(|seen| seen.reacted = true);
    }

    fn tell(&self, change: impl FnOnce(&mut Seen)) {
        let (seen, changed) = &*self.seen;
        change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    fn run(&self, lifeline: &OwnedFd, grace: Duration, hear: impl FnMut(&[u8])) {
        listen_until_hangup(lifeline, hear);
        let (seen, changed) = &*self.seen;
        let guard = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, _) = changed
            .wait_timeout_while(guard, grace, |seen| !(seen.leaving && seen.reacted))
            .unwrap_or_else(PoisonError::into_inner);
        if last.leaving && last.reacted {
            return;
        }
        // SIGKILL rather than exit(), because exit handlers may block as well. It cannot fail for the own
        // process.
        let _ = kill(getpid(), Signal::SIGKILL);
    }
}

/// Returns when the other end of the socket has been closed.
fn listen_until_hangup(lifeline: &OwnedFd, mut hear: impl FnMut(&[u8])) {
    let mut bytes = [0; MESSAGE];
    loop {
        let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            // No other error is documented for a valid descriptor. Without the watchdog the worker still
            // exits by JavaScript, so it is not killed now.
            Err(_) => std::thread::park(),
        }
        // Unexpected descriptors are closed at once.
        match receive(lifeline.as_fd(), &mut bytes, &mut Vec::new()) {
            Ok(Received::Message { len, .. }) => hear(&bytes[..len]),
            Ok(Received::Empty) => {}
            Ok(Received::Closed) | Err(_) => return,
        }
    }
}
