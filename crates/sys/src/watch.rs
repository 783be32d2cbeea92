//! The watch inside a worker: it ends it when its primary is gone and JavaScript does not react, and hears
//! what the primary says on the lifeline whatever JavaScript is doing.
//!
//! JavaScript comes first: a lost channel makes Node's own code run `disconnect` listeners and
//! exit. A worker whose loop is blocked cannot do that, and would live for ever as an orphaned worker.

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

/// The longest message to a worker, in bytes. What is longer is none of ours.
const MESSAGE: usize = 16;

/// What the event loop has let the watch know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The worker disconnects by agreement: it may outlive the primary to finish its work.
    leaving: bool,
    /// The loop has turned since the primary went away.
    reacted: bool,
}

/// The event loop's side of the watch.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Watch {
    /// Starts the thread. `lifeline` is the worker's end of a socket of its own, whose hang-up tells
    /// that the primary is gone, however it died. `hear` is called with each message on it, on the thread.
    ///
    /// From the hang-up a worker has `grace` to end by itself; then it is killed, unless it was
    /// leaving by agreement and its loop is alive.
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

    /// From now on this process may outlive its parent by the time that JavaScript takes to end. Before, the kernel
    /// would have killed it together with the parent. To be called on the main thread.
    pub fn take_over(&self) -> Result<(), SysError> {
        // None of the watch's state: that it exists is what counts.
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
        // SIGKILL rather than exit(): nothing that runs at exit may block, too. It cannot fail
        // for a process of one's own.
        let _ = kill(getpid(), Signal::SIGKILL);
    }
}

/// Returns when the other end of the socket is closed for good.
fn listen_until_hangup(lifeline: &OwnedFd, mut hear: impl FnMut(&[u8])) {
    let mut bytes = [0; MESSAGE];
    loop {
        let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            // Nothing else is documented for a valid descriptor. Without a watch the worker still
            // ends by JavaScript, so it is not worth ending it now.
            Err(_) => std::thread::park(),
        }
        // Descriptors that nobody should send are closed at once.
        match receive(lifeline.as_fd(), &mut bytes, &mut Vec::new()) {
            Ok(Received::Message { len, .. }) => hear(&bytes[..len]),
            Ok(Received::Empty) => {}
            Ok(Received::Closed) | Err(_) => return,
        }
    }
}
