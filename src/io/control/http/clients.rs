//! The limit on the number of clients, and which one is closed to make room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The maximum number of clients.
pub(super) const MAX: usize = 64;

/// All clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    accepted: u64,
    clients: BTreeMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    /// `None` until the task runs.
    task: Option<AbortHandle>,
    /// Since when the client has been idle: before its request is complete, or until it has read its answer.
    /// `None` while the answer is being prepared.
    silent_since: Option<Instant>,
}

/// The place of one client, occupied while it is kept.
#[derive(Debug)]
pub(super) struct Place {
    clients: Clients,
    number: u64,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if necessary that of the client that has been idle longest. `None` if all are being
    /// answered.
    pub(super) fn admit(&self) -> Option<Place> {
        let mut table = self.lock();
        if table.clients.len() >= MAX {
            let silent = table.clients.iter().filter_map(|(number, it)| Some((it.silent_since?, *number)));
            let (_, longest) = silent.min()?;
            // Its task ends a little later, but the client no longer counts.
            if let Some(task) = table.clients.remove(&longest).and_then(|it| it.task) {
                task.abort();
            }
        }
        let number = table.accepted;
        table.accepted += 1;
        table.clients.insert(number, Client { task: None, silent_since: Some(Instant::now()) });
        Some(Place { clients: self.clone(), number })
    }

    /// Closes all clients.
    pub(super) fn close(&self) {
        for client in self.lock().clients.values() {
            if let Some(task) = &client.task {
                task.abort();
            }
        }
    }

    /// Sets the handle that ends the client with this number.
    pub(super) fn runs(&self, number: u64, task: AbortHandle) {
        if let Some(client) = self.lock().clients.get_mut(&number) {
            client.task = Some(task);
        }
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The client is idle from now on.
    pub(super) fn on_silent(&self) {
        self.set(Some(Instant::now()));
    }

    /// A request of the client is being answered from now on.
    pub(super) fn on_asked(&self) {
        self.set(None);
    }

    fn set(&self, silent_since: Option<Instant>) {
        if let Some(client) = self.clients.lock().clients.get_mut(&self.number) {
            client.silent_since = silent_since;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().clients.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_has_been_idle_longest_makes_room() {
        let clients = Clients::default();
        let mut places: Vec<Place> = (0..MAX).map(|_| clients.admit().unwrap()).collect();
        places[0].on_silent();
        places[1].on_asked();
        let another = clients.admit().expect("number 2 has waited for longest");
        let numbers: Vec<u64> = clients.lock().clients.keys().copied().collect();
        assert!(!numbers.contains(&2) && numbers.contains(&0) && numbers.contains(&1));
        for place in &places {
            place.on_asked();
        }
        another.on_asked();
        assert!(clients.admit().is_none(), "all are being answered");
        drop(places.pop());
        assert!(clients.admit().is_some());
        drop((places, another));
        assert!(clients.lock().clients.is_empty());
    }
}
