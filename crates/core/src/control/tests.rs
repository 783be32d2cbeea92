//! Tests of listeners and supervision where one depends on the other.

use std::collections::VecDeque;

use serde_json::json;

use super::listeners::{LINGER, Opened};
use super::supervise::{Options, SpawnOrder, TAKEOVER};
use super::*;
use crate::frames::{Drain, Kind};
use crate::ids::{ListenerId, Request, Slot, Ticket};
use crate::schedule::Policy;

const ONE: ListenerId = ListenerId(1);
const TWO: ListenerId = ListenerId(2);
const EMFILE: i32 = -24;

/// A control thread for which spawning and opening always succeed.
struct Thread {
    control: Control,
    now: Duration,
    started: Vec<WorkerId>,
    /// Whether supervised workers are external programs.
    are_external: bool,
    /// All outputs except those answered at once: spawn and open.
    said: Vec<Output>,
}

impl Thread {
    fn new(policy: Policy) -> Self {
        let control = Control::new(Scheduling::all(policy), 100);
        Self { control, now: Duration::ZERO, started: Vec::new(), are_external: false, said: Vec::new() }
    }

    fn supervised(policy: Policy, options: Options) -> Self {
        let mut thread = Self::new(policy);
        thread.give(Input::Begin { options: Box::new(options), seed: 1 });
        thread
    }

    fn give(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut outputs = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.control.input(self.now, input, &mut outputs);
            self.control.check_invariants().unwrap();
            for output in outputs.drain(..) {
                match output {
                    Output::Spawn(SpawnOrder { ticket, slot, .. }) => {
                        inputs.push_back(self.spawned(ticket, slot));
                    }
                    Output::Open { listener, .. } => {
                        let result = Ok(Opened { kind: Kind::Tcp, sockname: None });
                        inputs.push_back(Input::Opened { listener, result });
                    }
                    Output::Tell(_) => {}
                    output => self.said.push(output),
                }
            }
        }
    }

    fn spawned(&mut self, ticket: Ticket, slot: Option<Slot>) -> Input {
        let worker = WorkerId(u32::try_from(self.started.len()).unwrap() + 1);
        self.started.push(worker);
        Input::Spawned { ticket, worker, slot, external: self.are_external }
    }

    fn ask(&mut self, worker: WorkerId, port: u16) {
        let frame =
            json!({ "act": "query", "seq": 7, "index": 0, "port": port, "addressType": 4, "data": null });
        let frame = FromWorker::parse(frame.to_string().as_bytes()).unwrap();
        self.give(Input::Frame(worker, frame));
    }

    fn listen(&mut self, worker: WorkerId, port: u16, listener: ListenerId) {
        self.ask(worker, port);
        self.give(Input::Frame(worker, FromWorker::Listening { listener }));
    }

    fn pass(&mut self, how_long: Duration) {
        self.now += how_long;
        self.give(Input::Tick);
    }

    fn said(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.said)
    }

    fn closed(&mut self) -> Vec<ListenerId> {
        let closed = |output| match output {
            Output::CloseListener(listener) => Some(listener),
            _ => None,
        };
        self.said().into_iter().filter_map(closed).collect()
    }
}

const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);

#[test]
fn in_a_shutdown_clients_are_passed_on_before_a_worker_is_told_whatever_program_it_runs() {
    for external in [false, true] {
        let mut thread = Thread::new(Policy::RoundRobin);
        thread.are_external = external;
        // External programs report nothing.
        let options = Options { ready: supervise::ReadyWhen::Online, ..Options::default() };
        thread.give(Input::Begin { options: Box::new(options), seed: 1 });
        thread.give(Input::Frame(A, FromWorker::Hello {}));
        thread.said();
        let limit = Duration::from_secs(5);
        let shutdown =
            supervise::Input::Shutdown { delay: Duration::ZERO, timeout: limit, request: Request(1) };
        thread.give(Input::Supervise(shutdown));
        let order = Drain { reason: "shutdown".into(), timeout_ms: 5000 };
        assert_eq!(thread.said(), [Output::Agree(A), Output::LastCall(A, order.clone())]);
        thread.give(Input::LastCalled(A, order.clone()));
        let told = if external {
            vec![Output::Kill(A, KillSignal::Term), Output::Withdraw(A)]
        } else {
            vec![Output::Send(A, ToWorker::Drain(order))]
        };
        assert_eq!(thread.said(), told);
    }
}

