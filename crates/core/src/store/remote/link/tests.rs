use super::super::batch::Checked;
use super::*;

fn link() -> Link {
    let backend = serde_json::from_str(r#"{"servers":{"socket":"/a"}}"#).unwrap();
    Link::new(&backend, "writer".into(), 1000, 1 << 26, 1)
}

fn greeting(goes_on: bool) -> Input {
    let greeting = Greeting { epoch: vec![b'e'; EPOCH], revision: 7, time: 1_000_000, goes_on, last: None };
    Input::Greeted { greeting, asked_at: 0 }
}

fn loaded() -> Input {
    let loaded = Loaded { epoch: vec![b'e'; EPOCH], revision: 7, place: "1-0".into(), values: Vec::new() };
    Input::Loaded(loaded)
}

/// Gives the link an input, and all that is loaded fits into the memory.
fn feed(link: &mut Link, input: Input, now: u64, out: &mut Vec<Output>) {
    let is_load = matches!(input, Input::Loaded(_));
    link.input(input, now, out);
    if is_load {
        link.input(Input::Reloaded(link.load), now, out);
    }
}

/// Connects and loads, then fails `times` times with the results of `fail`, and returns the wait before the
/// next attempt.
fn wait_after(times: u32, goes_on: bool, fail: impl Fn() -> Input) -> u64 {
    let (mut link, mut now, mut out) = (link(), 0, Vec::new());
    for attempt in 0..times {
        // `None`: it has connected again at once.
        now = link.connection.next_attempt().unwrap_or(now);
        feed(&mut link, Input::Tick, now, &mut out);
        feed(&mut link, greeting(goes_on && attempt > 0), now, &mut out);
        if link.status.state == State::Loading {
            feed(&mut link, loaded(), now, &mut out);
        }
        assert_eq!(link.status.state, State::Following);
        feed(&mut link, fail(), now, &mut out);
    }
    link.connection.next_attempt().unwrap_or(now) - now
}

#[test]
fn a_server_that_accepts_connections_but_refuses_reads_is_retried_less_often() {
    let refused = || Input::Failed(Failure::Refused("NOPERM".into()));
    assert_eq!(wait_after(1, true, refused), 0);
    assert!(wait_after(20, true, refused) >= 1000);
}

#[test]
fn an_invalid_entry_causes_a_full_load() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        feed(&mut link, input, 0, &mut out);
    }
    feed(&mut link, Input::Entries(vec![("2-0".into(), b"garbage".to_vec())]), 0, &mut out);
    out.clear();
    // The server reports that its stream continues from this machine's position.
    feed(&mut link, greeting(true), 0, &mut out);
    assert!(out.contains(&Output::Load), "{out:?}");
}

#[test]
fn a_beat_that_was_overtaken_by_changes_is_no_loss() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        feed(&mut link, input, 0, &mut out);
    }
    feed(&mut link, Input::Tick, BEAT, &mut out);
    assert!(out.contains(&Output::Beat), "{out:?}");
    let mut entry = vec![b'e'; EPOCH];
    entry.extend_from_slice(&8_f64.to_le_bytes());
    entry.extend_from_slice(&[1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0]);
    entry.extend_from_slice(&[0; 8]);
    entry.push(b'k');
    feed(&mut link, Input::Entries(vec![("2-0".into(), entry)]), BEAT, &mut out);
    assert_eq!(link.position.revision(), 8);
    out.clear();
    let beat = |revision| {
        let epoch = Some(vec![b'e'; EPOCH]);
        Input::Beat { epoch, revision, time: 1_000_000, asked_at: BEAT }
    };
    feed(&mut link, beat(7), BEAT, &mut out);
    assert!(!out.contains(&Output::Close), "{out:?}");
    // The next one was sent behind the change.
    feed(&mut link, Input::Tick, 2 * BEAT, &mut out);
    feed(&mut link, beat(7), 2 * BEAT, &mut out);
    assert!(out.contains(&Output::Close), "{out:?}");
    // Connecting again ends the error, but not the reason for the loss, which is reported later.
    feed(&mut link, Input::Tick, 2 * BEAT, &mut out);
    feed(&mut link, greeting(false), 2 * BEAT, &mut out);
    feed(&mut link, loaded(), 2 * BEAT, &mut out);
    assert_eq!(link.status.state, State::Following);
    assert_eq!(link.status.error, None);
    assert!(link.status.lost.contains("earlier revision"), "{}", link.status.lost);
}

#[test]
fn requests_of_a_batch_that_failed_in_the_middle_are_not_sent_again() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        feed(&mut link, input, 0, &mut out);
    }
    link.queue.push(5, Checked::Arguments(vec![Vec::new(); 3]), 1000);
    link.queue.send();
    feed(&mut link, Input::WriteFailed(Failure::Torn("torn".into())), 0, &mut out);
    out.clear();
    for input in [greeting(true), loaded()] {
        feed(&mut link, input, 0, &mut out);
    }
    assert!(out.iter().any(|it| matches!(it, Output::Answer { peer: 5, .. })), "{out:?}");
    assert!(!out.iter().any(|it| matches!(it, Output::Write { .. })), "{out:?}");
    assert_eq!(link.status.error.as_deref(), Some("torn"));
}

/// Sends a beat, whose answer says this time.
fn beat_at(link: &mut Link, now: u64, time: u64) -> Vec<Output> {
    let mut out = Vec::new();
    feed(link, Input::Tick, now, &mut out);
    assert!(out.contains(&Output::Beat), "{out:?}");
    out.clear();
    let beat = Input::Beat { epoch: Some(vec![b'e'; EPOCH]), revision: 7, time, asked_at: now };
    feed(link, beat, now + 20, &mut out);
    out
}

