//! Random publications of other machines, and random answers of the server.

use super::*;
use crate::exchange::frame::Status;
use crate::exchange::{CallId, RequestId};
use crate::machines::wire::Workers;
use crate::random::Random;

/// A random publication of another machine, about few requests so that some of it fits.
fn anything(random: &mut Random, calls: u64) -> Publication<'static> {
    const WORKERS: [[u8; 4]; 3] = [[1, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]];
    let (call, worker) = (recent(random, calls), random.number(0, 3));
    let status = [Status::Value, Status::Gone][random.below(2)];
    let leader = [None, Some(&b"cron"[..])][random.below(2)];
    let workers = (!random.one_in(5)).then(|| Workers::new(&WORKERS[random.below(4)..]));
    let (name, data) = (&b"sum"[..], &b"data"[..]);
    let content = match random.below(9) {
        0 => Content::Beat(random.bits() % 4),
        1 => Content::Message { worker, data },
        2 => Content::Lost(random.noise()),
        3 => Content::Ask { call, worker, leader, name, data },
        4 => Content::Cancel(call),
        5 => Content::Announce { call, workers },
        6 => Content::Outcome { call, worker, status, data },
        7 => Content::LeaderNotice { worker, leader: b"cron", name, data },
        _ => Content::Alive,
    };
    Publication { machine: machine(random.bits() % 4), session: random.number(0, 3), content }
}

/// One of the last calls of this machine.
fn recent(random: &mut Random, calls: u64) -> CallId {
    CallId(calls.saturating_sub(random.bits() % 5))
}

#[test]
fn arbitrary_publications_break_no_invariant() {
    let mut random = Random::new(7);
    let mut world = World::new();
    world.input(Input::Subscribe(channel("news")));
    world.open();
    let (mut ended, mut asked, mut calls) = (0, 0, 0);
    for _ in 0..50_000 {
        let topic = [Topic::Requests, Topic::Machine(this()), Topic::Machine(other()), channel("news")];
        let out = match random.below(12) {
            0 => {
                calls += 1;
                let leader = [None, Some(name("cron"))][random.below(2)].clone();
                let (call, name, data) = (CallId(calls), name("sum"), b"data".to_vec());
                world.input(Input::Request { call, worker: 3, leader, name, data })
            }
            1 => {
                let call = recent(&mut random, calls);
                world.input(Input::Cancel { call, tell: random.one_in(2) })
            }
            2 => {
                let counts: Vec<u64> = (0..random.below(4)).map(|_| random.noise()).collect();
                world.published(&counts)
            }
            3 => {
                let (id, is_last) = (RequestId(random.bits() % 200), random.one_in(2));
                let (worker, status, data) = (1, Status::Value, vec![1]);
                world.input(Input::Answered { id, worker, status, data, is_last })
            }
            4 => {
                let workers = (!random.one_in(4)).then(|| vec![1; random.below(3)]);
                world.input(Input::Asked { id: RequestId(random.bits() % 200), workers })
            }
            5 if random.one_in(30) => world.wait(random.bits() % 2000),
            5 if random.one_in(20) => world.input(Input::Failed("lost".into())),
            5 => [world.input(Input::Opened), world.input(Input::Changed)].concat(),
            _ => {
                let (topic, has_room) = (topic[random.below(4)].clone(), !random.one_in(9));
                let bytes = anything(&mut random, calls).encode();
                world.input(Input::Received { topic, bytes, has_room })
            }
        };
        ended += out.iter().filter(|it| matches!(it, Output::Ended { .. })).count();
        asked += out.iter().filter(|it| matches!(it, Output::Ask { .. })).count();
    }
    assert!(ended > 500 && asked > 100, "{ended} ended, {asked} asked");
}
