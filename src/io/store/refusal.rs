//! Why a process may not open something.

use std::os::fd::AsFd;

use serde_json::json;

use rcluster_sys::closer::Descriptor;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::send;

/// The error that the process gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    /// `who` has `count` stores open, which is the limit.
    pub(super) fn too_many_stores(who: &str, count: usize) -> Self {
        let message = format!("{who} has {count} stores open, and may have no more");
        Self { code: "ERR_RCLUSTER_SHARED", message }
    }

    /// Answers the process.
    pub(super) fn tell(&self, socket: &Descriptor) {
        let text = json!({ "code": self.code, "message": self.message }).to_string();
        // A process that has hung up, or does not read, does not need the message.
        let _undelivered = send(socket.as_fd(), text.as_bytes(), &[]);
    }
}

impl From<SysError> for Refusal {
    fn from(error: SysError) -> Self {
        Self { code: "ERR_RCLUSTER_SHARED", message: error.to_string() }
    }
}
