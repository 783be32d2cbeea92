//! Workers that are not Node: they say nothing of themselves. That one listens is known by connecting to it.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::messages::Heard;
use crate::io::forward::Target;
use rcluster_core::ids::WorkerId;
use rcluster_core::wire::FromWorker;

/// How long to wait before it is tried again, at first and at the most.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A supervised worker that is an external program. Watched until it listens, as long as this is kept.
#[derive(Debug)]
pub(super) struct External(JoinHandle<()>);

impl External {
    /// As soon as it listens at one of these addresses it has happened that it said so.
    pub(super) fn watch(worker: WorkerId, at: Vec<Target>, heard: mpsc::Sender<Heard>) -> Self {
        Self(tokio::task::spawn_local(async move {
            let mut pause = PAUSE;
            while !at.iter().any(Target::is_listening) {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            for frame in [FromWorker::Hello, FromWorker::ListensAlone] {
                // The control thread has stopped when nobody listens.
                let _stopped = heard.send(Heard::Said(worker, frame)).await;
            }
        }))
    }
}

impl Drop for External {
    fn drop(&mut self) {
        self.0.abort();
    }
}
