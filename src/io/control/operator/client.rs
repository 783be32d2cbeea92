//! One client: a task that reads its lines, and one that writes the answers and events.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{self, Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use super::{OperatorEvent, send};
use crate::io::control::messages::ThreadEvent;
use crate::io::fairness::fairly;
use rcluster_core::control::operator::{ClientId, Lines, MAX_ANSWER, TooLong};
use rcluster_sys::async_fd::watch;
use rcluster_sys::error::{Doing, SysError};

/// The maximum number of bytes queued for one client before it is cut off, without one answer that may be longer.
const MAX_WAITING: usize = 4 << 20;

/// While more bytes than this are queued, no further line is read.
const READ_BELOW: usize = 64 << 10;

/// The number of bytes read at a time.
const PIECE: usize = 16 << 10;

/// How long a client may take to read its last output after a hang-up, or before the primary exits.
pub(super) const LAST_WRITE: Duration = Duration::from_secs(1);

/// A client, connected while this is kept.
#[derive(Debug)]
pub(super) struct Client {
    outbox: Arc<Outbox>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
    /// Passes on lines of workers, if the client follows them.
    follower: Option<JoinHandle<()>>,
    /// Other tasks that run only for this client.
    tasks: Vec<AbortHandle>,
}

impl Client {
    pub(super) fn start(id: ClientId, stream: UnixStream, events: &mpsc::Sender<ThreadEvent>) -> Self {
        let outbox = Arc::new(Outbox::default());
        let (from, to) = stream.into_split();
        let reader = tokio::task::spawn_local(read(id, from, Arc::clone(&outbox), events.clone()));
        let writer = tokio::task::spawn_local(write(id, to, Arc::clone(&outbox), events.clone()));
        Self { outbox, reader, writer: Some(writer), follower: None, tasks: Vec::new() }
    }

    /// Sends a line. Returns false if too many bytes are queued.
    pub(super) fn send(&self, line: &str) -> bool {
        self.outbox.push(line)
    }

    /// The outbox, for tasks that must wait until the client has read.
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Ends this task together with the client.
    pub(super) fn add_task(&mut self, task: AbortHandle) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(task);
    }

    /// The last line that was read has been handled.
    pub(super) fn on_handled(&self) {
        self.outbox.handled.notify_one();
    }

    /// Replaces the lines that the client follows by `lines`. Each batch waits until the client has read most
    /// of what is queued.
    pub(super) fn follow(&mut self, lines: Option<mpsc::Receiver<String>>) {
        let before = self.follower.take();
        if let Some(before) = before {
            before.abort();
        }
        let outbox = Arc::clone(&self.outbox);
        self.follower = lines.map(|mut lines| {
            tokio::task::spawn_local(async move {
                while let Some(batch) = lines.recv().await {
                    outbox.until_read().await;
                    // There is room, unless answers were queued meanwhile; those then cut the client off.
                    let _full = outbox.push(&batch);
                }
            })
        });
    }

    /// Stops reading, and closes once everything has been written.
    pub(super) fn hang_up(mut self) {
        self.outbox.close();
        if let Some(writer) = self.writer.take() {
            tokio::task::spawn_local(async move {
                let abort = writer.abort_handle();
                if tokio::time::timeout(LAST_WRITE, writer).await.is_err() {
                    abort.abort();
                }
            });
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(follower) = &self.follower {
            follower.abort();
        }
        for task in &self.tasks {
            task.abort();
        }
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// The bytes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Notified when there is more to write, or when it is closed.
    changed: Notify,
    /// Notified when everything has been written. All waiters run on this thread, so none misses it.
    drained: Notify,
    /// See [`Client::on_handled`].
    handled: Notify,
    /// See [`Outbox::turn`].
    turn: sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// So many of them belong to a long answer, or were queued before it, and do not count.
    uncounted: usize,
    closed: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str) -> bool {
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        let mut fits = before + line.len() < MAX_WAITING + waiting.uncounted;
        // A client that reads gets any answer, however much that is. But only one of them at a time.
        if !fits && before < MAX_WAITING && waiting.uncounted <= READ_BELOW && line.len() <= MAX_ANSWER {
            waiting.uncounted = before + line.len();
            fits = true;
        }
        if fits {
            waiting.bytes.extend_from_slice(line.as_bytes());
            waiting.bytes.push(b'\n');
            self.changed.notify_one();
        }
        fits
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until the client has read most of what was queued, and until other requests for a long answer have got
    /// theirs. Keep the result until the answer is in the outbox: then the client's own requests do not fill it.
    pub(super) async fn turn(&self) -> sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        self.until_read().await;
        turn
    }

    /// Waits until the client has read most of what was queued.
    pub(super) async fn until_read(&self) {
        while self.lock().bytes.len() > READ_BELOW {
            self.drained.notified().await;
        }
    }

    /// Waits until all that is queued has been written.
    pub(super) async fn until_written(&self) {
        while !self.lock().bytes.is_empty() {
            self.drained.notified().await;
        }
    }

    /// Writes as much as possible without blocking.
    fn flush(&self, to: &OwnedWriteHalf) -> std::io::Result<Flushed> {
        let mut waiting = self.lock();
        let mut written = 0;
        while written < waiting.bytes.len() {
            match to.try_write(&waiting.bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    waiting.bytes.drain(..written);
                    waiting.uncounted = waiting.uncounted.saturating_sub(written);
                    return Ok(Flushed::Partly);
                }
                Err(error) => return Err(error),
            }
        }
        waiting.bytes = Vec::new();
        waiting.uncounted = 0;
        Ok(if waiting.closed { Flushed::ForGood } else { Flushed::All })
    }
}

enum Flushed {
    Partly,
    All,
    ForGood,
}

