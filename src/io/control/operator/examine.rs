//! Requests a report of a process about itself, and passes it on to the client.
//!
//! The process writes to a socket of its own, which is read no faster than the client reads: only one record
//! is in memory, however much a worker writes. Writing files is left to the client.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::client::Outbox;
use super::{OperatorEvent, send};
use crate::io::control::messages::{Event, ThreadEvent};
use crate::io::control::shell::Shell;
use crate::io::fairness::fairly;
use rcluster_core::control::operator::{ClientId, Id, Unavailable};
use rcluster_core::examine::{Examination, MAX_STREAM, MAX_WHOLE, Record, Records};
use rcluster_core::frames::ToWorker;
use rcluster_core::ids::WorkerId;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::spawn::socket_pair;

/// How long a process may take to begin. It begins as soon as its event loop turns.
const BEGIN_LIMIT: Duration = Duration::from_secs(3);

/// How long a process may pause. Collecting a large heap takes time.
const PAUSE_LIMIT: Duration = Duration::from_secs(300);

/// The maximum number of examinations at a time, for all clients together.
const MAX_EXAMINATIONS: usize = 16;

/// The number of bytes read at a time. With the rest of a record before, they become a line shorter than 128
/// KiB.
const PIECE: usize = 32 << 10;

/// The state of an examination.
struct Examining {
    client: ClientId,
    id: Id,
    /// `None`: the primary.
    worker: Option<WorkerId>,
    what: Examination,
    /// Whether its event loop has turned, which shows that it is Node.
    has_turned: bool,
    outbox: Arc<Outbox>,
    events: mpsc::Sender<ThreadEvent>,
    /// Counted by the shell.
    _place: Arc<()>,
}

impl Shell {
    pub(super) fn examine(&mut self, client: ClientId, id: Id, worker: Option<WorkerId>, what: Examination) {
        let Some(outbox) = self.operators.clients.get(&client).map(super::Client::outbox) else { return };
        let answer = |result| OperatorEvent::Found(client, id.clone(), result);
        if Arc::strong_count(&self.operators.examinations) > MAX_EXAMINATIONS {
            let message = format!("{MAX_EXAMINATIONS} processes are looked into already");
            let busy = answer(Err(Unavailable { code: "ERR_RCLUSTER_BUSY", message }));
            tokio::task::spawn_local(send(self.events.clone(), busy));
            return;
        }
        let begun = socket_pair().and_then(|(ours, theirs)| {
            let ours =
                UnixStream::from_std(StdStream::from(ours)).doing("watching the answer of a process")?;
            self.tell_to_examine(worker, &what, theirs);
            Ok(ours)
        });
        let socket = match begun {
            Ok(socket) => socket,
            Err(error) => {
                tokio::task::spawn_local(send(self.events.clone(), answer(Err(failed(&error)))));
                return;
            }
        };
        let examining = Examining {
            client,
            id,
            worker,
            what,
            has_turned: worker.is_none_or(|worker| self.has_turned(worker)),
            outbox,
            events: self.events.clone(),
            _place: Arc::clone(&self.operators.examinations),
        };
        let is_streamed = examining.what.is_streamed();
        let task = tokio::task::spawn_local(examining.run(socket)).abort_handle();
        // The others take no time, and whether an inspector is open matters without the client, too.
        if is_streamed && let Some(client) = self.operators.clients.get_mut(&client) {
            client.add_task(task);
        }
    }

    fn has_turned(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|handle| handle.busy().is_some())
    }

    /// If the worker is cut off or the primary ends, the process's end of the socket is closed.
    fn tell_to_examine(&mut self, worker: Option<WorkerId>, what: &Examination, socket: OwnedFd) {
        match worker {
            Some(worker) => self.send(worker, &ToWorker::Examine(what.clone()), Some(socket)),
            None => self.news.tell(Event::Examine { what: what.clone(), socket }),
        }
    }
}

fn failed(error: &SysError) -> Unavailable {
    unavailable(error.to_string())
}

