//! All metrics. docs/metrics.md lists them.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Kind, whole};
use super::registries::Registries;
use super::slots::Spent;
use super::stores::stores;
use super::totals::Totals;
use crate::control::operator::{CgroupStatus, ProcessFigures, Status};
use crate::control::supervise::SlotState;
use crate::dispatch::{Counts, ListenerStats, WorkerStats};
use crate::http::Format;
use crate::ids::Slot;

/// The label of the primary, in place of a slot.
const PRIMARY: &str = "primary";

/// The label of what concerns no slot yet.
const STANDBY: &str = "standby";

/// Everything to report at one time.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The status document.
    pub status: &'a Status,
    /// The counts of supervision.
    pub totals: &'a Totals,
    /// The counts of the workers of each slot.
    pub slots: &'a BTreeMap<Slot, Spent>,
    /// Each listener with its name; empty if the dispatcher has not answered.
    pub listeners: &'a [(&'a str, ListenerStats)],
    /// Each worker, as the dispatcher knows it.
    pub workers: &'a [WorkerStats],
    /// The metrics of the workers' own registries.
    pub registries: &'a Registries,
    /// The number of workers that did not report their metrics this time.
    pub missing: usize,
}

/// The metrics as text.
#[must_use]
pub fn encode(snapshot: &Snapshot<'_>, format: Format) -> String {
    let mut to = Exposition::new(format);
    cluster(&mut to, snapshot.status);
    if let Some(limits) = &snapshot.status.cgroup {
        cgroup(&mut to, limits);
    }
    let slots_so_far: Vec<Slot> = snapshot.slots.keys().copied().collect();
    supervision(&mut to, snapshot.totals, &slots_so_far);
    slots(&mut to, snapshot);
    processes(&mut to, snapshot);
    listeners(&mut to, snapshot.listeners);
    let mut backlog =
        to.family(Kind::Gauge, "rcluster_backlog_length", "Connections that no process has accepted yet.");
    for it in snapshot.status.listeners.iter().flatten() {
        let labels = [("id", it.id.0.to_string()), ("address", it.address.clone().unwrap_or_default())];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        backlog.add_known(&labels, it.backlog.map(f64::from));
    }
    stores(&mut to, snapshot.status.stores.as_deref().unwrap_or_default());
    let help = "Workers that keep metrics with prom-client and have not answered within a second.";
    to.family(Kind::Gauge, "rcluster_scrape_missing_workers", help).add(&[], size(snapshot.missing));
    snapshot.registries.write(&mut to);
    to.finish()
}

pub(super) fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Converts from milliseconds.
fn seconds(ms: u64) -> f64 {
    whole(ms) / 1000.0
}

fn cluster(to: &mut Exposition, status: &Status) {
    let versions = [("version", status.versions.rcluster), ("node_version", status.versions.node.as_str())];
    to.family(Kind::Info, "rcluster", "The versions of rcluster and Node.").add(&versions, 1.0);
    to.family(Kind::Gauge, "rcluster_start_time_seconds", "When supervision began, since the epoch.")
        .add(&[], seconds(status.started_at));
    to.family(Kind::Gauge, "rcluster_cpus", "CPUs available, within the affinity mask and the quota.")
        .add(&[], f64::from(status.cpus));
    to.family(
        Kind::Gauge,
        "rcluster_primary_blocked_seconds",
        "How long the primary's event loop has been active without waiting for events.",
    )
    .add_known(&[], status.primary.blocked_ms.map(|it| it.as_secs_f64()));
    to.family(Kind::Gauge, "rcluster_workers_wanted", "The target number of workers.")
        .add(&[], f64::from(status.cluster.workers));
    let starting = status.slots.iter().filter(|it| matches!(it.state, SlotState::Filling)).count();
    let mut workers = to.family(Kind::Gauge, "rcluster_workers", "Workers by state.");
    for (state, count) in [
        ("ready", f64::from(status.cluster.ready)),
        ("starting", size(starting)),
        ("draining", size(status.draining.len())),
        ("standby", f64::from(status.cluster.standby.ready)),
    ] {
        workers.add(&[("state", state)], count);
    }
    to.family(Kind::Gauge, "rcluster_processes", "Processes of workers, of any kind.")
        .add(&[], f64::from(status.cluster.processes));
    to.family(Kind::Gauge, "rcluster_reloading", "Whether a reload is running.")
        .add(&[], flag(status.cluster.reloading));
    to.family(Kind::Gauge, "rcluster_stopping", "Whether the cluster is about to end.")
        .add(&[], flag(status.cluster.stopping));
}

