//! A worker's scoreboard: one page of memory that the primary and one worker share.
//!
//! It replaces a reply message per connection. Each worker has its own page, so a worker that writes garbage
//! to it only corrupts the primary's view of that worker. The page is sealed: a worker cannot shrink it while
//! the primary uses it.

mod event_loop;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub use self::event_loop::{CLASSES, EventLoopLook};
use self::event_loop::{EventLoopLines, nanos};
use super::error::SysError;
use super::segment::{Segment, reserve};

/// A page of 4 KiB.
const WORDS: usize = 512;

/// The layout of the page. Each side writes to its own cache lines.
#[repr(C)]
struct Page {
    worker: WorkerLine,
    primary: PrimaryLine,
    event_loop: EventLoopLines,
}

const _: () = assert!(size_of::<Page>() <= WORDS * size_of::<u64>(), "it fits the page");

/// Written by the worker.
#[repr(C, align(64))]
struct WorkerLine {
    /// The number of connections that its event loop has received from the channel.
    received: AtomicU64,
    /// The number of open connections, not counting those it has returned.
    open: AtomicU32,
    /// The number of turns of its event loop.
    turns: AtomicU64,
    /// The number of connections it has accepted by itself.
    accepted: AtomicU64,
    /// The busy time of its event loop up to the last turn, in nanoseconds.
    busy: AtomicU64,
    /// The number of clients that it has received: new connections that it has not returned.
    clients: AtomicU64,
    /// When the last turn of its event loop ended, in nanoseconds of the monotonic clock.
    last_turn: AtomicU64,
}

/// Written by the primary; the worker only clears the request.
#[repr(C, align(64))]
struct PrimaryLine {
    /// Set if the primary waits for a turn of this worker's event loop and wants a message.
    wake_wanted: AtomicU32,
    /// The slot of the worker, set at its start.
    slot: AtomicU32,
    /// One more than the total number of connections it may have handed over; 0 if no worker can take any.
    hand_over: AtomicU64,
}

/// One mapping of a worker's page.
///
/// # Design
/// The page contains only atomics, for which every bit pattern is valid, so nothing that the other side
/// writes can be unsound, only wrong. Readers clamp.
#[derive(Debug)]
pub struct Scoreboard(Segment);

impl Scoreboard {
    /// Creates a zeroed page, and the descriptor with which a worker can map it.
    pub fn create() -> Result<(Self, OwnedFd), SysError> {
        let page = Segment::create_shared(c"rcluster", WORDS).and_then(|(page, fd)| {
            // Otherwise the first access would kill the process if there is no memory for it.
            reserve(&fd, &(0..WORDS))?;
            Ok((Self(page), fd))
        });
        page.map_err(|error| SysError { doing: "making a scoreboard", ..error })
    }

    /// Maps the page behind a descriptor that came from [`Scoreboard::create`].
    pub fn open(fd: &impl AsFd) -> Result<Self, SysError> {
        let doing = "mapping a scoreboard";
        let page = Segment::open(fd).map_err(|error| SysError { doing, ..error })?;
        if page.as_ref().len() != WORDS {
            return Err(SysError::invalid(doing));
        }
        Ok(Self(page))
    }

    fn page(&self) -> &Page {
        // SAFETY: the mapping, which the Segment owns, is larger than Page, page-aligned, and lives as long as self.
        // Page is made of atomics, so another process may write to it at any time.
        unsafe { &*self.0.as_ref().as_ptr().cast() }
    }

