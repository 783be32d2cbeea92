//! Forwarding, for JavaScript.

use std::time::Duration;

use napi::{Error, Result, Status};
use napi_derive::napi;

use super::primary::Primary;
use crate::io::forward::{BoundFront, FrontAddress, FrontOptions, Reach, Report};
use rcluster_core::forward::Config;
use rcluster_core::forward::proxy::Version;
use rcluster_core::schedule::Policy;
use rcluster_sys::headroom::for_clients;

/// A front to open. Times are in milliseconds; 0 means no limit.
#[napi(object)]
pub struct ForwardSpec {
    /// The IP address that clients connect to; all addresses if omitted.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// The path of a Unix socket, instead of `host` and `port`.
    pub path: Option<String>,
    /// The backlog of the socket.
    pub backlog: i32,
    /// How workers are reached: `port` or `path`; the default depends on the worker.
    pub to: Option<String>,
    /// The environment variable that contains a worker's own address.
    pub env: String,
    /// `round-robin`, `least-connections` or `sticky`.
    pub policy: String,
    /// The version of the PROXY protocol; 0 for none.
    pub proxy_protocol: u8,
    /// The time limit until a worker has accepted a connection.
    pub connect_timeout: u32,
    /// How long a connection may be idle.
    pub idle_timeout: u32,
    /// The same when one direction has ended.
    pub half_open_timeout: u32,
    /// The maximum number of connections; 0 means as many as there are descriptors for.
    pub max_connections: u32,
}

/// The result of opening fronts.
#[napi(object, object_from_js = false)]
pub struct ForwardResult {
    /// 0 or a negative errno number.
    pub errno: i32,
    /// The index of the front that has failed; the number of fronts if the error has another cause.
    pub index: u32,
}

/// A worker and its connections.
#[napi(object, object_from_js = false)]
pub struct ForwardLoad {
    /// The worker's number.
    pub id: u32,
    /// Its connections.
    pub connections: u32,
}

/// The state of one front.
#[napi(object, object_from_js = false)]
pub struct ForwardReport {
    /// The IP address, or the path.
    pub address: String,
    /// The port, if it has one.
    pub port: Option<u16>,
    /// The number of connections, including those that wait.
    pub connections: u32,
    /// The number of clients that wait for a worker.
    pub waiting: u32,
    /// The number of clients accepted so far.
    pub accepted: f64,
    /// The number of times that a worker did not accept a client.
    pub refusals: f64,
    /// The number of clients that no worker accepted in time.
    pub turned_away: f64,
    /// The number of connections that were closed because they were idle.
    pub timed_out: f64,
    /// The workers that can have connections.
    pub workers: Vec<ForwardLoad>,
}

#[napi]
impl Primary {
    /// Opens fronts and forwards them to the workers that are spawned from now on. Possible once. On return,
    /// either all are open or none.
    #[napi(catch_unwind)]
    pub fn forward(&self, specs: Vec<ForwardSpec>) -> Result<ForwardResult> {
        let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
        let mut fronts = Vec::with_capacity(specs.len());
        for (index, spec) in (0..).zip(specs) {
            match BoundFront::open(read(spec)?) {
                Ok(front) => fronts.push(front),
                Err(error) => return Ok(ForwardResult { errno: error.negative_errno(), index }),
            }
        }
        let errno = self.threads.forward(fronts).map_or_else(|error| error.negative_errno(), |()| 0);
        Ok(ForwardResult { errno, index: count })
    }

    /// The state of the fronts.
    #[napi(catch_unwind)]
    #[must_use]
    pub fn forwarding(&self) -> Vec<ForwardReport> {
        self.threads.forwarding().into_iter().map(tell).collect()
    }

    /// Removes the workers' Unix sockets. Happens automatically only if the threads are ended properly.
    #[napi(catch_unwind)]
    pub fn remove_sockets(&self) {
        self.threads.remove_sockets();
    }
}

/// JavaScript has validated the options: an unknown word is a bug in rcluster.
fn read(spec: ForwardSpec) -> Result<FrontOptions> {
    let unknown = |what: &str, word: &str| Error::new(Status::InvalidArg, format!("unknown {what}: {word}"));
    let address = match spec.path {
        Some(path) => FrontAddress::Path(path),
        None => FrontAddress::Tcp { host: spec.host, port: spec.port },
    };
    let proxy = match spec.proxy_protocol {
        0 => None,
        1 => Some(Version::V1),
        2 => Some(Version::V2),
        other => return Err(unknown("version of the PROXY protocol", &other.to_string())),
    };
    let policy = match spec.policy.as_str() {
        "least-connections" => Policy::LeastConnections,
        "sticky" => Policy::Sticky,
        "round-robin" => Policy::RoundRobin,
        other => return Err(unknown("policy", other)),
    };
    let reach = match spec.to.as_deref() {
        None => None,
        Some("path") => Some(Reach::Path),
        Some("port") => Some(Reach::Port),
        Some(other) => return Err(unknown("way to reach a worker", other)),
    };
    let standard = Config::default();
    let most = usize::try_from(spec.max_connections).unwrap_or(usize::MAX);
    Ok(FrontOptions {
        address,
        backlog: spec.backlog,
        reach,
        env: spec.env,
        policy,
        proxy,
        config: Config {
            connect_timeout: limit(spec.connect_timeout).unwrap_or(standard.connect_timeout),
            idle_timeout: limit(spec.idle_timeout),
            half_open_timeout: limit(spec.half_open_timeout),
            // Each connection takes two descriptors.
            max_connections: Some(if most > 0 { most } else { for_clients() / 2 }),
            ..standard
        },
    })
}

fn limit(milliseconds: u32) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

#[allow(clippy::cast_precision_loss, reason = "JavaScript's numbers are exact up to 2^53")]
fn tell(report: Report) -> ForwardReport {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let Report { address, port, counters, connections, waiting, workers } = report;
    ForwardReport {
        address,
        port,
        connections: count(connections),
        waiting: count(waiting),
        accepted: counters.accepted as f64,
        refusals: counters.refusals as f64,
        turned_away: counters.turned_away as f64,
        timed_out: counters.timed_out as f64,
        workers: workers
            .into_iter()
            .map(|(worker, connections)| ForwardLoad { id: worker.0, connections })
            .collect(),
    }
}
