//! The primary's side of the exchange: reads requests from the rings of processes and sends their frames.

use std::collections::BTreeMap;

use super::remote::OtherMachines;
use crate::io::redis::MachineLink;
use crate::io::store::peer::{Broken, Peer};
use rcluster_core::exchange::declared::DECLARED;
use rcluster_core::exchange::endpoint::PACKET;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::{Ask, LONGEST, decode, is_declaration};
use rcluster_core::exchange::{ClientId, Exchange, Introduction, Leaders, MAX_CALLS, Process};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::machines::Output;
use rcluster_core::store::ring::WINDOW;
use rcluster_sys::closer::Descriptor;
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{Sent, accept_descriptors, message_pair};

/// The maximum number of requests served for one process before the next process gets its turn.
const TURN: usize = 128;

/// How many turns a process gets after it has hung up: enough to empty the ring.
const LAST_TURNS: usize = 16;

/// The maximum number of links of one worker. It needs one for each copy of this package that it loads.
const MAX_OPEN: usize = 8;

/// A process that has joined the exchange.
struct Client {
    peer: Peer,
    /// Whether messages wait for room in its socket.
    waits: bool,
    /// The number of its declarations that were read.
    declared: u64,
    /// Whether its ring is being read, further up in the call stack.
    is_reading: bool,
}

impl Client {
    fn new(peer: Peer) -> Self {
        Self { peer, waits: false, declared: 0, is_reading: false }
    }

    /// The number of declarations in its ring, if some were not read.
    fn unread_declarations(&self) -> Option<u64> {
        Some(self.peer.published(DECLARED)).filter(|count| *count > self.declared)
    }
}

/// The exchange and its clients: see the module.
#[derive(Default)]
pub(in crate::io) struct ExchangeRoom {
    /// Known before the exchange exists.
    roster: Roster,
    /// Created with the first client.
    exchange: Option<Exchange>,
    clients: BTreeMap<u64, Client>,
    /// Other machines, if there is a server that connects them.
    other_machines: Option<OtherMachines>,
    /// Clients that have violated the protocol, and are still to be cut off.
    broken: Vec<u64>,
    request: Vec<u8>,
    packet: Vec<u8>,
}

impl ExchangeRoom {
    pub(in crate::io) fn new(roster: Roster) -> Self {
        Self { roster, ..Self::default() }
    }

    /// Whether a worker may open another link.
    pub(in crate::io) fn has_room_for(&self, worker: Option<WorkerId>) -> bool {
        let open = self.clients.values().filter(|client| client.peer.worker == worker).count();
        worker.is_none() || open < MAX_OPEN
    }

    /// Creates the link of a process and sends it.
    pub(in crate::io) fn admit(
        &mut self,
        poller: &Poller,
        token: u64,
        socket: Descriptor,
        worker: Option<WorkerId>,
    ) -> Result<(), (Descriptor, SysError)> {
        let has_link = u64::from(self.other_machines.is_some());
        let peer = Peer::admit_with(poller, token, socket, worker, LONGEST, (Vec::new(), has_link))?;
        let exchange = self.exchange.get_or_insert_with(|| Exchange::new(std::mem::take(&mut self.roster)));
        exchange.join(ClientId(token), worker.map_or(Process::Primary, Process::Worker));
        self.clients.insert(token, Client::new(peer));
        Ok(())
    }

    /// From now on, a server connects this machine with others.
    pub(in crate::io) fn set_link(&mut self, poller: &Poller, link: MachineLink) {
        let exchange = self.exchange.get_or_insert_with(|| Exchange::new(std::mem::take(&mut self.roster)));
        self.other_machines = Some(OtherMachines::new(link, exchange));
        self.clients.values().for_each(|client| client.peer.inbox.note(1));
        self.deliver(poller);
    }

    /// Handles the outputs about messages and requests between machines.
    pub(in crate::io) fn on_remote_outputs(
        &mut self,
        poller: &Poller,
        outputs: &[Output],
        leaders: Leaders<'_>,
    ) {
        if let (Some(other_machines), Some(exchange)) = (&mut self.other_machines, &mut self.exchange) {
            other_machines.on_outputs(exchange, outputs, leaders);
        }
        self.deliver(poller);
    }

    /// A worker has started.
    pub(in crate::io) fn on_started(&mut self, worker: WorkerId, slot: Option<Slot>) {
        self.roster().on_started(worker, slot);
    }

