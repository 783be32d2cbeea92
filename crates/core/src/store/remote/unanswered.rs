//! The requests that processes have made to the servers of stores, until they are answered.
//!
//! A process may close its link and open another one while its requests still wait for a server. So a request counts
//! until its answer comes, and not until its link has gone, and all requests of one worker count together, whichever
//! stores they are for. Otherwise a worker could fill the memory of the primary with links that it opens and closes.

use std::collections::{HashMap, VecDeque};

use crate::ids::WorkerId;
use crate::store::ring::WINDOW;

/// The largest size of one link's unanswered requests, in bytes.
pub const MAX_OF_LINK: usize = 64 << 20;

/// The largest size of one process' unanswered requests, on all its links, in bytes. It is more than for one link, so that a
/// store whose server is away does not hold up the process' other stores.
pub const MAX_OF_PROCESS: usize = 2 * MAX_OF_LINK;

/// The memory for a request in addition to its bytes.
const OVERHEAD: usize = 256;

/// The requests of one link. They are answered in order.
#[derive(Debug, Default)]
struct Link {
    owner: Option<WorkerId>,
    costs: VecDeque<usize>,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Unanswered {
    /// By the token of the link, which no other link ever has.
    links: HashMap<u64, Link>,
    /// The bytes of each process.
    processes: HashMap<Option<WorkerId>, usize>,
}

impl Unanswered {
    /// Whether another request may be taken from the ring of a link. `None` is the primary.
    #[must_use]
    pub fn has_room_for(&self, token: u64, owner: Option<WorkerId>) -> bool {
        let has_room = |link: &Link| (link.costs.len() as u64) < WINDOW && link.bytes < MAX_OF_LINK;
        self.links.get(&token).is_none_or(has_room)
            && self.processes.get(&owner).is_none_or(|bytes| *bytes < MAX_OF_PROCESS)
    }

    /// A request of this length was sent on.
    pub fn on_asked(&mut self, token: u64, owner: Option<WorkerId>, length: usize) {
        let cost = length + OVERHEAD;
        let link = self.links.entry(token).or_default();
        link.owner = owner;
        link.costs.push_back(cost);
        link.bytes += cost;
        *self.processes.entry(owner).or_default() += cost;
    }

    /// The oldest request of a link was answered.
    pub fn on_answered(&mut self, token: u64) {
        let Some(link) = self.links.get_mut(&token) else { return };
        let Some(cost) = link.costs.pop_front() else { return };
        link.bytes -= cost;
        let owner = link.owner;
        if link.costs.is_empty() {
            self.links.remove(&token);
        }
        if let Some(bytes) = self.processes.get_mut(&owner) {
            *bytes -= cost;
            if *bytes == 0 {
                self.processes.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<WorkerId> = Some(WorkerId(1));
    const OTHER: Option<WorkerId> = Some(WorkerId(2));
    const MEGABYTE: usize = 1 << 20;

    /// Makes requests on a link until it has no room, and returns their number.
    fn fill(unanswered: &mut Unanswered, token: u64, owner: Option<WorkerId>, length: usize) -> usize {
        let mut count = 0;
        while unanswered.has_room_for(token, owner) {
            unanswered.on_asked(token, owner, length);
            count += 1;
        }
        count
    }

    #[test]
    fn a_link_has_room_for_so_many_requests_and_bytes() {
        let mut unanswered = Unanswered::default();
        assert_eq!(fill(&mut unanswered, 2, ONE, 8) as u64, WINDOW);
        assert_eq!(fill(&mut unanswered, 4, ONE, MEGABYTE), MAX_OF_LINK / MEGABYTE);
        unanswered.on_answered(4);
        assert_eq!(fill(&mut unanswered, 4, ONE, MEGABYTE), 1);
    }

    /// It closes each link when it is full. Nothing is told of that here, because it makes no difference.
    #[test]
    fn new_links_do_not_give_a_worker_more_room_until_answers_come() {
        let mut unanswered = Unanswered::default();
        let counts: Vec<_> = (0..100).map(|link| fill(&mut unanswered, 2 * link, ONE, MEGABYTE)).collect();
        assert!(counts.iter().sum::<usize>() <= MAX_OF_PROCESS / MEGABYTE);
        assert_eq!(counts[99], 0);
        assert_eq!(fill(&mut unanswered, 1000, OTHER, MEGABYTE), counts[0], "another worker");
        unanswered.on_answered(0);
        assert_eq!(fill(&mut unanswered, 1002, ONE, MEGABYTE), 1);
    }

    #[test]
    fn short_requests_are_bounded_as_well() {
        let mut unanswered = Unanswered::default();
        let count: usize = (0..10_000).map(|link| fill(&mut unanswered, 2 * link, ONE, 0)).sum();
        assert_eq!(count, MAX_OF_PROCESS / OVERHEAD);
    }

    #[test]
    fn nothing_is_kept_of_links_without_requests() {
        let mut unanswered = Unanswered::default();
        for (token, owner) in [(2, ONE), (4, ONE), (6, None)] {
            fill(&mut unanswered, token, owner, MEGABYTE);
        }
        for token in [2, 4, 6] {
            (0..=WINDOW).for_each(|_| unanswered.on_answered(token));
        }
        assert!(unanswered.links.is_empty() && unanswered.processes.is_empty());
    }
}