fn unavailable(message: String) -> Unavailable {
    Unavailable { code: "ERR_RCLUSTER_EXAMINATION", message }
}

impl Examining {
    async fn run(self, socket: UnixStream) {
        let result = self.follow(&socket).await;
        let examined = OperatorEvent::Examined(self.worker, self.what.clone(), result.is_ok());
        send(self.events.clone(), examined).await;
        // From here on, writes of the process fail.
        drop(socket);
        send(self.events, OperatorEvent::Found(self.client, self.id, result)).await;
    }

    async fn follow(&self, socket: &UnixStream) -> Result<Value, Unavailable> {
        let mut records = Records::default();
        let first = tokio::time::timeout(BEGIN_LIMIT, next(socket, &mut records)).await;
        match first.map_err(|_| blocked(self.has_turned))?? {
            Record::Begun => {}
            Record::Failed(why) => return Err(unavailable(why)),
            Record::Data(_) | Record::End => return Err(invalid_answer()),
        }
        let (mut whole, mut bytes) = (Vec::new(), 0_u64);
        loop {
            let record = tokio::time::timeout(self.pause_limit(), next(socket, &mut records)).await;
            match record.map_err(|_| unavailable("it has begun, and does not go on".into()))?? {
                Record::Data(piece) => {
                    bytes += piece.len() as u64;
                    if self.what.is_streamed() && bytes <= MAX_STREAM {
                        self.outbox.until_read().await;
                        let (handled, is_handled) = oneshot::channel();
                        let piece = OperatorEvent::Piece(self.client, self.id.clone(), piece, handled);
                        send(self.events.clone(), piece).await;
                        // Until then the outbox does not count it, and a fast process would overfill it.
                        let _dropped = is_handled.await;
                    } else if whole.len() + piece.len() <= MAX_WHOLE {
                        whole.extend_from_slice(&piece);
                    } else {
                        return Err(unavailable("it tells more than it could have to tell".into()));
                    }
                }
                Record::End if self.what.is_streamed() => return Ok(json!({ "bytes": bytes })),
                Record::End => return self.what.result(&whole).ok_or_else(invalid_answer),
                Record::Failed(why) => return Err(unavailable(why)),
                Record::Begun => return Err(invalid_answer()),
            }
        }
    }

    fn pause_limit(&self) -> Duration {
        match self.what {
            Examination::Profile { duration_ms } => PAUSE_LIMIT + Duration::from_millis(duration_ms.into()),
            _ => PAUSE_LIMIT,
        }
    }
}

fn blocked(has_turned: bool) -> Unavailable {
    let why = if has_turned {
        "its event loop is blocked, and `rcluster stack` shows where; or it is stopped"
    } else {
        "it is still starting, or is not Node"
    };
    let message = format!("the process has not answered for {} s: {why}", BEGIN_LIMIT.as_secs());
    Unavailable { code: "ERR_RCLUSTER_BLOCKED", message }
}

fn invalid_answer() -> Unavailable {
    unavailable("the process has sent an invalid answer".into())
}

