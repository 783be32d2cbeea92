//! As many slots as CPUs, and fractions of all memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rcluster_testing::seeds;

use super::{ONE, Options, TWO, options, play};
use crate::control::supervise::{
    Event, ExitKind, Input, Intensity, Output, Recycle, SpawnOrder, Supervise, Time,
};
use crate::ids::WorkerId;
use crate::random::Random;

fn following(workers: u32) -> Options {
    Options { follow_cpus: true, ..options(workers) }
}

#[test]
fn a_slot_at_a_time_is_added_once_the_one_before_has_a_ready_worker() {
    play(
        following(1),
        &[
            ONE,
            ("limits 1 0; at 1000; limits 3 0; at 30999; limits 3 0", ""),
            ("at 31000; limits 3 0", "follow 3: 2, spawn 1 Scale, (2@1)"),
            ("at 31500; limits 3 0", ""),
            ("online 2", "ready 2 in 500, follow 3: 3, spawn 2 Scale, (3@2)"),
            ("online 3; limits 3 0", "ready 3 in 0"),
        ],
    );
}

#[test]
fn a_slot_at_a_time_is_removed_once_the_worker_of_the_one_before_has_ended() {
    play(
        following(2),
        &[
            TWO,
            ("scale 3 5; online 3; follow", "spawn 2 Scale, (3@2), ready 3 in 0, done 5"),
            ("limits 3 0; at 1; limits 1 0", ""),
            ("at 30001; limits 1 0", "follow 1: 2, drain 3 scale 500"),
            ("limits 1 0", ""),
            ("exit 3 0", "follow 1: 1, drain 2 scale 500"),
            ("exit 2 0; limits 1 0; states", "Serving"),
        ],
    );
}

#[test]
fn the_only_slot_that_serves_is_not_removed() {
    play(
        following(2),
        &[
            TWO,
            ("drain-slot 0 5; exit 1 0", "retire 1@0 drain by Operator, drain 1 drain 500, done 5"),
            ("limits 2 0; at 1; limits 1 0; at 30001; limits 1 0; states", "Stopped, Serving"),
            ("restart 0 6", "spawn 0 Operator, (3@0)"),
            ("online 3", "ready 3 in 0, follow 1: 1, drain 2 scale 500, done 6"),
        ],
    );
}

#[test]
fn an_explicit_number_ends_following() {
    play(
        following(1),
        &[
            ONE,
            ("limits 1 0; at 1; limits 3 0", ""),
            ("scale 2 5; online 2", "spawn 1 Scale, (2@1), ready 2 in 0, done 5"),
            ("at 40000; limits 3 0", ""),
        ],
    );
}

#[test]
fn slots_do_not_change_during_a_reload_or_after_the_announcement_of_a_shutdown() {
    play(
        following(1),
        &[
            ONE,
            ("limits 1 0; at 1; limits 2 0; at 29990; limits 2 0", ""),
            ("reload 1 5", "reload 1/1, spawn 0 Reload, (2@0)"),
            ("at 30001; limits 2 0", ""),
            (
                "online 2",
                "ready 2 in 11, drain 1 reload 500, reloaded in 11, done 5, follow 2: 2, spawn 1 Scale, (3@1)",
            ),
            ("online 3; limits 4 0; shutdown 100 60000 6", "ready 3 in 0, stopping in 60000"),
            ("at 70000; limits 4 0", "drain timeout 1@0 None, term 1"),
        ],
    );
}

#[test]
fn memory_is_divided_among_slots_and_standbys_and_again_after_each_change() {
    let recycle = Recycle { memory_share: Some(0.5), jitter: 0.0, ..Recycle::default() };
    play(
        Options { recycle, unresponsive_after: None, ..options(2) },
        &[
            TWO,
            // No worker has more than 250.
            ("limits 2 1000; shows 1 1 250 0; shows 2 1 249 0; look 50; look 100; look 150", ""),
            // Two samples in a row.
            ("limits 2 900; look 200", ""),
            ("look 250", "recycle 1@0 Memory 250/225, spawn 0 Recycle, (3@0)"),
        ],
    );
}

