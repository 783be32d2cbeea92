//! A client of a store: one process's access to it.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use super::line::{ConnectError, Line};
use crate::io::clock::now;
use rcluster_core::store::atomic::Words;
use rcluster_core::store::geometry::Field;
use rcluster_core::store::ops::Outcome;
use rcluster_core::store::ring::{Pushed, Wanted};
use rcluster_core::store::view::View;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::Received;
use rcluster_sys::segment::Published;

/// The maximum number of wake-ups consumed in one call.
const WAKE_UPS: usize = 64;

/// The memory of a store, as others read it.
#[derive(Debug)]
pub struct Reader(pub(super) Published);

impl Words for Reader {
    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.0.load(at, order)
    }

    #[inline]
    fn copy(&self, at: usize, into: &mut [[u8; 8]]) {
        self.0.copy(at, into);
    }
}

/// Why the process was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There may be an answer or a change.
    Ready,
    /// The primary is gone, or has closed this connection.
    End,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Client {
    view: View<Reader>,
    line: Line,
}

impl Client {
    /// Waits for the answer to a request to open a store. The primary has the other end of `socket`.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let (line, [segment]) = Line::connect(socket)?;
        let view = View::new(Reader(Published::open(&segment)?)).map_err(|_| ConnectError::NoAnswer)?;
        Ok(Self { view, line })
    }

    /// The readable side of the store.
    #[must_use]
    pub fn view(&self) -> &View<Reader> {
        &self.view
    }

    /// Whether the least recently used entries are evicted to make room.
    #[must_use]
    pub fn is_lru(&self) -> bool {
        self.view.field(Field::Lru) == 1
    }

    /// The store's clock, in ms.
    #[must_use]
    pub fn now(&self) -> u64 {
        now()
    }

    /// A duplicate of the socket, to poll for wake-ups.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        self.line.watched()
    }

    /// Queues a request. [`Pushed::Full`]: retry after the next answer. To be woken for the answer, call
    /// [`Client::want`].
    pub fn push(&self, request: &[u64]) -> Pushed {
        self.line.push(request)
    }

    /// The next answer, if there is one.
    #[must_use]
    pub fn answer(&self) -> Option<Outcome> {
        self.line.answer()
    }

    /// The next answer, if it is there or arrives within `patience` polls; each unsuccessful poll is
    /// subtracted. Does not poll while the writer sleeps.
    #[must_use]
    pub fn answer_soon(&self, patience: &mut u32) -> Option<Outcome> {
        self.line.answer_soon(patience)
    }

    /// Whether any request is unanswered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.line.is_waiting()
    }

    /// Requests a wake-up. The caller must check once more before it waits.
    pub fn want(&self, wanted: Wanted) {
        self.line.want(wanted);
    }

    /// Tells the writer that a key with this hash is in use.
    pub fn touch(&self, hash: u64) {
        self.line.touch(hash);
    }

    /// Consumes wake-ups and returns their cause.
    pub fn woken(&self) -> Result<Woken, SysError> {
        let mut byte = [0; 8];
        for _ in 0..WAKE_UPS {
            match self.line.receive(&mut byte)? {
                Received::Message { .. } => {}
                Received::Empty => break,
                Received::Closed => return Ok(Woken::End),
            }
        }
        Ok(Woken::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Open, Resource, open};
    use super::*;
    use rcluster_core::frames::{EvictionName, StoreOptions as Options};
    use rcluster_core::store::ops::{Condition, Lifetime, Op, Status};
    use rcluster_core::store::request::encode;
    use rcluster_core::store::view::Value;
    use rcluster_sys::passing::message_pair;

    fn connect(name: &str, options: Options) -> Result<Client, ConnectError> {
        let (ours, theirs) = message_pair().unwrap();
        let resource = Resource::Store { name: name.into(), options };
        open(Open::new(resource, theirs, None)).unwrap();
        Client::connect(ours)
    }

    fn ask(client: &Client, op: &Op<'_>) -> Outcome {
        let mut request = Vec::new();
        encode(op, &mut request);
        assert!(matches!(client.push(&request), Pushed::Done { .. }));
        loop {
            client.want(Wanted::Answers);
            if let Some(outcome) = client.answer() {
                return outcome;
            }
            client.line.await_news();
            assert_eq!(client.woken().unwrap(), Woken::Ready);
        }
    }

    fn set<'a>(key: &'a [u8], value: &'a [u8], lifetime: Lifetime) -> Op<'a> {
        Op::Set { key, kind: 0, value, lifetime, condition: Condition::Any }
    }

    #[test]
    fn writes_are_visible_to_other_clients() {
        let [one, other] = [(); 2].map(|()| connect("reads", Options::default()).unwrap());
        let outcome = ask(&one, &set(b"key", b"value", Lifetime::Forever));
        assert_eq!((outcome.status, outcome.revision), (Status::Done, 1));
        let mut value = Value::default();
        assert!(other.view().get(other.view().key(b"key"), || other.now(), &mut value).unwrap());
        assert_eq!((value.bytes.as_slice(), value.revision), (&b"value"[..], 1));
        // Stores with other names are separate.
        let elsewhere = connect("elsewhere", Options::default()).unwrap();
        assert!(!elsewhere.view().get(elsewhere.view().key(b"key"), || 1, &mut value).unwrap());
    }

    #[test]
    fn watchers_are_woken_by_changes_and_expiry() {
        let [one, other] = [(); 2].map(|()| connect("watch", Options::default()).unwrap());
        other.want(Wanted::Changes);
        ask(&one, &set(b"key", b"value", Lifetime::Ms(1)));
        other.line.await_news();
        assert_eq!(other.woken().unwrap(), Woken::Ready);
        other.want(Wanted::Changes);
        while other.view().field(Field::Expired) == 0 {
            other.line.await_news();
            assert_eq!(other.woken().unwrap(), Woken::Ready);
            other.want(Wanted::Changes);
        }
    }

    #[test]
    fn other_options_are_refused_by_name() {
        let size = Some(2 << 20);
        let _open = connect("options", Options { size, ..Options::default() }).unwrap();
        let _same =
            connect("options", Options { size, eviction: Some(EvictionName::None), ..Options::default() })
                .unwrap();
        let other = Options { size: Some(1 << 20), eviction: Some(EvictionName::Lru), ..Options::default() };
        let Err(ConnectError::Refused { code, message }) = connect("options", other) else {
            panic!("refused")
        };
        assert_eq!(code, "ERR_RCLUSTER_SHARED_OPTIONS");
        assert!(message.contains("size is 2097152 and not 1048576") && message.contains("none and not lru"));
        let small = connect("small", Options { size: Some(5), ..Options::default() });
        assert!(matches!(small, Err(ConnectError::Refused { code, .. }) if code == "ERR_OUT_OF_RANGE"));
    }

    #[test]
    fn a_process_that_writes_garbage_is_cut_off_alone() {
        let [one, other] = [(); 2].map(|()| connect("scribble", Options::default()).unwrap());
        one.line.scribble(5000);
        one.line.await_news();
        while one.woken().unwrap() == Woken::Ready {
            one.line.await_news();
        }
        assert_eq!(ask(&other, &set(b"key", b"value", Lifetime::Forever)).status, Status::Done);
    }
}
