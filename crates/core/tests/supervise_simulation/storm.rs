//! Random events.

use std::time::Duration;

use rcluster_core::control::supervise::{By, ExitKind, Input, Reason, Stats, Vitals};
use rcluster_core::ids::{Request, Ticket, WorkerId};

use crate::process::{Deed, any_exit};
use crate::world::World;

impl World {
    pub(crate) fn something_happens(&mut self) {
        let workers: Vec<WorkerId> = self.processes.keys().copied().collect();
        let Some(worker) = self.random.pick(&workers) else { return self.an_operator_acts() };
        if self.gentle {
            match self.random.below(12) {
                10.. => self.somebody_serves_alone(worker),
                0..4 => self.somebody_asks_to_retire(worker),
                4 => self.processes.get_mut(&worker).unwrap().temper.leak = 20,
                5 => self.reload(),
                _ => {}
            }
            return;
        }
        match self.random.below(100) {
            0..10 => {
                let exit = any_exit(&mut self.random);
                self.act(worker, Deed::Exit(exit));
            }
            10..18 => self.act(worker, Deed::Throw),
            18..24 => self.somebody_asks_to_retire(worker),
            24..28 => self.act(worker, Deed::Leave),
            28..36 => self.act(worker, Deed::Block),
            36..50 => self.an_operator_acts(),
            50..65 => self.something_absurd_is_heard(),
            65..68 => self.the_machine_sleeps(),
            70..76 => self.somebody_serves_alone(worker),
            76..79 => self.a_link_is_cut(worker),
            68 if self.random.one_in(3) => self.the_end_begins(),
            _ => {}
        }
    }

    fn somebody_serves_alone(&mut self, worker: WorkerId) {
        self.count("alone");
        let listeners = self.random.below(3);
        self.processes.get_mut(&worker).unwrap().alone = listeners > 0;
        self.give(Input::ServesAlone { worker, listeners });
    }

    fn a_link_is_cut(&mut self, worker: WorkerId) {
        self.count("cut");
        let now = self.now;
        let process = self.processes.get_mut(&worker).unwrap();
        if process.counts() {
            process.cut = Some(now);
        }
        self.give(Input::CutOff { worker });
    }

    fn somebody_asks_to_retire(&mut self, worker: WorkerId) {
        let reason = Reason::Asked("tired".into());
        self.give(Input::RetireAsked { worker, reason, detail: String::new(), by: By::Primary });
    }

    pub(crate) fn ask(&mut self, input: impl FnOnce(Request) -> Input) {
        let request = Request(self.next_request);
        self.next_request += 1;
        self.open.insert(request);
        self.give(input(request));
    }

    fn reload(&mut self) {
        let concurrency = self.random.number(0, 3);
        self.ask(|request| Input::Reload { concurrency, request });
    }

    fn an_operator_acts(&mut self) {
        if self.random.one_in(2) || self.gentle {
            return self.reload();
        }
        let workers = self.random.number(0, 6);
        let Stats { reloading: waits, workers: before, .. } = self.brain.stats(self.now);
        // A slot that returns is new, also if a standby takes it over.
        self.replaced.retain(|slot, _| slot.0 < workers);
        self.ask(|request| Input::Scale { workers, request });
        if workers > 0 && !self.ending && !self.stopping && !waits {
            // Slots stay while no other one has a ready worker.
            let slots = self.brain.stats(self.now).workers;
            assert!(
                slots == workers || (slots == before && workers < before),
                "{slots} instead of {workers}"
            );
        }
    }

    fn the_end_begins(&mut self) {
        if self.random.one_in(3) {
            self.ending = true;
            self.give(Input::Force);
        } else {
            let timeout = self.random.ms(0, 400);
            let delay = if self.random.one_in(2) { self.random.ms(0, 400) } else { Duration::ZERO };
            self.ask(|request| Input::Shutdown { delay, timeout, request });
            let stats = self.brain.stats(self.now);
            assert!(stats.stopping);
            assert_eq!(stats.shutting_down, self.ending);
        }
    }

    /// Nothing runs for a while, and then everything does.
    fn the_machine_sleeps(&mut self) {
        self.count("sleep");
        self.punctual = false;
        self.now += Duration::from_secs(5);
        self.tick();
    }

    /// A late or repeated input, one about a worker that does not exist, or an invalid one.
    fn something_absurd_is_heard(&mut self) {
        self.count("absurd");
        let worker = WorkerId(self.random.number(0, 80));
        let alive = self.processes.contains_key(&worker);
        let ticket = Ticket(self.random.noise() % 80);
        let noise = self.random.noise();
        let vitals = Vitals { turns: noise, rss: Some(noise), clients: noise, connections: u32::MAX };
        match self.random.below(8) {
            0 if !alive => self.give(Input::Exited { worker, exit: ExitKind::Code(1) }),
            1 if !alive => self.give(Input::Ready { worker }),
            2 if !alive => self.give(Input::Leaving { worker }),
            3 if !alive => self.give(Input::Vitals { worker, vitals }),
            4 => self.give(Input::Stack { worker, text: None }),
            5 if ticket.0 < 3 => self.give(Input::SpawnFailed { ticket, cause: String::new() }),
            6 if alive => self.give(Input::Spawned { ticket, worker }),
            7 => self.give(Input::Start),
            _ if !alive => self.give(Input::Online { worker }),
            _ => {}
        }
    }
}
