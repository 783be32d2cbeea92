//! A process' hold on a store.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::shell::now;
use rcluster_core::store::atomic::Words;
use rcluster_core::store::geometry::Field;
use rcluster_core::store::ops::Outcome;
use rcluster_core::store::ring::{Pushed, Requests, Wanted};
use rcluster_core::store::view::View;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Received, duplicate, receive, wait_for_message};
use rcluster_sys::segment::{Published, Segment};

/// How long the primary may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const ANSWER: usize = 4096;

/// How many wake-ups are taken at once, at the most.
const WAKE_UPS: usize = 64;

/// The memory of a store, as others read it.
#[derive(Debug)]
pub struct Reader(Published);

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

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The system refused.
    #[error(transparent)]
    System(#[from] SysError),
    /// The primary refused.
    #[error("{message}")]
    Refused {
        /// A name for the reason.
        code: String,
        /// The reason.
        message: String,
    },
    /// The primary has hung up, or has answered what makes no sense.
    #[error("the primary does not answer")]
    NoAnswer,
}

/// What it was woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// An answer or a change, perhaps.
    News,
    /// The end of the primary, or of its hold on this process.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    view: View<Reader>,
    requests: RefCell<Requests<Segment>>,
    bell: Waker,
    socket: OwnedFd,
}

impl Client {
    /// Waits for the answer to a request to open a store, whose other end is with the primary.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let [segment, page, bell] = await_descriptors(&socket)?;
        let view = View::new(Reader(Published::open(&segment)?)).map_err(|_| ConnectError::NoAnswer)?;
        let requests = Requests::new(Segment::open(&page)?).ok_or(ConnectError::NoAnswer)?;
        Ok(Self { view, requests: RefCell::new(requests), bell: Waker::adopt(bell), socket })
    }

    /// What can be read.
    #[must_use]
    pub fn view(&self) -> &View<Reader> {
        &self.view
    }

    /// Whether what has not been used for longest makes room for others.
    #[must_use]
    pub fn is_lru(&self) -> bool {
        self.view.field(Field::Lru) == 1
    }

    /// The store's clock, in ms.
    #[must_use]
    pub fn now(&self) -> u64 {
        now()
    }

    /// A second descriptor of the socket, to wait for wake-ups.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.socket)
    }

    /// Puts a request on its way. [`Pushed::Full`]: it has to be tried again when the next answer comes. Whoever waits
    /// for the answer has to [`Client::want`] it.
    pub fn push(&self, request: &[u64]) -> Pushed {
        let pushed = self.requests.borrow_mut().push(request);
        if pushed == (Pushed::Done { wake: true }) {
            self.bell.wake();
        }
        pushed
    }

    /// The next answer, if it is there.
    #[must_use]
    pub fn answer(&self) -> Option<Outcome> {
        self.requests.borrow_mut().answer()
    }

    /// The next answer if it is there, or comes within `patience` looks, of which those that were in vain are subtracted.
    /// Nobody looks for what a writer that sleeps has not even begun.
    #[must_use]
    pub fn answer_soon(&self, patience: &mut u32) -> Option<Outcome> {
        let mut requests = self.requests.borrow_mut();
        loop {
            let answer = requests.answer();
            if answer.is_some() || *patience == 0 || !requests.is_waiting() || requests.is_writer_asleep() {
                return answer;
            }
            *patience -= 1;
            std::hint::spin_loop();
        }
    }

    /// Whether there are requests that have not been answered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.requests.borrow().is_waiting()
    }

    /// Asks to be woken. Whoever asks has to look once more before it waits.
    pub fn want(&self, wanted: Wanted) {
        self.requests.borrow().want(wanted);
    }

    /// Lets the writer know that a key with this hash is in use.
    pub fn touch(&self, hash: u64) {
        self.requests.borrow().touch(hash);
    }

    /// Takes what it was woken by.
    pub fn woken(&self) -> Result<Woken, SysError> {
        let mut byte = [0; 8];
        for _ in 0..WAKE_UPS {
            // Nobody sends descriptors here; whatever comes is closed.
            match receive(self.socket.as_fd(), &mut byte, &mut Vec::new())? {
                Received::Message { .. } => {}
                Received::Empty => break,
                Received::Closed => return Ok(Woken::End),
            }
        }
        Ok(Woken::News)
    }
}

