//! The inspector port of each supervised worker.
//!
//! Workers are also started while the primary's JavaScript is busy, so ports are chosen in advance.

use std::collections::{BTreeMap, VecDeque};

use super::ids::WorkerId;

const FIRST: u32 = 1024;
const LAST: u32 = 65_535;

/// The port of the n-th debugged worker, if the app gives none: as in Node. After 65535 comes 1024.
#[must_use]
pub fn counted(debug_port: u32, n: u32) -> u32 {
    let port = debug_port.saturating_add(n);
    if port > LAST { FIRST + (port - LAST - 1) % (LAST - FIRST + 1) } else { port }
}

/// Ports that the app has chosen, as text, one for each future worker.
///
/// When they are used up, a worker gets the port of one that has ended, or `0`, any free port, if there is
/// none.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    waiting: VecDeque<String>,
    held: BTreeMap<WorkerId, String>,
    freed: VecDeque<String>,
}

impl Chosen {
    /// Creates the list with these unused ports.
    #[must_use]
    pub fn new(ports: Vec<String>) -> Self {
        Self { waiting: ports.into(), ..Self::default() }
    }

    /// Adds ports.
    pub fn add(&mut self, ports: Vec<String>) {
        self.waiting.extend(ports);
    }

    /// Replaces the unused ports, for workers that are started from now on.
    pub fn choose_anew(&mut self, ports: Vec<String>) {
        self.waiting = ports.into();
        self.freed.clear();
    }

    /// The unused ports.
    #[must_use]
    pub fn into_ports(self) -> Vec<String> {
        self.waiting.into()
    }

    /// The port of a worker that is about to start.
    pub fn take(&mut self, worker: WorkerId) -> String {
        let port = self.waiting.pop_front().or_else(|| self.freed.pop_front());
        let Some(port) = port else { return "0".into() };
        self.held.insert(worker, port.clone());
        port
    }

    /// A worker has ended, or was not started.
    pub fn on_exit(&mut self, worker: WorkerId) {
        self.freed.extend(self.held.remove(&worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_as_in_node() {
        assert_eq!((counted(9229, 1), counted(65_534, 1)), (9230, LAST));
        assert_eq!((counted(65_534, 2), counted(65_534, 3)), (1024, 1025));
        assert!((FIRST..=LAST).contains(&counted(65_535, u32::MAX)));
    }

    #[test]
    fn each_worker_has_a_port_of_its_own_and_leaves_it_to_a_later_one() {
        let [a, b, c, d] = [1, 2, 3, 4].map(WorkerId);
        let mut ports = Chosen::new(vec!["7000".into(), "7001".into()]);
        assert_eq!((ports.take(a), ports.take(b)), ("7000".into(), "7001".into()));
        assert_eq!(ports.take(c), "0", "both are held");
        ports.on_exit(c);
        ports.on_exit(b);
        ports.on_exit(b);
        assert_eq!(ports.take(d), "7001");
        ports.on_exit(a);
        ports.add(vec!["7002".into()]);
        assert_eq!(
            (ports.take(b), ports.take(c), ports.take(WorkerId(5))),
            ("7002".into(), "7000".into(), "0".into())
        );
    }

    #[test]
    fn what_is_chosen_anew_counts_from_then_on() {
        let mut ports = Chosen::new(vec!["7000".into(), "7001".into()]);
        assert_eq!(ports.take(WorkerId(1)), "7000");
        ports.choose_anew(vec!["8000".into()]);
        assert_eq!(ports.take(WorkerId(2)), "8000");
        ports.on_exit(WorkerId(1));
        assert_eq!(ports.take(WorkerId(3)), "7000");
    }
}
