//! A process' hold on the locks of its cluster.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use super::client::{ConnectError, await_descriptors};
use rcluster_core::store::ring::{Pushed, Requests, Wanted};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Received, duplicate, receive};
use rcluster_sys::segment::Segment;

/// The longest message, in bytes.
const MESSAGE: usize = 64 << 10;

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Nothing so far.
    Nothing,
    /// There is room for requests again.
    Room,
    /// A message.
    Message(Vec<u8>),
    /// The primary is gone, or has cut this process off.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct LockClient {
    requests: RefCell<Requests<Segment>>,
    bell: Waker,
    socket: OwnedFd,
    buffer: RefCell<Vec<u8>>,
}

impl LockClient {
    /// Waits for the answer to a request to use locks, whose other end is with the primary.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let [page, bell] = await_descriptors(&socket)?;
        let requests = Requests::new(Segment::open(&page)?).ok_or(ConnectError::NoAnswer)?;
        let buffer = RefCell::new(vec![0; MESSAGE]);
        Ok(Self { requests: RefCell::new(requests), bell: Waker::adopt(bell), socket, buffer })
    }

    /// A second descriptor of the socket, to wait for messages.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.socket)
    }

    /// Puts a request on its way. [`Pushed::Full`]: it has to be tried again when [`Incoming::Room`] comes.
    pub fn push(&self, request: &[u64]) -> Pushed {
        let mut requests = self.requests.borrow_mut();
        // The answers only say that there is room: what comes of a request is told by a message.
        while requests.answer().is_some() {}
        let mut pushed = requests.push(request);
        if pushed == Pushed::Full {
            requests.want(Wanted::Answers);
            while requests.answer().is_some() {}
            pushed = requests.push(request);
        }
        if pushed == (Pushed::Done { wake: true }) {
            self.bell.wake();
        }
        pushed
    }

    /// What has come next.
    pub fn receive(&self) -> Result<Incoming, SysError> {
        let mut buffer = self.buffer.borrow_mut();
        // Nobody sends descriptors here; whatever comes is closed.
        Ok(match receive(self.socket.as_fd(), &mut buffer[..], &mut Vec::new())? {
            Received::Empty => Incoming::Nothing,
            Received::Closed => Incoming::End,
            Received::Message { len: 1, .. } => Incoming::Room,
            Received::Message { len, .. } => Incoming::Message(buffer[..len].to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::super::{Open, What, on_exit, open};
    use super::*;
    use rcluster_core::ids::WorkerId;
    use rcluster_core::locks::wire::{Ask, Kind, Message, encode};
    use rcluster_core::locks::{Mode, Otherwise, Request, RequestId, Space};
    use rcluster_sys::closer::Closer;
    use rcluster_sys::passing::{message_pair, wait_for_message};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn connect(worker: Option<u32>) -> LockClient {
        let (ours, theirs) = message_pair().unwrap();
        let worker = worker.map(|worker| (WorkerId(worker), Closer::new()));
        open(Open { what: What::Locks, socket: theirs, worker }).unwrap();
        LockClient::connect(ours).unwrap()
    }

    fn push(client: &LockClient, ask: &Ask<'_>) {
        let mut words = Vec::new();
        encode(ask, &mut words);
        assert!(matches!(client.push(&words), Pushed::Done { .. }));
    }

    fn lock(client: &LockClient, id: u64, name: &str) {
        let request = Request {
            space: Space::Lock,
            name: name.as_bytes(),
            mode: Mode::Exclusive,
            otherwise: Otherwise::Wait,
        };
        push(client, &Ask::Request(RequestId(id), request));
    }

    /// The next message but those about room. None at the end.
    fn next(client: &LockClient) -> Option<(Kind, u64, u64, String)> {
        loop {
            match client.receive().unwrap() {
                Incoming::Nothing => {
                    assert!(wait_for_message(client.socket.as_fd(), PATIENCE).unwrap(), "something comes");
                }
                Incoming::Room => {}
                Incoming::End => return None,
                Incoming::Message(bytes) => {
                    let Message { kind, request, number, text } = Message::decode(&bytes).unwrap();
                    return Some((kind, request.0, number, String::from_utf8(text.to_vec()).unwrap()));
                }
            }
        }
    }

    #[test]
    fn a_lock_goes_on_at_release_and_when_the_holder_hangs_up() {
        let [one, two, three] = [(); 3].map(|()| connect(None));
        for client in [&one, &two, &three] {
            lock(client, 1, "hangs up");
            push(client, &Ask::Query(RequestId(2)));
            // The query is answered behind the request.
            while next(client).unwrap().0 != Kind::Listed {}
        }
        push(&one, &Ask::End(RequestId(1)));
        let (kind, id, first, _) = next(&two).unwrap();
        assert_eq!((kind, id), (Kind::Granted, 1));
        drop(two);
        let (kind, id, second, _) = next(&three).unwrap();
        assert_eq!((kind, id), (Kind::Granted, 1));
        assert!(second > first, "tokens rise");
    }

    #[test]
    fn a_dead_worker_holds_nothing_even_if_somebody_has_its_socket() {
        let [one, two] = [connect(Some(4_000_001)), connect(Some(4_000_002))];
        lock(&one, 1, "dead");
        assert_eq!(next(&one).unwrap().0, Kind::Granted);
        lock(&two, 1, "dead");
        on_exit(WorkerId(4_000_001));
        assert_eq!(next(&two).unwrap().0, Kind::Granted);
        assert_eq!(next(&one), None, "it is cut off");
    }

    #[test]
    fn who_breaks_the_rules_is_cut_off_and_nobody_else() {
        let one = connect(Some(4_000_003));
        lock(&one, 1, "rules");
        assert_eq!(next(&one).unwrap().0, Kind::Granted);
        let breaks: [&dyn Fn(&LockClient); 4] = [
            // The number of another's request means nothing, but settling what is no flight breaks the rules.
            &|client| {
                push(client, &Ask::End(RequestId(1)));
                lock(client, 1, "rules of its own");
                push(client, &Ask::Settle(RequestId(1), b"x"));
            },
            &|client| {
                lock(client, 2, "twice");
                lock(client, 2, "twice");
            },
            &|client| assert!(matches!(client.push(&[99, 0, 0]), Pushed::Done { .. })),
            &|client| {
                for word in client.requests.borrow().page().as_ref() {
                    word.store(u64::MAX, Ordering::Relaxed);
                }
                client.bell.wake();
            },
        ];
        for (worker, break_rules) in (4_000_010..).zip(breaks) {
            let hostile = connect(Some(worker));
            break_rules(&hostile);
            while next(&hostile).is_some() {}
        }
        let two = connect(None);
        lock(&two, 1, "rules");
        push(&two, &Ask::Query(RequestId(2)));
        assert_eq!(next(&two).unwrap().0, Kind::Listed, "it is still held");
        push(&one, &Ask::End(RequestId(1)));
        assert_eq!(next(&two).unwrap().0, Kind::Granted);
    }

    #[test]
    fn who_does_not_read_gets_everything_later_in_order() {
        const COUNT: u64 = 3000;
        let client = connect(None);
        for id in 0..COUNT {
            let name = format!("slow {id}");
            let mut words = Vec::new();
            let request = Request {
                space: Space::Lead,
                name: name.as_bytes(),
                mode: Mode::Exclusive,
                otherwise: Otherwise::Wait,
            };
            encode(&Ask::Request(RequestId(id), request), &mut words);
            while client.push(&words) == Pushed::Full {
                std::thread::yield_now();
            }
        }
        for id in 0..COUNT {
            let (kind, request, ..) = next(&client).unwrap();
            assert_eq!((kind, request), (Kind::Granted, id));
        }
    }
}
