//! Supervision, whose workers and shell do anything at any time.
//!
//! What is kept: worker ids are not reused, time does not go backwards, and each spawn is answered once. At the end all
//! processes end, and then every request has been answered, once.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::control::supervise::{
    Backoff, By, ExitKind, Input, Intensity, OnGiveUp, Options, Output, ReadyWhen, Reason, Recycle,
    RestartPolicy, SpawnOrder, Supervise, Vitals,
};
use rcluster_core::ids::{Request, WorkerId};

struct Shell {
    brain: Supervise,
    now: Duration,
    alive: BTreeSet<WorkerId>,
    workers: u32,
    open: BTreeSet<Request>,
    requests: u64,
    /// Whether each of the next spawns works.
    spawns: VecDeque<bool>,
}

impl Shell {
    fn give(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut out = Vec::new();
        for _ in 0..20_000 {
            let Some(input) = inputs.pop_front() else { return };
            let named = format!("{input:?}");
            let looks = matches!(input, Input::Vitals { .. });
            self.brain.handle(self.now, input, &mut out);
            // Those are only weighed by the tick that follows.
            if !looks && let Err(broken) = self.brain.check_invariants() {
                panic!("after {named}: {broken}");
            }
            for output in out.drain(..) {
                match output {
                    Output::Spawn(SpawnOrder { ticket, .. }) => {
                        let works = self.spawns.pop_front().unwrap_or(true);
                        inputs.push_back(if works {
                            self.workers += 1;
                            let worker = WorkerId(self.workers);
                            self.alive.insert(worker);
                            Input::Spawned { ticket, worker }
                        } else {
                            Input::SpawnFailed { ticket, cause: "error 11".to_owned() }
                        });
                    }
                    Output::Done { request, result } => {
                        assert!(self.open.remove(&request), "{request:?} is answered twice: {result:?}");
                    }
                    Output::StopPrimary { .. } => {
                        assert!(self.alive.is_empty(), "the primary exits before {:?}", self.alive);
                    }
                    _ => {}
                }
            }
            let _stats = self.brain.stats(self.now);
        }
        panic!("supervision and shell go round in circles");
    }

    fn request(&mut self) -> Request {
        self.requests += 1;
        self.open.insert(Request(self.requests));
        Request(self.requests)
    }

    fn tick(&mut self) {
        self.give(Input::Tick);
    }

    fn step(&mut self, bytes: &mut Unstructured) -> Result<()> {
        let what = bytes.arbitrary::<u8>()? % 20;
        // Mostly one of the latest; some never existed.
        let worker = WorkerId((self.workers + 1).saturating_sub(bytes.int_in_range(0..=6)?));
        match what {
            0 => self.give(Input::Start),
            1 => self.give(Input::Online { worker }),
            2 | 3 => self.give(Input::Listening { worker }),
            4 | 5 => self.give(Input::Ready { worker }),
            6 => {
                let by = if bytes.arbitrary()? { By::Worker } else { By::Primary };
                let reason = match bytes.int_in_range(0..=2)? {
                    0 => Reason::Disconnect,
                    1 => Reason::Asked("SIGTERM".into()),
                    _ => Reason::Asked(bytes.arbitrary::<&str>()?.into()),
                };
                self.give(Input::RetireAsked { worker, reason, detail: String::new(), by });
            }
            7 => self.give(Input::Leaving { worker }),
            8 => {
                let resources = BTreeMap::from([("TCPSocketWrap".to_owned(), bytes.arbitrary()?)]);
                self.give(Input::Held { worker, drained: bytes.arbitrary()?, resources });
            }
            9 => self.give(Input::ServesAlone { worker, listeners: bytes.arbitrary()? }),
            10 => self.give(Input::CutOff { worker }),
            11 | 12 => {
                if self.alive.remove(&worker) {
                    let code = bytes.int_in_range(-1..=2)?;
                    let exit = if bytes.arbitrary()? { ExitKind::Code(code) } else { ExitKind::Signal(9) };
                    self.give(Input::Exited { worker, exit });
                }
            }
            13 => {
                let vitals = Vitals {
                    turns: bytes.arbitrary()?,
                    rss: bytes.arbitrary()?,
                    clients: bytes.arbitrary()?,
                    connections: bytes.arbitrary()?,
                };
                self.give(Input::Vitals { worker, vitals });
                self.tick();
            }
            14 => {
                let text = bytes.arbitrary::<Option<&str>>()?.map(str::to_owned);
                self.give(Input::Stack { worker, text });
            }
            15 => {
                let workers = bytes.int_in_range(0..=6)?;
                let request = self.request();
                self.give(Input::Scale { workers, request });
            }
            16 => {
                let concurrency = bytes.int_in_range(1..=4)?;
                let request = self.request();
                self.give(Input::Reload { concurrency, request });
            }
            17 if bytes.ratio(1, 8)? => self.shut_down(bytes)?,
            18 => self.spawns.push_back(bytes.arbitrary()?),
            _ => {
                self.now = match self.brain.next_deadline() {
                    Some(due) if bytes.arbitrary()? => self.now.max(due),
                    _ => self.now.saturating_add(duration(bytes)?),
                };
                self.tick();
            }
        }
        Ok(())
    }

