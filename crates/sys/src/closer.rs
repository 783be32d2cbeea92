//! Closes descriptors that were received from or sent to another process, without blocking the caller.
//!
//! close(2) may block if it drops the last reference to an open file: for a TCP connection with unsent data
//! as long as `SO_LINGER` says, for a file of FUSE or NFS until a server has answered. An open file belongs
//! to all processes that hold a descriptor of it, so any of them can cause that. The same applies to a socket
//! that closes with messages in it, because their descriptors are closed with it. So a thread that must not
//! block gives such descriptors to a [`Closer`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

/// The number of waiting descriptors from which on a [`Closer`] is full.
pub const LIMIT: usize = 256;

/// Closes the descriptors of one origin, usually one worker, on a thread of its own that may block.
///
/// # Design
/// Each origin has its own closer, so an origin that makes close(2) block delays only its own descriptors.
/// The first descriptor starts the thread. It ends when all clones of the closer are dropped and the queue is
/// empty. It is not joined, so it may outlive its origin.
///
/// No descriptor is refused, because a caller could only close it itself or leak it. Instead, the caller
/// bounds the queue: no further descriptors must be sent to, or received from, an origin whose closer is
/// [full](Closer::is_full).
#[derive(Clone, Debug, Default)]
pub struct Closer(Arc<Handle>);

/// Dropped with the last clone of the closer. The thread holds only the queue.
#[derive(Debug, Default)]
struct Handle(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<OwnedFd>,
    thread: Thread,
    /// Set when no more descriptors will be queued.
    ended: bool,
    /// Dropped with the queue, when everything has been closed.
    done: Option<Sender<Infallible>>,
}

/// The state of the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// It has not been started.
    #[default]
    Absent,
    /// It waits for a notification.
    Idle,
    /// It is about to check the queue.
    Awake,
    /// It is closing a descriptor.
    Closing,
}

impl Closer {
    /// A closer with an empty queue and no thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a descriptor to be closed. Never blocks.
    pub fn close(&self, fd: OwnedFd) {
        self.close_all([fd]);
    }

    /// Queues several descriptors, in order.
    pub fn close_all(&self, fds: impl IntoIterator<Item = OwnedFd>) {
        let queue = &self.0.0;
        let mut state = queue.lock();
        let before = state.waiting.len();
        state.waiting.extend(fds);
        if state.waiting.len() == before {
            return;
        }
        match state.thread {
            // Without a thread the closer counts as full, and this is tried again.
            Thread::Absent => state.start(queue),
            // Notifying is a system call, so it is done only if the thread waits.
            Thread::Idle => {
                state.thread = Thread::Awake;
                queue.changed.notify_one();
            }
            Thread::Awake | Thread::Closing => {}
        }
    }

    /// Closes descriptors that have just been sent to the origin, which by now holds them as well, or has
    /// closed its own.
    ///
    /// This process usually holds the last reference only if the origin was faster than the next few
    /// instructions, and even then closing does not block unless the origin has set `SO_LINGER`. So the
    /// option is checked, which takes a tenth of the time of closing, and the thread is used only if it is
    /// set. One race remains: an origin that sets the option and closes its own descriptor between these two
    /// calls. Using the thread for each connection would cost more than the rest of passing it.
    pub fn close_sent(&self, fds: impl IntoIterator<Item = Descriptor>) {
        for mut sent in fds {
            if sent.closer.is_none() && lingers(&sent) {
                sent.closer = Some(self.clone());
            }
        }
    }

    /// Drops the sender when all clones of the closer are dropped and everything is closed, so that its receiver can
    /// wait for that. Replaces an earlier sender.
    pub fn drop_when_done(&self, done: Sender<Infallible>) {
        self.0.0.lock().done = Some(done);
    }

    /// The number of descriptors that have not been closed yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        let state = self.0.0.lock();
        state.waiting.len() + usize::from(state.thread == Thread::Closing)
    }

    /// Whether no further descriptors should be taken from this origin: [`LIMIT`] or more wait, or there is no thread for
    /// those that do. Tries to start a thread that could not be started before.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let queue = &self.0.0;
        let mut state = queue.lock();
        state.lacks_thread(queue) || state.has_reached_limit()
    }

    /// Whether [`LIMIT`] or more descriptors wait.
    #[must_use]
    pub fn has_reached_limit(&self) -> bool {
        self.0.0.lock().has_reached_limit()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        // The last attempt. If there still is no thread, they leak: blocking would be worse.
        if state.lacks_thread(&self.0) {
            std::mem::take(&mut state.waiting).into_iter().for_each(std::mem::forget);
        }
        self.0.changed.notify_one();
    }
}

impl State {
    fn has_reached_limit(&self) -> bool {
        self.waiting.len() >= LIMIT
    }

    /// Whether descriptors wait without a thread, and none can be started now.
    fn lacks_thread(&mut self, queue: &Arc<Queue>) -> bool {
        let is_missing = |state: &Self| state.thread == Thread::Absent && !state.waiting.is_empty();
        if is_missing(self) {
            self.start(queue);
        }
        is_missing(self)
    }

