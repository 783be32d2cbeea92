//! One worker's control socket: it reads and writes frames.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::messages::ThreadEvent;
use crate::io::fairness::fairly;
use crate::io::store::{Open, Resource};
use rcluster_core::frames::{FrameError, FromWorker, MAX_FRAME, Share, ToWorker};
use rcluster_core::ids::WorkerId;
use rcluster_sys::async_fd::watch;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::passing::{
    JAM_PAUSE, Loss, Next, Received, Sent, is_message_socket, receive_next, send, send_from,
};

/// The maximum number of frames queued for a worker that does not read them. Each answers a request, so a
/// worker that reads its answers stays far below it.
const OUTBOX: usize = 1024;

/// While this many frames are queued for a worker, its own are not read. Each frame read can add one of up to
/// [`MAX_FRAME`] bytes, with a descriptor, so this bounds what a worker that does not read its answers can
/// occupy.
const BEHIND: usize = 32;

/// The maximum number of frames read for one [`ControlSocket::flush`]. The frames beyond are read in turn
/// with those of the other workers.
const BACKLOG: usize = 64;

/// Why an answer could not be sent.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("it asks without reading the answers")]
    Outbox,
    #[error("an answer cannot be written: {0}")]
    Encoding(#[from] FrameError),
    #[error(transparent)]
    System(#[from] SysError),
}

/// A frame that waits to be sent to a worker. The worker may have got the descriptor before, with another frame.
type Outgoing = (Vec<u8>, Vec<Descriptor>);

/// The socket between a worker and its primary. The worker may have sent descriptors that have not been
/// received, which close(2) closes as well and may block on: so a thread that may block closes it.
type Socket = Arc<AsyncFd<Arc<Descriptor>>>;

/// The number of frames that are in the outbox, or have been taken from it and are not written yet.
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

    /// Waits until few enough frames are unsent.
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
    closer: Closer,
    outbox: mpsc::Sender<Outgoing>,
    unsent: Arc<Unsent>,
    flushing: mpsc::Sender<Sender<()>>,
    tasks: [AbortHandle; 2],
}

impl ControlSocket {
    /// Starts reading and writing. Must be called on the control thread. The second value completes when
    /// everything that the worker has written has been read.
    pub(super) fn start(
        worker: WorkerId,
        socket: OwnedFd,
        closer: &Closer,
        events: mpsc::Sender<ThreadEvent>,
    ) -> Result<(Self, oneshot::Receiver<()>), SysError> {
        let socket = Arc::new(watch(
            Arc::new(Descriptor::foreign(socket, closer)),
            Interest::READABLE | Interest::WRITABLE,
            "watching a control socket",
        )?);
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (done, all_read) = oneshot::channel();
        // One is enough: only the primary's JavaScript requests a flush, and it blocks until the answer.
        let (flushing, requests) = mpsc::channel(1);
        let unsent = Arc::new(Unsent::default());
        let input = Incoming {
            worker,
            socket: Arc::clone(&socket),
            closer: closer.clone(),
            unsent: Arc::clone(&unsent),
            bytes: vec![0; MAX_FRAME],
        };
        let reader = read(input, requests, events.clone(), done);
        let writer = write(worker, Arc::clone(&socket), queue, Arc::clone(&unsent), events);
        let tasks = [
            tokio::task::spawn_local(reader).abort_handle(),
            tokio::task::spawn_local(writer).abort_handle(),
        ];
        let closer = closer.clone();
        Ok((Self { socket, closer, outbox, unsent, flushing, tasks }, all_read))
    }

