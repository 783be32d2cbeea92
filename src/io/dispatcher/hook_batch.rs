//! What the app is asked about connections, in the form in which it is told.

use std::net::SocketAddr;

use serde::Serialize;

use super::connection::AwaitingHook;
use rcluster_core::dispatch::Candidate;
use rcluster_sys::client::{local, peer};

/// Connections that the app is asked about, and answers, together.
#[derive(Debug, Serialize)]
pub struct HookBatch {
    /// By which the answers are known.
    pub batch: u32,
    /// Listener by listener.
    pub about: Vec<HookListener>,
}

/// The connections of one listener in a batch.
#[derive(Debug, Serialize)]
pub struct HookListener {
    /// Which of the app's hooks is asked.
    pub hook: u32,
    /// Who may be chosen.
    pub candidates: Vec<Candidate>,
    /// One for each connection.
    pub questions: Vec<HookConnection>,
}

impl HookListener {
    /// One connection whose listener is no more.
    pub(super) fn gone() -> Self {
        Self { hook: 0, candidates: Vec::new(), questions: vec![HookConnection::default()] }
    }
}

/// What is known of a connection before a byte of it is read, by the names that a `net.Socket` has for it.
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
    /// A worker that drains has handed it over, and the app has been asked about it before. Left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    handed_over: bool,
}

impl HookConnection {
    pub(super) fn about(AwaitingHook { fd: connection, kept }: &AwaitingHook, listener: &str) -> Self {
        let (remote, local) = (peer(connection), local(connection));
        let address = |at: Option<SocketAddr>| at.map(|at| at.ip().to_string());
        let port = |at: Option<SocketAddr>| at.map(|at| at.port());
        Self {
            listener: listener.to_owned(),
            remote_address: address(remote),
            remote_port: port(remote),
            remote_family: remote.map(|at| if at.is_ipv4() { "IPv4" } else { "IPv6" }),
            local_address: address(local),
            local_port: port(local),
            handed_over: kept.is_some(),
        }
    }
}
