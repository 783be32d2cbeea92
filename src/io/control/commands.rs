//! The commands of the primary's JavaScript for the control thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::launch::{Launch, Link};
use super::messages::ClusterStats;
use super::stack::OnStack;
use super::systemd::Manager;
use super::template::SuperviseSetup;
use rcluster_core::control::supervise;
use rcluster_core::frames::Drain;
use rcluster_core::ids::{Request, Slot, WorkerId};

/// See the module documentation.
#[derive(Debug)]
pub(super) enum Command {
    Adopt {
        worker: WorkerId,
        slot: Slot,
        pidfd: Arc<OwnedFd>,
        link: Link,
    },
    Drain(WorkerId, Drain),
    /// The dispatcher has cut off a worker.
    Broken(WorkerId, String),
    CaptureStack {
        worker: WorkerId,
        limit: Duration,
        then: OnStack,
    },
    Leave {
        worker: WorkerId,
        done: Sender<()>,
    },
    Flush {
        worker: WorkerId,
        done: Sender<()>,
    },
    ExitReported(WorkerId),
    Supervise {
        setup: Box<SuperviseSetup>,
        manager: Manager,
    },
    Reload {
        launch: Box<Launch>,
        concurrency: u32,
        request: Request,
    },
    AddInspectPorts(Vec<String>),
    Ask(supervise::Input),
    OrphansReaped,
    Stats {
        answer: Sender<Option<ClusterStats>>,
    },
}
