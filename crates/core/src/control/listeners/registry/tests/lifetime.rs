//! How long a listener lives, and how long it waits for a replacement.

use super::*;
use crate::control::listeners::LINGER;

#[test]
fn a_listener_closes_with_its_last_server() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.serve(A, port(80));
    primary.serve(B, port(80));
    primary.input(Input::Close { worker: A, listener });
    assert_eq!(primary.said(), [Output::Leave { worker: A, listener }]);
    primary.input(Input::Close { worker: A, listener });
    assert_eq!(primary.said(), []);
    primary.input(Input::Close { worker: B, listener });
    assert_eq!(primary.said(), [Output::Leave { worker: B, listener }, Output::CloseListener { listener }]);
    assert_ne!(primary.listen(A, port(80)), listener);
}

#[test]
fn a_leaving_worker_leaves_all_listeners_and_gets_no_replies() {
    let mut primary = Primary::new(false, &[A, B]);
    let alone = primary.serve(A, port(80));
    let together = primary.serve(A, port(81));
    primary.serve(B, port(81));
    primary.input(Input::WorkerLeaving { worker: A });
    let left = |listener| Output::Leave { worker: A, listener };
    assert_eq!(primary.said(), [left(alone), Output::CloseListener { listener: alone }, left(together)]);
    primary.ask(A, port(82));
    primary.ask(A, request(json!({ "port": -5, "addressType": 4 })));
    primary.died_and_reported(A);
    assert_eq!(primary.out, []);
}

#[test]
fn dead_and_unknown_workers_get_no_replies() {
    let mut primary = Primary::new(false, &[A]);
    primary.input(Input::WorkerDied { worker: A });
    primary.ask(A, port(80));
    primary.ask(B, port(80));
    assert_eq!(primary.out, []);
}

#[test]
fn the_listener_of_a_dead_worker_stays_open_until_the_app_has_been_notified() {
    let mut primary = Primary::new(false, &[A]);
    let listener = primary.serve(A, port(80));
    primary.input(Input::WorkerDied { worker: A });
    assert_eq!(primary.said(), [Output::Leave { worker: A, listener }]);
    // A primary whose JavaScript is busy is notified late.
    primary.later(LINGER * 2);
    assert_eq!(primary.listeners.next_deadline(), None);
    assert_eq!(primary.said(), []);
    primary.input(Input::ExitReported { worker: A });
    assert_eq!(primary.said(), [Output::CloseListener { listener }]);
}

#[test]
fn a_replacement_finds_the_listener_open() {
    let mut primary = Primary::new(false, &[A]);
    let listener = primary.listen(A, port(80));
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::WorkerStarted { worker: B });
    primary.input(Input::ExitReported { worker: A });
    assert_eq!(primary.listeners.next_deadline(), Some(primary.now + LINGER));
    primary.later(LINGER / 2);
    assert_eq!(primary.listen(B, port(80)), listener);
    assert_eq!(primary.listeners.next_deadline(), None);
    primary.later(LINGER);
    assert!(!primary.closed(listener));
}

#[test]
fn a_replacement_that_takes_too_long_finds_it_closed() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.died_and_reported(A);
    primary.later(LINGER.checked_sub(Duration::from_nanos(1)).unwrap());
    assert!(!primary.closed(listener));
    primary.later(Duration::from_nanos(1));
    assert!(primary.closed(listener));
    assert_eq!(primary.listeners.next_deadline(), None);
}

#[test]
fn workers_that_already_serve_are_not_replacements() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    let other = primary.listen(B, port(81));
    primary.input(Input::Listening { worker: B, listener: other });
    primary.died_and_reported(A);
    assert!(primary.closed(listener));
}

#[test]
fn naming_the_listener_of_another_worker_does_not_count_as_serving() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.input(Input::Listening { worker: B, listener });
    primary.died_and_reported(A);
    assert!(!primary.closed(listener));
}

#[test]
fn the_earliest_deadline_comes_first() {
    let mut primary = Primary::new(false, &[A, B, C]);
    let first = primary.listen(A, port(80));
    let second = primary.listen(B, port(81));
    primary.died_and_reported(B);
    let deadline = primary.now + LINGER;
    primary.later(LINGER / 2);
    primary.died_and_reported(A);
    assert_eq!(primary.listeners.next_deadline(), Some(deadline));
    primary.later(LINGER / 2);
    assert_eq!(primary.said().last(), Some(&Output::CloseListener { listener: second }));
    primary.later(LINGER / 2);
    assert!(primary.closed(first));
}

#[test]
fn a_replacement_may_open_its_servers_one_after_the_other() {
    let mut primary = Primary::new(false, &[A]);
    let first = primary.listen(A, port(80));
    let second = primary.listen(A, port(81));
    let third = primary.listen(A, port(82));
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::WorkerStarted { worker: B });
    primary.input(Input::ExitReported { worker: A });
    assert_eq!(primary.listen(B, port(80)), first);
    assert_eq!(primary.listen(B, port(81)), second);
    assert!(!primary.closed(third));
    // It may open the last listener after the first one is up and has clients.
    primary.input(Input::Listening { worker: B, listener: first });
    primary.later(LINGER.checked_sub(Duration::from_nanos(1)).unwrap());
    assert!(!primary.closed(third));
    primary.later(Duration::from_nanos(1));
    assert!(primary.closed(third));
}

