use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;

fn status() -> Value {
    let slot = |slot: u32, state: &str| {
        json!({
            "slot": slot, "worker": slot, "pid": 100 + slot, "state": state, "uptime": 5000, "cpuMs": 100,
            "elu": 0.5, "delayP99Ms": 20.0, "memory": 52_428_800, "connections": 3, "inFlight": 1, "clients": 9,
            "fds": 22, "restarts": 1, "generation": 1, "blockedMs": 0, "lastExit": null,
        })
    };
    json!({
        "versions": { "rcluster": "0.1.0", "node": "22.1.0" }, "generation": 2, "cpus": 2,
        "primary": { "pid": 99, "cpuMs": 10, "memory": 41_943_040, "blockedMs": 0 },
        "workers": 2, "ready": 2, "restarts": 1, "standby": { "ready": 1, "starting": 0 }, "reloading": true,
        "slots": [slot(0, "serving"), slot(1, "serving")],
        "draining": [{ "slot": 1, "pid": 77, "connections": 4, "deadlineMs": 8000 }],
        "listeners": [{ "address": "0.0.0.0:3000", "policy": "round-robin", "workers": 2, "queue": 0, "backlog": 5,
            "backlogLimit": 511 }],
        "dispatcher": { "listeners": [] },
    })
}

fn model(status: Value) -> Model {
    Model::new(status, Instant::now())
}

fn drawn(model: &Model, width: u16, height: u16, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, Theme { colours })).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn the_screen_has_a_header_slots_draining_workers_listeners_events_and_keys() {
    let mut model = model(status());
    model.on_event("ready slot=1\nwith more".into());
    let lines = lines(&drawn(&model, 160, 20, true));
    assert_eq!(
        lines[0],
        "rcluster 0.1.0  Node 22.1.0  pid 99  generation 2  2 of 2 ready  reloading  standbys 1  2 CPUs  conn/s -  \
         queue 0  backlog 5  shed/s -  restarts 1"
    );
    assert_eq!(lines[1], "primary CPU% -  RSS 40.0M  blocked 0ms");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = "SLOT PID STATE AGE ↺ CPU% ELU% DELAYp99 RSS OPEN INFL CONN/s FDS LAST";
    assert_eq!(words(&lines[2]), words(head));
    assert_eq!(words(&lines[4]), words("1 101 serving 5s 1 - 50 20ms 50.0M 3 1 - 22 -"));
    assert_eq!(lines[5], "draining  slot 1  pid 77  4 open  8s left");
    assert_eq!(lines[6], "listening  0.0.0.0:3000  round-robin  2 workers  queue 0  backlog 5 of 511");
    assert_eq!(lines[7], "ready slot=1");
    assert_eq!(lines[19], KEYS);
}

#[test]
fn columns_are_aligned_with_their_headings() {
    let lines = lines(&drawn(&model(status()), 160, 20, true));
    for (head, cell) in [("STATE", "serving"), ("LAST", "-")] {
        let at = lines[2].find(head).unwrap();
        let column = lines[2][..at].chars().count();
        let found: String = lines[3].chars().skip(column).collect();
        assert!(found.starts_with(cell), "{head}: {found}");
    }
}

#[test]
fn a_small_terminal_shows_the_main_parts_and_never_fails() {
    for width in 0..60 {
        for height in 0..12 {
            let mut model = model(status());
            drawn(&model, width, height, true);
            model.on_key(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::NONE));
            drawn(&model, width, height, true);
        }
    }
    let lines = lines(&drawn(&model(status()), 40, 14, true));
    assert!(lines.iter().any(|line| line.starts_with("SLOT STATE")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("serving")), "{lines:#?}");
}

#[test]
fn no_colours_are_used_if_they_are_disabled() {
    let mut status = status();
    status["slots"][0]["state"] = json!("given-up");
    let buffer = drawn(&model(status.clone()), 100, 20, false);
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let buffer = drawn(&model(status), 100, 20, true);
    assert!(buffer.content().iter().any(|cell| cell.fg == Color::Red));
    let colours = |value: Option<&str>| Theme::of(value.map(OsStr::new)).colours;
    assert_eq!((colours(None), colours(Some("")), colours(Some("1"))), (true, true, false));
}

#[test]
fn a_blocked_primary_and_an_unresponsive_dispatcher_are_shown() {
    let mut status = status();
    status["primary"]["blockedMs"] = json!(7300);
    (status["listeners"], status["dispatcher"]) = (Value::Null, Value::Null);
    let lines = lines(&drawn(&model(status), 160, 20, true));
    assert!(lines[1].ends_with("blocked 7s"), "{}", lines[1]);
    assert_eq!(lines[2], "the thread that accepts connections does not answer");
}

#[test]
fn the_selected_slot_stays_visible() {
    let mut status = status();
    let slots: Vec<Value> = (0..50).map(|slot| json!({ "slot": slot, "state": "serving" })).collect();
    status["slots"] = json!(slots);
    let mut model = model(status);
    model.on_key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    let buffer = drawn(&model, 100, 12, true);
    let shown = lines(&buffer);
    let at = shown.iter().position(|line| line.trim_start().starts_with("49 ")).expect("it is in sight");
    let y = u16::try_from(at).unwrap();
    assert!(buffer[(0, y)].modifier.contains(Modifier::REVERSED));
    model.on_status(model.status().clone(), Instant::now() + Duration::from_secs(1));
    assert_eq!(model.selected(), 49);
}

#[test]
fn text_of_programs_cannot_control_the_terminal() {
    let mut model = model(status());
    model.on_event("ready \u{1b}[2Jreason=\u{7}x".into());
    let lines = lines(&drawn(&model, 100, 20, true));
    assert!(lines.iter().any(|line| line == "ready  [2Jreason= x"), "{lines:#?}");
}

#[test]
fn a_stack_is_an_overlay_that_scrolls() {
    let mut model = model(status());
    let stack = json!("Error\n    at one (/app.js:1:1)\n    at two (/app.js:2:2)");
    model.on_done(&crate::top::model::Action::Stack(Some(0)), Ok(stack));
    let shown = lines(&drawn(&model, 100, 20, true)).join("\n");
    assert!(shown.contains("stack of slot 0") && shown.contains("at two (/app.js:2:2)"), "{shown}");
    model.on_key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    model.on_key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    let shown = lines(&drawn(&model, 100, 20, true)).join("\n");
    assert!(!shown.contains("at one") && shown.contains("at two"), "{shown}");
}
