//! Evaluates the readings and gives advice: a pure function.

use super::Check;
use super::read::Readings;
use crate::units;

/// The oldest supported version of Node.
const OLDEST_NODE: u32 = 20;

/// Node's default for the backlog of a listener.
const NODE_BACKLOG: u64 = 511;

/// The approximate number of threads of a Node process, with one of rcluster.
const THREADS: u64 = 12;

/// With fewer descriptors, a busy server soon runs out of them.
const FEW_FILES: u64 = 4096;

/// Too little memory for a worker.
const LITTLE_MEMORY: u64 = 96 << 20;

/// The beginning of 2024: an earlier clock is wrong.
const RECENTLY: u64 = 1_704_067_200;

pub(super) fn all(readings: &Readings) -> Vec<Check> {
    let mut checks = vec![node(readings)];
    checks.extend(features(readings));
    checks.extend([
        open_files(readings),
        processes(readings),
        backlog(readings),
        memory(readings),
        temporary(readings),
        control(readings),
        proc_files(readings),
        systemd(readings),
        clock(readings),
    ]);
    checks
}

fn node(readings: &Readings) -> Check {
    let name = "node";
    match &readings.node {
        None => Check::warn(
            name,
            "not checked",
            "run this as `npx rcluster doctor`, so that it knows which Node is meant",
        ),
        Some(Err(why)) => {
            Check::fail(name, format!("cannot be started: {why}"), "repair the installation of Node")
        }
        Some(Ok(node)) => {
            let major = node.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            match (&node.failure, major) {
                (_, Some(major)) if major < OLDEST_NODE => {
                    Check::fail(name, node.version.clone(), format!("use Node {OLDEST_NODE} or newer"))
                }
                (Some(why), _) => Check::fail(
                    name,
                    format!("{}, and the native part cannot be loaded: {why}", node.version),
                    "install rcluster anew on this kind of system, without --omit=optional",
                ),
                (None, _) if readings.is_fallback => Check::warn(
                    name,
                    format!("{}, and RCLUSTER_FALLBACK=1 forces the built-in cluster", node.version),
                    "unset RCLUSTER_FALLBACK, unless you want to see what other systems do: the native part is not used",
                ),
                (None, _) => Check::ok(name, format!("{}, and the native part can be loaded", node.version)),
            }
        }
    }
}

fn features(readings: &Readings) -> Vec<Check> {
    let kernel = readings.kernel.as_deref().unwrap_or("unknown");
    let missing = readings.features.iter().filter_map(|(feature, failure)| {
        let failure = failure.as_ref()?;
        let found = format!("Linux {kernel} refuses {}: {failure}", feature.name);
        let advice = format!(
            "use Linux {} or newer, or have the container's seccomp profile allow it; without it {}",
            feature.since, feature.without
        );
        let check = if feature.is_needed { Check::fail } else { Check::warn };
        Some(check("kernel", found, advice))
    });
    let missing: Vec<Check> = missing.collect();
    if !missing.is_empty() {
        return missing;
    }
    let names: Vec<&str> = readings.features.iter().map(|(feature, _)| feature.name).collect();
    vec![Check::ok("kernel", format!("Linux {kernel} with {}", names.join(", ")))]
}

fn open_files(readings: &Readings) -> Check {
    let (name, (soft, hard)) = ("open files", readings.open_files);
    // Node raises its soft limit to the hard one.
    let shown = if hard == u64::MAX { "unlimited".to_owned() } else { hard.to_string() };
    let found = format!("{shown} for each process (it starts with {soft})");
    if hard >= FEW_FILES {
        return Check::ok(name, found);
    }
    let advice = "raise the hard limit: LimitNOFILE= in the unit, --ulimit nofile= of Docker, /etc/security/limits.conf; \
                  each client takes a descriptor, and for a moment one more on its way to a worker";
    Check::warn(name, found, advice)
}

fn processes(readings: &Readings) -> Check {
    let name = "processes";
    let Some((now, limit)) = readings.pids else {
        return Check::ok(name, "no cgroup limits processes and threads");
    };
    // During a replacement there are two workers.
    let needed = (u64::from(readings.cpus) + 2) * THREADS;
    let found = format!("{now} of {limit} processes and threads; a worker per CPU takes about {needed}");
    if limit.saturating_sub(now) >= needed {
        return Check::ok(name, found);
    }
    Check::warn(
        name,
        found,
        "raise pids.max: TasksMax= in the unit, --pids-limit of Docker; or start fewer workers",
    )
}

