//! Tasks that a peer cannot keep running.

use tokio::task::coop::consume_budget;

/// Waits until a socket is ready.
///
/// Tokio ends the turn of a task that has waited often without having to. Waiting for readiness alone does not count: a
/// task that reads from a peer who always sends would never end its turn, and the thread would do nothing else.
pub(in crate::io) async fn fairly<T>(ready: impl Future<Output = T>) -> T {
    consume_budget().await;
    ready.await
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn a_socket_that_is_always_ready_does_not_keep_the_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let busy = tokio::task::spawn_local(async {
                loop {
                    fairly(ready(())).await;
                }
            });
            tokio::task::yield_now().await;
            busy.abort();
            assert!(busy.await.unwrap_err().is_cancelled());
        });
    }
}
