//! What a server says that other machines have published, as any bytes, while this one makes requests of its own. Nothing may
//! panic, the invariants must hold, and what is read must say all that there was.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::exchange::{CallId, RequestId};
use rcluster_core::machines::wire::Publication;
use rcluster_core::machines::{Input, MachineId, Machines, Topic};

#[derive(Arbitrary, Debug)]
enum Step {
    /// A publication: behind a head that makes sense, it is what it likes.
    Heard { topic: u8, kind: u8, machine: u8, session: u8, number: u8, rest: Vec<u8>, has_room: bool },
    /// The same with any bytes at all.
    Bytes { topic: u8, bytes: Vec<u8> },
    Request { is_for_leader: bool },
    Cancel { call: u8, tell: bool },
    Asked { id: u8, workers: Option<Vec<u8>> },
    Answered { id: u8, worker: u8, flag: bool, is_last: bool },
    Published(Vec<u64>),
    Opened,
    Failed,
    Changed,
    Wait(u16),
}

fn machine(number: u8) -> MachineId {
    MachineId::new([number.into(), 0])
}

fn topic(number: u8) -> Topic {
    match number % 4 {
        0 => Topic::Requests,
        1 => Topic::Machine(machine(0)),
        2 => Topic::Handler([number].as_slice().into()),
        _ => Topic::Channel([number].as_slice().into()),
    }
}

fn run(steps: Vec<Step>) {
    let mut machines = Machines::new(machine(0), 1);
    let (mut now, mut calls, mut out) = (1, 0, Vec::new());
    for step in steps {
        let input = match step {
            Step::Heard { topic: at, kind, machine: from, session, number, rest, has_room } => {
                let mut bytes = vec![1, kind];
                bytes.extend(machine(from % 4).digits());
                bytes.extend(u32::from(session).to_le_bytes());
                bytes.extend(u64::from(number).to_le_bytes());
                bytes.extend(rest);
                if let Some(publication) = Publication::decode(&bytes) {
                    assert_eq!(publication.encode(), bytes);
                }
                Input::Received { topic: topic(at), bytes, has_room }
            }
            Step::Bytes { topic: at, bytes } => Input::Received { topic: topic(at), bytes, has_room: true },
            Step::Request { is_for_leader } => {
                calls += 1;
                let leader = is_for_leader.then(|| b"cron".as_slice().into());
                let name = b"name".as_slice().into();
                Input::Request { call: CallId(calls), worker: 1, leader, name, data: vec![0] }
            }
            Step::Cancel { call, tell } => Input::Cancel { call: CallId(call.into()), tell },
            Step::Asked { id, workers } => {
                let workers = workers.map(|workers| workers.into_iter().map(u32::from).collect());
                Input::Asked { id: RequestId(id.into()), workers }
            }
            Step::Answered { id, worker, flag, is_last } => {
                use rcluster_core::exchange::frame::Status;
                let status = if flag { Status::Value } else { Status::Gone };
                Input::Answered { id: RequestId(id.into()), worker: worker.into(), status, data: vec![0], is_last }
            }
            Step::Published(counts) => Input::Published(counts),
            Step::Opened => Input::Opened,
            Step::Failed => Input::Failed(String::new()),
            Step::Changed => Input::Changed,
            Step::Wait(ms) => {
                now += u64::from(ms);
                Input::Tick
            }
        };
        machines.input(input, now, &mut out);
        machines.check_invariants();
        out.clear();
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(steps) = Vec::arbitrary(&mut Unstructured::new(data)) {
        run(steps);
    }
});
