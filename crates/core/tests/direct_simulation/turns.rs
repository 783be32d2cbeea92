//! Turns of the event loop in which more has come than is read in one.

use rcluster_core::exchange::endpoint::{Endpoint, Incoming, Transport};
use rcluster_core::exchange::frame::{Head, Kind};
use rcluster_core::exchange::pairs::PairId;
use rcluster_core::exchange::wire::Ask;

use super::wires::{Socket, Wires};

const PAIR: PairId = PairId(7);

/// What is told in turns that begin as long as there is something to read, as those of an event loop do.
fn told(endpoint: &mut Endpoint, wires: &mut Wires) -> Vec<Kind> {
    let mut told = Vec::new();
    for _ in 0..1000 {
        let mut pairs = Vec::new();
        let link = wires.poll(&mut pairs);
        if !link && pairs.is_empty() {
            return told;
        }
        for pair in pairs {
            endpoint.on_ready(Some(pair));
        }
        if link {
            endpoint.on_ready(None);
        }
        while let Incoming::Frame(kind) = endpoint.next(wires, |frame| frame.kind).expect("it makes sense") {
            told.push(kind);
        }
    }
    panic!("there is nothing left to read at some time");
}

#[test]
fn frames_that_were_read_are_reported_after_the_turn() {
    for notices in [0, 1, 7, 30, 31, 32, 33, 100] {
        let (mut endpoint, mut wires) = (Endpoint::default(), Wires::default());
        endpoint.send(&mut wires, &Ask::Handle(b"name")).unwrap();
        let [ours, theirs] = Socket::pair();
        let paired = Head { worker: 2, rest: PAIR.0, ..Head::new(Kind::Paired) };
        wires.deliver(&paired.encode(0), Some(ours));
        assert_eq!(told(&mut endpoint, &mut wires), []);
        let notice = Head { name: b"name", ..Head::new(Kind::Notice) }.encode(0);
        for _ in 0..notices {
            theirs.output.borrow_mut().packets.push_back(notice.to_vec());
        }
        wires.deliver(&Head::new(Kind::Message).encode(0), None);
        let mut expected = vec![Kind::Notice; notices];
        expected.push(Kind::Message);
        assert_eq!(told(&mut endpoint, &mut wires), expected, "{notices} notices came before");
    }
}
