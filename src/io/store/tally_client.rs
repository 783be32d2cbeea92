//! A client of a store's tallies: one process's access to them.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::client::Reader;
use super::line::{ConnectError, await_descriptors};
use super::tallies::{FULL, MAPPED, NAMED, PAGES};
use rcluster_core::store::tally::{Totals, add, added};
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Loss, Received, receive, send, wait_for_message};
use rcluster_sys::segment::{Published, Segment};

/// The time limit for the primary's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a sum is restarted because processes have started or ended meanwhile.
const TRIES: usize = 1000;

/// The maximum length of a message, in bytes.
const MESSAGE: usize = 64;

/// The pages of all processes that count.
#[derive(Debug, Default)]
struct Known {
    generation: u64,
    pages: Vec<Reader>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct TallyClient {
    socket: OwnedFd,
    page: Segment,
    totals: Totals<Reader>,
    known: RefCell<Known>,
}

impl TallyClient {
    /// Waits for the answer to a request to count. The primary has the other end of `socket`.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let [totals, page] = await_descriptors(&socket)?;
        let totals = Totals(Reader(Published::open(&totals)?));
        let client = Self { socket, page: Segment::open(&page)?, totals, known: RefCell::default() };
        match client.ask(&[MAPPED])?.as_slice() {
            [MAPPED] => Ok(client),
            _ => Err(ConnectError::NoAnswer),
        }
    }

    /// The number of a name; `None` if there are too many names.
    pub fn index(&self, name: &str) -> Result<Option<usize>, ConnectError> {
        match *self.ask(&[&[NAMED], name.as_bytes()].concat())?.as_slice() {
            [NAMED, low, high] => Ok(Some(u16::from_le_bytes([low, high]).into())),
            [FULL] => Ok(None),
            _ => Err(ConnectError::NoAnswer),
        }
    }

    /// Adds to a tally.
    pub fn add(&self, tally: usize, by: f64) {
        add(&self.page, tally, by);
    }

    /// The amount that this process has added.
    #[must_use]
    pub fn own(&self, tally: usize) -> f64 {
        added(&&*self.page, tally)
    }

    /// The sum of all processes. Asks the primary for their pages only if processes have started or ended
    /// since the last call.
    #[must_use]
    pub fn sum(&self, tally: usize) -> f64 {
        let mut known = self.known.borrow_mut();
        for _ in 0..TRIES {
            if known.generation != self.totals.generation() {
                match self.pages() {
                    Ok(pages) => *known = pages,
                    // The primary is gone, so the set of processes is final.
                    Err(_) => break,
                }
            }
            if let Some(sum) = self.totals.sum(tally, known.generation, &known.pages) {
                return sum;
            }
        }
        self.totals.sum_anyway(tally, known.generation, &known.pages)
    }

    fn pages(&self) -> Result<Known, ConnectError> {
        let head = self.ask(&[PAGES])?;
        let [PAGES, numbers @ ..] = head.as_slice() else { return Err(ConnectError::NoAnswer) };
        let (generation, count) = numbers.split_first_chunk::<8>().ok_or(ConnectError::NoAnswer)?;
        let count: [u8; 4] = count.try_into().map_err(|_| ConnectError::NoAnswer)?;
        let mut known = Known { generation: u64::from_le_bytes(*generation), pages: Vec::new() };
        while known.pages.len() < u32::from_le_bytes(count) as usize {
            let mut fds = Vec::new();
            self.receive(&mut fds)?;
            if fds.is_empty() {
                return Err(ConnectError::NoAnswer);
            }
            for fd in fds {
                known.pages.push(Reader(Published::open(&fd)?));
            }
        }
        Ok(known)
    }

    fn ask(&self, question: &[u8]) -> Result<Vec<u8>, ConnectError> {
        let _full_or_gone = send(self.socket.as_fd(), question, &[])?;
        self.receive(&mut Vec::new())
    }

