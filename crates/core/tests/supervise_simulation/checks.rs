//! Invariants on the way and of the final state. They are checked from outside: only the outputs for
//! processes count, not the state of the state machine.

use std::time::Duration;

use rcluster_core::control::supervise::{
    By, Cause, Event, Excess, Input, KillSignal, OnGiveUp, Output, Phase, Reason, RestartPolicy, Scope,
    SlotState, SpawnOrder, TAKEOVER, Time,
};
use rcluster_core::control::unlinked::GRACE;
use rcluster_core::ids::Slot;

use crate::process::Process;
use crate::world::World;

/// Whether a cause is a failure, and not an operator's request. A worker that retires stays until its
/// successor is ready, so it is not counted.
fn replaces(cause: Cause) -> bool {
    matches!(cause, Cause::Restart | Cause::Unresponsive)
}

impl World {
    fn serving(&self) -> usize {
        (0..self.wanted)
            .filter(|slot| self.processes.values().any(|it| it.slot == Some(Slot(*slot)) && it.serves()))
            .count()
    }

    pub(crate) fn check_output(&self, output: &Output) {
        match output {
            Output::Spawn(SpawnOrder { slot, .. }) => {
                assert!(!self.ending, "{output:?} although everything ends");
                let there = self.processes.values().filter(|it| it.slot == *slot && it.counts()).count();
                let most = if slot.is_some() { 1 } else { self.options.standby as usize - 1 };
                assert!(there <= most, "{output:?}, where {there} are");
            }
            Output::Promote { worker, slot } => {
                let standby = self.processes.get(worker).is_some_and(|it| it.serves() && it.slot.is_none());
                assert!(standby && !self.ending, "{worker} takes over {slot}");
            }
            Output::Drain { worker, reason, .. } => {
                let process = self.processes.get(worker).expect("a dead worker drains");
                assert!(process.counts(), "{worker} drains, and has been dismissed");
                // A worker with far too much memory drains at once.
                let took_over =
                    process.slot.filter(|_| process.told_ready && process.alone && process.rss <= 200);
                if let Some(slot) = took_over.filter(|_| *reason == Reason::Reload) {
                    let mut others =
                        self.processes.iter().filter(|(id, it)| *id != worker && it.slot == Some(slot));
                    let waited = |it: &Process| it.able.is_some_and(|since| since + TAKEOVER <= self.now);
                    let may_take_over = others.any(|(_, it)| it.was_standby || waited(it));
                    assert!(may_take_over, "{worker} drains, and nobody serves where it did");
                }
            }
            Output::Kill { worker, signal } => {
                let Some(process) = self.processes.get(worker) else { return };
                assert!(process.killed.is_none(), "{worker} is killed twice");
                if *signal == KillSignal::Term {
                    assert!(process.termed.is_none(), "{worker} gets SIGTERM twice");
                    let drained = process.drained.is_some_and(|(at, timeout)| at + timeout <= self.now);
                    assert!(drained || !process.ready || self.ending, "{worker} is not given time to drain");
                } else {
                    let warned = process.termed.is_some_and(|at| at + self.options.kill_timeout <= self.now);
                    let blocked = process.reclaimed.is_some();
                    let cut = process.cut.is_some_and(|at| at + GRACE <= self.now);
                    let unborn = process.born == self.now && !process.ready;
                    assert!(
                        warned || blocked || cut || unborn || self.ending,
                        "{worker} is killed without a warning"
                    );
                }
            }
            Output::Reclaim { worker } => {
                let blocked = self.processes[worker].blocked.map(|since| self.now.saturating_sub(since));
                let allowed = self.options.unresponsive_after.unwrap();
                assert!(
                    blocked.is_some_and(|blocked| blocked >= allowed),
                    "{worker} has been blocked for {blocked:?} only"
                );
            }
            _ => {}
        }
    }

    pub(crate) fn note_spawn(&mut self, slot: Option<Slot>, cause: Cause) {
        let now = self.now;
        let early = self.not_before.get(&slot).is_some_and(|at| *at > now);
        match (slot, cause) {
            (Some(slot), cause) if replaces(cause) => {
                assert!(!early, "{slot} does not wait");
                // A worker that retires stays until another is ready, so attempts do not count; nor does one that was
                // scheduled before the worker crashed.
                if self.unlimited.remove(&slot) || self.has_worker(slot) {
                    return;
                }
                let period = self.options.restart_intensity.period;
                let recent = self.replaced.entry(slot).or_default();
                recent.retain(|at| *at + period > now);
                recent.push(now);
                let recent = recent.len();
                self.replaced_in_all.retain(|at| *at + self.options.total_intensity.period > now);
                self.replaced_in_all.push(now);
                if self.punctual {
                    assert!(
                        recent <= self.options.restart_intensity.max as usize,
                        "{slot} has {recent} restarts"
                    );
                    let all = self.replaced_in_all.len();
                    assert!(all <= self.options.total_intensity.max as usize, "there are {all} restarts");
                }
            }
            // An operator's request resets the counts.
            (Some(slot), Cause::Reload | Cause::Operator | Cause::Scale) => {
                self.replaced.remove(&slot);
                self.not_before.remove(&Some(slot));
            }
            _ => {}
        }
    }