fn cgroup(to: &mut Exposition, cgroup: &CgroupStatus) {
    to.family(Kind::Gauge, "rcluster_cgroup_cpus", "CPUs by the container's quota.")
        .add_known(&[], cgroup.cpus);
    for (name, help, value) in [
        ("rcluster_cgroup_memory_limit_bytes", "The container's limit of memory.", cgroup.memory_limit),
        ("rcluster_cgroup_memory_usage_bytes", "Memory in use, with the page cache.", cgroup.memory_usage),
    ] {
        to.family(Kind::Gauge, name, help).add_known(&[], value.map(whole));
    }
    let help = "How long processes were throttled because the quota was used up.";
    to.family(Kind::Counter, "rcluster_cgroup_throttled_seconds", help)
        .add_known(&[], cgroup.throttled.map(|it| it.as_secs_f64()));
    let help = "Processes of the container that the kernel killed because memory ran out.";
    to.family(Kind::Counter, "rcluster_cgroup_oom_kills", help).add_known(&[], cgroup.oom_kills.map(whole));
}

fn size(count: usize) -> f64 {
    whole(u64::try_from(count).unwrap_or(u64::MAX))
}

fn supervision(to: &mut Exposition, totals: &Totals, slots: &[Slot]) {
    let mut restarts =
        to.family(Kind::Counter, "rcluster_restarts", "Workers that failed and were replaced.");
    for ((slot, reason), count) in totals.restarts(slots) {
        let slot = slot.map_or_else(|| STANDBY.to_owned(), |slot| slot.0.to_string());
        restarts.add(&[("slot", &slot), ("reason", reason)], whole(count));
    }
    let mut recycles =
        to.family(Kind::Counter, "rcluster_recycles", "Workers that were replaced at a limit.");
    for ((slot, cause), count) in totals.recycles(slots) {
        recycles.add(&[("slot", &slot.0.to_string()), ("cause", cause)], whole(count));
    }
    to.family(Kind::Counter, "rcluster_reloads", "Reloads by result.")
        .add(&[("result", "done")], whole(totals.reloads_done))
        .add(&[("result", "failed")], whole(totals.reloads_failed));
    to.histogram("rcluster_worker_boot_seconds", "How long workers took to get ready.", &totals.boots);
    to.histogram(
        "rcluster_drain_seconds",
        "How long workers that drained took from the order to their end.",
        &totals.drains,
    );
    to.family(
        Kind::Counter,
        "rcluster_drain_forced",
        "Drains that took too long, by the signal that was sent.",
    )
    .add(&[("signal", "SIGTERM")], whole(totals.terminated))
    .add(&[("signal", "SIGKILL")], whole(totals.killed));
    to.family(Kind::Counter, "rcluster_oom_kills", "Workers that the kernel killed because memory ran out.")
        .add(&[], whole(totals.oom_kills));
}

fn slots(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let named: Vec<(String, &crate::control::operator::SlotStatus)> =
        snapshot.status.slots.iter().map(|it| (it.slot.0.to_string(), it)).collect();
    let mut states = to.family(Kind::Gauge, "rcluster_slot_state", "Whether a slot is in a state.");
    for (slot, it) in &named {
        for state in SlotState::NAMES {
            states.add(&[("slot", slot), ("state", state)], flag(it.state.name() == state));
        }
    }
    let mut backoff =
        to.family(Kind::Gauge, "rcluster_backoff_seconds", "How long until a slot's next worker.");
    for (slot, it) in &named {
        backoff.add(&[("slot", slot)], it.next_restart_ms.map_or(0.0, seconds));
    }
    let mut connections =
        to.family(Kind::Gauge, "rcluster_connections", "Connections open in the slot's worker.");
    for (slot, it) in &named {
        connections.add_known(&[("slot", slot)], it.connections.map(f64::from));
    }
    // A slot has two workers while one replaces the other.
    let mut in_dispatch: BTreeMap<Slot, (f64, bool)> = BTreeMap::new();
    for (slot, worker) in snapshot.workers.iter().filter_map(|it| Some((it.slot?, it))) {
        let (in_flight, blocked) = in_dispatch.entry(slot).or_default();
        *in_flight += f64::from(worker.in_flight);
        *blocked |= worker.blocked;
    }
    let mut in_flight = to.family(
        Kind::Gauge,
        "rcluster_in_flight",
        "Connections sent to the slot's workers and not received yet.",
    );
    for (slot, (count, _)) in &in_dispatch {
        in_flight.add(&[("slot", &slot.0.to_string())], *count);
    }
    let mut blocked = to.family(
        Kind::Gauge,
        "rcluster_worker_blocked",
        "Whether the event loop of the slot's worker is blocked while something waits for it.",
    );
    for (slot, (_, is)) in &in_dispatch {
        blocked.add(&[("slot", &slot.0.to_string())], flag(*is));
    }
    let mut clients =
        to.family(Kind::Counter, "rcluster_clients", "Clients that the slot's workers have taken.");
    for (slot, spent) in snapshot.slots {
        clients.add_known(&[("slot", &slot.0.to_string())], spent.clients.map(whole));
    }
}