/// Waits for the answer of the primary: what it takes to use what was asked for.
pub(super) fn await_descriptors<const COUNT: usize>(
    socket: &OwnedFd,
) -> Result<[OwnedFd; COUNT], ConnectError> {
    #[derive(Deserialize)]
    struct Refused {
        code: String,
        message: String,
    }
    let (mut bytes, mut fds) = ([0; ANSWER], Vec::new());
    if !wait_for_message(socket.as_fd(), PATIENCE)? {
        return Err(ConnectError::NoAnswer);
    }
    let Received::Message { len, cut: false } = receive(socket.as_fd(), &mut bytes, &mut fds)? else {
        return Err(ConnectError::NoAnswer);
    };
    <[OwnedFd; COUNT]>::try_from(fds).or_else(|_| {
        let Refused { code, message } =
            serde_json::from_slice(&bytes[..len]).map_err(|_| ConnectError::NoAnswer)?;
        Err(ConnectError::Refused { code, message })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Open, What, open};
    use super::*;
    use rcluster_core::store::ops::{Condition, Lifetime, Op, Status};
    use rcluster_core::store::request::encode;
    use rcluster_core::store::view::Value;
    use rcluster_core::wire::{EvictionName, StoreOptions as Options};
    use rcluster_sys::passing::message_pair;

    fn connect(name: &str, options: Options) -> Result<Client, ConnectError> {
        let (ours, theirs) = message_pair().unwrap();
        let what = What::Store { name: name.into(), options };
        open(Open { what, socket: theirs, worker: None }).unwrap();
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
            assert!(wait_for_message(client.socket.as_fd(), PATIENCE).unwrap(), "it is answered");
            assert_eq!(client.woken().unwrap(), Woken::News);
        }
    }

    fn set<'a>(key: &'a [u8], value: &'a [u8], lifetime: Lifetime) -> Op<'a> {
        Op::Set { key, kind: 0, value, lifetime, condition: Condition::Any }
    }

    #[test]
    fn what_one_writes_the_other_reads() {
        let [one, other] = [(); 2].map(|()| connect("reads", Options::default()).unwrap());
        let outcome = ask(&one, &set(b"key", b"value", Lifetime::Forever));
        assert_eq!((outcome.status, outcome.revision), (Status::Done, 1));
        let mut value = Value::default();
        assert!(other.view().get(other.view().key(b"key"), || other.now(), &mut value).unwrap());
        assert_eq!((value.bytes.as_slice(), value.revision), (&b"value"[..], 1));
        // Others are elsewhere.
        let elsewhere = connect("elsewhere", Options::default()).unwrap();
        assert!(!elsewhere.view().get(elsewhere.view().key(b"key"), || 1, &mut value).unwrap());
    }

    #[test]
    fn who_watches_is_woken_by_changes_and_expiry() {
        let [one, other] = [(); 2].map(|()| connect("watch", Options::default()).unwrap());
        other.want(Wanted::Changes);
        ask(&one, &set(b"key", b"value", Lifetime::Ms(1)));
        assert!(wait_for_message(other.socket.as_fd(), PATIENCE).unwrap());
        assert_eq!(other.woken().unwrap(), Woken::News);
        other.want(Wanted::Changes);
        while other.view().field(Field::Expired) == 0 {
            assert!(wait_for_message(other.socket.as_fd(), PATIENCE).unwrap());
            assert_eq!(other.woken().unwrap(), Woken::News);
            other.want(Wanted::Changes);
        }
    }

    #[test]
    fn other_options_are_refused_by_name() {
        let size = Some(2 << 20);
        let _open = connect("options", Options { size, eviction: None }).unwrap();
        let _same = connect("options", Options { size, eviction: Some(EvictionName::None) }).unwrap();
        let other = Options { size: Some(1 << 20), eviction: Some(EvictionName::Lru) };
        let Err(ConnectError::Refused { code, message }) = connect("options", other) else {
            panic!("refused")
        };
        assert_eq!(code, "ERR_RCLUSTER_SHARED_OPTIONS");
        assert!(message.contains("size is 2097152 and not 1048576") && message.contains("none and not lru"));
        let small = connect("small", Options { size: Some(5), eviction: None });
        assert!(matches!(small, Err(ConnectError::Refused { code, .. }) if code == "ERR_OUT_OF_RANGE"));
    }

    #[test]
    fn a_process_that_scribbles_on_its_page_loses_its_hold_and_nobody_else() {
        let [one, other] = [(); 2].map(|()| connect("scribble", Options::default()).unwrap());
        for word in one.requests.borrow().page().as_ref().iter().take(5000) {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        one.bell.wake();
        assert!(wait_for_message(one.socket.as_fd(), PATIENCE).unwrap());
        while one.woken().unwrap() == Woken::News {
            assert!(wait_for_message(one.socket.as_fd(), PATIENCE).unwrap());
        }
        assert_eq!(ask(&other, &set(b"key", b"value", Lifetime::Forever)).status, Status::Done);
    }
}
