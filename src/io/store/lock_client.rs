//! A client of the locks: one process's access to them.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::deadlines::Expiries;
use super::line::{ConnectError, Line};
use rcluster_core::locks::RequestId;
use rcluster_core::store::ring::Pushed;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::Received;

/// The longest message, in bytes.
const MESSAGE: usize = 64 << 10;

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Nothing so far.
    Nothing,
    /// The ring has room for requests again.
    Room,
    /// A message.
    Message(Vec<u8>),
    /// The primary is gone, or has cut off this process.
    End,
}

/// See the module documentation.
#[derive(Debug)]
pub struct LockClient {
    line: Line,
    buffer: RefCell<Vec<u8>>,
    expiries: RefCell<Expiries>,
}

impl LockClient {
    /// Waits for the answer to a request to use locks. The primary has the other end of `socket`.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let (line, [deadlines]) = Line::connect(socket)?;
        let expiries = RefCell::new(Expiries::open(&deadlines)?);
        Ok(Self { line, buffer: RefCell::new(vec![0; MESSAGE]), expiries })
    }

    /// Assigns the place of a request for a lease; `None` if there are too many.
    pub fn place_of(&self, lease: RequestId) -> Option<u32> {
        self.expiries.borrow_mut().assign(lease)
    }

    /// A request has ended.
    pub fn on_end(&self, request: RequestId) {
        self.expiries.borrow_mut().on_end(request);
    }

    /// How much longer a granted lease is valid.
    #[must_use]
    pub fn left(&self, lease: RequestId) -> Duration {
        self.expiries.borrow().left(lease)
    }

    /// A duplicate of the socket, to poll for messages.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        self.line.watched()
    }

    /// Queues a request. [`Pushed::Full`]: retry after [`Incoming::Room`].
    pub fn push(&self, request: &[u64]) -> Pushed {
        self.line.push_or_wait(request)
    }

    /// Receives the next message, if there is one.
    pub fn receive(&self) -> Result<Incoming, SysError> {
        let mut buffer = self.buffer.borrow_mut();
        Ok(match self.line.receive(&mut buffer)? {
            Received::Empty => Incoming::Nothing,
            Received::Closed => Incoming::End,
            Received::Message { len: 1, .. } => Incoming::Room,
            Received::Message { len, .. } => Incoming::Message(buffer[..len].to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::super::{Open, Resource, on_exit, open};
    use super::*;
    use rcluster_core::ids::WorkerId;
    use rcluster_core::locks::wire::{Ask, Kind, Message, Terms, encode};
    use rcluster_core::locks::{MAX_OUTCOME, Mode, Otherwise, Request, Space};
    use rcluster_sys::closer::Closer;
    use rcluster_sys::passing::message_pair;

    fn connect(worker: Option<u32>) -> LockClient {
        let (ours, theirs) = message_pair().unwrap();
        let worker = worker.map(|worker| (WorkerId(worker), Closer::new()));
        open(Open::new(Resource::Locks, theirs, worker)).unwrap();
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

    /// The next message other than [`Incoming::Room`]. `None` at the end.
    fn next(client: &LockClient) -> Option<(Kind, u64, u64, String)> {
        loop {
            match client.receive().unwrap() {
                Incoming::Nothing => client.line.await_news(),
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
            // The query is answered after the request.
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
    fn a_dead_worker_holds_nothing_even_if_another_process_has_its_socket() {
        let [one, two] = [connect(Some(4_000_001)), connect(Some(4_000_002))];
        lock(&one, 1, "dead");
        assert_eq!(next(&one).unwrap().0, Kind::Granted);
        lock(&two, 1, "dead");
        on_exit(WorkerId(4_000_001));
        assert_eq!(next(&two).unwrap().0, Kind::Granted);
        assert_eq!(next(&one), None, "it is cut off");
    }

    #[test]
    fn only_a_process_that_violates_the_protocol_is_cut_off() {
        let one = connect(Some(4_000_003));
        lock(&one, 1, "rules");
        assert_eq!(next(&one).unwrap().0, Kind::Granted);
        let breaks: [&dyn Fn(&LockClient); 4] = [
            // The number of another client's request has no effect, but settling something that is not a
            // flight breaks the rules.
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
            &|client| client.line.scribble(usize::MAX),
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
    fn a_process_that_requests_without_reading_is_cut_off() {
        let client = connect(Some(4_000_020));
        let what = Request {
            space: Space::LeasedLock,
            name: b"asked for",
            mode: Mode::Exclusive,
            otherwise: Otherwise::Wait,
        };
        for id in 0..1_000_000 {
            // Without a server, each of them is refused.
            if !push_when_there_is_room(
                &client,
                &Ask::Lease(RequestId(id), what, Terms { ttl: 1000, place: 0 }),
            ) {
                return;
            }
        }
        panic!("all of them were taken");
    }

    /// False if the client has been cut off.
    fn push_when_there_is_room(client: &LockClient, ask: &Ask<'_>) -> bool {
        let socket = client.watched().unwrap();
        let mut words = Vec::new();
        encode(ask, &mut words);
        while client.push(&words) == Pushed::Full {
            // Without events, only the hang-up is reported.
            let mut polled = [PollFd::new(socket.as_fd(), PollFlags::empty())];
            if poll(&mut polled, PollTimeout::from(1u8)).unwrap() > 0 {
                return false;
            }
        }
        true
    }

    #[test]
    fn what_a_worker_leaves_unread_is_limited_in_bytes() {
        const WAITING: u64 = 100;
        let [silent, settles] = [(); 2].map(|()| connect(Some(4_000_021)));
        // More than a worker may leave unread, in messages of which it may leave so many unread.
        for round in 0..150 {
            let name = format!("unread {round}");
            let (space, name) = (Space::Flight, name.as_bytes());
            let request = Request { space, name, mode: Mode::Exclusive, otherwise: Otherwise::Wait };
            let id = RequestId(round);
            if !push_when_there_is_room(&settles, &Ask::Request(id, request)) || next(&settles).is_none() {
                return;
            }
            for waiting in 0..WAITING {
                let id = RequestId(round * WAITING + waiting);
                if !push_when_there_is_room(&silent, &Ask::Request(id, request)) {
                    return;
                }
            }
            // Requests of the first client are read before those of the second.
            push(&settles, &Ask::Query(RequestId(u64::MAX)));
            while next(&settles).is_some_and(|(kind, _, parts, _)| (kind, parts) != (Kind::Listed, 0)) {}
            if !push_when_there_is_room(&settles, &Ask::Settle(id, &[b'x'; MAX_OUTCOME])) {
                return;
            }
        }
        panic!("all of it was kept");
    }

    #[test]
    fn a_process_that_reads_late_gets_everything_in_order() {
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
