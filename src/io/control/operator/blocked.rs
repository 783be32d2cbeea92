//! Finds the workers whose event loops are blocked. Nothing samples them unless `unresponsiveAfter` is set, so this is done
//! when an operator asks.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::io::control::shell::Shell;
use crate::io::control::worker::StillLoop;
use rcluster_core::frames::ToWorker;
use rcluster_core::ids::WorkerId;

/// How long an idle event loop may take to turn when it is pinged.
const LIMIT: Duration = Duration::from_millis(100);

/// How often to check whether it has.
const PERIOD: Duration = Duration::from_millis(1);

impl Shell {
    /// Pings the event loops that have not turned lately, and gives the workers whose loops do not turn then, either.
    pub(super) fn blocked_workers(&mut self) -> impl Future<Output = Vec<WorkerId>> + use<> {
        let still: Vec<(WorkerId, StillLoop)> = self.workers.still_loops();
        let mut limit = Duration::ZERO;
        for (worker, event_loop) in &still {
            if self.workers.take_ping(*worker, event_loop) {
                self.send(*worker, &ToWorker::Ping, None);
                limit = LIMIT;
            }
        }
        until_they_turn(still, limit)
    }
}

/// Returns those that have not turned within the limit.
async fn until_they_turn(mut still: Vec<(WorkerId, StillLoop)>, limit: Duration) -> Vec<WorkerId> {
    let deadline = Instant::now() + limit;
    loop {
        still.retain(|(_, event_loop)| !event_loop.has_turned());
        if still.is_empty() || Instant::now() >= deadline {
            return still.into_iter().map(|(worker, _)| worker).collect();
        }
        sleep(PERIOD).await;
    }
}
