//! The calls in progress at a server, on one session after the other.

use tokio::task::JoinSet;

/// Calls whose result is a `D`. Results of a session that has ended are dropped.
pub(super) struct Calls<S, D> {
    session: Option<S>,
    /// The number of sessions that have ended.
    number: u64,
    running: JoinSet<(u64, D)>,
}

impl<S: Clone, D: Send + 'static> Calls<S, D> {
    pub(super) fn new() -> Self {
        Self { session: None, number: 0, running: JoinSet::new() }
    }

    /// A session has been opened.
    pub(super) fn on_opened(&mut self, session: S) {
        self.session = Some(session);
    }

    /// Ends the session and cancels its calls.
    pub(super) fn close(&mut self) {
        self.session = None;
        self.number += 1;
        self.running.abort_all();
    }

    /// Starts a call that needs no session, such as the one that opens it.
    pub(super) fn spawn(&mut self, call: impl Future<Output = D> + Send + 'static) {
        let number = self.number;
        self.running.spawn(async move { (number, call.await) });
    }

    /// Starts a call on the session, if there is one.
    pub(super) fn call<F>(&mut self, ask: impl FnOnce(S) -> F)
    where
        F: Future<Output = D> + Send + 'static,
    {
        if let Some(session) = self.session.clone() {
            self.spawn(ask(session));
        }
    }

    /// The next result of a call of this session, or the message of its failure. `None` if no call is in
    /// progress.
    pub(super) async fn next(&mut self) -> Option<Result<D, String>> {
        loop {
            match self.running.join_next().await? {
                Ok((number, done)) if number == self.number => return Some(Ok(done)),
                // From an older session, or cancelled with it.
                Ok(_) => {}
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Some(Err(format!("talking to the server has failed: {error}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn results_of_an_ended_session_are_dropped() {
        block_on(async {
            let mut calls = Calls::<u8, u8>::new();
            calls.call(ready);
            assert_eq!(calls.next().await, None, "there is no session");
            calls.on_opened(1);
            calls.call(ready);
            calls.call(|_| pending());
            calls.close();
            calls.call(ready);
            calls.spawn(ready(2));
            assert_eq!(calls.next().await, Some(Ok(2)));
            assert_eq!(calls.next().await, None);
        });
    }

    #[test]
    fn a_failed_call_is_reported() {
        block_on(async {
            let mut calls = Calls::<u8, u8>::new();
            calls.spawn(async { panic!("on purpose") });
            let failure = calls.next().await.unwrap().unwrap_err();
            assert!(failure.starts_with("talking to the server has failed"), "{failure}");
        });
    }
}
