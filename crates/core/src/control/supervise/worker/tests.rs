use super::*;

const SLOT: Slot = Slot(3);

fn at(ms: u64) -> Time {
    Duration::from_millis(ms)
}

fn worker(role: Role) -> Worker {
    let options = Options { ready_timeout: at(100), ..Options::default() };
    Worker::new(Ticket(1), (role, 0, Cause::Start), at(0), &options, &mut Random::new(1))
}

#[test]
fn a_dismissed_worker_has_no_slot_and_one_without_a_process_has_time_to_appear() {
    let mut it = worker(Role::Current(SLOT));
    it.go_when_replaced(Reason::Reload);
    assert_eq!(it.dismiss(Stage::Draining { until: at(900) }, at(50)), None);
    assert_eq!((it.stage(), it.deadline()), (Stage::Terminating { until: at(50) }, Some(at(50))));
    assert_eq!((it.role(), it.going(), it.slot()), (Role::Former(Some(SLOT)), None, Some(SLOT)));

    let mut it = worker(Role::Current(SLOT));
    it.on_spawned(WorkerId(7));
    assert_eq!(it.dismiss(Stage::Draining { until: at(900) }, at(50)), Some(WorkerId(7)));
    assert_eq!(it.deadline(), Some(at(900)));
    it.shorten_drain(at(950));
    it.shorten_drain(at(300));
    assert_eq!(it.deadline(), Some(at(300)), "it only gets shorter");
}

#[test]
fn a_worker_that_leaves_soon_has_a_deadline_and_may_leave_at_once() {
    let mut it = worker(Role::Current(SLOT));
    it.on_ready(at(10));
    assert!(!it.go_now(at(20)) && it.deadline().is_none());
    it.go(Going::Soon { reason: Reason::Reload, until: None });
    assert!(it.is_going_soon() && it.deadline().is_none());
    assert!(it.go_now(at(20)));
    assert_eq!(it.deadline(), Some(at(20)));
    it.stay();
    assert_eq!(it.deadline(), None);
}

#[test]
fn that_nothing_is_left_to_serve_counts_once_and_only_during_a_drain() {
    let mut it = worker(Role::Current(SLOT));
    it.on_spawned(WorkerId(7));
    assert!(!it.on_held(true, BTreeMap::new()));
    it.dismiss(Stage::Draining { until: at(900) }, at(50));
    let timers = BTreeMap::from([("Timeout".to_owned(), 2)]);
    assert!(!it.on_held(false, timers.clone()));
    assert_eq!(it.resources(), &timers);
    assert!(it.on_held(true, BTreeMap::new()) && !it.on_held(true, BTreeMap::new()));
}