fn backlog(readings: &Readings) -> Check {
    let name = "backlog";
    match readings.somaxconn {
        None => Check::warn(name, "net.core.somaxconn cannot be read", "mount /proc"),
        Some(limit) if limit < NODE_BACKLOG => Check::warn(
            name,
            format!("{limit} clients can wait at a listener, where Node asks for {NODE_BACKLOG}"),
            "sysctl -w net.core.somaxconn=4096; more clients than that are refused in a burst",
        ),
        Some(limit) => Check::ok(name, format!("up to {limit} clients can wait at a listener")),
    }
}

fn memory(readings: &Readings) -> Check {
    let (name, cpus) = ("limits", u64::from(readings.cpus));
    let cpus_found = format!("{} to use", units::counted(&cpus.into(), "CPU"));
    let Some(limit) = readings.memory_limit else {
        return Check::ok(name, format!("{cpus_found}; no cgroup limits memory"));
    };
    let each = limit / (cpus + 1);
    let found =
        format!("{cpus_found}, {} of memory: {} for each worker", units::bytes(limit), units::bytes(each));
    if each >= LITTLE_MEMORY {
        return Check::ok(name, found);
    }
    Check::warn(name, found, "give it more memory, or start fewer workers: -w N")
}

fn temporary(readings: &Readings) -> Check {
    let name = "temporary files";
    match &readings.temporary {
        Some(directory) if directory.writable => Check::ok(name, directory.path.display().to_string()),
        Some(directory) => Check::warn(
            name,
            format!("{} cannot be written to", directory.path.display()),
            "mount a tmpfs there, or set TMPDIR: forwarding to unix sockets needs it, and workers that are started after \
             the package has been removed",
        ),
        None => Check::warn(name, "unknown", "set TMPDIR"),
    }
}

fn control(readings: &Readings) -> Check {
    let name = "control socket";
    let Some((place, _)) = readings.socket_places.iter().find(|(_, usable)| *usable) else {
        return Check::warn(name, "no default location is available", "name one by --control");
    };
    if !readings.lists_sockets {
        let advice = "mount /proc; or name the cluster by --control in each command";
        return Check::warn(
            name,
            format!("{place}, and clusters cannot be found: no /proc/net/unix"),
            advice,
        );
    }
    let refused =
        readings.socket_places.iter().take_while(|(_, usable)| !usable).map(|(place, _)| place.to_string());
    let refused: Vec<String> = refused.collect();
    if refused.is_empty() {
        return Check::ok(name, place.to_string());
    }
    let found = format!("{place}, because these are not writable: {}", refused.join(", "));
    Check::warn(name, found, "make the directory writable for this user: RuntimeDirectory= in the unit")
}

fn proc_files(readings: &Readings) -> Check {
    if readings.shows_processes {
        Check::ok("/proc", "shows CPU time, memory and descriptors of the workers")
    } else {
        let advice = "mount /proc: CPU time, memory and descriptors are missing in `status`, and memory is not limited";
        Check::warn("/proc", "is not there", advice)
    }
}

fn systemd(readings: &Readings) -> Check {
    let name = "service manager";
    match (&readings.notify_socket, &readings.watchdog) {
        (None, None) => Check::ok(name, "none to notify"),
        (None, Some(_)) => Check::warn(
            name,
            "it has a watchdog and cannot be notified",
            "set Type=notify and NotifyAccess=main in the unit, or the watchdog ends the cluster",
        ),
        (Some(socket), watchdog) => {
            let is_absolute = socket.starts_with(['/', '@']);
            let watchdog = if watchdog.is_some() { ", with a watchdog" } else { "" };
            if is_absolute {
                Check::ok(name, format!("is notified at {socket}{watchdog}"))
            } else {
                Check::fail(name, format!("NOTIFY_SOCKET={socket} is no address"), "unset NOTIFY_SOCKET")
            }
        }
    }
}

