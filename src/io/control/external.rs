//! Workers that are external programs. They report nothing, so the primary connects to them to detect that
//! they listen.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::messages::ThreadEvent;
use crate::io::forward::Target;
use rcluster_core::frames::FromWorker;
use rcluster_core::ids::WorkerId;

/// The wait before another attempt: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A supervised worker that is an external program. While this is kept, its addresses are tried until one
/// listens.
#[derive(Debug)]
pub(super) struct External(JoinHandle<()>);

impl External {
    /// When one of these addresses listens, reports it as if the worker had sent the frames itself.
    pub(super) fn watch(worker: WorkerId, at: Vec<Target>, events: mpsc::Sender<ThreadEvent>) -> Self {
        Self(tokio::task::spawn_local(async move {
            let mut pause = PAUSE;
            while !at.iter().any(Target::is_listening) {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            for frame in [FromWorker::Hello, FromWorker::ListensAlone] {
                // The send fails only if the control thread has stopped.
                let _stopped = events.send(ThreadEvent::Frame(worker, frame)).await;
            }
        }))
    }
}

impl Drop for External {
    fn drop(&mut self) {
        self.0.abort();
    }
}