    fn receive(&self, fds: &mut Vec<OwnedFd>) -> Result<Vec<u8>, ConnectError> {
        let mut bytes = [0; MESSAGE];
        let came: Result<bool, SysError> = wait_for_message(self.socket.as_fd(), PATIENCE);
        if !came? {
            return Err(ConnectError::NoAnswer);
        }
        match receive(self.socket.as_fd(), &mut bytes, fds)? {
            Received::Message { len, loss: Loss::Nothing } => Ok(bytes[..len].to_vec()),
            Received::Message { loss: Loss::Descriptors, .. } => Err(SysError::lost().into()),
            Received::Message { .. } | Received::Empty | Received::Closed => Err(ConnectError::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Open, Resource, on_exit, open};
    use super::*;
    use rcluster_core::frames::StoreOptions;
    use rcluster_core::ids::WorkerId;
    use rcluster_sys::closer::Closer;
    use rcluster_sys::passing::message_pair;

    fn connect(name: &str, worker: Option<u32>) -> Result<TallyClient, ConnectError> {
        let (ours, theirs) = message_pair().unwrap();
        let options = StoreOptions { tallies: true, ..StoreOptions::default() };
        let worker = worker.map(|worker| (WorkerId(worker), Closer::new()));
        open(Open::new(Resource::Store { name: name.into(), options }, theirs, worker)).unwrap();
        TallyClient::connect(ours)
    }

    fn make(name: &str) -> Client {
        let (ours, theirs) = message_pair().unwrap();
        let resource = Resource::Store { name: name.into(), options: StoreOptions::default() };
        open(Open::new(resource, theirs, None)).unwrap();
        Client::connect(ours).unwrap()
    }

    fn assert_sum(client: &TallyClient, tally: usize, expected: f64) {
        assert!((client.sum(tally) - expected).abs() < 1e-9, "{} is not {expected}", client.sum(tally));
    }

    #[test]
    fn all_processes_see_the_sum_including_ended_ones() {
        let _store = make("tallies");
        let mut clients: Vec<TallyClient> =
            (0..40).map(|worker| connect("tallies", Some(1000 + worker)).unwrap()).collect();
        let tally = clients[0].index("requests").unwrap().unwrap();
        assert_eq!(clients[1].index("requests").unwrap(), Some(tally));
        assert_ne!(clients[1].index("others").unwrap(), Some(tally));
        for client in &clients {
            client.add(tally, 1.0);
        }
        assert_sum(&clients[0], tally, 40.0);
        assert!((clients[0].own(tally) - 1.0).abs() < 1e-9);
        while clients.len() > 1 {
            // The socket reports the end of the process; in the other case the call to `on_exit` precedes it.
            let ended = clients.pop().unwrap();
            if clients.len().is_multiple_of(2) {
                on_exit(WorkerId(1000 + u32::try_from(clients.len()).unwrap()));
            }
            drop(ended);
            assert_sum(&clients[0], tally, 40.0);
            clients[0].add(tally, 0.0);
        }
        let late = connect("tallies", None).unwrap();
        assert_sum(&late, tally, 40.0);
    }

    #[test]
    fn garbage_on_a_page_affects_only_its_process() {
        let _store = make("spoilt tallies");
        let (one, other) =
            (connect("spoilt tallies", None).unwrap(), connect("spoilt tallies", Some(2000)).unwrap());
        one.add(0, 5.0);
        other.add(0, 2.0);
        for word in other.page.iter() {
            word.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
        }
        assert_sum(&one, 0, 5.0);
        drop(other);
        assert_sum(&one, 0, 5.0);
    }

    #[test]
    fn invalid_requests_are_cut_off_and_names_are_limited() {
        let _store = make("limited tallies");
        let client = connect("limited tallies", None).unwrap();
        for number in 0..256 {
            assert!(client.index(&format!("name {number}")).unwrap().is_some());
        }
        assert_eq!(client.index("one more").unwrap(), None);
        assert_eq!(client.index("name 7").unwrap(), client.index("name 7").unwrap());
        for nonsense in [&b"?"[..], b"m", b"pp", &[b'n'; 1000]] {
            let hostile = connect("limited tallies", Some(3000)).unwrap();
            assert!(hostile.ask(nonsense).is_err(), "{nonsense:?}");
        }
        assert!(matches!(connect("no such store", None), Err(ConnectError::Refused { .. })));
        assert!(client.index("name 1").is_ok());
    }
}
