use std::time::Duration;

use super::*;
use crate::control::operator::{BackendStatus, StoreStatus};
use crate::control::supervise::{Event, Input, Options, Phase, Supervise, Why};
use crate::ids::{ListenerId, WorkerId};
use crate::store::remote::status::State;

/// Two slots, of which the second waits, and two listeners with the same name.
fn text(format: Format) -> String {
    let mut two = Supervise::new(Options { workers: 2, ..Options::default() }, 1);
    two.handle(Duration::ZERO, Input::Start, &mut Vec::new());
    let mut status = Status::sample(&two.stats(Duration::ZERO));
    status.slots[0].state = SlotState::Serving;
    status.slots[0].figures = ProcessFigures { cpu_ms: Some(1250), memory: Some(1024), fds: None };
    status.slots[1].state = SlotState::BackingOff { remaining: Duration::from_millis(400) };
    status.slots[1].next_restart_ms = Some(400);
    status.slots[0].elu = Some(0.25);
    status.slots[0].delay_p99 = Some(12.5);
    status.primary.blocked_ms = Some(Duration::from_millis(2500));
    status.cgroup = Some(CgroupStatus {
        cpus: Some(1.5),
        memory_limit: None,
        memory_usage: Some(4096),
        throttled: Some(Duration::from_millis(100)),
        oom_kills: Some(0),
    });
    let store = |name: &str, backend| StoreStatus {
        name: name.into(),
        keys: 3,
        bytes: 40,
        limit: 4096,
        memory: 512,
        revision: 9,
        evicted: 2,
        expired: 1,
        clients: 1,
        backend,
    };
    let backend = BackendStatus {
        state: State::Offline,
        url: "redis://10.0.0.1".into(),
        queued: 0,
        disconnects: 4,
        loads: 1,
        error: None,
    };
    status.stores = Some(vec![store("local", None), store("shared", Some(backend))]);
    let mut totals = Totals::default();
    totals.on_event(&Event::Restart {
        slot: Some(Slot(1)),
        worker: Some(WorkerId(2)),
        why: Why::Unresponsive,
        phase: Phase::Service,
        delay: Duration::ZERO,
        restarts: 1,
        stderr: None,
    });
    let spent = Spent { cpu_ms: Some(2250), busy: Some(Duration::from_millis(1500)), clients: Some(7) };
    let counts = Counts { accepted: 7, ..Counts::default() };
    let listener = ListenerStats { listener: ListenerId(0), waiting: 2, workers: 1, counts };
    let worker = |id: u32, slot| WorkerStats {
        worker: WorkerId(id),
        slot,
        in_flight: 3,
        open: 0,
        blocked: id == 1,
        counts: Counts::default(),
    };
    let snapshot = Snapshot {
        status: &status,
        totals: &totals,
        slots: &BTreeMap::from([(Slot(0), spent), (Slot(1), Spent::default())]),
        listeners: &[("8000", listener), ("/a\"b\n", listener), ("8000", listener)],
        registries: &Registries::default(),
        missing: 1,
        workers: &[worker(1, Some(Slot(0))), worker(2, Some(Slot(0))), worker(3, None)],
    };
    encode(&snapshot, format)
}

#[test]
fn what_is_known_has_a_sample_and_what_is_not_has_none() {
    let text = text(Format::OpenMetrics);
    for line in [
        "rcluster_info{version=\"1.0.0\",node_version=\"26.1.0\"} 1",
        "rcluster_start_time_seconds 1.5",
        "rcluster_workers{state=\"draining\"} 0",
        "rcluster_restarts_total{slot=\"0\",reason=\"hang\"} 0",
        "rcluster_restarts_total{slot=\"1\",reason=\"hang\"} 1",
        "rcluster_recycles_total{slot=\"1\",cause=\"memory\"} 0",
        "rcluster_slot_state{slot=\"0\",state=\"serving\"} 1",
        "rcluster_slot_state{slot=\"0\",state=\"filling\"} 0",
        "rcluster_slot_state{slot=\"1\",state=\"backing-off\"} 1",
        "rcluster_backoff_seconds{slot=\"0\"} 0",
        "rcluster_backoff_seconds{slot=\"1\"} 0.4",
        "rcluster_in_flight{slot=\"0\"} 6",
        "rcluster_worker_blocked{slot=\"0\"} 1",
        "rcluster_clients_total{slot=\"0\"} 7",
        "process_cpu_seconds_total{slot=\"0\"} 2.25",
        "process_memory_usage_bytes{slot=\"0\"} 1024",
        "nodejs_eventloop_time_seconds_total{slot=\"0\",nodejs_eventloop_state=\"active\"} 1.5",
        "rcluster_accepted_total{listener=\"8000\"} 14",
        "rcluster_accepted_total{listener=\"/a\\\"b\\n\"} 7",
        "rcluster_store_keys{store=\"local\"} 3",
        "rcluster_store_evicted_total{store=\"shared\"} 2",
        "rcluster_store_connected{store=\"shared\"} 0",
        "rcluster_store_disconnects_total{store=\"shared\"} 4",
        "rcluster_scrape_missing_workers 1",
        "rcluster_primary_blocked_seconds 2.5",
        "nodejs_eventloop_utilization_ratio{slot=\"0\"} 0.25",
        "nodejs_eventloop_delay_p99_seconds{slot=\"0\"} 0.0125",
        "rcluster_cgroup_cpus 1.5",
        "rcluster_cgroup_memory_usage_bytes 4096",
        "rcluster_cgroup_throttled_seconds_total 0.1",
        "rcluster_cgroup_oom_kills_total 0",
        "rcluster_queue_length{listener=\"8000\"} 4",
        "# EOF",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    for name in
        ["process_cpu_seconds_total{slot=\"1\"}", "process_open_file", "rcluster_in_flight{slot=\"1\"}"]
    {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn each_family_stands_once_and_has_its_own_samples_only() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = text(format);
        let (mut families, mut samples) = (Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                families.push(described.split(' ').next().unwrap());
            } else if !line.starts_with('#') {
                let (sample, _) = line.rsplit_once(' ').unwrap();
                let family = families.last().unwrap();
                assert!(sample.starts_with(family), "{sample} is not of {family}");
                samples.push(sample);
            }
        }
        for list in [&mut families, &mut samples] {
            let count = list.len();
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), count, "something is there twice");
        }
    }
}
