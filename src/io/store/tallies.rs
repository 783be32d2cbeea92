//! The primary's side of tallies: gives each process a page to count on, and all processes the pages of the
//! others.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use super::NAME;
use super::client::Reader;
use rcluster_core::ids::WorkerId;
use rcluster_core::store::tally::{Ledger, PAGE_WORDS, TALLIES, TOTALS_WORDS};
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Loss, MAX_FDS, Next, Received, Sent, receive_next, send, send_from};
use rcluster_sys::segment::{Segment, Unsealed, reserve};

/// The maximum number of connections of one worker: one for each store and each copy of this package that it
/// loads.
const MAX_OPEN: usize = 128;

/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 256;

/// The maximum number of messages read from one process before others get their turn.
const TURN: usize = 8;

/// The first byte of a request: the page has been mapped, look up a name, send all pages. The answer starts
/// with the same byte.
pub(super) const MAPPED: u8 = b'm';
pub(super) const NAMED: u8 = b'n';
pub(super) const PAGES: u8 = b'p';

/// The answer to a name when there is no room for another one.
pub(super) const FULL: u8 = b'f';

/// A process that counts.
struct Client {
    store: String,
    socket: Descriptor,
    worker: Option<WorkerId>,
    /// Closes descriptors that the process has sent: none are expected.
    closer: Option<Closer>,
    page: Page,
}

enum Page {
    /// The process may still map it for writing.
    Offered(Unsealed),
    /// Sealed: no other process can write to it, and every process may read it.
    Counts(Reader, OwnedFd),
}

/// The tallies of one store.
struct Tallies {
    ledger: Ledger<Segment>,
    totals: OwnedFd,
    names: HashMap<Vec<u8>, u16>,
}

/// The process has broken the rules, or does not read its answers.
struct Broken;

impl From<SysError> for Broken {
    fn from(_: SysError) -> Self {
        Self
    }
}

/// See the module documentation. The key of a client is one less than the token of its socket.
#[derive(Default)]
pub(super) struct TallyRoom {
    stores: HashMap<String, Tallies>,
    clients: BTreeMap<u64, Client>,
}

impl TallyRoom {
    /// Whether a worker may open another connection.
    pub(super) fn has_room_for(&self, worker: Option<WorkerId>) -> bool {
        worker.is_none() || self.clients.values().filter(|client| client.worker == worker).count() < MAX_OPEN
    }

    /// Creates what a process needs to count, and sends it.
    pub(super) fn admit(
        &mut self,
        poller: &Poller,
        token: u64,
        store: String,
        socket: Descriptor,
        worker: Option<(WorkerId, Closer)>,
    ) -> Result<(), (Descriptor, SysError)> {
        let page = match self.prepare(poller, token, &store, &socket) {
            Ok(page) => Page::Offered(page),
            Err(error) => return Err((socket, error)),
        };
        let (worker, closer) = worker.unzip();
        self.clients.insert(token, Client { store, socket, worker, closer, page });
        Ok(())
    }

    fn prepare(
        &mut self,
        poller: &Poller,
        token: u64,
        store: &str,
        socket: &Descriptor,
    ) -> Result<Unsealed, SysError> {
        if !self.stores.contains_key(store) {
            self.stores.insert(store.to_owned(), Tallies::new()?);
        }
        let totals = self.stores.get(store).map(|tallies| duplicate(&tallies.totals)).transpose()?;
        let page = Unsealed::new(NAME, PAGE_WORDS)?;
        let fds: Vec<OwnedFd> = totals.into_iter().chain([duplicate(&page)?]).collect();
        poller.watch(socket, token + 1, Interest::ReadableEdge)?;
        match send(socket.as_fd(), b"{}", &fds).and_then(Sent::done) {
            Ok(()) => Ok(page),
            Err(error) => {
                // The socket is registered; an error while deregistering has no consequence.
                let _ = poller.remove(socket);
                Err(error)
            }
        }
    }

    /// A client may have sent requests.
    pub(super) fn on_news(&mut self, poller: &Poller, token: u64) {
        for _ in 0..TURN {
            match self.serve(token) {
                Ok(true) => {}
                Ok(false) => return,
                Err(Broken) => return self.remove(poller, token),
            }
        }
        let Some(client) = self.clients.get(&token) else { return };
        // Re-arms the socket: if messages remain, it is reported again after the other clients.
        if poller.change(&client.socket, token + 1, Interest::ReadableEdge).is_err() {
            self.remove(poller, token);
        }
    }

