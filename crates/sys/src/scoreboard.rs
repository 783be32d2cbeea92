//! A worker's scoreboard: one page of memory that the primary and one worker both see.
//!
//! It replaces a reply message per connection. Each worker has a page of its own, so a worker
//! that scribbles on it can spoil only what the primary believes of that worker. The page is
//! sealed: a worker cannot shrink it under the primary's feet.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::error::SysError;
use super::segment::Segment;

/// A page of 4 KiB.
const WORDS: usize = 512;

/// What is on the page. Either side writes to cache lines of its own.
#[repr(C)]
struct Page {
    worker: WorkerLine,
    primary: PrimaryLine,
}

/// Written by the worker.
#[repr(C, align(64))]
struct WorkerLine {
    /// How many connections its event loop has taken from the channel.
    received: AtomicU64,
    /// How many of them, less those it has given back, are still open.
    open: AtomicU32,
    /// How often its event loop has turned.
    turns: AtomicU64,
    /// How many connections it has accepted by itself.
    accepted: AtomicU64,
    /// For how many nanoseconds its event loop has been at work rather than waiting, up to its last turn.
    busy: AtomicU64,
    /// How many clients it has taken: connections that were new and that it has not given back.
    clients: AtomicU64,
}

/// Written by the primary; the worker only clears the request.
#[repr(C, align(64))]
struct PrimaryLine {
    /// The primary waits for this worker's loop to turn and wants a message when it does.
    wake_wanted: AtomicU32,
    /// The slot of the worker, from the beginning.
    slot: AtomicU32,
    /// One more than how many connections it may have handed over in all; 0 while nobody could take any.
    hand_over: AtomicU64,
}

/// One mapping of a worker's page.
///
/// # Design
/// Only atomics live on the page and every bit pattern is a valid value of them, so nothing
/// that the other side writes can be unsound, only untrue. Readers clamp.
#[derive(Debug)]
pub struct Scoreboard(Segment);

impl Scoreboard {
    /// Makes a page, zeroed, and the descriptor by which a worker can map it.
    pub fn create() -> Result<(Self, OwnedFd), SysError> {
        let page = Segment::create_shared(c"rcluster", WORDS);
        let (page, fd) = page.map_err(|error| SysError { doing: "making a scoreboard", ..error })?;
        Ok((Self(page), fd))
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

    /// How many connections the worker says it has received. Untrusted.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.page().worker.received.load(Ordering::SeqCst)
    }

    /// The worker's side: `count` more connections have been received.
    pub fn add_received(&self, count: u64) {
        self.page().worker.received.fetch_add(count, Ordering::SeqCst);
    }

    /// How many connections the worker says it has accepted by itself. Untrusted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.page().worker.accepted.load(Ordering::Relaxed)
    }

    /// How many clients the worker says it has taken: new connections that it has not given back. Those that another
    /// worker has handed over are not among them. Untrusted.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.page().worker.clients.load(Ordering::Relaxed)
    }

    /// The worker's side: `count` new clients have come.
    pub fn add_clients(&self, count: u64) {
        self.page().worker.clients.fetch_add(count, Ordering::Relaxed);
    }

    /// The worker's side: it has given back one of them.
    pub fn remove_client(&self) {
        self.page().worker.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// The primary's side: says how many connections this worker may have handed over in all. `None` while there is
    /// nobody to hand them over to.
    pub fn allow_hand_over(&self, limit: Option<u64>) {
        let limit = limit.map_or(0, |limit| limit.saturating_add(1));
        self.page().primary.hand_over.store(limit, Ordering::Relaxed);
    }

    /// The worker's side: how many it may have handed over in all.
    #[must_use]
    pub fn hand_over_limit(&self) -> Option<u64> {
        self.page().primary.hand_over.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The worker's side: it has accepted a connection by itself, which is open now.
    pub fn accept(&self) {
        self.page().worker.accepted.fetch_add(1, Ordering::Relaxed);
        self.add_clients(1);
        self.add_open(1);
    }

    /// How many connections the worker says it has open. Untrusted.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.page().worker.open.load(Ordering::Relaxed)
    }

    /// The worker's side: `count` more connections are open.
    pub fn add_open(&self, count: u32) {
        self.page().worker.open.fetch_add(count, Ordering::Relaxed);
    }

    /// The worker's side: a connection has ended or was given back.
    pub fn remove_open(&self) {
        self.page().worker.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How often the worker says its event loop has turned. A loop that stands still, be it idle or
    /// blocked, does not move it; one that is given something to read does. Untrusted.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.page().worker.turns.load(Ordering::Relaxed)
    }

    /// How long the worker says its event loop has been at work up to its last turn. Untrusted.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.page().worker.busy.load(Ordering::Relaxed))
    }

    /// The worker's side: its loop turns, and has been at work for `busy` since it began.
    pub fn turn(&self, busy: Duration) {
        let worker = &self.page().worker;
        // Only the loop's thread writes, so that adding need not be atomic.
        worker.turns.store(worker.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        worker.busy.store(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The primary's side: says which slot the worker has.
    pub fn set_slot(&self, slot: u32) {
        self.page().primary.slot.store(slot, Ordering::Relaxed);
    }

    /// The worker's side: which slot it has.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.page().primary.slot.load(Ordering::Relaxed)
    }

    /// The primary's side: asks for a message at the worker's next turn.
    ///
    /// Whoever asks must look at [`Scoreboard::received`] once more afterwards: the worker may
    /// have made progress just before it could see the request.
    pub fn want_wake(&self) {
        self.page().primary.wake_wanted.store(1, Ordering::SeqCst);
    }

    /// The worker's side: whether a message is wanted. Answers true once per request.
    #[must_use]
    pub fn take_wake_request(&self) -> bool {
        let wanted = &self.page().primary.wake_wanted;
        // The plain load keeps the line shared between the cores in the usual case.
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
        worker.turn(Duration::from_millis(5));
        worker.turn(Duration::from_millis(7));
        assert_eq!((primary.turns(), primary.busy()), (2, Duration::from_millis(7)));
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
    fn something_else_than_a_scoreboard_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Scoreboard::open(&file).is_err());
    }
}