async fn write(id: ClientId, to: OwnedWriteHalf, outbox: Arc<Outbox>, events: mpsc::Sender<ThreadEvent>) {
    loop {
        let ready = match outbox.flush(&to) {
            Ok(Flushed::All) => {
                outbox.drained.notify_waiters();
                outbox.changed.notified().await;
                Ok(())
            }
            Ok(Flushed::Partly) => fairly(to.writable()).await,
            Ok(Flushed::ForGood) => return,
            Err(error) => Err(error),
        };
        if ready.is_err() {
            return send(events, OperatorEvent::Gone(id)).await;
        }
    }
}

async fn read(id: ClientId, from: OwnedReadHalf, outbox: Arc<Outbox>, events: mpsc::Sender<ThreadEvent>) {
    let mut lines = Lines::default();
    let mut piece = vec![0; PIECE];
    let end = loop {
        match lines.next_line() {
            Ok(Some(line)) => {
                // One line at a time: a client that sends more than it reads delays only itself.
                outbox.until_read().await;
                send(events.clone(), OperatorEvent::Line(id, line)).await;
                outbox.handled.notified().await;
                continue;
            }
            Ok(None) => {}
            Err(TooLong) => break OperatorEvent::TooLong(id),
        }
        if fairly(from.readable()).await.is_err() {
            break OperatorEvent::Gone(id);
        }
        match from.try_read(&mut piece) {
            Ok(0) => break OperatorEvent::Ended(id),
            Ok(length) => {
                lines.push(&piece[..length]);
                // A piece can be thousands of empty lines, which take a while.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break OperatorEvent::Gone(id),
        }
    };
    let may_wait = matches!(end, OperatorEvent::Ended(_));
    send(events.clone(), end).await;
    // Without a descriptor for it, the next write notices.
    if may_wait && until_closed(&from).await.is_ok() {
        send(events, OperatorEvent::Gone(id)).await;
    }
}

/// Waits until a client that sends nothing more does not read either.
///
/// A closed connection and one that is only shut down for writing read the same, and without anything to write, no
/// write fails. The kernel reports the difference once, to those who wait for it. The stream cannot wait: it counts
/// as ready until a write is refused. A registration of its own can.
async fn until_closed(from: &OwnedReadHalf) -> Result<(), SysError> {
    let doing = "watching a client of the control socket";
    let socket = from.as_ref().as_fd().try_clone_to_owned().doing(doing)?;
    let socket = watch(Arc::new(socket), Interest::WRITABLE, doing)?;
    loop {
        let mut ready = fairly(socket.writable()).await.doing(doing)?;
        if ready.ready().is_write_closed() {
            return Ok(());
        }
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    const ID: ClientId = ClientId(1);

    /// Starts a client that has shut down writing, and waits until that is noticed.
    async fn ended() -> (Client, mpsc::Receiver<ThreadEvent>, StdStream) {
        let (ours, theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (events, mut hearing) = mpsc::channel(64);
        let client = Client::start(ID, UnixStream::from_std(ours).unwrap(), &events);
        theirs.shutdown(Shutdown::Write).unwrap();
        let end = hearing.recv().await;
        assert!(matches!(end, Some(ThreadEvent::Operator(OperatorEvent::Ended(ID)))), "{end:?}");
        (client, hearing, theirs)
    }

    fn on_runtime<T>(body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, body)
    }

    #[test]
    fn a_client_that_closes_is_gone_though_nothing_is_written_to_it() {
        on_runtime(async {
            let (_client, mut hearing, theirs) = ended().await;
            drop(theirs);
            let gone = hearing.recv().await;
            assert!(matches!(gone, Some(ThreadEvent::Operator(OperatorEvent::Gone(ID)))), "{gone:?}");
        });
    }

    #[test]
    fn one_long_answer_fits_and_what_follows_counts_as_ever() {
        let outbox = Outbox::default();
        let (long, event) = ("x".repeat(MAX_ANSWER), "x".repeat(READ_BELOW));
        assert!(outbox.push(&event) && outbox.push(&long));
        assert!(!outbox.push(&long), "only one");
        let mut bytes = 0;
        while outbox.push(&event) {
            bytes += event.len();
        }
        assert!((MAX_WAITING - 2 * READ_BELOW..MAX_WAITING).contains(&bytes), "{bytes}");
        assert!(!Outbox::default().push(&"x".repeat(MAX_ANSWER + 1)));
        let outbox = Outbox::default();
        while outbox.push(&event) {}
        assert!(!outbox.push(&long), "the client does not read");
    }

    #[test]
    fn a_client_that_reads_gets_one_long_answer_after_the_other() {
        on_runtime(async {
            let (ours, theirs) = StdStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let (events, _hearing) = mpsc::channel(64);
            let client = Client::start(ID, UnixStream::from_std(ours).unwrap(), &events);
            let reader = std::thread::spawn(move || {
                let mut read = vec![0; 3 * (MAX_WAITING + 1)];
                std::io::Read::read_exact(&mut &theirs, &mut read).unwrap();
                theirs
            });
            let long = "x".repeat(MAX_WAITING);
            for _ in 0..3 {
                let outbox = client.outbox();
                let _turn = outbox.turn().await;
                assert!(client.send(&long));
            }
            client.outbox().until_written().await;
            drop(reader.join().unwrap());
        });
    }

    #[test]
    fn a_client_that_still_reads_is_written_to() {
        on_runtime(async {
            let (client, mut hearing, theirs) = ended().await;
            for line in ["one", "two"] {
                assert!(client.send(line));
                client.outbox().until_written().await;
                let mut read = [0; 4];
                std::io::Read::read_exact(&mut &theirs, &mut read).unwrap();
                assert_eq!(read, *format!("{line}\n").as_bytes());
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(hearing.try_recv().is_err());
        });
    }
}