    fn start(&mut self, queue: &Arc<Queue>) {
        let queue = Arc::clone(queue);
        let thread = std::thread::Builder::new().name("rcluster-close".into()).stack_size(64 * 1024);
        if thread.spawn(move || queue.run()).is_ok() {
            self.thread = Thread::Awake;
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(fd) = state.waiting.pop_front() {
                state.thread = Thread::Closing;
                drop(state);
                do_not_linger(&fd);
                drop(fd);
                state = self.lock();
                state.thread = Thread::Awake;
            } else if state.ended {
                return;
            } else {
                state.thread = Thread::Idle;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Prevents a connection from blocking close(2) for long, unless other holders set the option again. A linger
/// time of zero is kept: it does not block, and the reset is intended.
pub fn do_not_linger(fd: &impl AsFd) {
    if lingers(fd) {
        let off = libc::linger { l_onoff: 0, l_linger: 0 };
        // If this fails, closing may block.
        let _ = setsockopt(&fd.as_fd(), sockopt::Linger, &off);
    }
}

/// Whether closing may block. Descriptors other than sockets have no such option.
fn lingers(fd: &impl AsFd) -> bool {
    let linger = getsockopt(&fd.as_fd(), sockopt::Linger);
    linger.is_ok_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}

/// A descriptor that is passed to a [`Closer`] when it is dropped, because another process may hold the same
/// open file; or an ordinary one, which is closed at once.
#[derive(Debug)]
pub struct Descriptor {
    /// Taken out only by `drop`.
    fd: ManuallyDrop<OwnedFd>,
    closer: Option<Closer>,
}

impl Descriptor {
    /// A descriptor of a file that no other process has ever held.
    #[must_use]
    pub fn own(fd: OwnedFd) -> Self {
        Self { fd: ManuallyDrop::new(fd), closer: None }
    }

    /// A descriptor of a file that another process may hold as well.
    #[must_use]
    pub fn foreign(fd: OwnedFd, closer: &Closer) -> Self {
        Self { fd: ManuallyDrop::new(fd), closer: Some(closer.clone()) }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: a value is dropped once, and `fd` is not accessed after this. Before: the Descriptor owns
        // it. After: `fd` here, which is closed at the end of this function, or the closer.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if let Some(closer) = &self.closer {
            closer.close(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{Shutdown, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{RecvError, TryRecvError, channel};
    use std::time::Duration;

    use super::*;
    use rcluster_testing::{alone_as_user, lingering, without_new_threads};

    fn read_to_the_end(mut stream: &TcpStream) -> std::io::Result<usize> {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.read_to_end(&mut Vec::new())
    }

    #[test]
    fn a_descriptor_is_closed_by_the_thread_even_after_the_closer_was_dropped() {
        let closer = Closer::new();
        let (a, b) = UnixStream::pair().unwrap();
        let (c, d) = UnixStream::pair().unwrap();
        closer.close(a.into());
        assert_eq!((&b).read(&mut [0]).unwrap(), 0);
        drop(Descriptor::foreign(c.into(), &closer));
        drop(closer);
        assert_eq!((&d).read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn the_end_of_a_closer_can_be_waited_for() {
        let closer = Closer::new();
        let (done, end) = channel();
        closer.drop_when_done(done);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let kept = Descriptor::foreign(ours.into(), &closer);
        drop(closer);
        assert_eq!(end.try_recv(), Err(TryRecvError::Empty), "a descriptor is open");
        drop(kept);
        assert_eq!(end.recv(), Err(RecvError));
        theirs.set_nonblocking(true).unwrap();
        assert_eq!((&theirs).read(&mut [0]).unwrap(), 0, "it has been closed before");
        let (done, end) = channel();
        Closer::new().drop_when_done(done);
        assert_eq!(end.try_recv(), Err(TryRecvError::Disconnected), "there was nothing to close");
    }

    #[test]
    fn a_lingering_connection_is_closed_without_waiting_for_its_peer() {
        let closer = Closer::new();
        let (fd, peer) = lingering();
        closer.close(fd);
        // Nothing has been read so far, so closing cannot have waited for that.
        while closer.pending() > 0 {
            std::thread::yield_now();
        }
        read_to_the_end(&peer).unwrap();
    }

    #[test]
    fn a_connection_with_a_linger_time_of_zero_is_reset() {
        let closer = Closer::new();
        let (fd, peer) = lingering();
        setsockopt(&fd, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        closer.close(fd);
        while closer.pending() > 0 {
            std::thread::yield_now();
        }
        let error = read_to_the_end(&peer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// In a separate process, because it changes the limit, and for a user without the privilege that is exempt from it.
    #[test]
    fn a_thread_that_could_not_be_started_is_started_later() {
        if !alone_as_user("closer::tests::a_thread_that_could_not_be_started_is_started_later", 54322) {
            return;
        }
        let closer = Closer::new();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        without_new_threads(|| {
            closer.close(ours.into());
            assert!(closer.is_full(), "nobody closes it");
            assert!(!closer.has_reached_limit());
        });
        assert!(!closer.is_full());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    }

    /// As if the other holder had won the race for the option: the thread is busy until it is released.
    #[test]
    fn a_blocked_closer_accepts_descriptors_and_reports_when_it_is_full() {
        let closer = Closer::new();
        let queue = Arc::clone(&closer.0.0);
        let (release, wait) = channel::<()>();
        queue.lock().thread = Thread::Awake;
        std::thread::spawn(move || {
            wait.recv().unwrap();
            queue.run();
        });
        let (kept, end) = UnixStream::pair().unwrap();
        for _ in 0..LIMIT {
            assert!(!closer.is_full());
            closer.close(kept.try_clone().unwrap().into());
        }
        assert!(closer.is_full());
        kept.shutdown(Shutdown::Read).unwrap();
        // It still takes what was in flight, and another origin's descriptors are closed meanwhile.
        closer.close(kept.into());
        let other = Closer::new();
        let (a, b) = UnixStream::pair().unwrap();
        other.close(a.into());
        assert_eq!((&b).read(&mut [0]).unwrap(), 0);
        assert_eq!(closer.pending(), LIMIT + 1);
        release.send(()).unwrap();
        assert_eq!((&end).read(&mut [0]).unwrap(), 0);
        while closer.pending() > 0 {
            std::thread::yield_now();
        }
        assert!(!closer.is_full());
    }
}
