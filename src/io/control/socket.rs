//! One worker's control socket: frames in, frames out.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::messages::Heard;
use crate::io::store::{Open, What};
use rcluster_core::ids::WorkerId;
use rcluster_core::wire::{FrameError, FromWorker, MAX_FRAME, Share, ToWorker};
use rcluster_sys::async_fd::watch;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::passing::{Received, Sent, is_message_socket, receive, send};

/// How many answers may wait for a worker that does not read them. Each answers a question, so a
/// worker that asks and reads never comes near.
const OUTBOX: usize = 1024;

/// How many frames may wait for a worker before no more of its own are read. Each that is read can add one, of up to
/// [`MAX_FRAME`] bytes and with a descriptor: this is what a worker that does not read its answers can take of both.
const BEHIND: usize = 32;

/// How many frames are read for one [`ControlSocket::flush`], at most. A worker that has written more
/// is being read at the speed of everybody else.
const BACKLOG: usize = 64;

/// Why an answer could not be given.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("it asks without reading the answers")]
    Outbox,
    #[error("an answer cannot be written: {0}")]
    Encoding(#[from] FrameError),
    #[error(transparent)]
    System(#[from] SysError),
}

/// A frame on its way to a worker.
type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// What a worker and its primary write to each other through. The worker may have sent descriptors that nobody has
/// received, which close(2) closes, too: so a thread that may wait does that.
type Socket = Arc<AsyncFd<Arc<Descriptor>>>;

/// How many frames are in the outbox, or have left it and are not written yet.
#[derive(Debug, Default)]
struct Unsent {
    count: AtomicUsize,
    fewer: Notify,
}

impl Unsent {
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn one_less(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.fewer.notify_one();
    }

    /// Nothing will be written any more.
    fn none(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.fewer.notify_one();
    }

    /// Returns when the worker has read enough of what it has been told.
    async fn few(&self) {
        while self.count() >= BEHIND {
            self.fewer.notified().await;
        }
    }
}

/// The primary's end of a control socket. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct ControlSocket {
    socket: Socket,
    outbox: mpsc::Sender<Outgoing>,
    unsent: Arc<Unsent>,
    flushing: mpsc::Sender<Sender<()>>,
    tasks: [AbortHandle; 2],
}

impl ControlSocket {
    /// Begins to read and to write. To be called on the control thread. The second value ends
    /// when everything that the worker will ever say has been read.
    pub(super) fn start(
        worker: WorkerId,
        socket: OwnedFd,
        closer: &Closer,
        heard: mpsc::Sender<Heard>,
    ) -> Result<(Self, oneshot::Receiver<()>), SysError> {
        let socket = Arc::new(watch(
            Arc::new(Descriptor::foreign(socket, closer)),
            Interest::READABLE | Interest::WRITABLE,
            "watching a control socket",
        )?);
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (done, all_read) = oneshot::channel();
        // Only the primary's JavaScript asks, and it waits for the answer.
        let (flushing, requests) = mpsc::channel(1);
        let unsent = Arc::new(Unsent::default());
        let input = Incoming {
            worker,
            socket: Arc::clone(&socket),
            closer: closer.clone(),
            unsent: Arc::clone(&unsent),
            bytes: vec![0; MAX_FRAME],
        };
        let reader = read(input, requests, heard.clone(), done);
        let writer = write(worker, Arc::clone(&socket), queue, Arc::clone(&unsent), heard);
        let tasks = [
            tokio::task::spawn_local(reader).abort_handle(),
            tokio::task::spawn_local(writer).abort_handle(),
        ];
        Ok((Self { socket, outbox, unsent, flushing, tasks }, all_read))
    }

