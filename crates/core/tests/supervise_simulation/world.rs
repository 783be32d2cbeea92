//! The simulated environment of supervision: processes and a shell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rcluster_core::control::supervise::{
    Backoff, By, Cause, ExitKind, Input, Intensity, KillSignal, OnGiveUp, Options, Output, ReadyWhen, Reason,
    Recycle, RestartPolicy, SpawnOrder, Supervise, Time, Vitals,
};
use rcluster_core::ids::{Request, Slot, Ticket, WorkerId};

use crate::process::{Deed, Process, Temper};
use rcluster_core::random::Random;
use rcluster_testing::Seed;

pub(crate) type Tally = BTreeMap<&'static str, u64>;

#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) brain: Supervise,
    pub(crate) options: Options,
    pub(crate) now: Time,
    /// All running processes.
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    agenda: BTreeMap<(Time, u64), (WorkerId, Deed)>,
    next_deed: u64,
    next_worker: u32,
    pub(crate) next_request: u64,
    /// The unanswered requests.
    pub(crate) open: BTreeSet<Request>,
    pub(crate) last_answer: Option<Result<(), rcluster_core::control::supervise::Failure>>,
    /// Nothing may be spawned any more.
    pub(crate) ending: bool,
    pub(crate) ever_ready: bool,
    /// The shutdown has been announced.
    pub(crate) stopping: bool,
    pub(crate) calm: bool,
    pub(crate) calm_since: Time,
    /// Nothing fails in this world.
    pub(crate) gentle: bool,
    pub(crate) check_capacity: bool,
    /// The shell is never late.
    pub(crate) punctual: bool,
    pub(crate) wanted: u32,
    /// When slots were filled after failures, and the earliest time at which they may be.
    pub(crate) replaced: BTreeMap<Slot, Vec<Time>>,
    pub(crate) replaced_in_all: Vec<Time>,
    pub(crate) not_before: BTreeMap<Option<Slot>, Time>,
    /// Whose next attempt was scheduled while another worker of the slot stayed.
    pub(crate) unlimited: BTreeSet<Slot>,
    /// Whose worker was unresponsive: the events that follow were held back until its stack was known.
    pub(crate) held_back: BTreeSet<Option<Slot>>,
    pub(crate) tally: Tally,
    /// Print everything, to find the cause of a failure.
    pub(crate) trace: bool,
}

