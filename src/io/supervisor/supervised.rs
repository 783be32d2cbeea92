//! The supervised cluster, as the control thread keeps it: the brain, and what it holds of each worker.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::time::Duration;

use super::launch::{Inspect, Launch, Newcomer, Ports};
use super::stranger::Stranger;
use super::systemd::Systemd;
use crate::core::control::supervise::{Input, Options, Supervise};
use crate::core::ids::{ListenerId, Slot, WorkerId};
use crate::core::wire::{Reply, Settings};
use crate::sys::error::SysError;
use crate::sys::memory::Memory;
use crate::sys::oom::OomKills;

/// How a supervised cluster is to be kept up.
#[derive(Debug)]
pub struct Plan {
    /// What the operator has chosen.
    pub options: Options,
    /// Whether an uncaught exception retires a worker.
    pub retire_on_exception: bool,
    /// The variable in which a worker has its slot, if it is to have one.
    pub instance_var: Option<String>,
    /// What workers are started with.
    pub launch: Launch,
    /// Chance, for waits and limits.
    pub seed: u64,
}

/// A supervised cluster.
pub(super) struct Supervision {
    pub(super) brain: Supervise,
    pub(super) plan: Plan,
    pub(super) members: HashMap<WorkerId, Member>,
    /// None where no service manager wants to know.
    pub(super) systemd: Option<Systemd>,
    /// None where the kernel does not count them.
    pub(super) oom_kills: Option<OomKills>,
    /// What the brain has not been told yet, and whether it is being told just now.
    pub(super) inputs: VecDeque<Input>,
    pub(super) telling: bool,
}

/// A supervised worker.
pub(super) struct Member {
    pub(super) pid: i32,
    /// None where nobody limits it.
    pub(super) memory: Option<Memory>,
    /// A standby's: what it would have if it were not one.
    pub(super) held: Option<Held>,
    /// None for Node, with which we can talk.
    pub(super) stranger: Option<Stranger>,
}

/// What a standby gets at its promotion.
pub(super) struct Held {
    pub(super) newcomer: Newcomer,
    pub(super) joins: Vec<ListenerId>,
    /// Where workers accept by themselves, having the socket means having connections.
    pub(super) replies: Vec<Reply>,
}

impl Supervision {
    pub(super) fn new(plan: Plan, systemd: Option<Systemd>) -> Self {
        Self {
            brain: Supervise::new(plan.options.clone(), plan.seed),
            plan,
            members: HashMap::new(),
            systemd,
            oom_kills: OomKills::of_this_process(),
            inputs: VecDeque::new(),
            telling: false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let systemd = self.systemd.as_ref().and_then(Systemd::next_deadline);
        [self.brain.next_deadline(), systemd].into_iter().flatten().min()
    }

    /// What workers are started with from now on.
    pub(super) fn relaunch(&mut self, mut launch: Launch) {
        // The workers that are there keep their ports.
        if let Some(Inspect { ports: Ports::Chosen(new), .. }) = &mut launch.inspect
            && let Some(Inspect { ports: Ports::Chosen(old), .. }) = &mut self.plan.launch.inspect
        {
            old.choose_anew(std::mem::take(new).into_ports());
            *new = std::mem::take(old);
        }
        self.plan.launch = launch;
    }

    pub(super) fn add_inspect_ports(&mut self, ports: Vec<String>) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.plan.launch.inspect {
            chosen.add(ports);
        }
    }

    pub(super) fn free_inspect_port(&mut self, worker: WorkerId) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.plan.launch.inspect {
            chosen.on_exit(worker);
        }
    }

    /// Keeps a standby from a listener until it is promoted. False if it is none.
    pub(super) fn holds_join(&mut self, worker: WorkerId, listener: ListenerId) -> bool {
        self.held(worker).is_some_and(|held| {
            held.joins.push(listener);
            true
        })
    }

    /// Forgets the listener that a standby left again.
    pub(super) fn holds_leave(&mut self, worker: WorkerId, listener: ListenerId) {
        if let Some(held) = self.held(worker) {
            held.joins.retain(|&other| other != listener);
            held.replies.retain(|reply| reply.listener != Some(listener));
        }
    }

    /// Keeps a reply that brings a shared socket until the standby is promoted; gives it back if it is none.
    pub(super) fn holds_reply(&mut self, worker: WorkerId, reply: Reply) -> Option<Reply> {
        match self.held(worker) {
            Some(held) if reply.shared => {
                held.replies.push(reply);
                None
            }
            _ => Some(reply),
        }
    }

    fn held(&mut self, worker: WorkerId) -> Option<&mut Held> {
        self.members.get_mut(&worker)?.held.as_mut()
    }

    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.members.contains_key(&worker)
    }

    /// What is a supervised worker's own in its environment.
    pub(super) fn own(&self, worker: WorkerId, slot: Option<Slot>) -> Result<Vec<CString>, SysError> {
        let settings = Settings {
            slot,
            standby: slot.is_none(),
            drain_timeout_ms: millis(self.plan.options.drain_timeout),
            retire_on_exception: self.plan.retire_on_exception,
            instance_var: self.plan.instance_var.clone(),
        };
        let encoded = settings.encode();
        let settings = encoded.map_err(|_| SysError::invalid("writing the settings of a worker"))?;
        let mut own = vec![format!("NODE_UNIQUE_ID={}", worker.0), format!("RCLUSTER_SETTINGS={settings}")];
        let instance = self.plan.instance_var.as_ref().zip(slot);
        own.extend(instance.map(|(name, slot)| format!("{name}={}", slot.0)));
        let text = |text| CString::new(text).map_err(|_| SysError::invalid("writing a worker's environment"));
        own.into_iter().map(text).collect()
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