#[test]
fn a_port_that_new_code_opens_late_stays_open_for_as_long_as_a_listener_lingers() {
    for opens in [true, false] {
        let mut thread = Thread::supervised(Policy::RoundRobin, Options::default());
        thread.listen(A, 80, ONE);
        thread.listen(A, 81, TWO);
        let reload = supervise::Input::Reload { concurrency: 1, request: Request(1) };
        thread.give(Input::Supervise(reload));
        thread.listen(B, 80, ONE);
        thread.pass(TAKEOVER);
        let said = thread.said();
        assert!(said.contains(&Output::Leave(A, TWO)), "its time is over: {said:?}");
        thread.give(Input::Exited { worker: A, exit: ExitKind::Code(0) });
        thread.give(Input::ExitReported(A));
        thread.pass(LINGER.mul_f32(0.9));
        assert_eq!(thread.closed(), []);
        if opens {
            thread.listen(B, 81, TWO);
        }
        thread.pass(LINGER.mul_f32(0.1));
        assert_eq!(thread.closed(), if opens { vec![] } else { vec![TWO] });
    }
}

#[test]
fn the_listener_of_a_supervised_worker_outlives_its_exit_code_0_and_that_of_a_forked_one_does_not() {
    let mut thread = Thread::supervised(Policy::RoundRobin, Options::default());
    thread.listen(A, 80, ONE);
    thread.give(Input::Exited { worker: A, exit: ExitKind::Code(0) });
    thread.give(Input::ExitReported(A));
    assert_eq!(thread.closed(), []);

    let mut thread = Thread::new(Policy::RoundRobin);
    thread.give(Input::Forked { worker: A, external: false });
    thread.listen(A, 80, ONE);
    thread.said();
    thread.give(Input::Exited { worker: A, exit: ExitKind::Code(0) });
    let told = Output::TellExit(A, ExitKind::Code(0));
    let expected = [Output::Forget(A), Output::Leave(A, ONE), Output::CloseListener(ONE), told];
    assert_eq!(thread.said(), expected, "the app hears of it when the listener is closed");
}

#[test]
fn a_standby_gets_its_connections_and_its_socket_with_its_slot() {
    for policy in [Policy::RoundRobin, Policy::None, Policy::Kernel] {
        let options = Options { standby: 1, ..Options::default() };
        let mut thread = Thread::supervised(policy, options);
        thread.listen(A, 80, ONE);
        thread.said();
        thread.listen(B, 80, ONE);
        let said = thread.said();
        let replied = said.iter().any(|output| matches!(output, Output::Reply(B, _)));
        assert_eq!(replied, policy == Policy::RoundRobin, "{policy:?}: {said:?}");
        assert!(!said.iter().any(|output| matches!(output, Output::Join(B, _))), "{said:?}");
        thread.give(Input::Exited { worker: A, exit: ExitKind::Signal(9) });
        let said = thread.said();
        let promoted = said.iter().position(|it| *it == Output::Promote { worker: B, slot: Slot(0) });
        let rest = &said[promoted.expect("it takes over") + 1..];
        let order = Output::Send(B, ToWorker::Promote { slot: Slot(0) });
        match policy {
            Policy::RoundRobin => assert_eq!(rest, [Output::Join(B, ONE), order]),
            // It reported that it listens although it had no socket, so under the kernel policy it joins.
            Policy::Kernel => {
                assert!(matches!(rest, [Output::Join(B, ONE), to, Output::Reply(B, _)] if *to == order));
            }
            _ => assert!(matches!(rest, [to, Output::Reply(B, _)] if *to == order), "{rest:?}"),
        }
    }
}

#[test]
fn a_socket_for_a_standby_lingers_and_is_not_given_to_a_standby_that_has_left() {
    let options = Options { standby: 1, ..Options::default() };
    let mut thread = Thread::supervised(Policy::None, options);
    thread.listen(A, 80, ONE);
    thread.ask(B, 81);
    thread.said();
    thread.give(Input::Frame(B, FromWorker::Leaving));
    assert_eq!(thread.closed(), [], "the next standby may want it");
    thread.pass(LINGER);
    assert_eq!(thread.closed(), [TWO]);
    thread.give(Input::Exited { worker: A, exit: ExitKind::Signal(9) });
    let given = thread.said().into_iter().find(|output| matches!(output, Output::Reply(B, _)));
    assert_eq!(given, None);
}

