mod lifetime;
mod refusals;

use serde_json::{Value, json};

use super::*;
use crate::frames::{EINVAL, FromWorker, Kind};
use crate::schedule::{By, Policy};

const EADDRINUSE: i32 = -98;

const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);
const C: WorkerId = WorkerId(3);

/// A registry with its outputs since they were last taken. Every socket opens at once unless `hold` is set.
struct Primary {
    listeners: Listeners,
    now: Duration,
    out: Vec<Output>,
    hold: bool,
    /// The errors with which the next sockets fail to open. When it is empty, they open.
    refusals: Vec<i32>,
}

impl Primary {
    fn new(share: bool, workers: &[WorkerId]) -> Self {
        Self::with(Scheduling::of_node(share), workers)
    }

    fn with(scheduling: Scheduling, workers: &[WorkerId]) -> Self {
        let mut primary = Self {
            listeners: Listeners::new(scheduling),
            now: Duration::from_secs(1000),
            out: Vec::new(),
            hold: false,
            refusals: Vec::new(),
        };
        for &worker in workers {
            primary.input(Input::WorkerStarted { worker });
        }
        primary
    }

    fn input(&mut self, input: Input) {
        let first = self.out.len();
        self.listeners.handle(self.now, input, &mut self.out);
        self.listeners.check_invariants();
        if self.hold {
            return;
        }
        let opening = |output: &Output| match output {
            Output::Open { listener, .. } => Some(*listener),
            _ => None,
        };
        for listener in self.out[first..].iter().filter_map(opening).collect::<Vec<_>>() {
            self.answer(listener);
        }
    }

    fn answer(&mut self, listener: ListenerId) {
        let result = self.refusals.pop().map_or(Ok(Opened { kind: Kind::Tcp, sockname: None }), Err);
        self.input(Input::Opened { listener, result });
    }

    /// The outputs since they were last taken, without `Open`.
    fn said(&mut self) -> Vec<Output> {
        let opening = |output: &Output| matches!(output, Output::Open { .. });
        std::mem::take(&mut self.out).into_iter().filter(|output| !opening(output)).collect()
    }

    fn ask(&mut self, worker: WorkerId, request: ListenRequest) {
        self.input(Input::Listen { worker, request });
    }

    /// The first listener, whose socket a worker gets itself.
    fn share(&mut self, worker: WorkerId, request: ListenRequest) -> ListenerId {
        self.ask(worker, request);
        let said = self.said();
        assert!(
            matches!(said.as_slice(), [Output::Reply { reply: Reply { errno: 0, shared: true, .. }, .. }]),
            "{said:?}"
        );
        ListenerId(1)
    }

    /// Sends a listen request, and becomes a member of the returned listener.
    fn listen(&mut self, worker: WorkerId, request: ListenRequest) -> ListenerId {
        self.said();
        self.ask(worker, request);
        match self.said().as_slice() {
            [Output::Reply { worker: told, reply: Reply { errno: 0, listener: Some(listener), .. } }, ..] => {
                assert_eq!(*told, worker);
                *listener
            }
            other => panic!("{worker} asked and there is {other:?}"),
        }
    }

    /// Listens, and gets connections.
    fn serve(&mut self, worker: WorkerId, request: ListenRequest) -> ListenerId {
        let listener = self.listen(worker, request);
        self.input(Input::Listening { worker, listener });
        assert_eq!(self.said(), [Output::Join { worker, listener }]);
        listener
    }

    fn died_and_reported(&mut self, worker: WorkerId) {
        self.input(Input::WorkerDied { worker });
        self.input(Input::ExitReported { worker });
    }

    fn closed(&mut self, listener: ListenerId) -> bool {
        self.said().contains(&Output::CloseListener { listener })
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Tick);
    }
}

fn request(mut fields: Value) -> ListenRequest {
    fields["act"] = json!("query");
    for field in ["seq", "index"] {
        if fields[field].is_null() {
            fields[field] = json!(0);
        }
    }
    match FromWorker::parse(fields.to_string().as_bytes()) {
        Ok(FromWorker::Listen(request)) => *request,
        other => panic!("{fields} is read as {other:?}"),
    }
}

fn port(port: u16) -> ListenRequest {
    request(json!({ "port": port, "addressType": 4 }))
}

fn udp() -> ListenRequest {
    request(json!({ "port": 53, "address": "0.0.0.0", "addressType": "udp4" }))
}

fn refusal(worker: WorkerId, errno: i32) -> Output {
    Output::Reply { worker, reply: Reply::refusal(0, errno) }
}

