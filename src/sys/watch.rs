//! The watch inside a worker that ends it when its primary is gone and JavaScript does not react.
//!
//! JavaScript comes first: a lost channel makes Node's own code run `disconnect` listeners and
//! exit. A worker whose loop is blocked cannot do that, and would live for ever as an orphan.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use std::os::fd::AsFd;

use super::error::{Doing, SysError};

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
    /// Starts the thread. `control` is a duplicate of the worker's end of its control socket,
    /// whose hang-up tells that the primary is gone, however it died.
    ///
    /// From the hang-up a worker has `grace` to end by itself; then it is killed, unless it was
    /// leaving by agreement and its loop is alive.
    pub fn start(control: OwnedFd, grace: Duration) -> Result<Self, SysError> {
        let watch = Self::default();
        let shared = watch.clone();
        std::thread::Builder::new()
            .name("rcluster-watch".into())
            .stack_size(64 * 1024)
            .spawn(move || shared.run(&control, grace))
            .doing("starting the watch thread")?;
        Ok(watch)
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

    fn run(&self, control: &OwnedFd, grace: Duration) {
        wait_for_hangup(control);
        let (seen, changed) = &*self.seen;
        let guard = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, _) = changed
            .wait_timeout_while(guard, grace, |seen| !(seen.leaving && seen.reacted))
            .unwrap_or_else(PoisonError::into_inner);
        if last.leaving && last.reacted {
            return;
        }
        // SIGKILL rather than exit(): nothing that runs at exit may hang, too. It cannot fail
        // for a process of one's own.
        let _ = kill(getpid(), Signal::SIGKILL);
    }
}

/// Returns when the other end of the socket is closed for good.
fn wait_for_hangup(control: &OwnedFd) {
    loop {
        // POLLHUP is always reported; asking for nothing else keeps the watch asleep while
        // frames arrive.
        let mut fds = [PollFd::new(control.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[0].any().unwrap_or(true) => return,
            Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            // Nothing else is documented for a valid descriptor. Without a watch the worker still
            // ends by JavaScript, so it is not worth ending it now.
            Err(_) => {
                std::thread::park();
            }
        }
    }
}
