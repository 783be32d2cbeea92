//! The primary's end of a worker's lifeline: requests the stack of a blocked worker.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use crate::io::fairness::fairly;
use rcluster_core::lifeline::{ASK, Answer, AnswerError, MAX_ANSWER};
use rcluster_sys::async_fd::watch;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::passing::{Loss, Next, Received, Sent, receive_next, send};

/// The maximum number of answers to earlier requests that are discarded before a request. There can be one; a
/// worker that writes more is not waited for.
const STALE: usize = 16;

/// How long a blocked worker, or the primary, may take to report its stack.
pub(super) const STACK_LIMIT: Duration = Duration::from_millis(500);

/// Why there is no stack.
#[derive(Debug, Error)]
pub enum NoStack {
    /// No answer in time: the worker is in a system call or native code, or its process is stopped.
    #[error("the process is not running JavaScript: it is idle, in native code, or stopped")]
    NoAnswer,
    /// Its Node does not support interrupts.
    #[error("its Node cannot tell: {0}")]
    Unreachable(String),
    /// The worker has exited, or is cut off.
    #[error("there is no such worker")]
    Exited,
    /// The answer is invalid.
    #[error(transparent)]
    InvalidAnswer(#[from] AnswerError),
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
}

/// The callback for a stack, or for the reason why there is none.
pub(super) struct OnStack(Box<dyn FnOnce(Result<String, NoStack>) + Send>);

impl OnStack {
    pub(super) fn new(then: impl FnOnce(Result<String, NoStack>) + Send + 'static) -> Self {
        Self(Box::new(then))
    }

    pub(super) fn call(self, stack: Result<String, NoStack>) {
        (self.0)(stack);
    }
}

impl fmt::Debug for OnStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnStack")
    }
}

/// The primary's end of a lifeline. Closing it tells the worker that its primary is gone.
#[derive(Debug)]
pub(super) struct Lifeline {
    socket: AsyncFd<Arc<Descriptor>>,
    closer: Closer,
    /// One request at a time, because two would take each other's answers.
    asking: Mutex<()>,
}

impl Lifeline {
    /// Must be called on the control thread.
    pub(super) fn new(socket: OwnedFd, closer: &Closer) -> Result<Self, SysError> {
        let socket = Arc::new(Descriptor::foreign(socket, closer));
        let socket = watch(socket, Interest::READABLE, "watching a lifeline")?;
        Ok(Self { socket, closer: closer.clone(), asking: Mutex::new(()) })
    }

    /// Requests the stack, and waits for it at most `limit`.
    pub(super) async fn stack(&self, limit: Duration) -> Result<String, NoStack> {
        tokio::time::timeout(limit, self.ask()).await.unwrap_or(Err(NoStack::NoAnswer))
    }

    async fn ask(&self) -> Result<String, NoStack> {
        let _turn = self.asking.lock().await;
        let mut bytes = vec![0; MAX_ANSWER];
        for _ in 0..STALE {
            if self.read(&mut bytes)?.is_none() {
                break;
            }
        }
        // Full: earlier requests have not even been read, so another would not help.
        match send(self.socket.as_fd(), ASK, &[]) {
            Ok(Sent::Done | Sent::Full | Sent::TooManyOnTheirWay) => {}
            Err(error) if error.is_peer_gone() => return Err(NoStack::Exited),
            Err(error) => return Err(error.into()),
        }
        loop {
            let mut ready = fairly(self.socket.readable()).await.doing("waiting for a stack")?;
            match self.read(&mut bytes)? {
                None => ready.clear_ready(),
                Some(Answer::Stack(text)) => return Ok(text),
                Some(Answer::Unreachable(why)) => return Err(NoStack::Unreachable(why)),
            }
        }
    }

    fn read(&self, bytes: &mut [u8]) -> Result<Option<Answer>, NoStack> {
        // Workers must not send descriptors here. While such descriptors wait to be closed, or if there is no room
        // for them, the lifeline is not read.
        if self.closer.is_full() {
            return Err(NoStack::Exited);
        }
        let mut fds = Vec::new();
        let next = receive_next(self.socket.as_fd(), Some(&self.closer), &mut false, |_| 0, bytes, &mut fds);
        self.closer.close_all(fds);
        let Next::Received(received) = next? else { return Err(NoStack::Exited) };
        match received {
            Received::Empty => Ok(None),
            Received::Closed => Err(NoStack::Exited),
            Received::Message { loss: Loss::Bytes, .. } => Err(AnswerError::TooLong.into()),
            Received::Message { len, .. } => Ok(Some(Answer::parse(&bytes[..len])?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcluster_sys::passing::{message_pair, receive};

    const LONG: Duration = Duration::from_secs(30);

    /// Requests a stack from a worker that has sent `before`, and sends `answers` as soon as it is asked.
    fn ask(before: &[&[u8]], answers: &[&[u8]], limit: Duration) -> Result<String, NoStack> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = message_pair().unwrap();
            let lifeline = Lifeline::new(ours, &Closer::new()).unwrap();
            for message in before {
                assert_eq!(send(theirs.as_fd(), message, &[]).unwrap(), Sent::Done);
            }
            let worker = async {
                let theirs = watch(Arc::new(theirs), Interest::READABLE, "watching a test's socket").unwrap();
                loop {
                    let mut ready = theirs.readable().await.unwrap();
                    match receive(theirs.as_fd(), &mut [0; 4], &mut Vec::new()).unwrap() {
                        Received::Empty => ready.clear_ready(),
                        received => {
                            assert_eq!(received, Received::Message { len: 1, loss: Loss::Nothing });
                            break;
                        }
                    }
                }
                for message in answers {
                    assert_eq!(send(theirs.as_fd(), message, &[]).unwrap(), Sent::Done);
                }
                theirs
            };
            let (stack, _theirs) = tokio::join!(lifeline.stack(limit), worker);
            stack
        })
    }

    #[test]
    fn a_stack_is_returned() {
        assert_eq!(ask(&[], &[b"Tat a"], LONG).unwrap(), "at a");
    }

    #[test]
    fn a_late_answer_is_not_mistaken_for_the_next_one() {
        assert_eq!(ask(&[b"Tat old"], &[b"Tat new"], LONG).unwrap(), "at new");
    }

    #[test]
    fn a_missing_answer_times_out_and_an_invalid_one_fails_at_once() {
        assert!(matches!(ask(&[], &[], Duration::from_millis(20)), Err(NoStack::NoAnswer)));
        assert!(matches!(ask(&[], &[b"T\xff\xfe"], LONG), Err(NoStack::InvalidAnswer(AnswerError::Text))));
        let long = vec![b'T'; MAX_ANSWER + 1];
        assert!(matches!(ask(&[], &[&long], LONG), Err(NoStack::InvalidAnswer(AnswerError::TooLong))));
        assert!(matches!(ask(&[], &[b"Nno V8"], LONG), Err(NoStack::Unreachable(why)) if why == "no V8"));
    }
}
