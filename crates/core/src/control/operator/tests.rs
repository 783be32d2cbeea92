//! Many clients, and which of them get which messages.

use serde_json::json;

use super::*;
use crate::control::supervise::Phase;

const ONE: ClientId = ClientId(1);
const TWO: ClientId = ClientId(2);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(value: &str) -> Id {
    Request::parse(format!(r#"{{"id":{value},"verb":"hello"}}"#).as_bytes()).unwrap().id
}

fn lines(operators: &mut Operators) -> Vec<(u64, Value)> {
    let line = |output| match output {
        Output::Line(client, line) => Some((client.0, serde_json::from_str(&line).unwrap())),
        _ => None,
    };
    operators.take_outputs().into_iter().filter_map(line).collect()
}

fn ready(worker: u32, slot: u32) -> Event {
    Event::Ready { worker: WorkerId(worker), slot: Some(Slot(slot)), boot: Duration::ZERO }
}

#[test]
fn a_new_client_replaces_the_one_that_has_been_idle_longest_and_no_waiting_one() {
    let mut operators = Operators::default();
    for number in 0..MAX_CLIENTS as u64 {
        operators.on_connected(at(number), ClientId(number));
    }
    // The first two are busy, and the third was active last.
    operators.watch(ClientId(0), &id("1"), true);
    operators.on_line(at(100), ClientId(1), br#"{"verb":"status"}"#);
    operators.on_line(at(200), ClientId(2), b"nonsense");
    operators.take_outputs();
    operators.on_connected(at(300), ClientId(900));
    let gone = operators.take_outputs();
    assert!(gone.contains(&Output::HangUp(ClientId(3))), "{gone:?}");
    assert_eq!(operators.clients.len(), MAX_CLIENTS);
    let everybody: Vec<ClientId> = operators.clients.keys().copied().collect();
    for client in everybody {
        operators.watch(client, &id("2"), true);
    }
    operators.take_outputs();
    operators.on_connected(at(400), ClientId(901));
    assert!(operators.take_outputs().contains(&Output::HangUp(ClientId(901))), "all are in use");
    assert_eq!(operators.clients.len(), MAX_CLIENTS);
}

#[test]
fn unanswered_requests_are_limited_and_an_answer_makes_room() {
    let mut operators = Operators::default();
    operators.on_connected(at(0), ONE);
    for number in 0..MAX_UNANSWERED {
        let line = format!(r#"{{"id":{number},"verb":"status"}}"#);
        assert!(operators.on_line(at(1), ONE, line.as_bytes()).is_some());
    }
    assert!(operators.on_line(at(1), ONE, br#"{"id":"x","verb":"status"}"#).is_none());
    let (_, refused) = lines(&mut operators).pop().unwrap();
    assert_eq!(
        (refused["id"].clone(), refused["error"]["code"].clone()),
        (json!("x"), json!("ERR_RCLUSTER_BUSY"))
    );
    operators.on_found(ONE, &id("0"), Ok(json!({})));
    assert!(operators.on_line(at(1), ONE, br#"{"id":"x","verb":"status"}"#).is_some());
}

#[test]
fn events_go_to_watching_clients_and_to_those_whose_requests_they_concern() {
    let mut operators = Operators::default();
    for client in [ONE, TWO] {
        operators.on_connected(at(0), client);
    }
    operators.on_event(&ready(1, 0));
    assert_eq!(lines(&mut operators), [], "nobody is interested");
    operators.watch(ONE, &id("\"w\""), true);
    let request = operators.begin(TWO, id("7"), Some(Slot(1)), false);
    operators.take_outputs();
    operators.on_event(&ready(1, 0));
    let facts = json!({ "worker": 1, "slot": 0, "bootMs": 0 });
    assert_eq!(lines(&mut operators), [(1, json!({ "id": "w", "event": "ready", "facts": facts }))]);
    operators.on_event(&ready(2, 1));
    assert_eq!(lines(&mut operators).iter().map(|(client, _)| *client).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(operators.on_done(request, &Ok(())), Some(false));
    assert_eq!(lines(&mut operators), [(2, json!({ "id": 7, "ok": true }))]);
    operators.on_event(&ready(3, 1));
    operators.on_exit(WorkerId(1), ExitKind::Signal(9));
    let told = lines(&mut operators);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].1["facts"], json!({ "worker": 1, "code": null, "signal": 9 }));
    operators.watch(ONE, &id("8"), false);
    operators.take_outputs();
    operators.on_event(&ready(3, 1));
    assert_eq!(lines(&mut operators), []);
}

#[test]
fn requests_of_the_app_are_ignored_and_failures_have_a_code() {
    let mut operators = Operators::default();
    operators.on_connected(at(0), ONE);
    assert_eq!(operators.on_done(ids::Request(1), &Ok(())), None);
    let stop = operators.begin(ONE, id("1"), None, true);
    assert_eq!(operators.on_done(stop, &Err(Failure::ShutDown)), Some(false));
    let error = json!({ "code": "ERR_RCLUSTER_SHUT_DOWN", "message": "the cluster is shut down" });
    assert_eq!(lines(&mut operators), [(1, json!({ "id": 1, "ok": false, "error": error }))]);
    let stop = operators.begin(ONE, id("1"), None, true);
    assert_eq!(operators.on_done(stop, &Ok(())), Some(true));
}

#[test]
fn a_client_that_has_shut_down_writing_gets_its_answers_first() {
    let mut operators = Operators::default();
    operators.on_connected(at(0), ONE);
    operators.on_connected(at(0), TWO);
    operators.on_line(at(0), ONE, br#"{"verb":"status"}"#);
    operators.on_ended(ONE);
    assert_eq!(operators.take_outputs(), []);
    operators.on_found(ONE, &Id::default(), Ok(json!(1)));
    let done = Output::Line(ONE, r#"{"id":null,"ok":true,"result":1}"#.into());
    assert_eq!(operators.take_outputs(), [done, Output::HangUp(ONE)]);
    operators.watch(TWO, &Id::default(), true);
    operators.take_outputs();
    operators.on_ended(TWO);
    assert_eq!(operators.take_outputs(), [Output::HangUp(TWO)], "a watch does not keep it");
}

#[test]
fn a_disconnected_client_gets_nothing_and_its_requests_are_carried_out() {
    let mut operators = Operators::default();
    operators.on_connected(at(0), ONE);
    operators.watch(ONE, &Id::default(), true);
    let request = operators.begin(ONE, id("1"), None, false);
    operators.take_outputs();
    operators.on_gone(ONE);
    let why = crate::control::supervise::Why::NotReady { missed: None };
    let (delay, phase) = (Duration::ZERO, Phase::StartUp);
    operators.on_event(&Event::Restart {
        slot: None,
        worker: None,
        why,
        phase,
        delay,
        restarts: 1,
        stderr: None,
    });
    assert_eq!(operators.on_done(request, &Ok(())), Some(false));
    operators.on_found(ONE, &id("2"), Ok(json!(1)));
    assert!(operators.on_line(at(0), ONE, br#"{"verb":"status"}"#).is_none());
    operators.on_too_long(TWO);
    assert_eq!(operators.take_outputs().len(), 2, "a refusal and a hang-up, for the shell to drop");
}

#[test]
fn an_answer_that_is_too_long_is_an_error_instead() {
    let mut operators = Operators::default();
    operators.on_connected(at(0), ONE);
    for (length, is_ok) in [(MAX_ANSWER - 1000, true), (MAX_ANSWER, false)] {
        operators.on_found(ONE, &id("7"), Ok(Value::String("x".repeat(length))));
        let told = lines(&mut operators);
        assert_eq!((told.len(), &told[0].1["id"], &told[0].1["ok"]), (1, &json!(7), &json!(is_ok)));
        assert!(is_ok || told[0].1["error"]["code"] == "ERR_RCLUSTER_TOO_LARGE");
    }
}