fn processes(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let Snapshot { status, slots, .. } = snapshot;
    let mut cpu =
        to.family(Kind::Counter, "process_cpu_seconds", "CPU time of the slot's workers, or of the primary.");
    cpu.add_known(&[("slot", PRIMARY)], status.primary.figures.cpu_ms.map(seconds));
    for (slot, spent) in *slots {
        cpu.add_known(&[("slot", &slot.0.to_string())], spent.cpu_ms.map(seconds));
    }
    let living: Vec<(String, ProcessFigures)> = std::iter::once((PRIMARY.to_owned(), status.primary.figures))
        .chain(status.slots.iter().map(|it| (it.slot.0.to_string(), it.figures)))
        .collect();
    let mut memory = to.family(Kind::Gauge, "process_memory_usage_bytes", "Resident memory.");
    for (slot, figures) in &living {
        memory.add_known(&[("slot", slot)], figures.memory.map(whole));
    }
    let mut files = to.family(Kind::Gauge, "process_open_file_descriptors", "Open file descriptors.");
    for (slot, figures) in &living {
        files.add_known(&[("slot", slot)], figures.fds.map(f64::from));
    }
    let mut uptime =
        to.family(Kind::Gauge, "process_uptime_seconds", "How long ago the slot's worker was started.");
    for it in &status.slots {
        uptime.add_known(&[("slot", &it.slot.0.to_string())], it.uptime.map(seconds));
    }
    let mut busy = to.family(
        Kind::Counter,
        "nodejs_eventloop_time_seconds",
        "How long the event loops of the slot's workers have been in a state.",
    );
    for (slot, spent) in *slots {
        let labels = [("slot", slot.0.to_string()), ("nodejs_eventloop_state", "active".to_owned())];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        busy.add_known(&labels, spent.busy.map(|it| it.as_secs_f64()));
    }
    let help = "The part of the last 5 to 10 s in which the event loop of the slot's worker was at work.";
    let mut utilization = to.family(Kind::Gauge, "nodejs_eventloop_utilization_ratio", help);
    for it in &status.slots {
        utilization.add_known(&[("slot", &it.slot.0.to_string())], it.elu);
    }
    let help =
        "The 99th percentile of the duration of a turn in the last 5 to 10 s: how long an event may wait.";
    let mut delay = to.family(Kind::Gauge, "nodejs_eventloop_delay_p99_seconds", help);
    for it in &status.slots {
        delay.add_known(&[("slot", &it.slot.0.to_string())], it.delay_p99.map(|ms| ms / 1000.0));
    }
}

/// A counter of listeners: its name, its help text and its value.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const LISTENER_COUNTERS: [Counter; 7] = [
    ("rcluster_accepted", "Connections accepted from clients.", |it| it.accepted),
    (
        "rcluster_passed",
        "Connections sent to workers; one that came back and was sent again counts twice.",
        |it| it.passed,
    ),
    ("rcluster_queued", "Connections that had to wait because no worker was ready.", |it| it.queued),
    ("rcluster_shed", "Connections shed because no worker was ready.", |it| it.shed),
    ("rcluster_reclaimed", "Connections reclaimed from workers that had not received them.", |it| {
        it.reclaimed
    }),
    ("rcluster_returned", "Connections returned by workers that could not take them.", |it| it.returned),
    ("rcluster_handed_over", "Connections handed over by workers that drained.", |it| it.handed_over),
];

fn listeners(to: &mut Exposition, listeners: &[(&str, ListenerStats)]) {
    // Several listeners may have one name: the same port of different addresses.
    let mut by_name: BTreeMap<&str, Vec<&ListenerStats>> = BTreeMap::new();
    for (name, stats) in listeners {
        by_name.entry(name).or_default().push(stats);
    }
    for (name, help, count) in LISTENER_COUNTERS {
        let mut family = to.family(Kind::Counter, name, help);
        for (listener, stats) in &by_name {
            let sum = stats.iter().map(|it| count(&it.counts)).fold(0, u64::saturating_add);
            family.add(&[("listener", listener)], whole(sum));
        }
    }
    let mut waiting = to.family(
        Kind::Gauge,
        "rcluster_queue_length",
        "Connections that wait for a worker, the backlog not counted.",
    );
    for (listener, stats) in &by_name {
        waiting.add(&[("listener", listener)], stats.iter().map(|it| size(it.waiting)).sum());
    }
}

#[cfg(test)]
mod tests;
