//! The forwarder's thread: turns events into inputs, and carries out the brains' outputs.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use super::connections::{Connections, News};
use super::front::Front;
use super::token::Token;
use super::tools::Tools;
use super::{BoundFront, Command, ForwarderEvent, Report};
use crate::io::barrier::Barrier;
use crate::io::native_thread::Run;
use rcluster_core::forward::{Input, Output};
use rcluster_core::ids::WorkerId;
use rcluster_core::schedule::{Address, Key};
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::SysError;
use rcluster_sys::stream::{self, Name};

/// The maximum number of clients accepted on one front before the others get their turn.
const BURST: usize = 64;

/// The maximum number of clients accepted on a front before it is closed: more than a backlog holds.
const LAST_CLIENTS: usize = 8192;

/// The thread's own state.
pub(super) struct Shell {
    waker: Waker,
    queue: Receiver<Command>,
    fronts: Vec<Front>,
    connections: Connections,
    outputs: Vec<Output>,
    /// Whether all workers are about to leave, and none will be started.
    is_ending: bool,
    /// Run when each client is connected to a worker.
    when_connected: Vec<Barrier>,
    tools: Tools,
}

impl Run for Shell {
    const NAME: &'static str = "rcluster-fwd";

    /// Runs until it receives the stop command. An error concerns the thread itself: failures of a client, a
    /// worker or a front are handled where they occur and do not affect the others.
    fn run(&mut self) -> Result<(), SysError> {
        stream::ignore_broken_pipes()?;
        while self.turn()? == Stop::No {}
        Ok(())
    }

    fn on_failure(&self, why: String) {
        self.tools.tell(ForwarderEvent::Failed(why));
    }
}

impl Shell {
    pub(super) fn new(
        fronts: Vec<BoundFront>,
        waker: Waker,
        queue: Receiver<Command>,
        notify: Box<dyn Fn(ForwarderEvent) + Send>,
    ) -> Result<Self, SysError> {
        Ok(Self {
            tools: Tools::new(&waker, notify)?,
            waker,
            queue,
            fronts: fronts.into_iter().map(Front::new).collect(),
            connections: Connections::default(),
            outputs: Vec::new(),
            is_ending: false,
            when_connected: Vec::new(),
        })
    }

    /// Waits for events and handles them.
    pub(super) fn turn(&mut self) -> Result<Stop, SysError> {
        self.watch_fronts()?;
        let ready = self.tools.wait(self.next_deadline())?;
        for index in 0..ready {
            let event = self.tools.event(index);
            match Token::unpack(event.token) {
                Token::Waker => {
                    if self.take_commands()? == Stop::Yes {
                        return Ok(Stop::Yes);
                    }
                }
                Token::Front(index) => self.accept_burst(index),
                Token::Conn(id, side) => {
                    let news = self.connections.on_event(id, side, event, &mut self.tools);
                    self.on_news(news);
                }
            }
        }
        // One round only, so that connections that can always continue do not delay events.
        for _ in 0..self.connections.again() {
            let news = self.connections.pump_next(&mut self.tools);
            self.on_news(news);
        }
        for index in 0..self.fronts.len() {
            let deadline = self.fronts[index].next_deadline();
            if deadline.is_some_and(|deadline| deadline <= self.tools.now()) {
                self.input(index, Input::Tick);
            }
        }
        if !self.when_connected.is_empty() && !self.fronts.iter().any(Front::has_unconnected) {
            self.when_connected.drain(..).for_each(Barrier::run);
        }
        Ok(Stop::No)
    }