#[test]
fn after_a_clock_was_set_everything_is_loaded_with_the_new_offset() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        feed(&mut link, input, 5_000, &mut out);
    }
    assert!(!beat_at(&mut link, 6_000, 1_003_510).contains(&Output::Close));
    assert!(beat_at(&mut link, 7_020, 404_530).contains(&Output::Close));
    out.clear();
    feed(&mut link, Input::Tick, 7_100, &mut out);
    let greeting =
        Greeting { epoch: vec![b'e'; EPOCH], revision: 7, time: 404_590, goes_on: true, last: None };
    feed(&mut link, Input::Greeted { greeting, asked_at: 7_100 }, 7_100, &mut out);
    feed(&mut link, loaded(), 7_110, &mut out);
    let ahead = out.iter().find_map(|output| match output {
        Output::Reload { ahead, .. } => Some(*ahead),
        _ => None,
    });
    assert_eq!(ahead, Some(7_101 - 404_590), "{out:?}");
}

/// A link that is following, with one waiting request.
fn following() -> (Link, Vec<Output>) {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        feed(&mut link, input, 0, &mut out);
    }
    link.queue.push(5, Checked::Arguments(vec![Vec::new(); 3]), 1000);
    out.clear();
    (link, out)
}

/// Whether the output is a batch, and if so whether expired keys are removed with it, and its number of arguments.
fn batch(out: &[Output]) -> Option<(bool, usize)> {
    out.iter().find_map(|output| match output {
        Output::Write { expire, arguments, .. } => Some((*expire, arguments.len())),
        _ => None,
    })
}

#[test]
fn while_there_are_more_expired_keys_they_are_removed_at_once() {
    let (mut link, mut out) = following();
    feed(&mut link, Input::Expired, 0, &mut out);
    assert_eq!(batch(&out), Some((true, 3)));
    for (has_more, next) in [(1.0_f64, Some((true, 0))), (0.0, None)] {
        let mut answer = [7_f64.to_le_bytes(), has_more.to_le_bytes()].concat();
        if link.queue.sent().unwrap().asked() == 1 {
            answer.extend_from_slice(&[0; 17]);
        }
        out.clear();
        feed(&mut link, Input::Answered(answer), 0, &mut out);
        assert_eq!(batch(&out), next);
    }
}

#[test]
fn a_request_is_not_refused_because_the_removal_of_expired_keys_is() {
    let (mut link, mut out) = following();
    feed(&mut link, Input::Expired, 0, &mut out);
    assert_eq!(batch(&out), Some((true, 3)));
    let refused = || Input::WriteFailed(Failure::Script("MISCONF".into()));
    for next in [Some((false, 3)), None] {
        out.clear();
        feed(&mut link, refused(), 0, &mut out);
        assert_eq!(batch(&out), next);
    }
    assert!(out.iter().any(|it| matches!(it, Output::Answer { peer: 5, .. })), "{out:?}");
    out.clear();
    feed(&mut link, Input::Tick, BEAT, &mut out);
    assert_eq!(batch(&out), Some((true, 0)), "later it is tried again");
}

#[test]
fn a_change_that_is_not_in_the_stream_causes_a_full_load() {
    let (mut link, mut out) = following();
    let beat =
        |at| Input::Beat { epoch: Some(vec![b'e'; EPOCH]), revision: 8, time: 1_000_000 + at, asked_at: at };
    for beats in 1..100 {
        let now = beats * BEAT;
        feed(&mut link, Input::Tick, now, &mut out);
        feed(&mut link, beat(now), now, &mut out);
    }
    assert!(!out.contains(&Output::Close), "it may be on its way for long");
    for _ in 0..2 {
        feed(&mut link, Input::Entries(Vec::new()), 100 * BEAT, &mut out);
    }
    assert!(out.contains(&Output::Close), "{out:?}");
}

#[test]
fn what_does_not_fit_was_never_loaded() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded()] {
        link.input(input, 0, &mut out);
    }
    assert_eq!((link.status.state, link.status.loads), (State::Loading, 0));
    link.input(Input::Overflow, 0, &mut out);
    assert_eq!((link.status.loads, link.status.connects), (0, 0));
    assert_eq!(link.status.state, State::Offline);
    assert!(!out.iter().any(|it| matches!(it, Output::Follow { .. })), "{out:?}");
}

#[test]
fn a_load_counts_even_if_the_connection_is_lost_before_it_is_applied() {
    let (mut link, mut out) = (link(), Vec::new());
    for input in [Input::Tick, greeting(false), loaded(), Input::Failed(Failure::Lost("reset".into()))] {
        link.input(input, 0, &mut out);
    }
    link.input(Input::Reloaded(1), 0, &mut out);
    assert_eq!(link.status.loads, 1);
    // It continues where it was.
    for input in [Input::Tick, greeting(true)] {
        link.input(input, 5_000, &mut out);
    }
    assert_eq!((link.status.state, link.status.connects), (State::Following, 1));
    // The answer to an earlier load says nothing of a later one.
    link.input(Input::Failed(Failure::Lost("reset".into())), 5_000, &mut out);
    for input in [Input::Tick, greeting(false), Input::Reloaded(1)] {
        link.input(input, 10_000, &mut out);
    }
    assert_eq!((link.status.state, link.status.loads), (State::Loading, 1));
}
