//! The listener registry, driven by workers that write any bytes.
//!
//! The input is lines. `1` to `4` and a frame: that worker writes it. `s1`, `l1`, `d1`, `t1`:
//! worker 1 starts, leaves, dies, and the app is told. `o`, `f`: the socket that has been opening
//! the longest opens or fails. `k` and a digit: so many seconds pass.
#![no_main]

use std::collections::VecDeque;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rcluster_core::control::listeners::{Input, Listeners, Opened, Output};
use rcluster_core::ids::{ListenerId, WorkerId};
use rcluster_core::schedule::Scheduling;
use rcluster_core::frames::{FromWorker, Kind, ToWorker};

const WORKERS: std::ops::RangeInclusive<u32> = 1..=4;

struct Primary {
    listeners: Listeners,
    now: Duration,
    opening: VecDeque<ListenerId>,
    out: Vec<Output>,
}

impl Primary {
    fn input(&mut self, input: Input) {
        self.listeners.handle(self.now, input, &mut self.out);
        self.listeners.check_invariants();
        for output in self.out.drain(..) {
            match output {
                Output::Open { listener, .. } => self.opening.push_back(listener),
                Output::Reply { reply, .. } => {
                    ToWorker::Reply(reply).encode().expect("every reply can be written");
                }
                Output::Join { .. } | Output::Leave { .. } | Output::CloseListener { .. } => {}
            }
        }
    }

    fn answer(&mut self, result: Result<Opened, i32>) {
        if let Some(listener) = self.opening.pop_front() {
            self.input(Input::Opened { listener, result });
        }
    }

    fn line(&mut self, line: &[u8]) {
        let digit =
            |byte: u8| char::from(byte).to_digit(10).filter(|digit| WORKERS.contains(digit)).map(WorkerId);
        match *line {
            [b's', worker] => {
                digit(worker).into_iter().for_each(|worker| self.input(Input::WorkerStarted { worker }))
            }
            [b'l', worker] => {
                digit(worker).into_iter().for_each(|worker| self.input(Input::WorkerLeaving { worker }))
            }
            [b'd', worker] => {
                digit(worker).into_iter().for_each(|worker| self.input(Input::WorkerDied { worker }))
            }
            [b't', worker] => {
                digit(worker).into_iter().for_each(|worker| self.input(Input::ExitReported { worker }))
            }
            [b'o'] => self.answer(Ok(Opened { kind: Kind::Tcp, sockname: None })),
            [b'f'] => self.answer(Err(-98)),
            [b'k', seconds] => {
                self.now += Duration::from_secs(u64::from(seconds % 16));
                self.input(Input::Tick);
            }
            [worker, ref frame @ ..] => {
                if let (Some(worker), Ok(frame)) = (digit(worker), FromWorker::parse(frame)) {
                    self.frame(worker, frame);
                }
            }
            [] => {}
        }
    }

    fn frame(&mut self, worker: WorkerId, frame: FromWorker) {
        match frame {
            // These are about supervision, of which the registry hears by `Expecting` only, and about shared state.
            FromWorker::Hello
            | FromWorker::ListensAlone
            | FromWorker::Ready
            | FromWorker::Retire { .. }
            | FromWorker::Held { .. }
            | FromWorker::Share(_)
            | FromWorker::Locks
            | FromWorker::Exchange => {}
            FromWorker::Listen(request) => self.input(Input::Listen { worker, request: *request }),
            FromWorker::Listening { listener } => self.input(Input::Listening { worker, listener }),
            FromWorker::Close { listener } => self.input(Input::Close { worker, listener }),
            FromWorker::Leaving => self.input(Input::WorkerLeaving { worker }),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (share, lines) = match bytes.split_first() {
        Some((first, lines)) => (first % 2 == 0, lines),
        None => return,
    };
    let mut primary = Primary {
        listeners: Listeners::new(Scheduling::of_node(share)),
        now: Duration::ZERO,
        opening: VecDeque::new(),
        out: Vec::new(),
    };
    for line in lines.split(|&byte| byte == b'\n') {
        primary.line(line);
    }
    while !primary.opening.is_empty() {
        primary.answer(Err(-98));
    }
    for worker in WORKERS.map(WorkerId) {
        primary.input(Input::WorkerDied { worker });
        primary.input(Input::ExitReported { worker });
    }
    assert!(primary.listeners.is_empty(), "{:?}", primary.listeners);
    assert_eq!(primary.listeners.next_deadline(), None);
});
