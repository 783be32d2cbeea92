//! A machine: its workers, their exchange, and the link with other machines. Only the system calls are
//! simulated.

use std::collections::{BTreeMap, VecDeque};

use rcluster_core::exchange::frame::{Assembler, COMMON, Frame, Kind, Status};
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{CallId, ClientId, Exchange, Process, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::machines::bridge::Bridge;
use rcluster_core::machines::{Input, MachineId, Machines, Output};

use super::ledger::{Ledger, Number};

const NAME: &[u8] = b"sum";

/// A worker, which is a process with one link.
#[derive(Default)]
struct Worker {
    assembler: Assembler,
    next_request: u64,
    /// The number of each of its requests.
    requests: BTreeMap<RequestId, Number>,
    /// The calls that it has not answered.
    calls: BTreeMap<CallId, Number>,
}

pub(crate) struct Machine {
    pub(crate) id: MachineId,
    machines: Machines,
    bridge: Bridge,
    exchange: Exchange,
    workers: BTreeMap<u32, Worker>,
    next_worker: u32,
    /// The number of its connection.
    pub(crate) connection: u64,
    /// The requests of others that it must answer, by their numbers here.
    asked: BTreeMap<RequestId, Number>,
}

/// The leader: a worker of a machine.
pub(crate) type Leader = Option<(MachineId, u32)>;

impl Machine {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        let mut exchange = Exchange::new(Roster::new());
        let id = MachineId::new([number, seed]);
        let bridge = Bridge::new(&mut exchange);
        Self {
            id,
            machines: Machines::new(id, seed),
            bridge,
            exchange,
            workers: BTreeMap::new(),
            next_worker: 1,
            connection: 0,
            asked: BTreeMap::new(),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.machines.next_deadline()
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        self.workers.keys().copied().collect()
    }

    /// How many calls wait for an answer.
    pub(crate) fn calls(&self) -> usize {
        self.workers.values().map(|worker| worker.calls.len()).sum()
    }

    pub(crate) fn start_worker(&mut self) -> u32 {
        let number = self.next_worker;
        self.next_worker += 1;
        self.exchange.roster().on_started(WorkerId(number), Some(Slot(number)));
        self.exchange.join(ClientId(number.into()), Process::Worker(WorkerId(number)));
        self.workers.insert(number, Worker::default());
        number
    }

    /// A worker dies. Returns the requests that it waited for.
    pub(crate) fn kill_worker(&mut self, number: u32) -> Vec<Number> {
        self.exchange.roster().on_exit(WorkerId(number));
        self.exchange.leave(ClientId(number.into()));
        self.workers.remove(&number).into_iter().flat_map(|worker| worker.requests.into_values()).collect()
    }

    /// Everything that its workers wait for.
    pub(crate) fn requests(&self) -> Vec<Number> {
        self.workers.values().flat_map(|worker| worker.requests.values()).copied().collect()
    }

    fn ask(&mut self, worker: u32, ask: &Ask<'_>, leader: Leader) {
        let leaders = leaders(self.id, leader);
        self.exchange.on_ask(ClientId(worker.into()), ask, &leaders, &|_, _| 0).expect("it keeps the rules");
    }

    pub(crate) fn handle(&mut self, worker: u32) {
        self.ask(worker, &Ask::Handle(NAME), None);
    }

    pub(crate) fn request(&mut self, worker: u32, number: Number, is_for_leader: bool, leader: Leader) {
        let Some(its) = self.workers.get_mut(&worker) else { return };
        its.next_request += 1;
        let id = RequestId(its.next_request);
        its.requests.insert(id, number);
        let target = if is_for_leader { Target::Leader(Scope::All, b"cron") } else { Target::Everywhere };
        self.ask(worker, &Ask::Request { id, target, name: NAME, data: &number.to_le_bytes() }, leader);
    }

    /// A worker cancels its oldest request. Returns its number if no outcomes follow.
    pub(crate) fn cancel(&mut self, worker: u32, tell: bool) -> Option<Number> {
        let its = self.workers.get_mut(&worker)?;
        let (id, number) = its.requests.first_key_value().map(|(id, number)| (*id, *number))?;
        if !tell {
            its.requests.remove(&id);
        }
        self.ask(worker, &Ask::Cancel { id, tell }, None);
        (!tell).then_some(number)
    }

    /// A worker answers its oldest calls, this many.
    pub(crate) fn answer(&mut self, worker: u32, count: usize) {
        for _ in 0..count {
            let Some(its) = self.workers.get_mut(&worker) else { return };
            let Some((call, number)) = its.calls.pop_first() else { return };
            self.ask(worker, &Ask::Reply { call, status: Status::Value, data: &number.to_le_bytes() }, None);
        }
    }

    /// Cancelled calls whose handlers have not been told.
    pub(crate) fn stray_calls(&self, ledger: &mut Ledger) -> Vec<Number> {
        let calls = self.workers.values().flat_map(|worker| worker.calls.values());
        calls.copied().filter(|number| ledger.get(*number).is_over).collect()
    }

    /// The link gets an input. Returns the outputs for the server.
    pub(crate) fn input(
        &mut self,
        input: Option<Input>,
        now: u64,
        leader: Leader,
        ledger: &mut Ledger,
    ) -> Vec<Output> {
        let mut for_server = Vec::new();
        let mut queue: VecDeque<Input> = input.into_iter().collect();
        loop {
            while let Some(input) = queue.pop_front() {
                if let Input::Asked { id, workers } = &input
                    && let Some(number) = self.asked.remove(id)
                {
                    ledger.on_asked(number, self.id, workers.as_deref());
                }
                let mut out = Vec::new();
                self.machines.input(input, now, &mut out);
                for output in &out {
                    if let Output::Ask { id, data, .. } = output {
                        self.asked.insert(*id, number_of(data));
                    }
                }
                let leaders = leaders(self.id, leader);
                self.bridge.on_outputs(&mut self.exchange, &out, &leaders, |input| queue.push_back(input));
                for_server.extend(out.into_iter().filter(is_for_server));
            }
            self.bridge.take(&mut self.exchange, |input| queue.push_back(input));
            if queue.is_empty() {
                break;
            }
        }
        self.machines.check_invariants();
        self.exchange.check_invariants();
        self.read(ledger);
        for_server
    }

    /// All workers read their frames.
    fn read(&mut self, ledger: &mut Ledger) {
        for introduction in self.exchange.take_introductions() {
            self.exchange.on_not_introduced(&introduction);
        }
        for (number, worker) in &mut self.workers {
            let (client, mut packet) = (ClientId((*number).into()), Vec::new());
            loop {
                self.exchange.peek(client, 64 << 10, &mut packet);
                if packet.is_empty() {
                    break;
                }
                self.exchange.on_sent(client, packet.len());
                worker.assembler.push(&packet);
                let mut assembler = std::mem::take(&mut worker.assembler);
                while let Some(frame) = assembler.next_frame().expect("frames are whole") {
                    worker.on_frame((self.id, *number), &frame, ledger);
                }
                worker.assembler = assembler;
            }
        }
    }

    /// The numbers of unfinished requests of this machine and of others, and the number of bytes on their
    /// way.
    pub(crate) fn pending(&self) -> (usize, usize, usize) {
        let (requests, served) = self.machines.pending();
        (requests, served, self.bridge.under_way())
    }
}

impl Worker {
    fn on_frame(&mut self, (machine, own): (MachineId, u32), frame: &Frame<'_>, ledger: &mut Ledger) {
        match frame.kind {
            Kind::Request => {
                assert!(frame.flag == COMMON || frame.flag == 0);
                let number = number_of(frame.data);
                ledger.on_called(number, machine, own);
                self.calls.insert(CallId(frame.number), number);
            }
            Kind::Cancelled => {
                self.calls.remove(&CallId(frame.number));
            }
            Kind::Outcome => {
                let id = RequestId(frame.number);
                // The request was cancelled at the same time.
                let Some(number) = self.requests.get(&id).copied() else { return };
                let status = (0..=13).map(status).nth(frame.flag.into()).expect("it is one");
                if status == Status::Value {
                    assert_eq!(number_of(frame.data), number, "it is the answer to this request");
                }
                let is_last = frame.rest == 0;
                ledger.on_told(number, MachineId::of(frame.name), frame.worker, status, is_last);
                if is_last {
                    self.requests.remove(&id);
                }
            }
            // A connection was lost.
            Kind::HandlerLag => {}
            kind => panic!("{kind:?}"),
        }
    }
}

fn status(flag: u8) -> Status {
    [
        Status::Value,
        Status::Error,
        Status::NoHandler,
        Status::Gone,
        Status::Busy,
        Status::NoLeader,
        Status::Limit,
        Status::Lost,
        Status::Cancelled,
        Status::Nobody,
        Status::Disconnected,
        Status::Missing,
        Status::Late,
        Status::Unsent,
    ][usize::from(flag)]
}

fn leaders(machine: MachineId, leader: Leader) -> impl Fn(Scope, &[u8]) -> Option<Process> {
    move |scope, _| {
        let (leads, worker) = leader.filter(|_| scope == Scope::All)?;
        (leads == machine).then_some(Process::Worker(WorkerId(worker)))
    }
}

pub(crate) fn number_of(data: &[u8]) -> Number {
    u64::from_le_bytes(data.try_into().expect("it is a number"))
}

fn is_for_server(output: &Output) -> bool {
    matches!(
        output,
        Output::Open | Output::Close | Output::Change { .. } | Output::Publish(_) | Output::Beat(..)
    )
}
