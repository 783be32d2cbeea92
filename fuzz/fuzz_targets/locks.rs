//! What processes ask of the locks, as any bytes, while others join and leave. Nothing may panic; what holds a lock is
//! one, or shares it; nobody waits for what is free, and the dead hold and wait for nothing.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::locks::wire::{Ask, Message, decode, encode};
use rcluster_core::locks::{ClientId, Locks, Mode, Notice, Space};

#[derive(Arbitrary, Debug)]
enum Step {
    /// A process asks for something: the head is what it likes.
    Ask { client: u8, head: [u8; 4], id: u8, text: Vec<u8> },
    /// The same with any bytes at all.
    Bytes { client: u8, bytes: Vec<u8> },
    Leave { client: u8 },
}

fn ask(locks: &mut Locks, client: ClientId, bytes: &[u8]) {
    let Some(ask) = decode(bytes) else { return };
    let mut words = Vec::new();
    encode(&ask, &mut words);
    let again: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(decode(&again), Some(ask), "what is read can be written");
    let asked = match ask {
        Ask::Request(id, request) | Ask::Lease(id, request, _) => locks.request(client, id, &request),
        Ask::Settle(id, outcome) => locks.settle(client, id, outcome),
        Ask::End(id) => {
            locks.end(client, id);
            Ok(())
        }
        Ask::Query(_) => Ok(()),
    };
    if asked.is_err() {
        locks.leave(client);
    }
}

fn check(locks: &Locks, there: &BTreeSet<u64>) {
    for space in Space::ALL {
        let mut held: BTreeMap<_, Vec<Mode>> = BTreeMap::new();
        let mut tokens = BTreeSet::new();
        for listed in locks.snapshot(space) {
            assert!(there.contains(&listed.client.0), "the dead hold and wait for nothing");
            let name = listed.name.to_vec();
            match listed.token {
                Some(token) => {
                    assert!(tokens.insert(token), "no two have the same token");
                    held.entry(name).or_default().push(listed.mode);
                }
                // Those that hold something come first in the list.
                None => assert!(held.contains_key(&name), "nobody waits for what is free"),
            }
        }
        for modes in held.values() {
            assert!(modes.len() == 1 || modes.iter().all(|mode| *mode == Mode::Shared), "{modes:?}");
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut locks = Locks::new(0);
    let (mut there, mut last) = (BTreeSet::new(), 0);
    for step in steps {
        match step {
            Step::Ask { client, head, id, text } => {
                let client = client % 8;
                there.insert(client.into());
                locks.join(ClientId(client.into()));
                let mut bytes = head.map(|byte| byte % 6).to_vec();
                bytes.resize(8, 0);
                bytes.extend(u64::from(id % 16).to_le_bytes());
                // Few names, so that they meet.
                let text = &text[..text.len().min(2)];
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.iter().map(|byte| byte % 3));
                ask(&mut locks, ClientId(client.into()), &bytes);
            }
            Step::Bytes { client, bytes } => ask(&mut locks, ClientId((client % 8).into()), &bytes),
            Step::Leave { client } => {
                there.remove(&u64::from(client % 8));
                locks.leave(ClientId((client % 8).into()));
            }
        }
        for event in locks.take_events() {
            if let Notice::Granted { token } = event.notice {
                assert!(token > last, "tokens rise");
                last = token;
            }
            let message = Message::of(event.request, &event.notice).encode();
            assert!(Message::decode(&message).is_some(), "what is told can be read");
        }
        check(&locks, &there);
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Message::decode(data);
    if let Ok(steps) = Vec::arbitrary(&mut Unstructured::new(data)) {
        run(steps);
    }
});
