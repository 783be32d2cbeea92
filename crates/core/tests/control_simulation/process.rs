//! A simulated process: what it will do, and what was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rcluster_core::control::supervise::ExitKind;
use rcluster_core::ids::{ListenerId, Slot};

use rcluster_core::random::Random;

/// An action of a process, at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    /// Its link is up.
    Hello,
    /// It sends a listen request for this port.
    Ask(u16),
    /// Its server on this listener is up.
    Listen(ListenerId),
    /// It reports that it is ready.
    Ready,
    Close(ListenerId),
    Leave,
    HangUp,
    Exit(ExitKind),
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Process {
    /// `None` for a worker that the app has forked, and for a standby.
    pub(crate) slot: Option<Slot>,
    pub(crate) supervised: bool,
    /// It waits without connections.
    pub(crate) standby: bool,
    /// Its actions after its start.
    pub(crate) plan: Vec<(Duration, Deed)>,
    /// How long it takes to drain; `None`: it never ends.
    pub(crate) drain: Option<Duration>,
    pub(crate) obeys_term: bool,
    /// The exit code with which it ends by itself.
    pub(crate) code: i32,
    /// Whether it can read and write its control socket.
    pub(crate) linked: bool,
    pub(crate) withdrawn: bool,
    /// It was told to leave, or has reported that it leaves.
    pub(crate) goes: bool,
    pub(crate) killed: bool,
    /// The ports of its unanswered listen requests.
    pub(crate) asked: BTreeMap<u32, u16>,
    /// The listeners that it has been given.
    pub(crate) listeners: BTreeSet<ListenerId>,
    /// The listeners of which it gets connections.
    pub(crate) joined: BTreeSet<ListenerId>,
    /// It has closed a listener before the reply, so it may never get the listener.
    pub(crate) lies: bool,
}

impl Process {
    pub(crate) fn new(random: &mut Random, ports: &[u16], gentle: bool) -> Self {
        let boot = random.ms(5, 100);
        let mut plan = vec![(boot / 2, Deed::Hello), (boot + Duration::from_millis(20), Deed::Ready)];
        plan.extend(ports.iter().map(|&port| (boot, Deed::Ask(port))));
        if !gentle {
            let later = random.ms(0, 600);
            match random.below(16) {
                0 => plan = vec![(boot, Deed::Exit(ExitKind::Code(1)))],
                1 => plan.push((later, Deed::Exit(ExitKind::Signal(11)))),
                2 => plan.push((later, Deed::Exit(ExitKind::Code(0)))),
                3 => plan.push((later, Deed::Leave)),
                4 => plan.push((later, Deed::HangUp)),
                5 => plan.push((later, Deed::Close(ListenerId(u32::try_from(random.below(9)).unwrap())))),
                6 => plan.truncate(1),
                7 => plan.push((boot, Deed::Ask(u16::try_from(90 + random.below(3)).unwrap()))),
                _ => {}
            }
        }
        Self {
            slot: None,
            supervised: false,
            standby: false,
            plan,
            drain: (gentle || !random.one_in(6)).then(|| random.ms(0, 120)),
            obeys_term: gentle || !random.one_in(4),
            code: i32::from(random.one_in(3)),
            linked: true,
            withdrawn: false,
            goes: false,
            killed: false,
            asked: BTreeMap::new(),
            listeners: BTreeSet::new(),
            joined: BTreeSet::new(),
            lies: false,
        }
    }
}
