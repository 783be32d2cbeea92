//! The policies with the dispatcher's workers: what they read, and how they work with blocked workers and
//! queues.

use super::*;
use crate::schedule::Policy;

fn plan(policy: Policy) -> Plan {
    let overload = Overload { queue: 8, ..Overload::default() };
    Plan { policy, patience: Duration::from_millis(30), overload, ..Plan::default() }
}

#[test]
fn open_and_in_flight_connections_count() {
    play_with(
        plan(Policy::LeastConnections),
        &[
            TWO,
            ("open 1 3; open 2 1; accept a; accept b", "a>2, b>2"),
            // Open connections are no longer in flight.
            ("counts 2 2; open 2 3; accept c; accept d", "c>1, d>2"),
            ("open 1 0; counts 1 1; accept e", "e>1"),
        ],
    );
}

#[test]
fn a_busy_loop_gets_less_and_a_blocked_one_least() {
    play_with(
        plan(Policy::LeastLoaded),
        &[
            TWO,
            ("accept a; accept b; counts 1 1; counts 2 1", "a>1, b>2"),
            // During these 100 ms the first was busy for 90, the second for 10.
            ("at 100; busy 1 90; busy 2 10", ""),
            ("accept c", "c>2"),
            ("at 104; accept d", "d>1"),
        ],
    );
}

#[test]
fn a_client_waits_for_its_own_worker_and_others_overtake_it() {
    play_with(
        plan(Policy::Sticky),
        &[
            TWO,
            // a, c and d belong to one slot, b, e and f to the other.
            ("accept a; accept b; accept c; accept e", "a>1, b>2, c>1, e>2"),
            ("counts 2 2; accept d; due", "wake 1, wake 2, 5"),
            ("accept f; waiting", "f>2, 1"),
            ("at 5; counts 2 3; tick", "probe 1, reclaim 1, probe 1"),
            ("reclaimed 1 a c; waiting; due", "3, 30"),
            // Connections that came back wait as long.
            ("at 30; tick; waiting; due", "d>2, 2, 35"),
            ("at 31; woke 1; waiting", "a>1, c>1, 0"),
        ],
    );
}

#[test]
fn if_too_many_wait_for_one_worker_they_go_to_others() {
    let overload = Overload { queue: 4, ..Overload::default() };
    play_with(
        Plan { overload, ..plan(Policy::Sticky) },
        &[
            TWO,
            ("accept a; accept c", "a>1, c>1"),
            ("accept d; accept h", "wake 1"),
            // The queue holds four.
            ("accept l; waiting", "d>2, 2"),
            ("counts 2 1; accept o; waiting", "h>2, wake 2, 2"),
        ],
    );
}

#[test]
fn a_client_stays_with_the_slot_when_its_worker_is_replaced() {
    play_with(
        plan(Policy::Sticky),
        &[
            TWO,
            ("accept a; accept b", "a>1, b>2"),
            ("counts 2 1; gone 1 a", "a>2"),
            ("counts 2 2; accept d; counts 2 3", "d>2"),
            ("add 3 0; join 3 7; accept a; accept b; accept d", "a>3, b>2, d>3"),
            // While two workers share a slot, the newer one gets its clients.
            ("counts 3 2; counts 2 4; add 4 0; join 4 7; accept a; accept b", "a>4, b>2"),
        ],
    );
}

#[test]
fn a_connection_waits_for_the_chosen_worker_and_others_overtake_it() {
    let two = ("add 1; add 2; listen 8; join 1 8; join 2 8", "resume 8");
    play_with(
        plan(Policy::Hook),
        &[
            two,
            ("accept 2; accept 2; accept 9; accept A", "2>2, 2>2, 9>1, A>1"),
            ("accept 2; counts 1 1; accept B; waiting; due", "wake 1, wake 2, B>1, 1, 5"),
            ("at 5; counts 1 3; counts 2 1; tick; waiting", "2>2, 0"),
        ],
    );
    // Not longer than its patience, and not for a worker that is gone.
    play_with(
        plan(Policy::Hook),
        &[
            two,
            ("accept 2; accept 2; accept 2; waiting", "2>2, 2>2, wake 2, 1"),
            ("at 5; tick; reclaimed 2; due", "probe 2, reclaim 2, probe 2, 30"),
            ("at 29; tick; waiting; at 30; tick; waiting", "1, 2>1, 0"),
            ("accept 2; waiting; gone 2; waiting", "1, 2>1, 0"),
        ],
    );
}

#[test]
fn candidates_have_the_current_state_of_the_workers() {
    let mut play = Play::new(plan(Policy::Hook));
    let lines = "add 1; add 2; add 3; listen 8; join 1 8; join 2 8; accept 1; accept 1; accept 2; open 2 4; counts 2 1; \
                 at 100; busy 2 50";
    for line in lines.split(';') {
        play.act(line.trim());
    }
    let mut facts = || {
        let candidates = play.dispatch.candidates(ListenerId(8), play.now, &play.counters);
        let facts = |it: Candidate| (it.worker.0, it.connections, it.utilization, it.ready);
        candidates.into_iter().map(facts).collect::<Vec<_>>()
    };
    // The first is at its window and its loop does not turn; the second was busy for half of the time.
    assert_eq!(facts(), [(1, 2, 1.0, false), (2, 4, 0.1, true)]);
    assert_eq!(play.dispatch.candidates(ListenerId(9), play.now, &play.counters), []);
}

#[test]
fn a_new_worker_has_a_slow_start() {
    let slow_start = Duration::from_secs(1);
    let mut play = Play::new(Plan { slow_start, ..plan(Policy::RoundRobin) });
    let mut act = |line: &str| play.act(line);
    for line in "add 1; add 2; listen 7; join 1 7; at 5000; join 2 7".split(';') {
        act(line.trim());
    }
    let mut shares = |from: u32| {
        let mut second = 0;
        for count in 0..20 {
            act(&format!("at {}", from + count));
            let said = act("accept a");
            second += usize::from(said.contains(&"a>2".to_owned()));
            let received = |worker: usize| if worker == 1 { 1_000_000 } else { 2_000_000 };
            act(&format!("counts 1 {}", received(1) + from * 1000 + count));
            act(&format!("counts 2 {}", received(2) + from * 1000 + count));
        }
        second
    };
    assert_eq!([shares(5000), shares(5500), shares(6000)], [2, 7, 10]);
}
