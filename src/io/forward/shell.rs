//! The forwarder's thread: events in, the brains' orders out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::conn::{Conn, Tools, Upstream, Verdict};
use super::token::Token;
use super::{BoundFront, Command, ForwarderEvent, FrontOptions, Own, Target};
use crate::io::native_thread::Run;
use rcluster_core::forward::proxy::{self, Endpoints};
use rcluster_core::forward::relay::Side;
use rcluster_core::forward::{Activity, ConnId, Forward, Input, Output, Reason, Refusal};
use rcluster_core::ids::WorkerId;
use rcluster_core::schedule::{Address, Key, Policy};
use rcluster_core::warning_limit::WarningLimit;
use rcluster_sys::epoll::{Event, Interest, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::room_for_clients;
use rcluster_sys::listen::{Bound, accept, has_client};
use rcluster_sys::stream::{self, Connecting, Name, Transfer, Unanswered};

/// How many clients one address may bring in a row before the others have their turn.
const BURST: usize = 64;

/// The connections that are being forwarded. It is how the brain finds the idle ones.
#[derive(Default)]
pub(super) struct Conns(HashMap<ConnId, Conn>);

impl Deref for Conns {
    type Target = HashMap<ConnId, Conn>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Conns {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Activity for Conns {
    fn last_moved(&self, conn: ConnId) -> Duration {
        self.get(&conn).map_or(Duration::ZERO, |conn| conn.moved_at)
    }
}

/// An address with its brain.
pub(super) struct Front {
    pub(super) bound: Bound,
    pub(super) options: FrontOptions,
    pub(super) brain: Forward,
    /// Whether clients are to be accepted, as the brain says, and whether the poller tells of them.
    accepting: bool,
    watched: bool,
    /// What the brain has not been told yet, and whether it is being told just now.
    inputs: VecDeque<Input>,
    telling: bool,
    outputs: Vec<Output>,
}

/// The thread's own state.
pub(super) struct Shell {
    waker: Waker,
    queue: Receiver<Command>,
    pub(super) notify: Box<dyn Fn(ForwarderEvent) + Send>,
    pub(super) fronts: Vec<Front>,
    pub(super) workers: HashMap<WorkerId, Vec<Own>>,
    /// Those of them that get nothing more.
    pub(super) leaving: HashSet<WorkerId>,
    pub(super) conns: Conns,
    /// Connections that have had their turn and could go on.
    again: VecDeque<ConnId>,
    last_id: u64,
    exhaustion: WarningLimit,
    pub(super) tools: Tools,
    start: Instant,
}

impl Run for Shell {
    const NAME: &'static str = "rcluster-fwd";

    /// Until it is told to stop. An error is one of the thread itself: what fails for a client, a worker or an address
    /// is dealt with where it does, and leaves the others alone.
    fn run(&mut self) -> Result<(), SysError> {
        stream::ignore_broken_pipes()?;
        while self.turn()? == Stop::No {}
        Ok(())
    }

    fn on_failure(&self, why: String) {
        (self.notify)(ForwarderEvent::Failed(why));
    }
}

impl Shell {
    pub(super) fn new(
        fronts: Vec<BoundFront>,
        waker: Waker,
        queue: Receiver<Command>,
        notify: Box<dyn Fn(ForwarderEvent) + Send>,
    ) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(&waker, Token::Waker.pack())?;
        let fronts = fronts.into_iter().map(|BoundFront { bound, options }| {
            stream::no_delay(&bound.fd);
            let brain = Forward::new(options.config, options.policy);
            Front {
                bound,
                options,
                brain,
                accepting: false,
                watched: false,
                inputs: VecDeque::new(),
                telling: false,
                outputs: Vec::new(),
            }
        });
        Ok(Self {
            waker,
            queue,
            notify,
            fronts: fronts.collect(),
            workers: HashMap::new(),
            leaving: HashSet::new(),
            conns: Conns::default(),
            again: VecDeque::new(),
            last_id: 0,
            exhaustion: WarningLimit::default(),
            tools: Tools::new(poller),
            start: Instant::now(),
        })
    }

    /// Waits for news, and does what follows.
    pub(super) fn turn(&mut self) -> Result<Stop, SysError> {
        self.watch_fronts()?;
        let timeout = self.timeout();
        let ready = self.tools.poller.wait(timeout)?;
        self.tools.now = self.start.elapsed();
        for index in 0..ready {
            let event = self.tools.poller.event(index);
            match Token::unpack(event.token) {
                Token::Waker => {
                    if self.take_commands() == Stop::Yes {
                        return Ok(Stop::Yes);
                    }
                }
                Token::Front(index) => self.accept_burst(index),
                Token::Conn(id, side) => self.on_event(id, side, event),
            }
        }
        // Once round: what could go on for ever must not keep us from the news.
        for _ in 0..self.again.len() {
            let Some(id) = self.again.pop_front() else { break };
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.queued = false;
                self.pump(id);
            }
        }
        for index in 0..self.fronts.len() {
            let deadline = self.fronts[index].brain.next_deadline();
            if deadline.is_some_and(|deadline| deadline <= self.tools.now) {
                self.input(index, Input::Tick);
            }
        }
        Ok(Stop::No)
    }

    /// Has the poller tell of clients where they are to be accepted, and nowhere else. An address that cannot be
    /// watched now, for want of memory or because of a limit of the user's, is tried again by its brain.
    fn watch_fronts(&mut self) -> Result<(), SysError> {
        for index in 0..self.fronts.len() {
            let front = &mut self.fronts[index];
            if front.accepting == front.watched {
                continue;
            }
            let socket = &front.bound.fd;
            if front.watched {
                // Needs nothing that could run out. If it fails, the thread would be woken for ever.
                self.tools.poller.remove(socket)?;
                front.watched = false;
                continue;
            }
            match self.tools.poller.add(socket, Token::Front(index).pack()) {
                Ok(()) => front.watched = true,
                Err(error) => {
                    self.warn(error);
                    self.input(index, Input::Exhausted);
                }
            }
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = self.fronts.iter().filter_map(|front| front.brain.next_deadline());
        Some(deadlines.min()?.saturating_sub(self.start.elapsed()))
    }

    fn take_commands(&mut self) -> Stop {
        self.waker.clear();
        loop {
            match self.queue.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Stop::Yes,
                Ok(command) => self.on_command(command),
                Err(TryRecvError::Empty) => return Stop::No,
            }
        }
    }

    pub(super) fn input_all(&mut self, input: Input) {
        for index in 0..self.fronts.len() {
            self.input(index, input);
        }
    }

    /// Gives a brain an input and carries out what it says, in order. What follows from that waits until
    /// the whole answer has been carried out.
    fn input(&mut self, index: usize, input: Input) {
        let front = &mut self.fronts[index];
        front.inputs.push_back(input);
        if front.telling {
            return;
        }
        front.telling = true;
        let mut outputs = std::mem::take(&mut front.outputs);
        while let Some(input) = self.fronts[index].inputs.pop_front() {
            self.fronts[index].brain.handle(self.tools.now, input, &self.conns, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(index, output);
            }
        }
        self.fronts[index].outputs = outputs;
        self.fronts[index].telling = false;
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Connect { conn, worker } => self.connect(index, conn, worker),
            Output::GiveUp { conn } => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.upstream = Upstream::None;
                }
            }
            Output::Abort { conn, reason } => {
                if let Some(conn) = self.conns.remove(&conn) {
                    match reason {
                        Reason::NoWorker => stream::reset(conn.client),
                        Reason::Idle => drop(conn),
                    }
                }
            }
            Output::Pause => self.fronts[index].accepting = false,
            Output::Resume => self.fronts[index].accepting = true,
        }
    }

    fn accept_burst(&mut self, index: usize) {
        for turn in 0..BURST {
            let front = &self.fronts[index];
            // The poller has seen the first one.
            if !front.accepting || turn > 0 && !has_client(&front.bound.fd) {
                return;
            }
            // Both ends of this connection, and those of the clients that wait which are not there yet. No number of
            // clients may keep a worker from being replaced.
            let missing = 2 + self.fronts.iter().map(|front| front.brain.waiting()).sum::<usize>();
            match room_for_clients(missing).and_then(|()| accept(&front.bound.fd)) {
                Ok(Some(client)) => {
                    self.last_id += 1;
                    let id = ConnId(self.last_id);
                    let key = if front.options.policy == Policy::Sticky { key(&client) } else { None };
                    self.conns.insert(id, Conn::new(index, &front.options, client));
                    self.input(index, Input::Accepted { conn: id, key });
                }
                Ok(None) => return,
                // That client is gone; the next one is as good as any.
                Err(error) if error.is_of_the_connection() => return,
                Err(error) => {
                    self.warn(error);
                    return self.input(index, Input::Exhausted);
                }
            }
        }
    }

    fn warn(&mut self, error: SysError) {
        if self.exhaustion.is_due(self.tools.now) {
            (self.notify)(ForwarderEvent::Exhausted(error));
        }
    }

    fn connect(&mut self, index: usize, id: ConnId, worker: WorkerId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.worker = Some(worker);
        }
        match self.own(Some(worker), index).map_or(Err(Unanswered::Absent), Own::begin) {
            Ok(Connecting::Done(upstream)) => self.begin(index, id, upstream),
            Ok(Connecting::Pending(upstream)) => {
                let token = Token::of(id, Side::Worker);
                if let Err(error) = self.tools.poller.watch(&upstream, token, Interest::NewsAndRoom) {
                    return self.refuse(index, id, Unanswered::Exhausted(error));
                }
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.upstream = Upstream::Pending(upstream);
                }
            }
            Err(why) => self.refuse(index, id, why),
        }
    }

    /// The own address of a worker, if it is not gone.
    fn own(&mut self, worker: Option<WorkerId>, index: usize) -> Option<&mut Own> {
        self.workers.get_mut(&worker?)?.get_mut(index)
    }

    /// The worker of a connection may have closed its listener.
    fn doubt(&mut self, index: usize, id: ConnId) {
        let worker = self.conns.get(&id).and_then(|conn| conn.worker);
        if let Some(own) = self.own(worker, index) {
            own.doubt();
        }
    }

    /// Somebody else listens where a worker should. Told once for each address.
    fn warn_of_foreign(&mut self, index: usize, id: ConnId, uid: u32) {
        let Some(worker) = self.conns.get(&id).and_then(|conn| conn.worker) else { return };
        let Some(own) = self.own(Some(worker), index) else { return };
        if !std::mem::replace(&mut own.foreign_told, true) {
            let port = own.value();
            (self.notify)(ForwarderEvent::Foreign { worker, port, uid });
        }
    }

    pub(super) fn refuse(&mut self, index: usize, id: ConnId, why: Unanswered) {
        if matches!(why, Unanswered::Absent | Unanswered::Foreign(_)) {
            self.doubt(index, id);
        }
        let why = match why {
            Unanswered::Absent => Refusal::Absent,
            Unanswered::Foreign(uid) => {
                self.warn_of_foreign(index, id, uid);
                Refusal::Absent
            }
            Unanswered::Saturated => Refusal::Saturated,
            Unanswered::Exhausted(error) => {
                self.warn(error);
                Refusal::Exhausted
            }
        };
        self.input(index, Input::Refused { conn: id, why });
    }

    /// A worker has the connection: bytes are moved from now on.
    fn begin(&mut self, index: usize, id: ConnId, upstream: OwnedFd) {
        let worker = self.conns.get(&id).and_then(|conn| conn.worker);
        let own = self.own(worker, index);
        let on_port = own.as_ref().is_some_and(|own| matches!(own.target(), Target::Port { .. }));
        // Before the first byte.
        if let Err(why) = own.map_or(Err(Unanswered::Absent), Own::confirm) {
            return self.refuse(index, id, why);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Some(version) = self.fronts[index].options.proxy {
            let header = proxy::header(version, &endpoints(&conn.client));
            // A new connection has room for it; anything else is a worker that is gone again.
            if stream::write(&upstream, &header) != Transfer::Done(header.len()) {
                conn.upstream = Upstream::None;
                return self.refuse(index, id, Unanswered::Absent);
            }
        }
        // The system limits how much a user may watch.
        if let Err(error) = conn.begin(id, upstream, on_port, &self.tools) {
            return self.refuse(index, id, Unanswered::Exhausted(error));
        }
        self.input(index, Input::Connected { conn: id });
        // A second worker's client has said already what it had to say.
        self.pump(id);
    }

    fn on_event(&mut self, id: ConnId, side: Side, event: Event) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match (&conn.upstream, side) {
            (Upstream::Pending(..), Side::Worker) => self.on_pending(id),
            (Upstream::Open(_), _) => {
                conn.hear(side, event.readable, event.writable, event.end);
                self.pump(id);
            }
            // What it has to say waits for a worker.
            (_, Side::Client) => conn.hear(side, false, false, event.end),
            (Upstream::None, Side::Worker) => {}
        }
    }

    pub(super) fn on_pending(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let index = conn.index;
        let Upstream::Pending(upstream) = std::mem::replace(&mut conn.upstream, Upstream::None) else {
            return;
        };
        match stream::is_connected(&upstream) {
            None => conn.upstream = Upstream::Pending(upstream),
            Some(Err(why)) => self.refuse(index, id, why),
            Some(Ok(())) => match self.tools.poller.remove(&upstream) {
                Ok(()) => self.begin(index, id, upstream),
                Err(error) => self.refuse(index, id, Unanswered::Exhausted(error)),
            },
        }
    }

    /// Moves what can be moved, and does what follows from it.
    fn pump(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !matches!(conn.upstream, Upstream::Open(_)) {
            return;
        }
        let index = conn.index;
        match conn.pump(id, &mut self.tools) {
            Verdict::Wait => {}
            Verdict::Again => {
                if !conn.queued {
                    conn.queued = true;
                    self.again.push_back(id);
                }
            }
            Verdict::Close => {
                self.conns.remove(&id);
                return self.input(index, Input::Ended { conn: id });
            }
            // As long as nothing has been said, another worker will do.
            Verdict::Reset { by: Side::Worker } if !conn.relay.is_touched() => {
                conn.upstream = Upstream::None;
                return self.refuse(index, id, Unanswered::Absent);
            }
            Verdict::Reset { by } => {
                if by == Side::Worker {
                    self.doubt(index, id);
                }
                return self.reset(index, id);
            }
            Verdict::Abandon(error) => {
                self.warn(error);
                return self.reset(index, id);
            }
        }
        if !conn.half_open_told && conn.relay.is_half_open() {
            conn.half_open_told = true;
            self.input(index, Input::HalfClosed { conn: id });
        }
    }

    /// Ends a connection so that both sides see that it was cut off.
    fn reset(&mut self, index: usize, id: ConnId) {
        if let Some(conn) = self.conns.remove(&id) {
            stream::reset(conn.client);
            if let Upstream::Open(upstream) = conn.upstream {
                stream::reset(upstream);
            }
        }
        self.input(index, Input::Ended { conn: id });
    }
}

/// What a client is recognised by: nothing, on a unix socket.
fn key(client: &OwnedFd) -> Option<Key> {
    let Name::Ip(at) = stream::peer_name(client) else { return None };
    Some(Key::from(match at.ip() {
        IpAddr::V4(ip) => Address::V4(ip.octets()),
        IpAddr::V6(ip) => Address::V6(ip.octets()),
    }))
}

/// Where a client comes from, and where it went.
fn endpoints(client: &OwnedFd) -> Endpoints {
    match (stream::peer_name(client), stream::own_name(client)) {
        (Name::Ip(source), Name::Ip(destination)) => Endpoints::Ip { source, destination },
        (Name::Unix(source), Name::Unix(destination)) => Endpoints::Unix { source, destination },
        _ => Endpoints::Unknown,
    }
}

/// Whether the thread is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Stop {
    Yes,
    No,
}