    /// A worker has been given a slot, or has lost it.
    pub(in crate::io) fn on_slot(&mut self, worker: WorkerId, slot: Option<Slot>) {
        self.roster().on_slot(worker, slot);
    }

    /// A worker has died. Its socket has reported that already, unless another process also holds the socket.
    pub(in crate::io) fn on_exit(&mut self, poller: &Poller, worker: WorkerId, leaders: Leaders<'_>) {
        self.roster().on_exit(worker);
        let its = self.clients.iter().filter(|(_, client)| client.peer.worker == Some(worker));
        let tokens: Vec<u64> = its.map(|(token, _)| *token).collect();
        for token in tokens {
            self.remove(poller, token, leaders);
        }
    }

    fn roster(&mut self) -> &mut Roster {
        match &mut self.exchange {
            Some(exchange) => exchange.roster(),
            None => &mut self.roster,
        }
    }

    /// Marks the thread as awake, so that processes do not wake it.
    pub(in crate::io) fn wake(&self) {
        self.clients.values().for_each(|client| client.peer.inbox.wake());
    }

    /// Announces to all clients that the thread sleeps. Returns false if a request has arrived meanwhile.
    pub(in crate::io) fn sleep(&self) -> bool {
        self.clients.values().fold(true, |asleep, client| client.peer.inbox.sleep() & asleep)
    }

    /// See [`Peer::admit_requests`].
    pub(in crate::io) fn admit_requests(&mut self) {
        self.clients.values_mut().for_each(|client| client.peer.admit_requests());
    }