/// A cluster whose number of CPUs changes at random, with workers that start slowly, die, and take time to
/// drain.
fn run(seed: u64) -> u32 {
    let mut random = Random::new(seed);
    let mut cpus = random.number(1, 6);
    let plenty = Intensity { max: 100_000, period: Duration::from_secs(1) };
    let options = Options { restart_intensity: plenty, total_intensity: plenty, ..following(cpus) };
    let mut brain = Supervise::new(options, seed);
    let mut now = Time::ZERO;
    let mut due: BTreeMap<(Time, u32), Input> = BTreeMap::new();
    let mut last_worker = 0;
    let mut steps = 0;
    // The samples of the last 30 seconds, and the last one before.
    let mut looks: VecDeque<(Time, u32)> = VecDeque::new();
    let mut inputs = VecDeque::from([Input::Start]);
    let mut calm_since = Time::ZERO;
    for second in 0..300_u32 {
        let at = Duration::from_secs(second.into());
        while let Some(((when, _), input)) = due.first_key_value().map(|(key, input)| (*key, input.clone())) {
            if when > at {
                break;
            }
            due.pop_first();
            now = now.max(when);
            give(&mut brain, now, input, &mut due, &mut last_worker, &mut random, &mut |_, _| ());
        }
        now = now.max(at);
        // No changes in the end, so that a stable state can be reached.
        if second < 200 && random.one_in(12) {
            cpus = random.number(1, 6);
            calm_since = now;
        }
        looks.push_back((now, cpus));
        while looks.get(1).is_some_and(|(when, _)| *when + Duration::from_secs(30) <= now) {
            looks.pop_front();
        }
        if random.one_in(15) && second < 250 {
            let stats = brain.stats(now);
            let alive = stats.slots.iter().find_map(|slot| slot.worker);
            inputs.extend(alive.map(|worker| Input::Exited { worker, exit: ExitKind::Signal(9) }));
        }
        inputs.push_back(Input::Limits { cpus, memory: None });
        inputs.push_back(Input::Tick);
        while let Some(input) = inputs.pop_front() {
            let before = brain.stats(now);
            let (least, most) =
                (looks.iter().map(|it| it.1).min().unwrap(), looks.iter().map(|it| it.1).max().unwrap());
            let mut check = |told: u32, workers: u32| {
                steps += 1;
                assert_eq!(told, cpus);
                assert_eq!(workers.abs_diff(before.workers), 1, "one at a time");
                let is_towards = if workers > before.workers { workers <= least } else { workers >= most };
                assert!(
                    is_towards,
                    "from {} to {workers}, where {least} to {most} were seen",
                    before.workers
                );
            };
            give(&mut brain, now, input, &mut due, &mut last_worker, &mut random, &mut check);
        }
    }
    assert!(now.saturating_sub(calm_since) > Duration::from_secs(60));
    assert_eq!(brain.stats(now).workers, cpus);
    steps
}

fn give(
    brain: &mut Supervise,
    now: Time,
    input: Input,
    due: &mut BTreeMap<(Time, u32), Input>,
    last_worker: &mut u32,
    random: &mut Random,
    check: &mut dyn FnMut(u32, u32),
) {
    let mut inputs = VecDeque::from([input]);
    let mut out = Vec::new();
    while let Some(input) = inputs.pop_front() {
        brain.handle(now, input, &mut out);
        brain.check_invariants().unwrap();
        for output in out.drain(..) {
            match output {
                Output::Spawn(SpawnOrder { ticket, .. }) => {
                    *last_worker += 1;
                    let worker = WorkerId(*last_worker);
                    due.insert((now + random.ms(1, 900), *last_worker), Input::Online { worker });
                    inputs.push_back(Input::Spawned { ticket, worker });
                }
                Output::Drain { worker, .. } | Output::Kill { worker, .. } => {
                    let exit = ExitKind::Code(0);
                    due.insert((now + random.ms(0, 400), worker.0), Input::Exited { worker, exit });
                }
                Output::Tell(Event::Follow { cpus, workers }) => check(cpus, workers),
                _ => {}
            }
        }
    }
}

#[test]
fn any_change_of_the_quota_is_followed_one_worker_at_a_time() {
    let seeds = seeds(60);
    let steps: u32 = seeds.each().map(|seed| run(seed.number)).sum();
    assert!(steps > 60 || seeds.are_given(), "hardly anything followed: {steps}");
}
