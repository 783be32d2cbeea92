//! When the leases of a process end: memory that the primary writes and the process reads. A renewal needs no
//! message, and the process knows the end of a lease even while its primary is stopped.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::NAME;
use crate::io::clock;
use rcluster_core::locks::{MAX_REQUESTS, RequestId};
use rcluster_sys::error::SysError;
use rcluster_sys::segment::{Published, Segment};

/// One for each request that a process may have.
const PLACES: usize = MAX_REQUESTS;

/// The primary's side.
pub(super) struct Deadlines(Segment);

impl Deadlines {
    /// Creates the memory. The descriptor is for the process.
    pub(super) fn new() -> Result<(Self, OwnedFd), SysError> {
        let (memory, fd) = Segment::create_published(NAME, PLACES)?;
        Ok((Self(memory), fd))
    }

    /// Whether a process may read a deadline at this place, which it has chosen.
    pub(super) fn has(place: u32) -> bool {
        usize::try_from(place).is_ok_and(|place| place < PLACES)
    }

    /// Sets a deadline. A place that does not exist is ignored.
    pub(super) fn set(&self, place: u32, until: u64) {
        if let Some(word) = usize::try_from(place).ok().and_then(|place| self.0.get(place)) {
            word.store(until, Ordering::Release);
        }
    }
}

/// The process's side.
#[derive(Debug)]
pub(super) struct Expiries {
    memory: Published,
    places: HashMap<RequestId, u32>,
    /// Places that were used before.
    free: Vec<u32>,
}

impl Expiries {
    pub(super) fn open(fd: &OwnedFd) -> Result<Self, SysError> {
        Ok(Self { memory: Published::open(fd)?, places: HashMap::new(), free: Vec::new() })
    }

    /// Assigns a place to a request for a lease. `None` if this process has too many requests.
    pub(super) fn assign(&mut self, request: RequestId) -> Option<u32> {
        // Every place below the number of requests and free places has been assigned before.
        let unused = u32::try_from(self.places.len() + self.free.len()).ok();
        let place = self.free.pop().or_else(|| unused.filter(|place| Deadlines::has(*place)))?;
        self.places.insert(request, place);
        Some(place)
    }

    /// The request has ended, if it was one for a lease.
    pub(super) fn on_end(&mut self, request: RequestId) {
        self.free.extend(self.places.remove(&request));
    }

    /// How much longer a granted lease is valid.
    pub(super) fn left(&self, request: RequestId) -> Duration {
        let place = self.places.get(&request).and_then(|place| usize::try_from(*place).ok());
        place.map_or(Duration::ZERO, |place| clock::until(self.memory.load(place, Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_the_deadlines_of_its_leases() {
        let (deadlines, fd) = Deadlines::new().unwrap();
        let mut expiries = Expiries::open(&fd).unwrap();
        let [one, other] = [RequestId(7), RequestId(8)];
        let [first, second] = [one, other].map(|id| expiries.assign(id).unwrap());
        assert_eq!(expiries.left(one), Duration::ZERO, "it was not granted");
        deadlines.set(first, clock::now() + 60_000);
        deadlines.set(second, clock::now() - 1);
        assert!(expiries.left(one) > Duration::from_secs(50));
        assert_eq!(expiries.left(other), Duration::ZERO);
        assert_eq!(expiries.left(RequestId(9)), Duration::ZERO, "nobody has requested it");
        deadlines.set(u32::MAX, 1);
    }

    #[test]
    fn places_are_used_again_and_limited() {
        let (_deadlines, fd) = Deadlines::new().unwrap();
        let mut expiries = Expiries::open(&fd).unwrap();
        let count = PLACES as u64;
        let mut all: Vec<u32> = (0..count).map(|id| expiries.assign(RequestId(id)).unwrap()).collect();
        assert!(all.iter().all(|place| Deadlines::has(*place)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), PLACES, "no two requests have the same place");
        assert_eq!(expiries.assign(RequestId(count)), None);
        expiries.on_end(RequestId(5));
        expiries.on_end(RequestId(5));
        assert!(expiries.assign(RequestId(count)).is_some());
        assert_eq!(expiries.assign(RequestId(count + 1)), None);
    }
}