    fn watch_fronts(&mut self) -> Result<(), SysError> {
        for index in 0..self.fronts.len() {
            if !self.fronts[index].watch(index, &mut self.tools)? {
                self.input(index, Input::Exhausted);
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.connections.again() > 0 {
            return Some(Duration::ZERO);
        }
        self.fronts.iter().filter_map(Front::next_deadline).min()
    }

    fn take_commands(&mut self) -> Result<Stop, SysError> {
        self.waker.clear();
        loop {
            match self.queue.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Ok(Stop::Yes),
                Ok(command) => self.on_command(command)?,
                Err(TryRecvError::Empty) => return Ok(Stop::No),
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Result<(), SysError> {
        match command {
            Command::AddWorker { worker, slot, own } => {
                self.connections.workers().insert(worker, own);
                self.input_all(Input::WorkerAdded { worker, slot });
            }
            Command::WorkerLeaving { worker, done } => {
                self.input_all(Input::WorkerLeaving { worker });
                // At the end there is no other worker, and this one waits a moment for what these clients send.
                if self.connections.workers().set_leaving(worker) && !self.is_ending {
                    self.reclaim(worker);
                }
                if let Some(done) = done {
                    // The send fails if the primary's main thread is gone.
                    let _ = done.send(());
                }
            }
            Command::WorkerExited(worker) => {
                self.input_all(Input::WorkerExited { worker });
                self.connections.workers().remove(worker);
            }
            Command::WorkerListens(worker) => self.connections.workers().on_listening(worker),
            Command::AcceptAllAndClose(act) => {
                self.accept_all_and_close()?;
                self.when_connected.push(act);
            }
            Command::Barrier(act) => act.run(),
            Command::Report(answer) => self.report(&answer),
            Command::Stop => unreachable!("handled by take_commands"),
        }
        Ok(())
    }

    /// Accepts all waiting clients and closes the sockets.
    fn accept_all_and_close(&mut self) -> Result<(), SysError> {
        self.is_ending = true;
        for index in 0..self.fronts.len() {
            for _ in 0..LAST_CLIENTS {
                if !self.fronts[index].has_client() || !self.accept(index) {
                    break;
                }
            }
            self.fronts[index].close(&mut self.tools)?;
        }
        Ok(())
    }

    /// Gives the clients of a leaving worker to others, if neither side has sent anything.
    fn reclaim(&mut self, worker: WorkerId) {
        for id in self.connections.unserved(worker) {
            let news = self.connections.reclaim(id, &mut self.tools);
            self.on_news(news);
        }
    }

    fn report(&self, answer: &Sender<Vec<Report>>) {
        // The send fails if the primary's main thread is gone.
        let _ = answer.send(self.fronts.iter().map(Front::report).collect());
    }

    fn input_all(&mut self, input: Input) {
        for index in 0..self.fronts.len() {
            self.input(index, input);
        }
    }

    /// Gives a brain the input that a connection has caused.
    pub(super) fn on_news(&mut self, news: Option<News>) {
        let Some(News { front, input }) = news else { return };
        self.input(front, input);
        if let Input::Connected { conn } = input {
            let news = self.connections.pump(conn, &mut self.tools);
            self.on_news(news);
        }
    }

    /// Gives a brain an input and carries out its outputs, in order. Inputs that result from this wait until
    /// all outputs have been carried out.
    fn input(&mut self, index: usize, input: Input) {
        if !self.fronts[index].begin(input) {
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        while self.fronts[index].next(self.tools.now(), &self.connections, &mut outputs) {
            for output in outputs.drain(..) {
                self.carry_out(index, output);
            }
        }
        self.outputs = outputs;
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Connect { conn, worker } => {
                let news = self.connections.connect(conn, worker, &mut self.tools);
                self.on_news(news);
            }
            Output::GiveUp { conn } => self.connections.give_up(conn),
            Output::Abort { conn, reason } => self.connections.abort(conn, reason),
            Output::Pause => self.fronts[index].set_accepting(false),
            Output::Resume => self.fronts[index].set_accepting(true),
        }
    }

    fn accept_burst(&mut self, index: usize) {
        for turn in 0..BURST {
            if !self.fronts[index].may_accept(turn == 0) || !self.accept(index) {
                return;
            }
        }
    }

    /// Accepts a client. Returns false if there is none, or no descriptor for it.
    fn accept(&mut self, index: usize) -> bool {
        // Reserves descriptors for both ends of this connection, and for the missing ends of the clients
        // that wait. No number of clients must prevent the replacement of a worker.
        let missing = 2 + self.fronts.iter().map(Front::waiting).sum::<usize>();
        let front = &self.fronts[index];
        match front.accept(missing) {
            Ok(Some(client)) => {
                let key = if front.is_sticky() { key(&client) } else { None };
                let conn = self.connections.insert(index, front.options(), client);
                self.input(index, Input::Accepted { conn, key });
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.tools.warn(error);
                self.input(index, Input::Exhausted);
                false
            }
        }
    }

    #[cfg(test)]
    pub(super) fn parts(&mut self) -> (&[Front], &mut Connections, &mut Tools) {
        (&self.fronts, &mut self.connections, &mut self.tools)
    }
}

/// The key of a client; `None` on a Unix socket.
fn key(client: &OwnedFd) -> Option<Key> {
    let Name::Ip(at) = stream::peer_name(client) else { return None };
    Some(Key::from(match at.ip() {
        IpAddr::V4(ip) => Address::V4(ip.octets()),
        IpAddr::V6(ip) => Address::V6(ip.octets()),
    }))
}

/// Whether the thread must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Stop {
    Yes,
    No,
}
