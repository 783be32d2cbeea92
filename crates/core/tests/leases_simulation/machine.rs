//! A machine, and what its processes know of their leases.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::leases::{LeaseId, Leases, Want};
use rcluster_core::locks::Otherwise;
use rcluster_core::random::Random;

pub(crate) const NAMES: [&[u8]; 2] = [b"one", b"two"];

/// All requests for a name use the same time.
const TTLS: [u32; 2] = [300, 1000];

#[derive(Debug)]
struct Request {
    name: Vec<u8>,
    otherwise: Otherwise,
    /// Until when the process that has made it has the lease; `None` while it waits.
    held: Option<u64>,
}

pub(crate) struct Machine {
    pub(crate) leases: Leases,
    /// 0 for no connection.
    pub(crate) connection: u64,
    pub(crate) paused_until: u64,
    offset: u64,
    requests: BTreeMap<LeaseId, Request>,
    /// The leases that are not over.
    kept: BTreeSet<LeaseId>,
}

impl Machine {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            leases: Leases::new(random.bits()),
            connection: 0,
            paused_until: 0,
            offset: u64::from(random.number(0, 1_000_000)),
            requests: BTreeMap::new(),
            kept: BTreeSet::new(),
        }
    }

    pub(crate) fn now(&self, time: u64) -> u64 {
        time + self.offset
    }

    pub(crate) fn time_of(&self, now: u64) -> u64 {
        now.saturating_sub(self.offset)
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.requests.values().any(|it| it.name == name)
    }

    /// A process stops using a lease at its end by itself, also while its machine's decisions are paused.
    pub(crate) fn uses(&self, name: &[u8], time: u64) -> bool {
        self.requests
            .values()
            .any(|it| it.name == name && it.held.is_some_and(|until| self.now(time) < until))
    }

    pub(crate) fn want(&mut self, id: LeaseId, name: &[u8], otherwise: Otherwise) -> Want {
        self.kept.insert(id);
        let place = NAMES.iter().position(|it| *it == name).unwrap();
        self.requests.insert(id, Request { name: name.to_vec(), otherwise, held: None });
        Want { name: name.to_vec(), ttl: TTLS[place], otherwise }
    }

    pub(crate) fn on_granted(&mut self, id: LeaseId, until: u64) -> Option<(Vec<u8>, Otherwise)> {
        let request = self.requests.get_mut(&id)?;
        assert_eq!(request.held.replace(until), None, "it is granted once");
        Some((request.name.clone(), request.otherwise))
    }

    pub(crate) fn on_renewed(&mut self, id: LeaseId, until: u64) {
        let held = self.requests.get_mut(&id).and_then(|request| request.held.as_mut());
        let held = held.expect("what is renewed is held");
        assert!(*held < until, "a renewal extends it: {held} to {until}");
        *held = until;
    }

    pub(crate) fn on_over(&mut self, id: LeaseId) {
        assert!(self.requests.remove(&id).is_some(), "it is over once");
    }

    pub(crate) fn on_nothing_kept(&mut self, id: LeaseId) {
        assert!(!self.requests.contains_key(&id), "its request is told first");
        assert!(self.kept.remove(&id), "nothing is kept once");
    }

    /// How many leases are not over, although their requests are.
    pub(crate) fn ended(&self) -> usize {
        self.kept.len() - self.requests.len()
    }

    pub(crate) fn pick(&self, random: &mut Random, waits: bool) -> Option<LeaseId> {
        let all: Vec<LeaseId> =
            self.requests.iter().filter(|(_, it)| it.held.is_none() == waits).map(|(id, _)| *id).collect();
        random.pick(&all)
    }

    pub(crate) fn waiting(&self) -> Vec<LeaseId> {
        self.requests.iter().filter(|(_, it)| it.held.is_none()).map(|(id, _)| *id).collect()
    }
}