    fn has_worker(&self, slot: Slot) -> bool {
        self.processes.values().any(|it| it.slot == Some(slot) && it.counts())
    }

    pub(crate) fn hear(&mut self, event: &Event) {
        if let Event::Ready { worker, .. } = event
            && let Some(process) = self.processes.get_mut(worker)
        {
            process.told_ready = true;
            self.ever_ready = true;
        }
        self.count(match event {
            Event::Spawn { .. } => "spawned",
            Event::Ready { .. } => "ready",
            Event::Restart { phase: Phase::StartUp, .. } => "restart start-up",
            Event::Restart { .. } => "restart service",
            Event::Backoff { .. } => "backoff",
            Event::GaveUp { scope: Scope::Slot, .. } => "gave up slot",
            Event::GaveUp { scope: Scope::Total, .. } => "gave up total",
            Event::GaveUp { .. } => "gave up start-up",
            Event::Retire { .. } => "retire",
            Event::DrainTimeout { .. } => "drain timeout",
            Event::Drained { .. } => "drained",
            Event::Stopping { .. } => "stopping",
            Event::Unresponsive { .. } => "unresponsive",
            Event::Recycle { excess: Excess::Memory, value, .. } if *value > 230 => "urgent",
            Event::Recycle { excess: Excess::Memory, .. } => "recycle memory",
            Event::Recycle { excess: Excess::Age, .. } => "recycle age",
            Event::Recycle { .. } => "recycle connections",
            Event::ReloadStarted { .. } => "reload",
            Event::ReloadDone { .. } => "reload done",
            Event::ReloadFailed { .. } => "reload failed",
            Event::Follow { .. } => "follow",
            Event::Promote { .. } => "promoted",
            Event::Stopped { .. } => "stopped",
            Event::Shutdown { gave_up: None, .. } => "shutdown",
            Event::Shutdown { .. } => "gave up",
        });
        match event {
            Event::Shutdown { gave_up, .. } => {
                if gave_up.is_some() && self.options.on_give_up == OnGiveUp::Degrade {
                    let counts = self.processes.values().find(|it| it.slot.is_some() && it.counts());
                    assert!(counts.is_none(), "gives up, and there is {counts:?}");
                }
                self.ending = true;
            }
            Event::GaveUp { scope: Scope::StartUp, .. } => {
                assert!(!self.ever_ready, "a cluster that has run is given up as one that cannot start");
            }
            Event::Stopping { .. } => self.stopping = true,
            Event::Unresponsive { slot, .. } => {
                self.held_back.insert(*slot);
            }
            Event::Backoff { slot, delay, .. } => {
                if self.held_back.remove(slot) {
                    self.not_before.remove(slot);
                } else {
                    self.not_before.insert(*slot, self.now + *delay);
                }
                if let Some(slot) = slot.filter(|slot| self.has_worker(*slot)) {
                    self.unlimited.insert(slot);
                }
            }
            // A standby was available: a later restart belongs to a new failure.
            Event::Promote { slot, .. } => {
                self.not_before.remove(&Some(*slot));
                self.unlimited.remove(slot);
            }
            // The event comes before the successor of a kept worker is spawned.
            Event::Retire { slot: Some(_), .. } if self.serving() < self.wanted as usize => {
                self.count("kept");
            }
            _ => {}
        }
    }

    /// No process is left without a timer that would end it.
    pub(crate) fn check_processes(&self) {
        if self.check_capacity && !self.ending {
            let serving = self.serving();
            assert!(serving + 1 >= self.wanted as usize, "{serving} of {} serve", self.wanted);
        }
        if !self.punctual {
            return;
        }
        for (worker, process) in &self.processes {
            let due = self.due(process);
            assert!(due.is_none_or(|due| self.now <= due), "{worker} should be gone by {due:?}: {process:?}");
        }
    }

