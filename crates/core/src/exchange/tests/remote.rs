//! Channels, notices and requests across machines.

use super::*;
use crate::exchange::frame::{COMMON, LEADER};

#[test]
fn channels_of_different_scopes_are_separate() {
    let mut exchange = exchange();
    let post = |scope| Ask::Post { scope, channel: b"news", origin: 4, echo: true, data: b"hello" };
    ask(&mut exchange, A, &Ask::Subscribe(Scope::All, b"news"));
    ask(&mut exchange, B, &Ask::Subscribe(Scope::Machine, b"news"));
    assert_eq!(exchange.take_subscription_changes(), [], "there is no server");
    exchange.join_other_machines();
    let news = Subscription::Channel(Arc::from(&b"news"[..]));
    assert_eq!(exchange.take_subscription_changes(), [(news.clone(), true)]);
    ask(&mut exchange, A, &post(Scope::All));
    ask(&mut exchange, A, &post(Scope::Machine));
    assert_eq!(told(&mut exchange, A), [(Kind::Message, 1, 4, OWN | COMMON, b"hello".to_vec())]);
    assert_eq!(told(&mut exchange, B), [(Kind::Message, 1, 4, 0, b"hello".to_vec())]);
    assert_eq!(told(&mut exchange, OTHER_MACHINES), [(Kind::Message, 1, 4, COMMON, b"hello".to_vec())]);
    exchange.on_remote_message(&news, 9, b"from elsewhere");
    exchange.on_remote_loss(&news, 0);
    exchange.check_invariants();
    let heard =
        [(Kind::Message, 9, 0, COMMON, b"from elsewhere".to_vec()), (Kind::ChannelLag, 0, 0, COMMON, vec![])];
    assert_eq!(told(&mut exchange, A), heard);
    assert_eq!((told(&mut exchange, B), told(&mut exchange, OTHER_MACHINES)), (vec![], vec![]));
    ask(&mut exchange, C, &Ask::Subscribe(Scope::All, b"news"));
    exchange.leave(A);
    assert_eq!(exchange.take_subscription_changes(), [], "another one hears it");
    ask(&mut exchange, C, &Ask::Unsubscribe(Scope::All, b"news"));
    assert_eq!(exchange.take_subscription_changes(), [(news, false)]);
}

#[test]
fn a_notice_to_all_machines_is_delivered_here_too() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    for client in [A, B] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    let name = Subscription::Handler(Arc::from(&b"name"[..]));
    assert_eq!(exchange.take_subscription_changes(), [(name.clone(), true)]);
    ask(&mut exchange, A, &Ask::Notify { target: Target::Everywhere, name: b"name", data: b"hello" });
    let expected = [(Kind::Notice, 1, 0, 0, b"hello".to_vec())];
    for client in [A, B, OTHER_MACHINES] {
        assert_eq!(told(&mut exchange, client), expected);
    }
    exchange.on_remote_message(&name, 7, b"hello");
    assert_eq!(told(&mut exchange, B), [(Kind::Notice, 7, 0, COMMON, b"hello".to_vec())]);
    exchange.leave(A);
    assert_eq!(exchange.take_subscription_changes(), []);
    ask(&mut exchange, B, &Ask::Unhandle(b"name"));
    assert_eq!(exchange.take_subscription_changes(), [(name, false)]);
}

/// The frames for other machines: the worker, the number, the flag, the name, and the data.
fn asked(exchange: &mut Exchange) -> Vec<(Kind, u32, u64, u8, Vec<u8>)> {
    told(exchange, OTHER_MACHINES)
}

