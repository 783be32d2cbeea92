//! One worker's control socket: frames in, frames out.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::Happening;
use crate::core::ids::WorkerId;
use crate::core::wire::{FrameError, FromWorker, MAX_FRAME, ToWorker};
use crate::sys::async_fd::watch;
use crate::sys::error::{Doing, SysError};
use crate::sys::passing::{Received, Sent, receive, send};

/// How many answers may wait for a worker that does not read them. Each answers a question, so a
/// worker that asks and reads never comes near.
const OUTBOX: usize = 1024;

/// How many frames are read for one [`Control::catch_up`], at most. A worker that has written more
/// is being read at the speed of everybody else.
const BACKLOG: usize = 64;

/// Why an answer could not be given.
#[derive(Debug, Error)]
pub(super) enum ControlError {
    #[error("it asks without reading the answers")]
    Outbox,
    #[error("an answer cannot be written: {0}")]
    Encoding(#[from] FrameError),
    #[error(transparent)]
    System(#[from] SysError),
}

/// A frame on its way to a worker.
type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// The primary's end of a control socket. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct Control {
    socket: Arc<AsyncFd<Arc<OwnedFd>>>,
    outbox: mpsc::Sender<Outgoing>,
    /// How many frames are in the outbox, or have left it and are not written yet.
    unsent: Arc<AtomicUsize>,
    catching_up: mpsc::Sender<Sender<()>>,
    tasks: [AbortHandle; 2],
}

impl Control {
    /// Begins to read and to write. To be called on the supervisor's thread. The second value ends
    /// when everything that the worker will ever say has been read.
    pub(super) fn start(
        worker: WorkerId,
        socket: OwnedFd,
        happenings: mpsc::Sender<Happening>,
    ) -> Result<(Self, oneshot::Receiver<()>), SysError> {
        let socket = Arc::new(watch(
            Arc::new(socket),
            Interest::READABLE | Interest::WRITABLE,
            "watching a control socket",
        )?);
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (done, all_read) = oneshot::channel();
        // Only the primary's JavaScript asks, and it waits for the answer.
        let (catching_up, requests) = mpsc::channel(1);
        let reader = read(worker, Arc::clone(&socket), requests, happenings.clone(), done);
        let unsent = Arc::new(AtomicUsize::new(0));
        let writer = write(worker, Arc::clone(&socket), queue, Arc::clone(&unsent), happenings);
        let tasks = [
            tokio::task::spawn_local(reader).abort_handle(),
            tokio::task::spawn_local(writer).abort_handle(),
        ];
        Ok((Self { socket, outbox, unsent, catching_up, tasks }, all_read))
    }

    /// Sends a frame, and a descriptor with it. Unless the worker is behind with its reading it is in the socket on
    /// return, and so before a connection that the dispatcher is told of afterwards.
    pub(super) fn send(&self, frame: &ToWorker, fd: Option<OwnedFd>) -> Result<(), ControlError> {
        let bytes = frame.encode()?.into_bytes();
        let fds: Vec<OwnedFd> = fd.into_iter().collect();
        if self.unsent.load(Ordering::Relaxed) == 0 {
            match send(self.socket.as_fd(), &bytes, &fds) {
                Ok(Sent::Done) => return Ok(()),
                Ok(Sent::Full) => {}
                // A worker that has died is no rule-breaker; its hang-up and death are told as such.
                Err(error) if error.is_peer_gone() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.fetch_add(1, Ordering::Relaxed);
        // The queue ends with the worker, of whose death the supervisor hears in its own time.
        match self.outbox.try_send((bytes, fds)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ControlError::Outbox),
        }
    }

    /// Reads what the worker has written so far. `done` follows as [`Happening::CaughtUp`] behind
    /// the last of it, or is dropped if nothing is read any more.
    pub(super) fn catch_up(&self, done: Sender<()>) {
        // Refused only when the reader has ended, and then what there was has been read.
        let _ended = self.catching_up.try_send(done);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Reads until the end. `_done` is dropped then, which is what its receiver waits for.
async fn read(
    worker: WorkerId,
    socket: Arc<AsyncFd<Arc<OwnedFd>>>,
    mut requests: mpsc::Receiver<Sender<()>>,
    happenings: mpsc::Sender<Happening>,
    _done: oneshot::Sender<()>,
) {
    let mut bytes = vec![0; MAX_FRAME];
    let mut fds = Vec::new();
    loop {
        // Both can be given up half way: a frame is received only once there is no more to wait for.
        let request = tokio::select! {
            received = next_frame(&socket, &mut bytes, &mut fds) => {
                let happening = interpret(worker, received, &bytes);
                // No worker has a descriptor to send us here: whatever came is closed.
                fds.clear();
                let last = !matches!(happening, Happening::Said(..) | Happening::Misspoke(..));
                if happenings.send(happening).await.is_err() || last {
                    return;
                }
                continue;
            }
            Some(request) = requests.recv() => request,
        };
        for _ in 0..BACKLOG {
            let received = receive(socket.as_fd(), &mut bytes, &mut fds);
            fds.clear();
            // Whatever else there is, the next turn finds it as well.
            let Ok(Received::Message { .. }) = received else { break };
            let happening = interpret(worker, received, &bytes);
            let last = matches!(happening, Happening::Broke(..));
            if happenings.send(happening).await.is_err() || last {
                return;
            }
        }
        if happenings.send(Happening::CaughtUp(request)).await.is_err() {
            return;
        }
    }
}

fn interpret(worker: WorkerId, received: Result<Received, SysError>, bytes: &[u8]) -> Happening {
    match received {
        Ok(Received::Message { cut: true, .. }) => {
            Happening::Broke(worker, format!("a control frame of more than {MAX_FRAME} bytes"))
        }
        Ok(Received::Message { len, cut: false }) => match FromWorker::parse(&bytes[..len]) {
            Ok(frame) => Happening::Said(worker, frame),
            Err(error) => match error.refusal() {
                Some(reply) => Happening::Misspoke(worker, reply),
                None => Happening::Broke(worker, error.to_string()),
            },
        },
        Ok(Received::Closed | Received::Empty) => Happening::HungUp(worker),
        Err(error) => Happening::Broke(worker, error.to_string()),
    }
}

async fn next_frame(
    socket: &AsyncFd<Arc<OwnedFd>>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Received, SysError> {
    loop {
        let mut ready = socket.readable().await.doing("waiting for a control frame")?;
        match receive(socket.as_fd(), bytes, fds)? {
            Received::Empty => ready.clear_ready(),
            received => return Ok(received),
        }
    }
}

async fn write(
    worker: WorkerId,
    socket: Arc<AsyncFd<Arc<OwnedFd>>>,
    mut queue: mpsc::Receiver<Outgoing>,
    unsent: Arc<AtomicUsize>,
    happenings: mpsc::Sender<Happening>,
) {
    while let Some((bytes, fds)) = queue.recv().await {
        if let Err(error) = send_frame(&socket, &bytes, &fds).await {
            // A worker that has died is no rule-breaker; its hang-up and death are told as such.
            if !error.is_peer_gone() {
                let _stopped = happenings.send(Happening::Broke(worker, error.to_string())).await;
            }
            return;
        }
        unsent.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn send_frame(socket: &AsyncFd<Arc<OwnedFd>>, bytes: &[u8], fds: &[OwnedFd]) -> Result<(), SysError> {
    loop {
        let mut ready = socket.writable().await.doing("waiting to send a control frame")?;
        match send(socket.as_fd(), bytes, fds)? {
            Sent::Full => ready.clear_ready(),
            Sent::Done => return Ok(()),
        }
    }
}