#[test]
fn a_replacement_may_open_a_server_later_even_if_no_more_workers_are_expected() {
    for ending in [Input::WorkerLeaving { worker: A }, Input::WorkerDied { worker: A }] {
        let mut primary = Primary::new(false, &[A]);
        primary.serve(A, port(80));
        let second = primary.serve(A, port(81));
        primary.input(Input::Expecting(true));
        primary.input(ending);
        primary.died_and_reported(A);
        primary.input(Input::WorkerStarted { worker: B });
        primary.later(LINGER * 2);
        primary.serve(B, port(80));
        primary.input(Input::Expecting(false));
        primary.later(LINGER / 2);
        assert!(!primary.closed(second));
        assert_eq!(primary.listen(B, port(81)), second);
        primary.later(LINGER * 2);
        assert!(!primary.closed(second));
    }
}

#[test]
fn listeners_with_a_sole_server_are_counted() {
    let mut primary = Primary::new(false, &[A, B]);
    let first = primary.serve(A, port(80));
    primary.serve(A, port(81));
    assert_eq!(primary.listeners.sole_servers(), [(A, 2)]);
    assert_eq!(primary.listeners.sole_servers(), []);
    // A worker that has only sent a request does not serve yet.
    primary.listen(B, port(80));
    assert_eq!(primary.listeners.sole_servers(), []);
    primary.input(Input::Listening { worker: B, listener: first });
    assert_eq!(primary.listeners.sole_servers(), [(A, 1)]);
    primary.input(Input::WorkerLeaving { worker: A });
    assert_eq!(primary.listeners.sole_servers(), [(A, 0), (B, 1)]);
}

#[test]
fn a_worker_that_dies_or_leaves_while_starting_is_no_longer_expected() {
    for leaves in [true, false] {
        let mut primary = Primary::new(false, &[A, B]);
        let listener = primary.listen(A, port(80));
        primary.died_and_reported(A);
        assert!(!primary.closed(listener));
        if leaves {
            primary.input(Input::WorkerLeaving { worker: B });
        } else {
            primary.input(Input::WorkerDied { worker: B });
            // The app may start another replacement.
            assert!(!primary.closed(listener));
            primary.input(Input::ExitReported { worker: B });
        }
        assert!(primary.closed(listener), "leaves: {leaves}");
    }
}

#[test]
fn replacements_that_die_while_starting_do_not_keep_it_open_forever() {
    let mut primary = Primary::new(false, &[A]);
    let listener = primary.listen(A, port(80));
    let mut last = A;
    for number in 2..=5 {
        let next = WorkerId(number);
        primary.input(Input::WorkerDied { worker: last });
        primary.input(Input::WorkerStarted { worker: next });
        primary.input(Input::ExitReported { worker: last });
        assert!(!primary.closed(listener));
        primary.later(LINGER / 4);
        last = next;
    }
    assert!(primary.closed(listener));
}

#[test]
fn a_dead_worker_that_was_ordered_to_leave_is_not_replaced() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::WorkerLeaving { worker: A });
    assert!(primary.closed(listener));
}

#[test]
fn the_last_death_counts() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.listen(B, port(80));
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::WorkerDied { worker: B });
    primary.input(Input::ExitReported { worker: A });
    assert!(!primary.closed(listener));
    primary.input(Input::ExitReported { worker: B });
    assert!(primary.closed(listener));
}

#[test]
fn a_reported_exit_of_a_living_worker_is_ignored() {
    let mut primary = Primary::new(false, &[A]);
    let listener = primary.listen(A, port(80));
    primary.input(Input::ExitReported { worker: A });
    primary.input(Input::ExitReported { worker: B });
    assert_eq!(primary.said(), []);
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::WorkerDied { worker: A });
    primary.input(Input::ExitReported { worker: A });
    assert!(primary.closed(listener));
}

#[test]
fn while_workers_are_expected_no_listener_closes_with_its_last_worker() {
    for ending in [Input::WorkerLeaving { worker: A }, Input::WorkerDied { worker: A }] {
        let mut primary = Primary::new(false, &[A]);
        let listener = primary.serve(A, port(80));
        primary.input(Input::Expecting(true));
        primary.input(ending);
        primary.died_and_reported(A);
        primary.later(LINGER * 2);
        assert_eq!(primary.listeners.next_deadline(), None);
        assert_eq!(primary.said(), [Output::Leave { worker: A, listener }]);
        primary.input(Input::WorkerStarted { worker: B });
        assert_eq!(primary.listen(B, port(80)), listener);
        primary.input(Input::Expecting(false));
        assert!(!primary.closed(listener));
    }
}

#[test]
fn vacant_listeners_close_when_no_more_workers_are_expected() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.serve(A, port(80));
    primary.serve(B, port(81));
    primary.input(Input::Expecting(true));
    primary.input(Input::WorkerLeaving { worker: A });
    assert_eq!(primary.said(), [Output::Leave { worker: A, listener }]);
    primary.input(Input::Expecting(false));
    assert_eq!(primary.said(), [Output::CloseListener { listener }]);
}

#[test]
fn a_closed_server_closes_its_listener_even_while_workers_are_expected() {
    let mut primary = Primary::new(false, &[A]);
    let listener = primary.serve(A, port(80));
    primary.input(Input::Expecting(true));
    primary.input(Input::Close { worker: A, listener });
    assert_eq!(primary.said(), [Output::Leave { worker: A, listener }, Output::CloseListener { listener }]);
}