fn everywhere(exchange: &mut Exchange, id: u64) -> CallId {
    request(exchange, A, id, Target::Everywhere);
    let all = asked(exchange);
    let [(Kind::Request, 1, call, 0, data)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(data, b"data");
    CallId(*call)
}

fn outcomes(exchange: &mut Exchange, client: ClientId) -> Vec<(u32, u8, bool)> {
    let (mut all, mut packet, mut assembler) = (Vec::new(), Vec::new(), Assembler::default());
    exchange.peek(client, 1 << 20, &mut packet);
    exchange.on_sent(client, packet.len());
    assembler.push(&packet);
    while let Some(frame) = assembler.next_frame().unwrap() {
        assert_eq!(frame.kind, Kind::Outcome);
        all.push((frame.worker, frame.flag, frame.rest == 0));
    }
    all
}

const MACHINE: &[u8] = b"0123456789abcdef0123456789abcdef";

#[test]
fn a_request_to_all_machines_ends_when_this_one_and_the_others_have_answered() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    ask(&mut exchange, B, &Ask::Handle(b"name"));
    let call = everywhere(&mut exchange, 1);
    let none = Status::NoHandler as u8;
    assert_eq!(outcomes(&mut exchange, A), [(1, none, false), (3, none, false)]);
    exchange.on_remote_outcome(call, MACHINE, 7, Status::Value, b"one");
    exchange.on_remote_outcome(CallId(999), MACHINE, 7, Status::Value, b"of no call");
    exchange.check_invariants();
    assert_eq!(outcomes(&mut exchange, A), [(7, Status::Value as u8, false)]);
    // A process of this machine cannot answer for others.
    ask(&mut exchange, C, &Ask::Reply { call, status: Status::Value, data: b"forged" });
    let [(Kind::Request, 1, own, 0, _)] = told(&mut exchange, B)[..] else { panic!("it is called") };
    ask(&mut exchange, B, &Ask::Reply { call: CallId(own), status: Status::Value, data: b"two" });
    assert_eq!(outcomes(&mut exchange, A), [(2, Status::Value as u8, false)]);
    exchange.on_remote_end(call, Status::Missing, 3, "");
    exchange.on_remote_end(call, Status::Missing, 3, "");
    exchange.check_invariants();
    assert_eq!(outcomes(&mut exchange, A), [(3, Status::Missing as u8, true)]);
    exchange.on_remote_outcome(call, MACHINE, 7, Status::Value, b"too late");
    assert_eq!(outcomes(&mut exchange, A), []);
}

#[test]
fn a_cancelled_request_is_passed_to_other_machines() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    let call = everywhere(&mut exchange, 1);
    outcomes(&mut exchange, A);
    for _ in 0..3 {
        ask(&mut exchange, A, &Ask::Cancel { id: RequestId(1), tell: true });
    }
    assert_eq!(asked(&mut exchange), [(Kind::Cancelled, 0, call.0, 1, vec![])], "once");
    exchange.on_remote_outcome(call, MACHINE, 7, Status::Cancelled, b"");
    exchange.on_remote_end(call, Status::Late, 2, "");
    let expected = [(7, Status::Cancelled as u8, false), (2, Status::Late as u8, true)];
    assert_eq!(outcomes(&mut exchange, A), expected);
    // Without `tell`, or if the process is gone, no outcomes follow.
    let call = everywhere(&mut exchange, 2);
    ask(&mut exchange, A, &Ask::Cancel { id: RequestId(2), tell: true });
    ask(&mut exchange, A, &Ask::Cancel { id: RequestId(2), tell: false });
    let cancelled = |flag| (Kind::Cancelled, 0, call.0, flag, vec![]);
    assert_eq!(asked(&mut exchange), [cancelled(1), cancelled(0)]);
    let call = everywhere(&mut exchange, 3);
    exchange.leave(A);
    exchange.check_invariants();
    assert_eq!(asked(&mut exchange), [(Kind::Cancelled, 0, call.0, 0, vec![])]);
    exchange.on_remote_end(call, Status::Nobody, 0, "");
    exchange.check_invariants();
}

#[test]
fn the_reason_of_a_disconnect_reaches_the_process() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    let call = everywhere(&mut exchange, 1);
    outcomes(&mut exchange, A);
    exchange.on_remote_end(call, Status::Disconnected, 0, "it is down");
    let told = told(&mut exchange, A);
    assert_eq!(told, [(Kind::Outcome, 0, 1, Status::Disconnected as u8, b"\0it is down".to_vec())]);
}