/// The next record from the process.
async fn next(socket: &UnixStream, records: &mut Records) -> Result<Record, Unavailable> {
    let mut piece = vec![0; PIECE];
    loop {
        if let Some(record) = records.next_record().map_err(|error| unavailable(error.to_string()))? {
            return Ok(record);
        }
        let read = match fairly(socket.readable()).await {
            Ok(()) => socket.try_read(&mut piece),
            Err(error) => Err(error),
        };
        match read {
            Ok(length) if length > 0 => records.push(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // End of stream, or a reset.
            Ok(_) | Err(_) => {
                return Err(unavailable("it has ended, or has closed the socket for its answer".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rcluster_core::control::operator::Request;

    use super::*;

    fn record(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[tag], &length[..], payload].concat()
    }

    fn on_runtime<T>(body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, body)
    }

    /// Starts an examination of a process that writes these records and closes.
    fn start(what: Examination, answer: &[Vec<u8>]) -> mpsc::Receiver<ThreadEvent> {
        let (ours, theirs) = socket_pair().unwrap();
        StdStream::from(theirs).write_all(&answer.concat()).unwrap();
        let (events, hearing) = mpsc::channel(64);
        let id = Request::parse(br#"{"verb":"hello","id":1}"#).unwrap().id;
        let (client, outbox, place) = (ClientId(1), Arc::default(), Arc::default());
        let examining =
            Examining { client, id, worker: None, what, has_turned: true, outbox, events, _place: place };
        tokio::task::spawn_local(examining.run(UnixStream::from_std(StdStream::from(ours)).unwrap()));
        hearing
    }

    /// The result of an examination when the process writes these records and closes, with the pieces before
    /// it.
    fn examine(what: Examination, answer: &[Vec<u8>]) -> (Result<Value, Unavailable>, Vec<Vec<u8>>) {
        on_runtime(async {
            let mut hearing = start(what, answer);
            let (mut pieces, mut examined) = (Vec::new(), None);
            loop {
                match hearing.recv().await.unwrap() {
                    ThreadEvent::Operator(OperatorEvent::Piece(_, _, piece, _)) => pieces.push(piece),
                    ThreadEvent::Operator(OperatorEvent::Examined(_, _, succeeded)) => {
                        examined = Some(succeeded);
                    }
                    ThreadEvent::Operator(OperatorEvent::Found(_, _, result)) => {
                        assert_eq!(examined, Some(result.is_ok()));
                        return (result, pieces);
                    }
                    other => panic!("{other:?}"),
                }
            }
        })
    }

    #[test]
    fn the_next_piece_waits_until_the_last_one_is_in_the_outbox() {
        let answer = [record(b'B', b""), record(b'D', b"one"), record(b'D', b"two"), record(b'E', b"")];
        on_runtime(async {
            let mut hearing = start(Examination::Heap, &answer);
            let Some(ThreadEvent::Operator(OperatorEvent::Piece(.., handled))) = hearing.recv().await else {
                panic!()
            };
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(hearing.try_recv().is_err());
            drop(handled);
            let second = hearing.recv().await;
            assert!(
                matches!(second, Some(ThreadEvent::Operator(OperatorEvent::Piece(_, _, piece, _))) if piece == b"two")
            );
        });
    }

    fn code(what: Examination, answer: &[Vec<u8>]) -> &'static str {
        examine(what, answer).0.unwrap_err().code
    }

    #[test]
    fn pieces_are_passed_on_and_the_end_counts_them() {
        let answer = [record(b'B', b""), record(b'D', b"one"), record(b'D', b"two"), record(b'E', b"")];
        let (result, pieces) = examine(Examination::Heap, &answer);
        assert_eq!(result, Ok(json!({ "bytes": 6 })));
        assert_eq!(pieces, [b"one".to_vec(), b"two".to_vec()]);
        let answer = [record(b'B', b""), record(b'D', b"[\"A\""), record(b'D', b"]"), record(b'E', b"")];
        assert_eq!(examine(Examination::Env, &answer), (Ok(json!({ "names": ["A"] })), vec![]));
    }

    #[test]
    fn a_missing_end_invalid_records_and_too_much_data_are_failures() {
        let begun = || record(b'B', b"");
        let failure = "ERR_RCLUSTER_EXAMINATION";
        assert_eq!(code(Examination::Heap, &[begun(), record(b'D', b"one")]), failure, "it has died");
        assert_eq!(code(Examination::Heap, &[]), failure);
        assert_eq!(code(Examination::Heap, &[record(b'D', b"one")]), failure);
        assert_eq!(code(Examination::Env, &[begun(), record(b'D', b"{}"), record(b'E', b"")]), failure);
        assert_eq!(code(Examination::Env, &[begun(), begun()]), failure);
        assert_eq!(code(Examination::Heap, &[b"nonsense".to_vec()]), failure);
        let (result, _) = examine(Examination::Heap, &[begun(), record(b'F', b"no inspector")]);
        assert_eq!(result.unwrap_err().message, "no inspector");
    }
}
