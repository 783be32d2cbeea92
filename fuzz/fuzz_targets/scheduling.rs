//! Scheduling options of any text are read or refused, and a listener works with whatever was read.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rcluster_core::dispatch::{Board, Config, Connection, Dispatch, Input, Output};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::{Action, Address, Home, Key, Plan, Scheduling, Verdict};

struct Client(u8);

impl Connection for Client {
    fn home(&self) -> Option<Home> {
        Some(Home::Client(Key::of(&[self.0])))
    }
}

struct Idle;

impl Board for Idle {
    fn received(&self, _: WorkerId) -> u64 {
        0
    }
    fn open(&self, _: WorkerId) -> u32 {
        u32::MAX
    }
    fn busy(&self, _: WorkerId) -> Duration {
        Duration::MAX
    }
}

/// Two workers, ten clients, and time that passes quicker and quicker.
fn use_plan(plan: &Plan) {
    let mut dispatch = Dispatch::new(Config { window: 2, ..Config::default() });
    let listener = ListenerId(1);
    let mut now = Duration::from_millis(1);
    let mut out = Vec::new();
    let mut inputs = vec![Input::ListenerAdded { listener, plan: plan.clone() }];
    for worker in [1, 2].map(WorkerId) {
        inputs.push(Input::WorkerAdded { worker, slot: Slot(worker.0) });
        inputs.push(Input::Joined { worker, listener });
    }
    for client in 0..10 {
        inputs.push(Input::Accepted { listener, conn: Client(client) });
        inputs.push(Input::Tick);
    }
    inputs.push(Input::ListenerRemoved { listener });
    let mut clients = 0;
    for input in inputs {
        dispatch.handle(now, input, &Idle, &mut out);
        let mut reclaims = Vec::new();
        for output in out.drain(..) {
            match output {
                Output::Send { .. } | Output::Shed { .. } | Output::Close { .. } => clients += 1,
                Output::Reclaim { worker } => reclaims.push(worker),
                _ => {}
            }
        }
        for worker in reclaims {
            // Whatever it had has been served meanwhile.
            dispatch.handle(now, Input::Reclaimed { worker, conns: Vec::new(), all: true }, &Idle, &mut out);
            for output in out.drain(..) {
                let ends = matches!(output, Output::Send { .. } | Output::Shed { .. } | Output::Close { .. });
                clients += u32::from(ends);
            }
        }
        dispatch.check_invariants(now).unwrap();
        now = now.saturating_mul(3);
    }
    assert_eq!(clients, 10);
}

fuzz_target!(|text: &str| {
    let scheduling = match Scheduling::parse(text) {
        Ok(scheduling) => scheduling,
        Err(error) => {
            assert!(!error.is_empty());
            return;
        }
    };
    let named: Vec<&str> = scheduling.listeners.keys().map(String::as_str).take(3).collect();
    for name in named.into_iter().chain([""]) {
        let plan = scheduling.plan(name);
        let request = b"GET /?sid=1 HTTP/1.1\r\nCookie: sid=1\r\n\r\n";
        assert_ne!(plan.preread.look(request, Some(Address::V4([127, 0, 0, 1])), true), Verdict::Undecided);
        if let Some(by) = plan.hand_over() {
            let _key = by.key_in(request);
        }
        let response = plan.overload.action.response();
        assert_eq!(response.is_some(), matches!(plan.overload.action, Action::Respond { .. }));
        use_plan(plan);
    }
});