    fn shut_down(&mut self, bytes: &mut Unstructured) -> Result<()> {
        let (delay, timeout) = (duration(bytes)?, duration(bytes)?);
        let request = self.request();
        self.give(Input::Shutdown { delay, timeout, request });
        Ok(())
    }
}

/// From a millisecond to as long as there is.
fn duration(bytes: &mut Unstructured) -> Result<Duration> {
    Ok(Duration::from_millis(u64::MAX >> bytes.int_in_range(0..=63)?))
}

fn options(bytes: &mut Unstructured) -> Result<Options> {
    let part = |bytes: &mut Unstructured| Ok(f64::from(bytes.arbitrary::<u8>()?) / 255.0);
    let intensity = |bytes: &mut Unstructured| {
        Ok(Intensity { max: bytes.int_in_range(0..=9)?, period: duration(bytes)? })
    };
    let optional = |bytes: &mut Unstructured| -> Result<_> {
        bytes.arbitrary::<bool>()?.then(|| duration(bytes)).transpose()
    };
    Ok(Options {
        workers: bytes.int_in_range(1..=4)?,
        standby: bytes.int_in_range(0..=2)?,
        restart: *bytes.choose(&[RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never])?,
        stop_exit_codes: if bytes.arbitrary()? { vec![2] } else { Vec::new() },
        restart_intensity: intensity(bytes)?,
        total_intensity: intensity(bytes)?,
        backoff: Backoff {
            initial: duration(bytes)?,
            max: duration(bytes)?,
            factor: 1.0 + 1000.0 * part(bytes)?,
            jitter: part(bytes)?,
            immediate: bytes.int_in_range(0..=3)?,
            reset_after: duration(bytes)?,
        },
        on_give_up: if bytes.arbitrary()? { OnGiveUp::Exit } else { OnGiveUp::Degrade },
        give_up_exit_code: 70,
        start_up_limit: optional(bytes)?,
        ready: *bytes.choose(&[ReadyWhen::Online, ReadyWhen::Listening, ReadyWhen::Explicit])?,
        ready_timeout: duration(bytes)?,
        drain_timeout: duration(bytes)?,
        kill_timeout: duration(bytes)?,
        shutdown_timeout: duration(bytes)?,
        unresponsive_after: optional(bytes)?,
        recycle: Recycle {
            memory: bytes.arbitrary()?,
            memory_share: None,
            age: optional(bytes)?,
            connections: bytes.arbitrary()?,
            jitter: part(bytes)?,
        },
        sample_period: duration(bytes)?,
        // What a worker is told of, and nothing here depends on.
        retire_on_exception: true,
        instance_var: None,
        reload_concurrency: 1,
        shutdown_delay: Duration::ZERO,
        control: "off".into(),
        ..Options::default()
    })
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = Unstructured::new(input);
    let (Ok(options), Ok(seed)) = (options(&mut bytes), bytes.arbitrary()) else { return };
    let mut shell = Shell {
        brain: Supervise::new(options, seed),
        now: Duration::ZERO,
        alive: BTreeSet::new(),
        workers: 0,
        open: BTreeSet::new(),
        requests: 0,
        spawns: VecDeque::new(),
    };
    shell.give(Input::Start);
    while !bytes.is_empty() && shell.step(&mut bytes).is_ok() {}
    let request = shell.request();
    let (delay, timeout) = (Duration::ZERO, Duration::from_secs(1));
    shell.give(Input::Shutdown { delay, timeout, request });
    shell.give(Input::Force);
    while let Some(worker) = shell.alive.pop_first() {
        shell.give(Input::Exited { worker, exit: ExitKind::Signal(9) });
    }
    assert!(shell.open.is_empty(), "{:?} were never answered", shell.open);
});