fn clock(readings: &Readings) -> Check {
    let name = "clock";
    if readings.time < RECENTLY {
        return Check::warn(
            name,
            "it is years behind",
            "set the time: certificates and expiry dates depend on it",
        );
    }
    match readings.clock_source.as_deref() {
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies")) => Check::warn(
            name,
            format!("{slow}, of which each reading takes microseconds"),
            "choose tsc or kvm-clock: /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
        Some(source) => Check::ok(name, source),
        None => Check::ok(name, "its source is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcluster_core::control::operator::Place;
    use rcluster_sys::probe::FEATURES;

    use super::super::State;
    use super::super::read::{Directory, Node};
    use super::*;

    /// A machine that passes all checks.
    fn sound() -> Readings {
        Readings {
            node: Some(Ok(Node { version: "22.11.0".into(), failure: None })),
            is_fallback: false,
            kernel: Some("6.1.0".into()),
            features: FEATURES.iter().map(|feature| (*feature, None)).collect(),
            open_files: (1024, 1 << 20),
            pids: Some((20, 4096)),
            somaxconn: Some(4096),
            cpus: 4,
            memory_limit: Some(2 << 30),
            temporary: Some(Directory { path: PathBuf::from("/tmp"), writable: true }),
            socket_places: vec![
                (Place::parse("/run/app/rcluster.sock"), true),
                (Place::parse("@rcluster/1/2"), true),
            ],
            lists_sockets: true,
            shows_processes: true,
            notify_socket: Some("/run/systemd/notify".into()),
            watchdog: Some("30000000".into()),
            clock_source: Some("tsc".into()),
            time: RECENTLY + 1,
        }
    }

    fn states(readings: &Readings) -> Vec<(&'static str, State)> {
        all(readings)
            .into_iter()
            .map(|check| (check.name, check.state))
            .filter(|(_, state)| *state != State::Ok)
            .collect()
    }

    #[test]
    fn a_healthy_machine_gets_no_advice() {
        let checks = all(&sound());
        assert!(checks.iter().all(|check| check.state == State::Ok && check.advice.is_none()), "{checks:?}");
    }

    #[test]
    fn each_defect_is_reported_separately_with_advice() {
        type Defect = (fn(&mut Readings), &'static str, State);
        let defects: &[Defect] = &[
            (|it| it.node = None, "node", State::Warn),
            (|it| it.node = Some(Err("no such file".into())), "node", State::Fail),
            (|it| it.node = Some(Ok(Node { version: "18.20.0".into(), failure: None })), "node", State::Fail),
            (
                |it| it.node = Some(Ok(Node { version: "22.1.0".into(), failure: Some("no file".into()) })),
                "node",
                State::Fail,
            ),
            (|it| it.is_fallback = true, "node", State::Warn),
            (|it| it.features[0].1 = Some("ENOSYS".into()), "kernel", State::Fail),
            (|it| it.features[6].1 = Some("EMFILE".into()), "kernel", State::Warn),
            (|it| it.open_files = (256, 1024), "open files", State::Warn),
            (|it| it.pids = Some((60, 100)), "processes", State::Warn),
            (|it| it.somaxconn = Some(128), "backlog", State::Warn),
            (|it| it.memory_limit = Some(128 << 20), "limits", State::Warn),
            (|it| it.temporary.as_mut().unwrap().writable = false, "temporary files", State::Warn),
            (|it| it.socket_places[0].1 = false, "control socket", State::Warn),
            (|it| it.lists_sockets = false, "control socket", State::Warn),
            (|it| it.shows_processes = false, "/proc", State::Warn),
            (|it| it.notify_socket = None, "service manager", State::Warn),
            (|it| it.notify_socket = Some("nonsense".into()), "service manager", State::Fail),
            (|it| it.clock_source = Some("hpet".into()), "clock", State::Warn),
            (|it| it.time = 0, "clock", State::Warn),
        ];
        for (index, (spoil, name, state)) in defects.iter().enumerate() {
            let mut readings = sound();
            spoil(&mut readings);
            assert_eq!(states(&readings), [(*name, *state)], "defect {index}");
            let advices = all(&readings).into_iter().filter(|check| check.state != State::Ok);
            assert!(advices.into_iter().all(|check| check.advice.is_some()), "defect {index}");
        }
    }

    #[test]
    fn missing_readings_are_no_limits() {
        let readings = Readings {
            pids: None,
            memory_limit: None,
            notify_socket: None,
            watchdog: None,
            clock_source: None,
            ..sound()
        };
        assert_eq!(states(&readings), []);
    }
}