#[test]
fn a_worker_whose_socket_cannot_be_sent_leaves_the_listener_even_in_a_drain() {
    let mut thread = Thread::supervised(Policy::None, Options { workers: 2, ..Options::default() });
    thread.listen(A, 80, ONE);
    thread.ask(B, 80);
    let reply = thread.said().into_iter().find_map(|output| match output {
        Output::Reply(B, reply) => Some(reply),
        _ => None,
    });
    let retire = supervise::Input::RetireAsked {
        worker: A,
        reason: Reason::Asked("tired".into()),
        detail: String::new(),
        by: By::Primary,
    };
    thread.give(Input::Supervise(retire));
    thread.said();
    thread.give(Input::ReplyFailed { worker: B, reply: reply.expect("a reply"), errno: EMFILE });
    assert_eq!(thread.said(), [Output::Reply(B, Reply::refusal(7, EMFILE))]);
    assert!(!thread.control.listeners.is_member(B, ONE));
    // It may try again.
    thread.ask(B, 80);
    assert!(matches!(thread.said().as_slice(), [Output::Reply(B, reply)] if reply.errno == 0));
}

#[test]
fn a_worker_that_is_cut_off_loses_everything_and_is_killed_if_it_keeps_running() {
    let mut thread = Thread::new(Policy::RoundRobin);
    thread.give(Input::Forked { worker: A, external: false });
    thread.listen(A, 80, ONE);
    thread.said();
    let why = "it writes nonsense";
    thread.give(Input::Broke { worker: A, why: why.into() });
    let broken = Output::TellBroken(A, why.into());
    let expected = [Output::Unlink(A), broken, Output::Withdraw(A), Output::Leave(A, ONE)];
    assert_eq!(thread.said(), expected);
    thread.give(Input::Broke { worker: A, why: why.into() });
    assert_eq!(thread.said(), [Output::Unlink(A)], "it is told once");
    thread.pass(unlinked::GRACE);
    assert_eq!(thread.said(), [Output::Kill(A, KillSignal::Kill)]);
}

#[test]
fn an_external_program_may_close_its_link() {
    for external in [true, false] {
        let mut thread = Thread::new(Policy::RoundRobin);
        thread.give(Input::Forked { worker: A, external });
        thread.give(Input::HungUp(A));
        assert_eq!(thread.said(), if external { vec![] } else { vec![Output::Withdraw(A)] });
        thread.pass(unlinked::ENDING);
        let unlinked = thread.said().contains(&Output::Unlink(A));
        assert_eq!(unlinked, !external, "a worker in Node does not live without its link");
    }
}

fn operator_lines(thread: &mut Thread, line: &str) -> Vec<serde_json::Value> {
    let facts = operator::Facts { pid: 7, cpus: 3 };
    let client = operator::ClientId(1);
    thread.said.clear();
    thread.give(Input::Operator(operator::Input::Line { client, line: line.into(), facts }));
    let lines = thread.said.iter().filter_map(|output| match output {
        Output::Operator(operator::Output::Line(_, line)) => serde_json::from_str(line).ok(),
        _ => None,
    });
    lines.collect()
}