    /// Sends a frame, with a descriptor if given. Unless frames are queued, it is in the socket on return,
    /// and thus before a connection that the dispatcher passes afterwards.
    pub(super) fn send(&self, frame: &ToWorker, fd: Option<OwnedFd>) -> Result<(), SocketError> {
        let bytes = frame.encode()?.into_bytes();
        let fds: Vec<OwnedFd> = fd.into_iter().collect();
        if self.unsent.count() == 0 {
            match send(self.socket.as_fd(), &bytes, &fds) {
                Ok(Sent::Done) => return Ok(()),
                Ok(Sent::Full | Sent::TooManyOnTheirWay) => {}
                // A worker that has died has not broken the protocol; its hang-up and exit are reported
                // separately.
                Err(error) if error.is_peer_gone() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.one_more();
        let fds = fds.into_iter().map(|fd| Descriptor::foreign(fd, &self.closer)).collect();
        // The queue closes when the worker dies, which the control thread learns separately.
        match self.outbox.try_send((bytes, fds)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(SocketError::Outbox),
        }
    }

    /// Reads what the worker has written so far. Afterwards `done` arrives as [`ThreadEvent::Flushed`], or is
    /// dropped if the socket is no longer read.
    pub(super) fn flush(&self, done: Sender<()>) {
        // Refused only if the reader has ended, and then everything has been read.
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

/// Why a worker is cut off.
const UNASKED: &str = "it sends descriptors that nobody has asked for";

/// The frames that a worker writes.
struct Incoming {
    worker: WorkerId,
    socket: Socket,
    closer: Closer,
    unsent: Arc<Unsent>,
    bytes: Vec<u8>,
}

/// Reads until the end of the stream. Then `_done` is dropped, which completes its receiver.
async fn read(
    mut input: Incoming,
    mut requests: mpsc::Receiver<Sender<()>>,
    events: mpsc::Sender<ThreadEvent>,
    _done: oneshot::Sender<()>,
) {
    loop {
        // Both branches are cancel-safe: a frame is received only when there is nothing left to wait for.
        let request = tokio::select! {
            event = input.next() => {
                let last = is_last(&event);
                if events.send(event).await.is_err() || last {
                    return;
                }
                continue;
            }
            Some(request) = requests.recv() => request,
        };
        for _ in 0..BACKLOG {
            // The next turn also finds anything that remains.
            if input.unsent.count() >= BEHIND {
                break;
            }
            let Some(event) = input.receive().filter(|event| !matches!(event, ThreadEvent::HungUp(_))) else {
                break;
            };
            let last = is_last(&event);
            if events.send(event).await.is_err() || last {
                return;
            }
        }
        if events.send(ThreadEvent::Flushed(request)).await.is_err() {
            return;
        }
    }
}

/// Whether this event is the last that is read.
fn is_last(event: &ThreadEvent) -> bool {
    !matches!(event, ThreadEvent::Frame(..) | ThreadEvent::OpenShared(_) | ThreadEvent::Refused(..))
}

impl Incoming {
    /// Waits for the next frame, or the event in its place.
    async fn next(&mut self) -> ThreadEvent {
        self.unsent.few().await;
        loop {
            let ready = fairly(self.socket.readable()).await.doing("waiting for a control frame");
            let mut ready = match ready {
                Ok(ready) => ready,
                Err(error) => return ThreadEvent::Broke(self.worker, error.to_string()),
            };
            let mut fds = Vec::new();
            let received = match receive_frame(&self.socket, &self.closer, &mut self.bytes, &mut fds) {
                Ok(Next::Received(Received::Empty)) => {
                    ready.clear_ready();
                    continue;
                }
                Ok(Next::Received(received)) => Ok(received),
                Ok(Next::NoRoom) => {
                    drop(ready);
                    tokio::time::sleep(JAM_PAUSE).await;
                    continue;
                }
                Ok(Next::TooMany) => return ThreadEvent::Broke(self.worker, UNASKED.into()),
                Err(error) => Err(error),
            };
            drop(ready);
            if let Some(event) = self.interpret(received, fds) {
                return event;
            }
        }
    }

    /// The next frame, or the event in its place; `None` if nothing can be read now.
    fn receive(&mut self) -> Option<ThreadEvent> {
        loop {
            let mut fds = Vec::new();
            let received = match receive_frame(&self.socket, &self.closer, &mut self.bytes, &mut fds) {
                Ok(Next::Received(Received::Empty) | Next::NoRoom) => return None,
                Ok(Next::Received(received)) => Ok(received),
                Ok(Next::TooMany) => return Some(ThreadEvent::Broke(self.worker, UNASKED.into())),
                Err(error) => Err(error),
            };
            if let Some(event) = self.interpret(received, fds) {
                return Some(event);
            }
        }
    }

    /// The event for what was received; `None` if there is nothing to do.
    fn interpret(&self, received: Result<Received, SysError>, mut fds: Vec<OwnedFd>) -> Option<ThreadEvent> {
        let worker = self.worker;
        let is_socket_lost = matches!(received, Ok(Received::Message { loss: Loss::Descriptors, .. }));
        // A worker sends a descriptor only to use shared state: the socket for the answer.
        let socket = fds.pop_if(|socket| is_message_socket(socket));
        self.closer.close_all(fds);
        let (resource, socket) = match (self.read(received), socket) {
            (ThreadEvent::Frame(_, FromWorker::Share(share)), socket) => {
                let Share { name, options } = *share;
                (Resource::Store { name, options }, socket)
            }
            (ThreadEvent::Frame(_, FromWorker::Locks), socket) => (Resource::Locks, socket),
            (ThreadEvent::Frame(_, FromWorker::Exchange), socket) => (Resource::Exchange, socket),
            (events, socket) => {
                self.closer.close_all(socket);
                return Some(events);
            }
        };
        match socket {
            Some(socket) => {
                let open = Open::new(resource, socket, Some((worker, self.closer.clone())));
                Some(ThreadEvent::OpenShared(open))
            }
            // This process had no room for the socket, and the worker finds its other end closed.
            None if is_socket_lost => None,
            None => {
                let why = "it wants to use what processes share, and sends no socket";
                Some(ThreadEvent::Broke(worker, why.into()))
            }
        }
    }

    fn read(&self, received: Result<Received, SysError>) -> ThreadEvent {
        let worker = self.worker;
        if self.closer.is_full() {
            return ThreadEvent::Broke(worker, UNASKED.into());
        }
        match received {
            Ok(Received::Message { loss: Loss::Bytes, .. }) => {
                ThreadEvent::Broke(worker, format!("a control frame of more than {MAX_FRAME} bytes"))
            }
            Ok(Received::Message { len, .. }) => match FromWorker::parse(&self.bytes[..len]) {
                Ok(frame) => ThreadEvent::Frame(worker, frame),
                Err(error) => match error.refusal() {
                    Some(reply) => ThreadEvent::Refused(worker, reply),
                    None => ThreadEvent::Broke(worker, error.to_string()),
                },
            },
            Ok(Received::Closed | Received::Empty) => ThreadEvent::HungUp(worker),
            Err(error) => ThreadEvent::Broke(worker, error.to_string()),
        }
    }
}

/// Receives the next frame, which may carry one descriptor.
fn receive_frame(
    socket: &impl AsFd,
    closer: &Closer,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Next, SysError> {
    receive_next(socket.as_fd(), Some(closer), &mut false, |_| 1, bytes, fds)
}

async fn write(
    worker: WorkerId,
    socket: Socket,
    mut queue: mpsc::Receiver<Outgoing>,
    unsent: Arc<Unsent>,
    events: mpsc::Sender<ThreadEvent>,
) {
    while let Some((bytes, fds)) = queue.recv().await {
        if let Err(error) = send_frame(&socket, &bytes, &fds).await {
            // What the worker has written before is still read.
            unsent.none();
            // A worker that has died has not broken the protocol; its hang-up and exit are reported
            // separately.
            if !error.is_peer_gone() {
                let _stopped = events.send(ThreadEvent::Broke(worker, error.to_string())).await;
            }
            return;
        }
        unsent.one_less();
    }
}

async fn send_frame(
    socket: &AsyncFd<Arc<Descriptor>>,
    bytes: &[u8],
    fds: &[Descriptor],
) -> Result<(), SysError> {
    loop {
        let mut ready = fairly(socket.writable()).await.doing("waiting to send a control frame")?;
        match send_from(socket.as_fd(), bytes, fds)? {
            Sent::Full => ready.clear_ready(),
            // The socket is writable, and nothing reports when the kernel accepts descriptors again.
            Sent::TooManyOnTheirWay => {
                drop(ready);
                tokio::time::sleep(JAM_PAUSE).await;
            }
            Sent::Done => return Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