#[test]
fn the_first_request_opens_a_listener_and_later_ones_join() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    assert_eq!(primary.listen(B, port(80)), listener);
    assert_eq!(primary.listeners.len(), 1);
    assert_ne!(primary.listen(B, port(81)), listener);
}

#[test]
fn the_reply_is_complete_and_connections_wait_until_the_server_is_up() {
    let mut primary = Primary::new(false, &[A]);
    let data = json!({ "ticketKeys": "00" });
    primary.ask(A, request(json!({ "seq": 8, "port": 80, "addressType": 4, "data": &data })));
    let listener = ListenerId(1);
    let reply = Reply {
        seq: 8,
        errno: 0,
        listener: Some(listener),
        kind: Some(Kind::Tcp),
        shared: false,
        per_slot: false,
        hand_over: Some(By::Address),
        sockname: None,
        data: serde_json::from_value(data).unwrap(),
    };
    assert_eq!(primary.said(), [Output::Reply { worker: A, reply }]);
    primary.input(Input::Listening { worker: A, listener });
    assert_eq!(primary.said(), [Output::Join { worker: A, listener }]);
    // It is already up.
    primary.input(Input::Listening { worker: A, listener });
    assert_eq!(primary.said(), []);
}

#[test]
fn a_server_that_was_never_up_leaves_no_listener() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.listen(B, port(80));
    primary.input(Input::Close { worker: A, listener });
    primary.input(Input::WorkerDied { worker: B });
    assert_eq!(primary.said(), []);
}

#[test]
fn requests_during_the_opening_wait_for_it() {
    let mut primary = Primary::new(false, &[A, B, C]);
    primary.hold = true;
    for worker in [A, B, C] {
        primary.ask(worker, port(80));
    }
    assert_eq!(primary.said(), []);
    primary.input(Input::WorkerDied { worker: B });
    primary.answer(ListenerId(1));
    let told: Vec<_> = primary
        .said()
        .into_iter()
        .filter_map(|output| match output {
            Output::Reply { worker, .. } => Some(worker),
            _ => None,
        })
        .collect();
    assert_eq!(told, [A, C]);
}

#[test]
fn a_listener_without_waiting_workers_closes_as_soon_as_it_is_open() {
    let mut primary = Primary::new(false, &[A, B]);
    primary.hold = true;
    primary.ask(A, port(80));
    primary.input(Input::WorkerLeaving { worker: A });
    primary.answer(ListenerId(1));
    assert_eq!(primary.said(), [Output::CloseListener { listener: ListenerId(1) }]);
    assert!(primary.listeners.is_empty());
}

#[test]
fn a_listener_that_opens_without_waiting_workers_does_not_take_the_key() {
    let mut primary = Primary::new(false, &[A, B, C]);
    let listener = primary.listen(A, port(80));
    primary.listen(B, port(80));
    primary.hold = true;
    primary.ask(A, port(80));
    primary.input(Input::WorkerDied { worker: A });
    primary.answer(ListenerId(2));
    primary.hold = false;
    assert_eq!(primary.listen(C, port(80)), listener);
}

#[test]
fn a_failure_is_reported_to_all_waiting_workers_and_then_forgotten() {
    let mut primary = Primary::new(false, &[A, B]);
    primary.hold = true;
    primary.ask(A, port(80));
    primary.ask(B, port(80));
    primary.refusals = vec![EADDRINUSE];
    primary.answer(ListenerId(1));
    assert_eq!(primary.said(), [refusal(A, EADDRINUSE), refusal(B, EADDRINUSE)]);
    assert!(primary.listeners.is_empty());

    primary.hold = false;
    let again = primary.listen(B, port(80));
    assert_eq!(primary.listen(A, port(80)), again);
}

#[test]
fn a_second_server_at_the_same_address_fails_without_affecting_the_first() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    primary.refusals = vec![EADDRINUSE];
    primary.ask(A, port(80));
    assert_eq!(primary.said(), [refusal(A, EADDRINUSE)]);
    assert_eq!(primary.listen(B, port(80)), listener);
}

#[test]
fn a_second_server_that_succeeds_takes_the_key() {
    let mut primary = Primary::new(false, &[A, B, C]);
    let first = primary.listen(A, port(80));
    let second = primary.listen(A, port(80));
    assert_ne!(first, second);
    assert_eq!(primary.listen(B, port(80)), second);
    // The first keeps working without a key, and its end does not affect the key of the second.
    primary.input(Input::Close { worker: A, listener: first });
    assert!(primary.closed(first));
    assert_eq!(primary.listen(C, port(80)), second);
}

