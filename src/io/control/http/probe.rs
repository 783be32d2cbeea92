//! Whether the native threads respond. The control thread serves the probe itself, so the answer shows that
//! it does.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::io::barrier::Barrier;
use crate::io::control::shell::Shell;
use crate::io::dispatcher::Command;

/// How long a thread may take to finish the commands in its queue.
const LIMIT: Duration = Duration::from_millis(500);

impl Shell {
    /// Checks that the primary's JavaScript has been blocked for at most `limit`; the error says for how long
    /// it has been.
    pub(super) fn primary_turns(&self, limit: Duration) -> Result<(), String> {
        match self.blocked_for() {
            Some(blocked) if blocked > limit => {
                Err(format!("the primary's JavaScript has been blocked for {} ms", blocked.as_millis()))
            }
            Some(_) => Ok(()),
            None => Err("this Node does not tell whether the primary's JavaScript is blocked".into()),
        }
    }

    /// Checks that the dispatcher and the forwarder respond; the error names the one that does not.
    pub(super) fn threads_turn(&self) -> impl Future<Output = Result<(), String>> + use<> {
        let (barrier, dispatcher) = barrier();
        self.common.dispatcher.tell(Command::Barrier(barrier));
        let forwarder = self.common.forwarding.is_running().then(|| {
            let (barrier, forwarder) = self::barrier();
            self.common.forwarding.barrier(barrier);
            forwarder
        });
        async move {
            check("dispatcher", dispatcher).await?;
            match forwarder {
                Some(forwarder) => check("forwarder", forwarder).await,
                None => Ok(()),
            }
        }
    }
}

fn barrier() -> (Barrier, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    // The send fails if the requester did not wait.
    let barrier = Barrier::new(move || _ = tell.send(()));
    (barrier, told)
}

async fn check(thread: &str, told: oneshot::Receiver<()>) -> Result<(), String> {
    match timeout(LIMIT, told).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(format!("the {thread}'s thread has ended")),
        Err(_) => Err(format!("the {thread}'s thread does not answer")),
    }
}
