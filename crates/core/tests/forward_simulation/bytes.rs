//! Relays between two simulated sockets with small buffers and edge-triggered readiness.

use std::cell::Cell;

use rcluster_core::forward::relay::{Moved, Relay, Side, Step};

use super::{Random, play};

/// The largest read.
const BUFFER: usize = 8;
/// The buffer size of a socket.
const ROOM: usize = 12;

/// One direction: the bytes sent by the source, those that can be read, and those that the sink has not read
/// yet.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a kernel's flags")]
struct Wire {
    sent: usize,
    unread: usize,
    /// The source has ended, or has reset the connection.
    ended: bool,
    reset: bool,
    /// Written to the sink, and not yet read there.
    queued: usize,
    delivered: usize,
    told_end: bool,
    /// A write of the shell found no room, so an event will report room.
    wants_room: bool,
    /// The sink accepts nothing any more.
    closed: bool,
}

struct World {
    random: Random,
    relay: Relay,
    up: Wire,
    down: Wire,
    held_most: usize,
}

const SIDES: [Side; 2] = [Side::Client, Side::Worker];

impl World {
    fn wire(&mut self, from: Side) -> &mut Wire {
        match from {
            Side::Client => &mut self.up,
            Side::Worker => &mut self.down,
        }
    }

    /// A random event at one of the ends.
    fn happen(&mut self, resets: bool) {
        let side = SIDES[self.random.below(2)];
        let (action, amount) = (self.random.below(20), 1 + self.random.below(20));
        let wire = self.wire(side);
        match action {
            0..8 if !wire.ended => {
                wire.sent += amount;
                wire.unread += amount;
                self.relay.readable(side);
            }
            8..16 => {
                // The sink reads, which makes room.
                let read = amount.min(wire.queued);
                wire.queued -= read;
                wire.delivered += read;
                if std::mem::take(&mut wire.wants_room) {
                    self.relay.writable(side.other());
                }
            }
            16 if !wire.ended => {
                wire.ended = true;
                self.relay.readable(side);
            }
            17 if resets && !wire.reset => {
                wire.ended = true;
                wire.reset = true;
                self.wire(side.other()).closed = true;
                self.relay.readable(side);
                self.relay.writable(side);
            }
            _ => {}
        }
    }

    fn write(wire: &mut Wire, count: usize) -> usize {
        let written = count.min(ROOM - wire.queued);
        wire.queued += written;
        if written < count {
            wire.wants_room = true;
        }
        written
    }

    /// Runs the shell. Returns the last step, after which there is nothing to do.
    fn pump(&mut self) -> Step {
        for _ in 0..10_000 {
            self.relay.check_invariants();
            self.check_retry();
            let step = self.relay.next();
            match step {
                Step::Wait | Step::Close | Step::Reset { .. } => return step,
                Step::Finish { from } => {
                    let wire = self.wire(from);
                    assert!(wire.ended && wire.unread == 0, "an end before its time: {wire:?}");
                    wire.told_end = true;
                    self.relay.finished(from);
                }
                Step::Move { from } | Step::Discard { from } => self.read(from, step),
                Step::Flush { from } => {
                    let held = self.relay.held(from);
                    let wire = self.wire(from);
                    if wire.closed {
                        let reset = self.wire(from.other()).reset;
                        self.relay.refused(from, reset);
                    } else {
                        let passed = Self::write(wire, held);
                        self.relay.flushed(from, passed);
                    }
                }
            }
            self.held_most = self.held_most.max(self.relay.held(Side::Client));
        }
        panic!("the relay never rests: {:?}", self.relay);
    }