impl World {
    pub(crate) fn new(seed: &Seed, gentle: bool) -> Self {
        let mut random = Random::new(seed.number);
        let options = if gentle { gentle_options(&mut random) } else { any_options(&mut random) };
        Self {
            brain: Supervise::new(options.clone(), seed.number),
            wanted: options.workers,
            options,
            now: Time::ZERO,
            processes: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_deed: 0,
            next_worker: 1,
            next_request: 0,
            open: BTreeSet::new(),
            last_answer: None,
            ending: false,
            ever_ready: false,
            stopping: false,
            calm: gentle,
            calm_since: Time::ZERO,
            gentle,
            check_capacity: false,
            punctual: gentle || random.one_in(2),
            replaced: BTreeMap::new(),
            replaced_in_all: Vec::new(),
            not_before: BTreeMap::new(),
            unlimited: BTreeSet::new(),
            held_back: BTreeSet::new(),
            tally: Tally::new(),
            trace: seed.is_replay(),
            random,
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Gives the state machine an input, carries out its outputs, and answers them.
    pub(crate) fn give(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut out = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let said = input.clone();
            if self.trace {
                println!("{:>12?} {said:?}", self.now);
            }
            if let Input::Spawned { worker, .. } = said {
                self.processes.entry(worker).and_modify(|it| it.known = true);
            }
            self.brain.handle(self.now, input, &mut out);
            if matches!(said, Input::Vitals { .. }) {
                continue;
            }
            if let Err(broken) = self.brain.check_invariants() {
                panic!("after {said:?}: {broken}");
            }
            for output in out.drain(..) {
                if self.trace {
                    println!("{:>12?}   {output:?}", self.now);
                }
                self.check_output(&output);
                inputs.extend(self.carry_out(output));
            }
            self.check_processes();
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Spawn(SpawnOrder { ticket, slot, cause, .. }) => return self.spawn(ticket, slot, cause),
            Output::Promote { worker, slot } => {
                self.count("promote");
                self.processes.get_mut(&worker).unwrap().slot = Some(slot);
            }
            Output::Drain { worker, timeout, .. } => {
                self.count("drain");
                let process = self.processes.get_mut(&worker).unwrap();
                process.drained = Some((self.now, timeout));
                if let Some(drain) = process.temper.drain {
                    let exit = ExitKind::Code(process.exit_code);
                    self.plan(worker, drain, Deed::Exit(exit));
                    return Some(Input::Leaving { worker });
                }
            }
            Output::Kill { worker, signal } => {
                self.count(if signal == KillSignal::Term { "term" } else { "kill" });
                self.signal(worker, signal);
            }
            Output::Keep { worker } => {
                self.count("keep");
                assert!(self.processes[&worker].counts(), "{worker} is to stay, and has been dismissed");
            }
            Output::Reclaim { worker } => {
                self.processes.get_mut(&worker).unwrap().reclaimed = Some(self.now);
            }
            Output::Probe { worker } => {
                self.count("probe");
                // The loop turns at once, if it can.
                if let Some(process) = self.processes.get_mut(&worker).filter(|it| it.blocked.is_none()) {
                    process.turns += 1;
                }
            }
            Output::CaptureStack { worker } => {
                let how_long = self.random.ms(0, 700);
                self.plan(worker, how_long, Deed::Stack);
            }
            Output::Tell(event) => self.hear(&event),
            Output::Done { request, result } => {
                self.count(if result.is_ok() { "done" } else { "failed" });
                assert!(self.open.remove(&request), "{request:?} is answered, and was not open");
                self.last_answer = Some(result);
            }
            Output::StopPrimary { code } => {
                self.count("stop primary");
                assert_eq!(code, self.options.give_up_exit_code);
                assert!(self.processes.is_empty(), "the primary exits before its workers");
            }
        }
        None
    }

    fn spawn(&mut self, ticket: Ticket, slot: Option<Slot>, cause: Cause) -> Option<Input> {
        self.note_spawn(slot, cause);
        if !self.calm && self.random.one_in(25) {
            self.count("spawn failed");
            return Some(Input::SpawnFailed { ticket, cause: "error 11".into() });
        }
        // A shell that never answers is broken; its workers then appear as unknown processes.
        if !self.calm && self.random.one_in(200) {
            return None;
        }
        self.count("spawn");
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        let temper = if self.calm { Temper::good(&mut self.random) } else { Temper::any(&mut self.random) };
        for (after, deed) in temper.plan.clone() {
            self.plan(worker, after, deed);
        }
        self.processes.insert(worker, Process::new(temper, slot, self.now));
        Some(Input::Spawned { ticket, worker })
    }

    fn signal(&mut self, worker: WorkerId, signal: KillSignal) {
        let after = self.random.ms(0, 20);
        let now = self.now;
        let Some(process) = self.processes.get_mut(&worker) else { return };
        match signal {
            KillSignal::Term => {
                process.termed = Some(now);
                if process.temper.obeys_term && process.blocked.is_none() {
                    self.plan(worker, after, Deed::Exit(ExitKind::Signal(15)));
                }
            }
            KillSignal::Kill => {
                process.killed = Some(now);
                self.plan(worker, after, Deed::Exit(ExitKind::Signal(9)));
            }
        }
    }

    pub(crate) fn plan(&mut self, worker: WorkerId, after: Duration, deed: Deed) {
        self.next_deed += 1;
        self.agenda.insert((self.now + after, self.next_deed), (worker, deed));
    }

    /// Handles everything that is due until then, in order.
    pub(crate) fn let_time_pass(&mut self, how_long: Duration) {
        let until = self.now + how_long;
        let mut busy = 0;
        loop {
            // Everything that was due while the machine slept happens now.
            let deed = self.agenda.first_key_value().map(|(&(at, _), _)| at.max(self.now));
            let late = if self.punctual { Duration::ZERO } else { self.random.ms(0, 30) };
            let tick = self.brain.next_deadline().map(|at| at.saturating_add(late).max(self.now));
            let Some(next) = deed.into_iter().chain(tick).min().filter(|next| *next <= until) else { break };
            busy = if next > self.now { 0 } else { busy + 1 };
            assert!(busy < 2_000, "too much happens at {next:?}");
            self.now = next;
            if deed == Some(next) {
                let (_, (worker, deed)) = self.agenda.pop_first().unwrap();
                self.act(worker, deed);
            } else {
                self.tick();
            }
        }
        self.now = until;
    }

    pub(crate) fn tick(&mut self) {
        if self.brain.samples_at().is_some_and(|at| at <= self.now) {
            self.look();
        }
        self.give(Input::Tick);
    }

    fn look(&mut self) {
        for worker in self.processes.keys().copied().collect::<Vec<_>>() {
            if !self.calm && self.random.one_in(50) {
                continue;
            }
            let busy = self.random.one_in(3);
            let process = self.processes.get_mut(&worker).unwrap();
            if process.blocked.is_none() && busy {
                process.turns += 1;
            }
            process.rss += process.temper.leak;
            process.received += process.temper.clients;
            let (turns, rss, clients) = (process.turns, Some(process.rss), process.received);
            self.give(Input::Vitals { worker, vitals: Vitals { turns, rss, clients, connections: 3 } });
        }
    }

    /// A process does something, if it still exists and is able to.
    pub(crate) fn act(&mut self, worker: WorkerId, deed: Deed) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let stuck = process.blocked.is_some();
        match deed {
            Deed::Exit(exit) => {
                // The kernel and signals kill even a blocked worker.
                if stuck && !matches!(exit, ExitKind::Signal(_)) {
                    return;
                }
                self.processes.remove(&worker);
                self.give(Input::Exited { worker, exit });
            }
            Deed::Stack => {
                self.count("stack");
                let text = self.random.one_in(2).then(|| "at loop (app.js:1)".into());
                self.give(Input::Stack { worker, text });
            }
            _ if stuck => {}
            Deed::Block => process.blocked = Some(now),
            Deed::Online => self.comes(worker, ReadyWhen::Online, Input::Online { worker }),
            Deed::Listening => self.comes(worker, ReadyWhen::Listening, Input::Listening { worker }),
            Deed::Ready => self.comes(worker, ReadyWhen::Explicit, Input::Ready { worker }),
            Deed::Throw => {
                process.exit_code = 1;
                let reason = Reason::Asked("uncaughtException".into());
                let detail = "at app.js:1".into();
                self.give(Input::RetireAsked { worker, reason, detail, by: By::Worker });
            }
            Deed::Leave => {
                process.left = true;
                let how_long = self.random.ms(0, 200);
                let code = i32::from(self.random.one_in(4));
                self.plan(worker, how_long, Deed::Exit(ExitKind::Code(code)));
                self.give(Input::Leaving { worker });
            }
        }
    }