    /// Sends a frame, and a descriptor with it. Unless the worker is behind with its reading it is in the socket on
    /// return, and so before a connection that the dispatcher is told of afterwards.
    pub(super) fn send(&self, frame: &ToWorker, fd: Option<OwnedFd>) -> Result<(), SocketError> {
        let bytes = frame.encode()?.into_bytes();
        let fds: Vec<OwnedFd> = fd.into_iter().collect();
        if self.unsent.count() == 0 {
            match send(self.socket.as_fd(), &bytes, &fds) {
                Ok(Sent::Done) => return Ok(()),
                Ok(Sent::Full | Sent::TooManyOnTheirWay) => {}
                // A worker that has died has broken no rule; its hang-up and end are told as such.
                Err(error) if error.is_peer_gone() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.one_more();
        // The queue ends with the worker, of whose death the control thread hears in its own time.
        match self.outbox.try_send((bytes, fds)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(SocketError::Outbox),
        }
    }

    /// Reads what the worker has written so far. `done` follows as [`Heard::Flushed`] behind
    /// the last of it, or is dropped if nothing is read any more.
    pub(super) fn flush(&self, done: Sender<()>) {
        // Refused only when the reader has ended, and then what there was has been read.
        let _ended = self.flushing.try_send(done);
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a worker writes.
struct Incoming {
    worker: WorkerId,
    socket: Socket,
    closer: Closer,
    unsent: Arc<Unsent>,
    bytes: Vec<u8>,
}

/// Reads until the end. `_done` is dropped then, which is what its receiver waits for.
async fn read(
    mut input: Incoming,
    mut requests: mpsc::Receiver<Sender<()>>,
    heard: mpsc::Sender<Heard>,
    _done: oneshot::Sender<()>,
) {
    loop {
        // Both can be given up half way: a frame is received only once there is no more to wait for.
        let request = tokio::select! {
            event = input.next() => {
                let last = is_last(&event);
                if heard.send(event).await.is_err() || last {
                    return;
                }
                continue;
            }
            Some(request) = requests.recv() => request,
        };
        for _ in 0..BACKLOG {
            // Whatever else there is, the next turn finds it as well.
            if input.unsent.count() >= BEHIND {
                break;
            }
            let Some(event) = input.receive().filter(|event| !matches!(event, Heard::HungUp(_))) else {
                break;
            };
            let last = is_last(&event);
            if heard.send(event).await.is_err() || last {
                return;
            }
        }
        if heard.send(Heard::Flushed(request)).await.is_err() {
            return;
        }
    }
}

/// Whether nothing is read behind it.
fn is_last(event: &Heard) -> bool {
    !matches!(event, Heard::Said(..) | Heard::Shares(_) | Heard::Refused(..))
}

impl Incoming {
    /// Waits for the next frame, or for whatever comes instead.
    async fn next(&mut self) -> Heard {
        self.unsent.few().await;
        loop {
            let ready = self.socket.readable().await.doing("waiting for a control frame");
            let mut ready = match ready {
                Ok(ready) => ready,
                Err(error) => return Heard::Broke(self.worker, error.to_string()),
            };
            let mut fds = Vec::new();
            let received = receive(self.socket.as_fd(), &mut self.bytes, &mut fds);
            if received == Ok(Received::Empty) {
                ready.clear_ready();
                continue;
            }
            drop(ready);
            return self.interpret(received, fds);
        }
    }

    /// The next frame, or whatever comes instead; None if there is nothing.
    fn receive(&mut self) -> Option<Heard> {
        let mut fds = Vec::new();
        match receive(self.socket.as_fd(), &mut self.bytes, &mut fds) {
            Ok(Received::Empty) => None,
            received => Some(self.interpret(received, fds)),
        }
    }

    fn interpret(&self, received: Result<Received, SysError>, mut fds: Vec<OwnedFd>) -> Heard {
        let worker = self.worker;
        // Only a worker that wants to use a shared store or locks has a descriptor to send: the socket for the answer.
        let socket = fds.pop_if(|socket| is_message_socket(socket));
        self.closer.close_all(fds);
        match (self.read(received), socket) {
            (Heard::Said(_, FromWorker::Share(share)), Some(socket)) => {
                let Share { name, options } = *share;
                let worker = Some((worker, self.closer.clone()));
                Heard::Shares(Open { what: What::Store { name, options }, socket, worker })
            }
            (Heard::Said(_, FromWorker::Locks), Some(socket)) => {
                Heard::Shares(Open { what: What::Locks, socket, worker: Some((worker, self.closer.clone())) })
            }
            (Heard::Said(_, FromWorker::Share(_) | FromWorker::Locks), None) => {
                Heard::Broke(worker, "it wants to use a shared store or locks and sends no socket".into())
            }
            (heard, socket) => {
                self.closer.close_all(socket);
                heard
            }
        }
    }

    fn read(&self, received: Result<Received, SysError>) -> Heard {
        let worker = self.worker;
        if self.closer.is_full() {
            return Heard::Broke(worker, "it sends descriptors that nobody has asked for".into());
        }
        match received {
            Ok(Received::Message { cut: true, .. }) => {
                Heard::Broke(worker, format!("a control frame of more than {MAX_FRAME} bytes"))
            }
            Ok(Received::Message { len, cut: false }) => match FromWorker::parse(&self.bytes[..len]) {
                Ok(frame) => Heard::Said(worker, frame),
                Err(error) => match error.refusal() {
                    Some(reply) => Heard::Refused(worker, reply),
                    None => Heard::Broke(worker, error.to_string()),
                },
            },
            Ok(Received::Closed | Received::Empty) => Heard::HungUp(worker),
            Err(error) => Heard::Broke(worker, error.to_string()),
        }
    }
}

async fn write(
    worker: WorkerId,
    socket: Socket,
    mut queue: mpsc::Receiver<Outgoing>,
    unsent: Arc<Unsent>,
    heard: mpsc::Sender<Heard>,
) {
    while let Some((bytes, fds)) = queue.recv().await {
        if let Err(error) = send_frame(&socket, &bytes, &fds).await {
            // What the worker has written before is read all the same.
            unsent.none();
            // A worker that has died has broken no rule; its hang-up and end are told as such.
            if !error.is_peer_gone() {
                let _stopped = heard.send(Heard::Broke(worker, error.to_string())).await;
            }
            return;
        }
        unsent.one_less();
    }
}

/// How long it takes until a frame is tried again for which this user has too many descriptors on their way.
const JAM_PAUSE: Duration = Duration::from_millis(50);

async fn send_frame(
    socket: &AsyncFd<Arc<Descriptor>>,
    bytes: &[u8],
    fds: &[OwnedFd],
) -> Result<(), SysError> {
    loop {
        let mut ready = socket.writable().await.doing("waiting to send a control frame")?;
        match send(socket.as_fd(), bytes, fds)? {
            Sent::Full => ready.clear_ready(),
            // The socket is writable, and nobody tells when the system takes descriptors again.
            Sent::TooManyOnTheirWay => {
                drop(ready);
                tokio::time::sleep(JAM_PAUSE).await;
            }
            Sent::Done => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