#[test]
fn an_operator_is_answered_and_its_stop_ends_the_primary_once_the_workers_are_gone() {
    let mut thread = Thread::supervised(Policy::RoundRobin, Options::default());
    thread.give(Input::Operator(operator::Input::Connected(operator::ClientId(1))));
    let hello = operator_lines(&mut thread, r#"{"id":1,"verb":"hello"}"#);
    assert_eq!(hello[0]["result"]["pid"], 7);
    operator_lines(&mut thread, r#"{"id":2,"verb":"scale","workers":"auto"}"#);
    assert_eq!(thread.started.len(), 3);
    let refused = operator_lines(&mut thread, r#"{"id":3,"verb":"scale","workers":"-3"}"#);
    assert_eq!(refused[0]["error"]["code"], "ERR_OUT_OF_RANGE");
    operator_lines(&mut thread, r#"{"id":4,"verb":"stop"}"#);
    for worker in thread.started.clone() {
        assert!(!thread.said.iter().any(|output| matches!(output, Output::StopPrimary { .. })));
        thread.give(Input::Exited { worker, exit: ExitKind::Code(0) });
    }
    let ends: Vec<&Output> =
        thread.said.iter().filter(|it| matches!(it, Output::StopPrimary { .. })).collect();
    assert_eq!(ends, [&Output::StopPrimary { code: 0 }]);
}

#[test]
fn an_operator_s_stop_leaves_the_exit_code_of_a_cluster_that_has_given_up() {
    let options = Options { on_give_up: supervise::OnGiveUp::Exit, ..Options::default() };
    let intensity = supervise::Intensity { max: 0, period: Duration::from_secs(1) };
    let options = Options { restart_intensity: intensity, workers: 2, ..options };
    let mut thread = Thread::supervised(Policy::RoundRobin, options);
    thread.give(Input::Operator(operator::Input::Connected(operator::ClientId(1))));
    thread.give(Input::Exited { worker: WorkerId(1), exit: ExitKind::Code(1) });
    operator_lines(&mut thread, r#"{"id":4,"verb":"stop"}"#);
    thread.give(Input::Exited { worker: WorkerId(2), exit: ExitKind::Code(0) });
    let ends: Vec<&Output> =
        thread.said.iter().filter(|it| matches!(it, Output::StopPrimary { .. })).collect();
    assert_eq!(ends, [&Output::StopPrimary { code: 70 }]);
}

#[test]
fn a_worker_under_examination_is_not_unresponsive() {
    use super::operator::{ClientId, Facts};
    use super::supervise::{self, Vitals};
    use crate::examine::Examination;

    let ms = Duration::from_millis;
    let options = Options {
        workers: 1,
        unresponsive_after: Some(ms(200)),
        sample_period: ms(50),
        ..Options::default()
    };
    // Whether its stack is requested, which is the first step of killing it, after 2 s without a turn of its
    // event loop.
    let is_unresponsive = |what: Option<&str>, over: bool| {
        let mut thread = Thread::supervised(Policy::RoundRobin, options.clone());
        let worker = thread.started[0];
        thread.give(Input::Frame(worker, FromWorker::Ready));
        let ready = [supervise::Input::Online { worker }, supervise::Input::Listening { worker }];
        for input in ready {
            thread.give(Input::Supervise(input));
        }
        let client = ClientId(1);
        thread.give(Input::Operator(operator::Input::Connected(client)));
        if let Some(verb) = what {
            let line = format!(r#"{{"verb":"{verb}","slot":0}}"#).into_bytes();
            let facts = Facts { pid: 1, cpus: 1 };
            thread.give(Input::Operator(operator::Input::Line { client, line, facts }));
            let what = match verb {
                "heap" => Examination::Heap,
                "inspect" => Examination::Inspect,
                _ => Examination::Env,
            };
            // A heap snapshot has ended by now; an inspector stays open from here on.
            if over || what == Examination::Inspect {
                let examined = operator::Input::Examined { worker: Some(worker), what, succeeded: true };
                thread.give(Input::Operator(examined));
            }
            if over && verb == "inspect" {
                let what = Examination::CloseInspector;
                let examined = operator::Input::Examined { worker: Some(worker), what, succeeded: true };
                thread.give(Input::Operator(examined));
            }
        }
        for turn in 0..40 {
            thread.now += ms(50);
            let turns = if turn == 0 { 1 } else { 2 };
            let vitals = Vitals { turns, rss: None, clients: 0, connections: 0 };
            thread.give(Input::Supervise(supervise::Input::Vitals { worker, vitals }));
            thread.give(Input::Tick);
        }
        thread.said.contains(&Output::CaptureStack(worker))
    };
    assert!(is_unresponsive(None, false));
    assert!(!is_unresponsive(Some("heap"), false) && !is_unresponsive(Some("inspect"), false));
    assert!(is_unresponsive(Some("heap"), true) && is_unresponsive(Some("inspect"), true));
    assert!(is_unresponsive(Some("env"), false));
}