    fn admit_requests_of(&mut self, token: u64) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.peer.admit_requests();
        }
    }

    /// Serves some requests. Returns true if there were any.
    pub(in crate::io) fn work(&mut self, poller: &Poller, leaders: Leaders<'_>) -> bool {
        let mut served = false;
        let tokens: Vec<u64> = self.clients.keys().copied().collect();
        for token in tokens {
            match self.serve(token, leaders) {
                Ok(count) => served |= count > 0,
                Err(Broken) => self.broken.push(token),
            }
        }
        served |= self.drop_broken(poller);
        if served {
            self.deliver(poller);
        }
        served
    }

    /// The socket of a process has room again.
    pub(in crate::io) fn on_room(&mut self, poller: &Poller, token: u64) {
        if let Some(client) = self.clients.get_mut(&token).filter(|client| client.waits) {
            client.waits = false;
            client.peer.watch_room(poller, false);
            self.flush(poller, token);
        }
    }

    /// A process has hung up or died.
    pub(in crate::io) fn remove(&mut self, poller: &Poller, token: u64, leaders: Leaders<'_>) {
        // Requests that the process made before its end are still carried out.
        self.admit_requests_of(token);
        for _ in 0..LAST_TURNS {
            if !matches!(self.serve(token, leaders), Ok(1..)) {
                break;
            }
        }
        self.drop_client(poller, token);
        self.drop_broken(poller);
        self.deliver(poller);
    }

    /// Serves some requests of a process. Returns how many there were.
    fn serve(&mut self, token: u64, leaders: Leaders<'_>) -> Result<usize, Broken> {
        let mut count = 0;
        while count < TURN && self.serve_one(token, leaders)? {
            count += 1;
        }
        let Some(exchange) = &mut self.exchange else { return Ok(count) };
        if count > 0 && self.clients.get(&token).is_some_and(|client| client.peer.waits_for_answers()) {
            exchange.tell_room(ClientId(token));
        }
        if exchange.is_flooded(ClientId(token)) { Err(Broken) } else { Ok(count) }
    }

    /// Serves the next request of a process. Returns false if there is none.
    fn serve_one(&mut self, token: u64, leaders: Leaders<'_>) -> Result<bool, Broken> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(false) };
        let mut request = std::mem::take(&mut self.request);
        let is_there = client.peer.next(&mut request)?;
        if is_there {
            client.peer.make_room();
            let ask = decode(&request).ok_or(Broken)?;
            client.declared += u64::from(is_declaration(request[0]));
            if ask.is_message() {
                self.read_declarations(token, leaders);
            }
            self.carry_out(token, &ask, leaders)?;
        }
        self.request = request;
        Ok(is_there)
    }

    fn carry_out(&mut self, token: u64, ask: &Ask<'_>, leaders: Leaders<'_>) -> Result<(), Broken> {
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let clients = &self.clients;
        let published = |ClientId(token), place| {
            let number = clients.get(&token).map_or(0, |client| client.peer.published(place));
            // A process that obeys the protocol publishes no more than that.
            usize::try_from(number).unwrap_or(MAX_CALLS).min(MAX_CALLS)
        };
        exchange.on_ask(ClientId(token), ask, leaders, &published).map_err(|_| Broken)
    }

    /// Before a message of a process is delivered, reads the declarations that others have made so far: the
    /// message may depend on them.
    fn read_declarations(&mut self, sender: u64, leaders: Leaders<'_>) {
        let others = self.clients.iter().filter(|(token, _)| **token != sender);
        let others: Vec<(u64, u64)> =
            others.filter_map(|(token, client)| Some((*token, client.unread_declarations()?))).collect();
        if others.is_empty() {
            return;
        }
        // Messages of others may depend on further declarations.
        self.set_reading(sender, true);
        for (token, count) in others {
            if self.clients.get(&token).is_some_and(|client| !client.is_reading)
                && self.read_until_declared(token, count, leaders).is_err()
            {
                self.broken.push(token);
            }
        }
        self.set_reading(sender, false);
    }

    fn read_until_declared(&mut self, token: u64, count: u64, leaders: Leaders<'_>) -> Result<(), Broken> {
        self.admit_requests_of(token);
        // The ring holds no more requests than that, so all declarations are read.
        let mut left = WINDOW;
        while self.clients.get(&token).is_some_and(|client| client.declared < count) {
            if left == 0 || !self.serve_one(token, leaders)? {
                return Err(Broken);
            }
            left -= 1;
        }
        Ok(())
    }

    fn set_reading(&mut self, token: u64, is_reading: bool) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.is_reading = is_reading;
        }
    }

    /// Sends all new frames to their processes.
    fn deliver(&mut self, poller: &Poller) {
        let made = self.exchange.as_mut().map(Exchange::take_introductions).unwrap_or_default();
        for introduction in made {
            if !self.introduce(&introduction) {
                self.exchange.iter_mut().for_each(|exchange| exchange.on_not_introduced(&introduction));
            }
        }
        let ready = self.exchange.as_mut().map(Exchange::take_ready).unwrap_or_default();
        for ClientId(token) in ready {
            self.flush(poller, token);
        }
        if let (Some(other_machines), Some(exchange)) = (&mut self.other_machines, &mut self.exchange) {
            other_machines.deliver(exchange);
        }
    }

    /// Gives two processes a socket pair. Returns false if that is impossible now.
    fn introduce(&self, introduction: &Introduction) -> bool {
        let Some(exchange) = &self.exchange else { return false };
        // The packet is a frame of the stream, so it must not interrupt another frame.
        if !introduction.packets.iter().all(|(client, _)| exchange.is_between_frames(*client)) {
            return false;
        }
        let Ok((one, other)) = message_pair() else { return false };
        for end in [&one, &other] {
            // An older kernel does not know the option. Then each process looks at packets before it receives them.
            let _unknown = accept_descriptors(end, false);
        }
        introduction.packets.iter().zip([one, other]).all(|((ClientId(token), packet), socket)| {
            let client = self.clients.get(token).filter(|client| !client.waits);
            client.is_some_and(|client| matches!(client.peer.send_with(packet, &[socket]), Ok(Sent::Done)))
        })
    }

    fn flush(&mut self, poller: &Poller, token: u64) {
        let (Some(client), Some(exchange)) = (self.clients.get_mut(&token), &mut self.exchange) else {
            return;
        };
        let id = ClientId(token);
        while !client.waits {
            exchange.peek(id, PACKET, &mut self.packet);
            if self.packet.is_empty() {
                return;
            }
            match client.peer.send(&self.packet) {
                Ok(Sent::Done) => exchange.on_sent(id, self.packet.len()),
                Ok(Sent::Full | Sent::TooManyOnTheirWay) => {
                    client.waits = true;
                    client.peer.watch_room(poller, true);
                }
                // The process is gone: its socket reports the hang-up.
                Err(_) => return,
            }
        }
    }

    /// Removes clients that have violated the protocol. Returns false if there were none.
    fn drop_broken(&mut self, poller: &Poller) -> bool {
        let broken = std::mem::take(&mut self.broken);
        for token in &broken {
            self.drop_client(poller, *token);
        }
        !broken.is_empty()
    }

    fn drop_client(&mut self, poller: &Poller, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            client.peer.leave(poller);
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.leave(ClientId(token));
        }
    }
}

#[cfg(test)]
mod tests;