#[test]
fn a_leader_on_this_machine_is_preferred() {
    let mut exchange = exchange();
    let target = Target::Leader(Scope::All, b"away");
    request(&mut exchange, A, 1, target);
    assert_eq!(outcomes(&mut exchange, A), [(0, Status::Disconnected as u8, true)], "there is no server");
    exchange.join_other_machines();
    ask(&mut exchange, B, &Ask::Handle(b"name"));
    request(&mut exchange, A, 2, Target::Leader(Scope::All, b"cron"));
    assert_eq!((told(&mut exchange, B).len(), asked(&mut exchange).len()), (1, 0), "it is here");
    request(&mut exchange, A, 3, target);
    ask(&mut exchange, A, &Ask::Notify { target, name: b"name", data: b"data" });
    let all = asked(&mut exchange);
    let [(Kind::Request, 1, call, LEADER, data), notice] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&data[..], notice), (&b"awaydata"[..], &(Kind::Notice, 1, 0, LEADER, b"awaydata".to_vec())));
    exchange.on_remote_end(CallId(*call), Status::NoLeader, 0, "");
    assert_eq!(outcomes(&mut exchange, A), [(0, Status::NoLeader as u8, true)]);
}

#[test]
fn requests_of_other_machines_reach_all_workers_or_the_leader() {
    let leaders =
        |scope, name: &[u8]| (scope == Scope::All && name == b"cron").then_some(Process::Worker(WorkerId(2)));
    let mut exchange = exchange();
    exchange.join_other_machines();
    ask(&mut exchange, B, &Ask::Handle(b"name"));
    let content = (&b"name"[..], &b"hello"[..]);
    assert_eq!(exchange.on_remote_request(RequestId(1), 9, None, content, &leaders), Some(vec![1, 2, 3]));
    assert_eq!(exchange.on_remote_request(RequestId(2), 9, Some(b"cron"), content, &leaders), Some(vec![2]));
    assert_eq!(exchange.on_remote_request(RequestId(3), 9, Some(b"away"), content, &leaders), Some(vec![]));
    exchange.on_remote_notice(9, b"cron", content, &leaders);
    exchange.on_remote_notice(9, b"away", content, &leaders);
    exchange.check_invariants();
    let all = told(&mut exchange, B);
    let kinds: Vec<_> = all.iter().map(|(kind, worker, _, flag, _)| (*kind, *worker, *flag)).collect();
    let from = |kind| (kind, 9, COMMON);
    assert_eq!(kinds, [from(Kind::Request), from(Kind::Request), from(Kind::Notice)]);
    exchange.on_remote_cancel(RequestId(2));
    let [(Kind::Cancelled, _, cancelled, ..)] = told(&mut exchange, B)[..] else { panic!("it is cancelled") };
    assert_eq!(cancelled, all[1].2);
    ask(&mut exchange, B, &Ask::Reply { call: CallId(all[0].2), status: Status::Value, data: b"answer" });
    let none = Status::NoHandler as u8;
    let ended: Vec<_> = asked(&mut exchange).into_iter().map(|it| (it.1, it.2, it.3)).collect();
    assert_eq!(ended, [(1, 1, none), (3, 1, none), (2, 1, Status::Value as u8)]);
    // A called worker dies.
    exchange.on_remote_request(RequestId(4), 9, Some(b"cron"), content, &leaders);
    exchange.leave(B);
    exchange.check_invariants();
    assert_eq!(asked(&mut exchange), [(Kind::Outcome, 2, 4, Status::Gone as u8, vec![])]);
}

#[test]
fn calls_of_other_machines_are_limited() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    for client in [A, B, C] {
        ask(&mut exchange, client, &Ask::Handle(b"name"));
    }
    let taken = (1..).take_while(|id| {
        exchange.on_remote_request(RequestId(*id), 9, None, (b"name", b""), &|_, _| None).is_some()
    });
    assert_eq!(taken.count(), MAX_CALLS / 3);
    exchange.check_invariants();
}

#[test]
fn messages_to_other_machines_without_room_are_counted() {
    let mut exchange = exchange();
    exchange.join_other_machines();
    let data = vec![0; MAX_DATA];
    for _ in 0..5 {
        ask(
            &mut exchange,
            A,
            &Ask::Post { scope: Scope::All, channel: b"news", origin: 1, echo: false, data: &data },
        );
    }
    let all = told(&mut exchange, OTHER_MACHINES);
    let kinds: Vec<Kind> = all.iter().map(|it| it.0).collect();
    assert_eq!((&kinds[..], all[1].2), (&[Kind::Message, Kind::ChannelLag][..], 4));
}
