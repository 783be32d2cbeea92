//! What processes ask of the exchange, as any bytes, and what they are told, in packets of any length. Nothing may panic,
//! the invariants must hold, and what is told must be frames.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::exchange::frame::Assembler;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::exchange::wire::{decode, encode};
use rcluster_core::exchange::{ClientId, Exchange, MAX_QUEUED, Process, Scope};
use rcluster_core::ids::{Slot, WorkerId};

#[derive(Arbitrary, Debug)]
enum Step {
    /// A process asks for something: the head is what it likes, and the texts are as long as it says.
    Ask { client: u8, number: u8, option: u8, a: u16, b: u16, texts: [Vec<u8>; 3] },
    /// The same with any bytes at all.
    Bytes { client: u8, bytes: Vec<u8> },
    Join { client: u8, worker: u8 },
    Leave { client: u8 },
    Started { worker: u8, slot: Option<u8> },
    Exited { worker: u8 },
    Carry { client: u8, limit: u16 },
}

fn ask(exchange: &mut Exchange, client: u8, bytes: &[u8]) {
    let Some(ask) = decode(bytes) else { return };
    let mut words = Vec::new();
    encode(&ask, &mut words);
    let again: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(decode(&again), Some(ask), "what is read can be written");
    let leaders = |_: Scope, name: &[u8]| name.first().map(|byte| Process::Worker(WorkerId((*byte).into())));
    if exchange.on_ask(ClientId(client.into()), &ask, &leaders, &|client, place| usize::try_from(client.0).unwrap_or(0) * place).is_err() {
        exchange.leave(ClientId(client.into()));
    }
}

fn run(steps: Vec<Step>) {
    let mut exchange = Exchange::new(Roster::new());
    let mut assemblers: Vec<Assembler> = (0..=255).map(|_| Assembler::default()).collect();
    let mut joined = [false; 256];
    for step in steps {
        match step {
            Step::Ask { client, number, option, a, b, texts } => {
                let mut bytes = vec![number, option, 0, 0, 0, 0, 0, 0];
                bytes.extend(u64::from(a).to_le_bytes());
                bytes.extend(u64::from(b).to_le_bytes());
                for text in &texts {
                    bytes.extend((text.len() as u64).to_le_bytes());
                }
                for text in &texts {
                    bytes.extend(text);
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                }
                ask(&mut exchange, client, &bytes);
            }
            Step::Bytes { client, bytes } => ask(&mut exchange, client, &bytes),
            Step::Join { client, worker } => {
                // Numbers of links are not used twice.
                if !std::mem::replace(&mut joined[usize::from(client)], true) {
                    let process = match worker {
                        0 => Process::Primary,
                        worker => Process::Worker(WorkerId(worker.into())),
                    };
                    exchange.join(ClientId(client.into()), process);
                }
            }
            Step::Leave { client } => exchange.leave(ClientId(client.into())),
            Step::Started { worker, slot } => {
                let slot = slot.map(|slot| Slot(slot.into()));
                exchange.roster().on_started(WorkerId(worker.into()), slot);
            }
            Step::Exited { worker } => exchange.roster().on_exit(WorkerId(worker.into())),
            Step::Carry { client, limit } => {
                let mut packet = Vec::new();
                exchange.peek(ClientId(client.into()), usize::from(limit).max(1), &mut packet);
                exchange.on_sent(ClientId(client.into()), packet.len());
                let assembler = &mut assemblers[usize::from(client)];
                assembler.push(&packet);
                while assembler.next_frame().expect("what is told is a frame").is_some() {}
            }
        }
        exchange.check_invariants();
        for client in 0..=255 {
            assert!(exchange.queued(ClientId(client)) <= MAX_QUEUED);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    // Frames of anybody, too.
    let mut assembler = Assembler::default();
    for packet in data.chunks(7) {
        assembler.push(packet);
        while matches!(assembler.next_frame(), Ok(Some(_))) {}
    }
    if let Ok(steps) = Vec::arbitrary(&mut Unstructured::new(data)) {
        run(steps);
    }
});