    /// The number of connections that the worker has received. Untrusted.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.page().worker.received.load(Ordering::SeqCst)
    }

    /// The worker's side: `count` more connections have been received.
    pub fn add_received(&self, count: u64) {
        self.page().worker.received.fetch_add(count, Ordering::SeqCst);
    }

    /// The number of connections that the worker has accepted by itself. Untrusted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.page().worker.accepted.load(Ordering::Relaxed)
    }

    /// The number of clients that the worker has received: new connections that it has not returned, without
    /// those that another worker has handed over. Untrusted.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.page().worker.clients.load(Ordering::Relaxed)
    }

    /// The worker's side: adds `count` new clients.
    pub fn add_clients(&self, count: u64) {
        self.page().worker.clients.fetch_add(count, Ordering::Relaxed);
    }

    /// The worker's side: it has returned a new client.
    pub fn remove_client(&self) {
        self.page().worker.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// The primary's side: sets the total number of connections that this worker may have handed over. `None`
    /// if no worker can take any.
    pub fn allow_hand_over(&self, limit: Option<u64>) {
        let limit = limit.map_or(0, |limit| limit.saturating_add(1));
        self.page().primary.hand_over.store(limit, Ordering::Relaxed);
    }

    /// The worker's side: the total number it may have handed over.
    #[must_use]
    pub fn hand_over_limit(&self) -> Option<u64> {
        self.page().primary.hand_over.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The worker's side: it has accepted a connection by itself, which is now open.
    pub fn accept(&self) {
        self.page().worker.accepted.fetch_add(1, Ordering::Relaxed);
        self.add_clients(1);
        self.add_open(1);
    }

    /// The number of connections that the worker has open. Untrusted.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.page().worker.open.load(Ordering::Relaxed)
    }

    /// The worker's side: `count` more connections are open.
    pub fn add_open(&self, count: u32) {
        self.page().worker.open.fetch_add(count, Ordering::Relaxed);
    }

    /// The worker's side: a connection has ended or was returned.
    pub fn remove_open(&self) {
        self.page().worker.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number of turns of the worker's event loop. It does not change while the loop is idle or blocked,
    /// but does when the loop gets something to read. Untrusted.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.page().worker.turns.load(Ordering::Relaxed)
    }

    /// When the last turn of the worker's event loop ended, by the monotonic clock. Untrusted.
    #[must_use]
    pub fn last_turn(&self) -> Duration {
        Duration::from_nanos(self.page().worker.last_turn.load(Ordering::Relaxed))
    }

    /// The busy time of the worker's event loop up to its last turn. Untrusted.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.page().worker.busy.load(Ordering::Relaxed))
    }

    /// The activity of the worker's event loop, by `now` of the monotonic clock. `None` if there is no data.
    /// Untrusted.
    #[must_use]
    pub fn event_loop(&self, now: Duration) -> Option<EventLoopLook> {
        self.page().event_loop.look(now, self.busy())
    }

    /// The worker's side: its event loop turns at `now` of the monotonic clock, and has been busy for `busy`
    /// in total. `class` maps the duration of a turn to its class.
    pub fn turn(&self, now: Duration, busy: Duration, class: impl FnOnce(Duration) -> usize) {
        let Page { worker, event_loop, .. } = self.page();
        let before = self.busy();
        event_loop.turn(now, before, class(busy.saturating_sub(before)));
        // Only the event loop's thread writes, so the addition need not be atomic.
        worker.turns.store(worker.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        worker.busy.store(nanos(busy), Ordering::Relaxed);
        worker.last_turn.store(nanos(now), Ordering::Relaxed);
    }

    /// The primary's side: sets the worker's slot.
    pub fn set_slot(&self, slot: u32) {
        self.page().primary.slot.store(slot, Ordering::Relaxed);
    }

    /// The worker's side: its slot.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.page().primary.slot.load(Ordering::Relaxed)
    }

    /// The primary's side: requests a message at the worker's next turn.
    ///
    /// The caller must check [`Scoreboard::received`] once more afterwards: the worker may have made progress
    /// just before it could see the request.
    pub fn want_wake(&self) {
        self.page().primary.wake_wanted.store(1, Ordering::SeqCst);
    }

    /// The worker's side: whether a message is wanted. Returns true once per request.
    #[must_use]
    pub fn take_wake_request(&self) -> bool {
        let wanted = &self.page().primary.wake_wanted;
        // The plain load keeps the cache line shared between the cores in the usual case.
        wanted.load(Ordering::SeqCst) != 0 && wanted.swap(0, Ordering::SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::ftruncate;

    use super::*;

    #[test]
    fn both_mappings_see_the_same_page() {
        let (primary, fd) = Scoreboard::create().unwrap();
        let worker = Scoreboard::open(&fd).unwrap();
        worker.add_received(3);
        assert_eq!(primary.received(), 3);
        worker.add_open(3);
        worker.remove_open();
        assert_eq!(primary.open_connections(), 2);
        worker.accept();
        assert_eq!((primary.accepted(), primary.open_connections()), (1, 3));
        let class = |took: Duration| usize::try_from(took.as_millis()).unwrap();
        worker.turn(Duration::from_secs(10), Duration::from_millis(5), class);
        worker.turn(Duration::from_secs(11), Duration::from_millis(7), class);
        assert_eq!((primary.turns(), primary.busy()), (2, Duration::from_millis(7)));
        assert_eq!(primary.last_turn(), Duration::from_secs(11));
        let look = primary.event_loop(Duration::from_secs(12)).unwrap();
        assert_eq!(
            (look.turns[5], look.turns[2], look.recent_turns[5]),
            (1, 1, 1),
            "a turn of 5 ms and one of 2 ms"
        );
        worker.add_clients(2);
        worker.remove_client();
        assert_eq!(primary.clients(), 2, "with the one that it has accepted");
        assert_eq!(worker.hand_over_limit(), None, "at first");
        for limit in [Some(0), Some(7), None] {
            primary.allow_hand_over(limit);
            assert_eq!(worker.hand_over_limit(), limit);
        }
        assert!(!worker.take_wake_request());
        primary.want_wake();
        assert!(worker.take_wake_request());
        assert!(!worker.take_wake_request(), "a request is answered once");
    }

    #[test]
    fn a_worker_cannot_shrink_the_page() {
        let (_board, fd) = Scoreboard::create().unwrap();
        assert_eq!(ftruncate(&fd, 0), Err(nix::errno::Errno::EPERM));
    }

    #[test]
    fn other_memory_is_refused_as_a_scoreboard() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Scoreboard::open(&file).is_err());
    }
}