    fn read(&mut self, from: Side, step: Step) {
        let wire = self.wire(from);
        let (announced, taken) = (wire.ended, wire.unread.min(BUFFER));
        if taken == 0 {
            return match (wire.ended, wire.reset) {
                (true, true) => self.relay.broke(from),
                (true, false) => self.relay.ended(from),
                (false, _) => self.relay.moved(from, Moved { drained: true, ..Moved::default() }),
            };
        }
        wire.unread -= taken;
        let drained = taken < BUFFER && !announced;
        if matches!(step, Step::Discard { .. }) {
            return self.relay.moved(from, Moved { taken, passed: 0, drained });
        }
        if wire.closed {
            let reset = self.wire(from.other()).reset;
            self.relay.moved(from, Moved { taken, passed: taken, drained });
            return self.relay.refused(from, reset);
        }
        let passed = Self::write(wire, taken);
        self.relay.moved(from, Moved { taken, passed, drained });
    }

    /// A client may be moved to another worker only if this one has none of its bytes, and if the client has
    /// received nothing.
    fn check_retry(&self) {
        let worker_has = self.up.queued + self.up.delivered + self.relay.held(Side::Client);
        let client_has = self.down.queued + self.down.delivered + self.relay.held(Side::Worker);
        if worker_has + client_has > 0 || self.down.told_end {
            assert!(self.relay.is_touched(), "another worker would get this client: {:?}", self.relay);
        }
    }

    /// When the relay waits, there is nothing that it could do.
    fn check_rest(&self) {
        for (from, wire) in [(Side::Client, &self.up), (Side::Worker, &self.down)] {
            let held = self.relay.held(from);
            assert!(held <= BUFFER, "{held} bytes are held");
            assert_eq!(wire.sent, wire.unread + held + wire.queued + wire.delivered, "{wire:?}");
            let room = wire.queued < ROOM;
            assert!(
                !(room && (held > 0 || wire.unread > 0)) || wire.wants_room,
                "bytes wait for nothing: {wire:?}"
            );
            assert!(!wire.ended || wire.told_end || held + wire.unread > 0, "an end is kept back: {wire:?}");
        }
    }

    fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let (up, down) = (Wire::default(), Wire::default());
        Self { random, relay: Relay::default(), up, down, held_most: 0 }
    }
}

#[test]
fn every_byte_arrives_and_each_end_behind_its_bytes() {
    let held_ever = Cell::new(0);
    let seeds = play(|seed| {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.happen(false);
            match world.pump() {
                Step::Wait => world.check_rest(),
                Step::Close => break,
                step => panic!("{step:?} out of nothing"),
            }
        }
        // Both sides end, and read.
        for _ in 0..1_000 {
            for side in SIDES {
                if !world.wire(side).ended {
                    world.wire(side).ended = true;
                    world.relay.readable(side);
                }
                let wire = world.wire(side);
                wire.delivered += std::mem::take(&mut wire.queued);
                if std::mem::take(&mut wire.wants_room) {
                    world.relay.writable(side.other());
                }
            }
            if world.pump() == Step::Close {
                break;
            }
        }
        assert_eq!(world.pump(), Step::Close);
        for wire in [&world.up, &world.down] {
            assert_eq!(wire.sent, wire.delivered + wire.queued, "{wire:?}");
        }
        held_ever.set(held_ever.get().max(world.held_most));
    });
    assert!(held_ever.get() > 0 || seeds.are_given(), "nobody was ever slow");
}

#[test]
fn a_reset_ends_it_whatever_else_is_under_way() {
    play(|seed| {
        let mut world = World::new(seed);
        let mut last = Step::Wait;
        for _ in 0..400 {
            world.happen(true);
            last = world.pump();
            if last != Step::Wait {
                break;
            }
        }
        if last == Step::Wait && (world.up.reset || world.down.reset) {
            // Only a sink that does not read can hold up the relay.
            for side in SIDES {
                let wire = world.wire(side);
                wire.queued = 0;
                wire.wants_room = false;
                world.relay.writable(side.other());
            }
            for _ in 0..100 {
                last = world.pump();
                for side in SIDES {
                    world.wire(side).queued = 0;
                    world.relay.writable(side.other());
                }
            }
            assert!(matches!(last, Step::Reset { .. } | Step::Close), "{last:?}: {:?}", world.relay);
        }
    });
}
