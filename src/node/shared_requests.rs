//! The requests of this process to a store, and their answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use napi::bindgen_prelude::Unknown;
use napi::{Env, Result};

use super::shared::{failure, unknown};
use super::shared_value::{self, KEY_ROOM};
use crate::io::store::Client;
use rcluster_core::store::ops::{Condition, Lifetime, Op, Outcome};
use rcluster_core::store::request::encode;
use rcluster_core::store::ring::{Pushed, Wanted};

/// The maximum size of requests that wait in this process for room in the ring, in bytes.
const BACKLOG: usize = 64 << 20;

/// The maximum number of polls for answers that are imminent: a few µs.
const PATIENCE: u32 = 256;
const MIN_PATIENCE: u32 = 16;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Requests {
    /// The operations of the request that is being built.
    request: RefCell<Vec<u64>>,
    /// Requests that wait for room in the ring.
    backlog: RefCell<VecDeque<Vec<u64>>>,
    waiting: Cell<usize>,
    /// The number of polls for answers that are imminent.
    patience: Cell<u32>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            request: RefCell::default(),
            backlog: RefCell::default(),
            waiting: Cell::new(0),
            patience: Cell::new(PATIENCE),
        }
    }
}

impl Requests {
    /// Discards the request that is being built.
    pub(super) fn discard(&self) {
        self.request.borrow_mut().clear();
    }

    /// Sends the request that has been built. Returns 0 if it is queued, 1 if it is too long, 2 if too many
    /// wait.
    pub(super) fn submit(&self, client: &Client) -> u32 {
        let mut request = self.request.borrow_mut();
        let sent = self.send(client, &request);
        request.clear();
        sent
    }

    fn send(&self, client: &Client, request: &[u64]) -> u32 {
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            match client.push(request) {
                Pushed::Done { .. } => return 0,
                Pushed::TooLong => return 1,
                Pushed::Full => {}
            }
        }
        let bytes = size_of_val(request);
        if self.waiting.get() + bytes > BACKLOG {
            return 2;
        }
        self.waiting.set(self.waiting.get() + bytes);
        backlog.push_back(request.to_vec());
        0
    }

    fn flush(&self, client: &Client) -> Result<()> {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(request) = backlog.front() {
            match client.push(request) {
                Pushed::Done { .. } => {}
                Pushed::Full => return Ok(()),
                Pushed::TooLong => return Err(failure("a request that waited is too long")),
            }
            self.waiting.set(self.waiting.get() - size_of_val(request.as_slice()));
            backlog.pop_front();
        }
        Ok(())
    }

    /// Adds an operation to the request. Returns false if its key or its value is too long.
    pub(super) fn add(
        &self,
        client: &Client,
        env: Env,
        arguments: [Unknown<'_>; 8],
        name: &mut [u8; KEY_ROOM],
    ) -> Result<bool> {
        let [number, key, kind, value, ms, revision, by, initial] = arguments;
        let read = |argument| shared_value::read_number(env, &argument);
        let Some(key) = shared_value::read_key(env, &key, name)? else { return Ok(false) };
        let mut request = self.request.borrow_mut();
        let (lifetime, revision) = (lifetime(read(ms)?), read(revision)?);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "JavaScript has checked it"
        )]
        let condition = if revision < 0.0 { Condition::Any } else { Condition::Revision(revision as u64) };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are small numbers")]
        let (number, kind) = (read(number)? as u32, read(kind)? as u32);
        let op = match number {
            1 => {
                return shared_value::with_bytes(env, kind, &value, |kind, value| {
                    if value.len() > client.view().geometry().max_value() {
                        return false;
                    }
                    encode(&Op::Set { key, kind, value, lifetime, condition }, &mut request);
                    true
                });
            }
            2 => Op::Delete { key, condition },
            3 => Op::Touch { key, lifetime },
            4 => Op::Increment { key, by: read(by)?, initial: read(initial)?, lifetime },
            5 => Op::Check { key, condition },
            6 => Op::Clear { prefix: key },
            other => return Err(unknown("operation", other)),
        };
        encode(&op, &mut request);
        Ok(true)
    }

    /// Writes answers into `into`, three numbers for each. Returns their number.
    pub(super) fn take(&self, client: &Client, into: &mut [f64], wait: bool) -> Result<u32> {
        let mut patience = if wait { self.patience.get() } else { 0 };
        let had = patience;
        let mut count = 0;
        for place in into.chunks_exact_mut(3) {
            let Some(outcome) = self.next_answer(client, &mut patience)? else { break };
            #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
            place.copy_from_slice(&[outcome.status.number().into(), outcome.revision as f64, outcome.number]);
            count += 1;
        }
        if wait {
            self.judge_patience(had, patience);
        }
        Ok(count)
    }

    /// Adapts the number of polls: fewer after unsuccessful polling, as with a single core.
    fn judge_patience(&self, had: u32, left: u32) {
        if left == 0 {
            self.patience.set((had / 2).max(MIN_PATIENCE));
        } else if left < had {
            self.patience.set((had * 2).min(PATIENCE));
        }
    }

    /// The next answer. `None` means that a wake-up follows for it.
    fn next_answer(&self, client: &Client, patience: &mut u32) -> Result<Option<Outcome>> {
        if let Some(outcome) = client.answer_soon(patience) {
            return Ok(Some(outcome));
        }
        // First, because requests that are sent now must be answered as well.
        self.flush(client)?;
        if !client.is_waiting() {
            return Ok(None);
        }
        client.want(Wanted::Answers);
        Ok(client.answer())
    }
}

fn lifetime(ms: f64) -> Lifetime {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
    match ms {
        -2.0 => Lifetime::Keep,
        ms if ms < 0.0 => Lifetime::Forever,
        ms => Lifetime::Ms(ms.ceil() as u64),
    }
}
