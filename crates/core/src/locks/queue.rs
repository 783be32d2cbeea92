//! The requests for one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ClientId, Mode, RequestId};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) client: ClientId,
    pub(super) id: RequestId,
    pub(super) mode: Mode,
}

/// The requests that hold the lock and those that wait for it, each by its number in the order of all
/// requests.
///
/// Either one exclusive request holds the lock, or any number of shared ones.
#[derive(Debug)]
pub(super) struct Queue {
    name: Arc<[u8]>,
    /// The holders, with their tokens.
    held: BTreeMap<u64, (Entry, u64)>,
    pending: BTreeMap<u64, Entry>,
}

impl Queue {
    pub(super) fn new(name: Arc<[u8]>) -> Self {
        Self { name, held: BTreeMap::new(), pending: BTreeMap::new() }
    }

    pub(super) fn name(&self) -> &Arc<[u8]> {
        &self.name
    }

    /// Whether a new request would be granted at once.
    pub(super) fn is_free_for(&self, mode: Mode) -> bool {
        self.pending.is_empty() && self.fits(mode)
    }

    /// Whether the holders would share the lock. They all have the same mode.
    fn fits(&self, mode: Mode) -> bool {
        match self.held.first_key_value() {
            None => true,
            Some((_, (held, _))) => held.mode == Mode::Shared && mode == Mode::Shared,
        }
    }

    pub(super) fn wait(&mut self, order: u64, entry: Entry) {
        self.pending.insert(order, entry);
    }

    pub(super) fn hold(&mut self, order: u64, entry: Entry, token: u64) {
        self.held.insert(order, (entry, token));
    }

    /// Grants the lock to the first waiting request, if possible.
    pub(super) fn grant_next(&mut self, token: u64) -> Option<Entry> {
        let (order, first) = self.pending.first_key_value().map(|(order, entry)| (*order, *entry))?;
        if !self.fits(first.mode) {
            return None;
        }
        self.pending.remove(&order);
        self.hold(order, first, token);
        Some(first)
    }

    pub(super) fn is_held_by(&self, order: u64) -> bool {
        self.held.contains_key(&order)
    }

    pub(super) fn holder(&self) -> Option<(ClientId, RequestId)> {
        self.held.first_key_value().map(|(_, (entry, _))| (entry.client, entry.id))
    }

    pub(super) fn take_held(&mut self) -> impl Iterator<Item = Entry> + use<> {
        std::mem::take(&mut self.held).into_values().map(|(entry, _)| entry)
    }

    pub(super) fn take_pending(&mut self) -> impl Iterator<Item = Entry> + use<> {
        std::mem::take(&mut self.pending).into_values()
    }

    pub(super) fn remove(&mut self, order: u64) {
        self.held.remove(&order);
        self.pending.remove(&order);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.pending.is_empty()
    }

    /// All requests with their number in the order, and the token of those that hold the lock.
    pub(super) fn list(&self) -> impl Iterator<Item = (u64, Entry, Option<u64>)> {
        let held = self.held.iter().map(|(order, (entry, token))| (*order, *entry, Some(*token)));
        held.chain(self.pending.iter().map(|(order, entry)| (*order, *entry, None)))
    }
}