    /// Answers one request. Returns false if there is none.
    fn serve(&mut self, token: u64) -> Result<bool, Broken> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(false) };
        let (mut bytes, mut fds) = ([0; MAX_NAME + 1], Vec::new());
        // The primary itself is trusted, and has no closer.
        let (socket, closer) = (client.socket.as_fd(), client.closer.as_ref());
        let next = receive_next(socket, closer, &mut false, |_| 0, &mut bytes, &mut fds);
        let sends_descriptors = !fds.is_empty();
        match &client.closer {
            Some(closer) => closer.close_all(fds),
            None => drop(fds),
        }
        let Next::Received(received) = next? else { return Err(Broken) };
        let len = match received {
            // The poller reports the hang-up.
            Received::Empty | Received::Closed => return Ok(false),
            Received::Message { len, loss: Loss::Nothing } if !sends_descriptors => len,
            Received::Message { .. } => return Err(Broken),
        };
        let tallies = self.stores.get_mut(&client.store).ok_or(Broken)?;
        match bytes[..len].split_first() {
            Some((&MAPPED, [])) => {
                client.count(tallies)?;
                answer(&client.socket, &[MAPPED])?;
            }
            Some((&NAMED, name)) => {
                let message = match tallies.index(name) {
                    Some(index) => [&[NAMED][..], &index.to_le_bytes()].concat(),
                    None => vec![FULL],
                };
                answer(&client.socket, &message)?;
            }
            Some((&PAGES, [])) => self.send_pages(token)?,
            _ => return Err(Broken),
        }
        Ok(true)
    }

    fn send_pages(&self, token: u64) -> Result<(), Broken> {
        let client = self.clients.get(&token).ok_or(Broken)?;
        let tallies = self.stores.get(&client.store).ok_or(Broken)?;
        let its = self.clients.values().filter(|other| other.store == client.store);
        let pages: Vec<&OwnedFd> = its
            .filter_map(|other| match &other.page {
                Page::Counts(_, fd) => Some(fd),
                Page::Offered(_) => None,
            })
            .collect();
        let count = u32::try_from(pages.len()).map_err(|_| Broken)?;
        let head = [&[PAGES][..], &tallies.ledger.generation().to_le_bytes(), &count.to_le_bytes()].concat();
        answer(&client.socket, &head)?;
        for some in pages.chunks(MAX_FDS) {
            send_from(client.socket.as_fd(), &[PAGES], some)?.done()?;
        }
        Ok(())
    }

    /// A client has hung up or died.
    pub(super) fn remove(&mut self, poller: &Poller, token: u64) {
        let Some(client) = self.clients.remove(&token) else { return };
        // The socket is registered; an error while deregistering has no consequence.
        let _ = poller.remove(&client.socket);
        if let (Page::Counts(page, _), Some(tallies)) = (&client.page, self.stores.get_mut(&client.store)) {
            tallies.ledger.on_end(page);
        }
    }

    /// A worker has died. Its sockets have reported that already, unless another process also holds them.
    pub(super) fn on_exit(&mut self, poller: &Poller, worker: WorkerId) {
        let its = self.clients.iter().filter(|(_, client)| client.worker == Some(worker));
        for token in its.map(|(token, _)| *token).collect::<Vec<u64>>() {
            self.remove(poller, token);
        }
    }
}

impl Client {
    /// The process has mapped its page: seals it, and adds it to those that count.
    fn count(&mut self, tallies: &mut Tallies) -> Result<(), Broken> {
        let Page::Offered(page) = &self.page else { return Err(Broken) };
        let (page, fd) = Unsealed::seal(page)?;
        self.page = Page::Counts(Reader(page), fd);
        tallies.ledger.on_page();
        Ok(())
    }
}

impl Tallies {
    fn new() -> Result<Self, SysError> {
        let (memory, totals) = Segment::create_published(NAME, TOTALS_WORDS)?;
        reserve(&totals, &(0..TOTALS_WORDS))?;
        let ledger = Ledger::new(memory).ok_or(SysError::invalid("making totals of tallies"))?;
        Ok(Self { ledger, totals, names: HashMap::new() })
    }

    /// The number of a name, assigned on first use.
    fn index(&mut self, name: &[u8]) -> Option<u16> {
        if let Some(index) = self.names.get(name) {
            return Some(*index);
        }
        let index = u16::try_from(self.names.len()).ok().filter(|index| usize::from(*index) < TALLIES)?;
        self.names.insert(name.to_vec(), index);
        Some(index)
    }
}

fn answer(socket: &Descriptor, message: &[u8]) -> Result<(), Broken> {
    // An error if the process does not read its answers.
    Ok(send(socket.as_fd(), message, &[])?.done()?)
}
