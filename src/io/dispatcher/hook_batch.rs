//! The calls of the app's hook, as they are passed to JavaScript.

use std::net::SocketAddr;

use serde::Serialize;

use super::connection::AwaitingHook;
use rcluster_core::dispatch::Candidate;
use rcluster_sys::client::{local, peer};

/// Connections for which the hook is called, and answered, together.
#[derive(Debug, Serialize)]
pub struct HookBatch {
    /// The number that identifies the answers.
    pub batch: u32,
    /// The connections, grouped by listener.
    pub about: Vec<HookListener>,
}

/// The connections of one listener in a batch.
#[derive(Debug, Serialize)]
pub struct HookListener {
    /// The number of the app's hook.
    pub hook: u32,
    /// The workers that may be chosen.
    pub candidates: Vec<Candidate>,
    /// One for each connection.
    pub connections: Vec<HookConnection>,
}

impl HookListener {
    /// One connection whose listener is closed.
    pub(super) fn closed() -> Self {
        Self { hook: 0, candidates: Vec::new(), connections: vec![HookConnection::default()] }
    }
}

/// What is known of a connection before a byte of it is read, under the names of `net.Socket`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookConnection {
    /// The listener's port or path; empty for a descriptor of the app's.
    listener: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_family: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_port: Option<u16>,
    /// Whether a draining worker has handed it over, so that the hook has been called for it before. Omitted
    /// if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    handed_over: bool,
}

impl HookConnection {
    pub(super) fn about(conn: &AwaitingHook, listener: &str) -> Self {
        let (remote, local) = (peer(conn.fd()), local(conn.fd()));
        let address = |at: Option<SocketAddr>| at.map(|at| at.ip().to_string());
        let port = |at: Option<SocketAddr>| at.map(|at| at.port());
        Self {
            listener: listener.to_owned(),
            remote_address: address(remote),
            remote_port: port(remote),
            remote_family: remote.map(|at| if at.is_ipv4() { "IPv4" } else { "IPv6" }),
            local_address: address(local),
            local_port: port(local),
            handed_over: conn.is_handed_over(),
        }
    }
}