    /// The time by which something must be done to a process.
    fn due(&self, process: &Process) -> Option<Time> {
        if process.killed.is_some() {
            return None;
        }
        if let Some(termed) = process.termed {
            return Some(termed + self.options.kill_timeout);
        }
        if let Some(cut) = process.cut {
            return Some(cut + GRACE);
        }
        if let Some(reclaimed) = process.reclaimed {
            return Some(reclaimed + Duration::from_millis(500));
        }
        if let Some((drained, timeout)) = process.drained {
            return Some(drained + timeout);
        }
        if !process.ready {
            return Some(process.born + self.options.ready_timeout);
        }
        // A worker is not watched before its loop has turned, nor while some samples fail.
        let allowed = self.options.unresponsive_after.filter(|_| self.calm && process.turns > 0)?;
        process.blocked.map(|blocked| blocked.max(self.calm_since) + allowed + 3 * self.options.sample_period)
    }

    /// From now on nothing fails, and the cluster recovers.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.calm_since = self.now;
        for process in self.processes.values_mut() {
            process.temper.leak = 0;
        }
        for worker in self.processes.keys().copied().collect::<Vec<_>>() {
            self.processes.get_mut(&worker).unwrap().alone = false;
            self.give(Input::ServesAlone { worker, listeners: 0 });
        }
        self.let_time_pass(Duration::from_millis(2_500));
        if self.ending {
            return;
        }
        assert!(self.open.is_empty(), "{:?} have not been answered", self.open);
        self.check_slots(false);
        self.ask(|request| Input::Reload { concurrency: 2, request });
        self.let_time_pass(Duration::from_millis(2_500));
        // A waiting slot, or an old worker, may have caused the shutdown meanwhile.
        if self.ending {
            return;
        }
        assert!(self.open.is_empty(), "the reload has not been answered");
        if self.last_answer == Some(Ok(())) {
            self.check_slots(self.options.restart == RestartPolicy::Always);
        }
    }

    fn check_slots(&self, all: bool) {
        let stats = self.brain.stats(self.now);
        for slot in &stats.slots {
            let here = |it: &&Process| it.slot == Some(slot.slot) && it.counts();
            let there = self.processes.values().filter(here).count();
            let ready = self.processes.values().filter(here).filter(|it| it.ready).count();
            match slot.state {
                SlotState::Serving => assert!(ready == 1 && there <= 2, "{slot:?}: {ready} of {there}"),
                SlotState::GivenUp | SlotState::Stopped if !all => assert_eq!(there, 0, "{slot:?}"),
                _ => panic!("{slot:?} has not recovered"),
            }
        }
        let standbys = self.processes.values().filter(|it| it.slot.is_none() && it.counts()).count();
        assert!(standbys <= self.options.standby as usize);
        if self.gentle {
            assert_eq!(standbys, self.options.standby as usize);
        }
        let kept = |it: &Process| !it.counts() && self.recently(it).is_none();
        assert!(!self.processes.values().any(kept), "somebody drains for ever");
    }

    /// Recycling continues in a calm world, so a worker may be draining at any moment.
    fn recently(&self, process: &Process) -> Option<Time> {
        let (drained, _) = process.drained?;
        (drained + Duration::from_secs(1) > self.now).then_some(drained)
    }

    pub(crate) fn everything_ends(&mut self) {
        self.check_capacity = false;
        let delay = if self.random.one_in(2) { self.random.ms(1, 300) } else { Duration::ZERO };
        self.ask(|request| Input::Shutdown { delay, timeout: Duration::from_millis(300), request });
        if !self.ending {
            // All processes have got the signal, and still none leaves.
            let serving = self.serving();
            for worker in self.processes.keys().copied().collect::<Vec<_>>() {
                let (reason, by) = (Reason::Asked("SIGTERM".into()), By::Worker);
                self.give(Input::RetireAsked { worker, reason, detail: String::new(), by });
            }
            assert_eq!(self.serving(), serving);
            // Ticks may be late.
            self.let_time_pass(delay + Duration::from_millis(30));
        }
        assert!(self.ending);
        self.let_time_pass(Duration::from_secs(1));
        assert!(self.processes.is_empty(), "{:?} are left", self.processes);
        assert!(self.open.is_empty(), "{:?} have not been answered", self.open);
        assert_eq!(self.brain.next_deadline(), None, "there is nothing to wait for");
        assert_eq!(self.brain.stats(self.now).processes, 0);
        self.ask(|request| Input::Shutdown { delay: Duration::ZERO, timeout: Duration::ZERO, request });
        self.ask(|request| Input::Reload { concurrency: 1, request });
        self.ask(|request| Input::Scale { workers: 3, request });
        self.ask(|request| Input::Restart { slot: Slot(0), request });
        self.ask(|request| Input::DrainSlot { slot: Slot(0), request });
        self.give(Input::Start);
        self.give(Input::Force);
        assert!(self.open.is_empty(), "who comes too late is told so");
    }
}