    fn comes(&mut self, worker: WorkerId, how_far: ReadyWhen, input: Input) {
        let far_enough = match self.options.ready {
            ReadyWhen::Online => true,
            ReadyWhen::Listening => how_far != ReadyWhen::Online,
            ReadyWhen::Explicit => how_far == ReadyWhen::Explicit,
        };
        let process = self.processes.get_mut(&worker).unwrap();
        process.ready |= far_enough && process.counts();
        if process.ready {
            process.able.get_or_insert(self.now);
        }
        self.give(input);
    }
}

fn any_options(random: &mut Random) -> Options {
    let ms = Duration::from_millis;
    let workers = random.number(1, 5);
    Options {
        workers,
        standby: random.number(0, 4).saturating_sub(2),
        restart: random
            .pick(&[
                RestartPolicy::Always,
                RestartPolicy::Always,
                RestartPolicy::Always,
                RestartPolicy::OnFailure,
                RestartPolicy::Never,
            ])
            .unwrap(),
        stop_exit_codes: if random.one_in(3) { vec![7] } else { Vec::new() },
        restart_intensity: Intensity { max: random.number(0, 12), period: ms(2_000) },
        total_intensity: Intensity { max: random.number(2, 40), period: ms(2_000) },
        backoff: Backoff {
            initial: ms(u64::from(random.number(0, 2)) * 20),
            max: ms(400),
            factor: 2.0,
            jitter: 0.2,
            immediate: random.number(0, 3),
            reset_after: random.ms(0, 1_000),
        },
        on_give_up: if random.one_in(3) { OnGiveUp::Exit } else { OnGiveUp::Degrade },
        give_up_exit_code: 70,
        start_up_limit: random.one_in(2).then(|| random.ms(0, 100)),
        ready: random.pick(&[ReadyWhen::Online, ReadyWhen::Listening, ReadyWhen::Explicit]).unwrap(),
        ready_timeout: ms(500),
        drain_timeout: if random.one_in(8) { Duration::ZERO } else { ms(300) },
        kill_timeout: if random.one_in(8) { Duration::ZERO } else { ms(100) },
        shutdown_timeout: ms(200),
        unresponsive_after: random.one_in(3).then(|| random.ms(100, 400)),
        recycle: Recycle {
            memory: random.one_in(3).then_some(200),
            memory_share: None,
            age: random.one_in(4).then_some(ms(900)),
            connections: random.one_in(4).then_some(30),
            jitter: 0.1,
        },
        retire_on_exception: true,
        instance_var: None,
        reload_concurrency: 1,
        shutdown_delay: Duration::ZERO,
        control: "off".into(),
        metrics: "off".into(),
        min_ready: 1,
        follow_cpus: false,
        logs: rcluster_core::logs::Mode::Auto,
        sample_period: ms(50),
    }
}

/// In a cluster where nothing fails, there is no reason to wait or to give up.
fn gentle_options(random: &mut Random) -> Options {
    let any = any_options(random);
    let plenty = Intensity { max: 100_000, period: Duration::from_secs(1) };
    Options {
        workers: any.workers.max(2),
        restart: RestartPolicy::Always,
        restart_intensity: plenty,
        total_intensity: plenty,
        backoff: Backoff { initial: Duration::ZERO, reset_after: Duration::ZERO, ..any.backoff },
        ..any
    }
}