#[test]
fn the_nth_server_on_port_0_shares_with_the_nth_of_another_worker() {
    let mut primary = Primary::new(false, &[A, B]);
    let at = |index: u32| request(json!({ "port": 0, "addressType": 4, "index": index }));
    let first = primary.listen(A, at(0));
    let second = primary.listen(A, at(1));
    assert_ne!(first, second);
    assert_eq!(primary.listen(B, at(0)), first);
    assert_eq!(primary.listen(B, at(1)), second);
}

#[test]
fn the_first_custom_data_is_shared_by_all() {
    let mut primary = Primary::new(false, &[A, B, C]);
    let data = |data: Value| request(json!({ "port": 80, "addressType": 4, "data": data }));
    let told = |primary: &mut Primary| match primary.said().as_slice() {
        [Output::Reply { reply, .. }, ..] => reply.data.text().to_owned(),
        other => panic!("{other:?}"),
    };
    primary.ask(A, data(json!(null)));
    assert_eq!(told(&mut primary), "null");
    primary.ask(B, data(json!("keys")));
    assert_eq!(told(&mut primary), "\"keys\"");
    primary.ask(C, data(json!("others")));
    assert_eq!(told(&mut primary), "\"keys\"");
}

#[test]
fn a_worker_that_sends_too_much_data_is_refused_and_others_are_not() {
    let mut primary = Primary::new(false, &[A, B]);
    let bring = |port: u16, bytes: usize| {
        request(json!({ "port": port, "addressType": 4, "data": "x".repeat(bytes - 2) }))
    };
    let errno = |primary: &mut Primary| match primary.said().as_slice() {
        [Output::Reply { reply, .. }, ..] => reply.errno,
        other => panic!("{other:?}"),
    };
    let all = MAX_BYTES / 32768;
    for port in 1..=all {
        primary.ask(A, bring(u16::try_from(port).unwrap(), 32768));
        assert_eq!(errno(&mut primary), 0);
    }
    primary.ask(A, bring(999, 3));
    assert_eq!(errno(&mut primary), ENOBUFS);
    // Data that others have brought does not count.
    let common = primary.listen(B, bring(1000, 100));
    assert_eq!(primary.listen(A, bring(1000, 100)), common);
    // A closed listener makes room.
    primary.input(Input::Close { worker: A, listener: ListenerId(1) });
    primary.said();
    primary.ask(A, bring(999, 32768));
    assert_eq!(errno(&mut primary), 0);
    primary.ask(A, bring(998, 3));
    assert_eq!(errno(&mut primary), ENOBUFS);
}

#[test]
fn the_listeners_of_a_worker_and_the_length_of_addresses_are_limited() {
    let mut primary = Primary::new(false, &[A, B]);
    primary.listeners.limit(2);
    primary.listen(A, port(1));
    let second = primary.listen(A, port(2));
    primary.ask(A, port(3));
    assert_eq!(primary.said(), [Output::Reply { worker: A, reply: Reply::refusal(0, EMFILE) }]);
    primary.listen(B, port(3));
    primary.input(Input::Close { worker: A, listener: second });
    primary.listen(A, port(3));
    let long = format!("::1%{}", "x".repeat(4096));
    primary.ask(B, request(json!({ "port": 9, "addressType": 6, "address": long })));
    assert_eq!(primary.said(), [Output::Reply { worker: B, reply: Reply::refusal(0, EINVAL) }]);
}

#[test]
fn with_a_socket_for_each_slot_the_dispatcher_knows_the_members() {
    let mut primary = Primary::with(Scheduling::all(Policy::Kernel), &[A]);
    let listener = primary.share(A, port(80));
    primary.input(Input::Listening { worker: A, listener });
    assert_eq!(primary.said(), [Output::Join { worker: A, listener }]);
    primary.input(Input::Close { worker: A, listener });
    assert_eq!(primary.said(), [Output::Leave { worker: A, listener }, Output::CloseListener { listener }]);
}

#[test]
fn shared_listeners_have_no_dispatcher() {
    for (share, request) in [(true, port(80)), (true, udp()), (false, udp())] {
        let mut primary = Primary::new(share, &[A]);
        let listener = primary.share(A, request);
        primary.input(Input::Listening { worker: A, listener });
        assert_eq!(primary.said(), []);
        primary.input(Input::Close { worker: A, listener });
        assert_eq!(primary.said(), [Output::CloseListener { listener }]);
    }
}
