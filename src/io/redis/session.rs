//! The connections of a store, and the commands sent on them.

use std::time::Duration;

use redis::{RedisError, Value, cmd, pipe};

use super::connect::Connections;
use super::convert::{self, failure};
use crate::io::clock::now;
use rcluster_core::store::remote::backend::Backend;
use rcluster_core::store::remote::failure::Failure;
use rcluster_core::store::remote::messages::{Greeting, Input};
use rcluster_core::store::remote::{GREET, WRITE};

/// The time limit for loading the whole store.
const LOADING: Duration = Duration::from_secs(60);

/// How long the server keeps its record of this machine after the last heartbeat, in ms.
const WRITER: u64 = 86_400_000;

/// The names of the keys that form the store: values, facts, ends, changes, writer.
pub(super) type Keys = [String; 5];

/// The arguments of the greeting.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) connection: String,
    pub(super) new_epoch: Vec<u8>,
    pub(super) epoch: Vec<u8>,
    pub(super) revision: u64,
    pub(super) place: String,
}

/// A batch of requests.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) connection: String,
    pub(super) number: u64,
    pub(super) limit: usize,
    pub(super) history: (u64, u64),
    pub(super) expire: bool,
    pub(super) arguments: Vec<Vec<u8>>,
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Session(Connections);

impl Session {
    /// Connects and greets the server. The last result is when the greeting was sent.
    pub(super) async fn open(
        backend: &Backend,
        keys: &Keys,
        hello: Hello,
    ) -> Result<(Self, Greeting, u64), Failure> {
        let mut connections = Connections::open(backend, &keys[0], WRITE).await?;
        connections.expect_large_entries();
        let mut greet = cmd("EVAL");
        greet.arg(GREET).arg(keys.len()).arg(&keys[..]).arg(hello.connection).arg(hello.new_epoch);
        greet.arg(hello.epoch).arg(hello.revision).arg(hello.place);
        let asked_at = now();
        let answer = greet.query_async::<Value>(&mut connections.commands).await;
        let answer = answer.map_err(|error| failure(&error))?;
        let greeting = convert::greeting(answer).ok_or_else(convert::invalid_answer)?;
        Ok((Self(connections), greeting, asked_at))
    }

    pub(super) async fn load(mut self, keys: &Keys) -> Input {
        let [values, facts, _, changes, _] = keys;
        let mut all = pipe();
        // Not a transaction, which a server that is out of memory refuses whatever is in it. Equal facts before and after
        // show that nothing has been written in between.
        all.ignore_errors();
        all.cmd("HMGET").arg(facts).arg("epoch").arg("revision");
        all.cmd("HGETALL").arg(values);
        all.cmd("XREVRANGE").arg(changes).arg("+").arg("-").arg("COUNT").arg(1);
        all.cmd("HMGET").arg(facts).arg("epoch").arg("revision");
        self.0.commands.set_response_timeout(LOADING);
        let answer = all.query_async::<Value>(&mut self.0.commands).await;
        or_failed(answer, |value| convert::loaded(value, facts))
    }

    pub(super) async fn follow(mut self, keys: &Keys, place: &str, entries: usize) -> Input {
        or_failed(self.0.read_behind(&keys[3], place, entries).await, convert::entries)
    }

    pub(super) async fn beat(mut self, keys: &Keys, asked_at: u64) -> Input {
        let mut beat = pipe();
        // As for a load: not a transaction.
        beat.ignore_errors();
        beat.cmd("PEXPIRE").arg(&keys[4]).arg(WRITER);
        beat.cmd("HMGET").arg(&keys[1]).arg("epoch").arg("revision").arg("used");
        beat.cmd("EXISTS").arg(&keys[0]);
        beat.cmd("HMGET").arg(&keys[1]).arg("epoch").arg("revision").arg("used");
        beat.cmd("TIME");
        let answer = beat.query_async::<Value>(&mut self.0.commands).await;
        or_failed(answer.map(convert::without_refused_writes), |value| {
            convert::beat(value, asked_at, &keys[1])
        })
    }

    pub(super) async fn write(mut self, keys: &Keys, batch: Batch) -> Input {
        let mut answer = self.run_script("EVALSHA", &self.0.script.clone(), keys, &batch).await;
        if answer.as_ref().is_err_and(convert::is_unknown_script) {
            answer = self.run_script("EVAL", WRITE, keys, &batch).await;
        }
        match answer.map(convert::bytes) {
            Ok(Some(answer)) => Input::Answered(answer),
            Ok(None) => Input::WriteFailed(convert::invalid_answer()),
            Err(error) => Input::WriteFailed(failure(&error)),
        }
    }

    async fn run_script(
        &mut self,
        how: &str,
        script: &str,
        keys: &Keys,
        batch: &Batch,
    ) -> Result<Value, RedisError> {
        let mut run = cmd(how);
        run.arg(script).arg(keys.len()).arg(&keys[..]).arg(&batch.connection).arg(batch.number);
        run.arg(batch.limit).arg(batch.history.0).arg(batch.history.1);
        run.arg(if batch.expire { "1" } else { "0" });
        for argument in &batch.arguments {
            run.arg(argument.as_slice());
        }
        run.query_async(&mut self.0.commands).await
    }
}

fn or_failed(answer: Result<Value, RedisError>, read: impl FnOnce(Value) -> Option<Input>) -> Input {
    match answer.and_then(Value::extract_error) {
        Ok(value) => read(value).unwrap_or_else(|| Input::Failed(convert::invalid_answer())),
        Err(error) => Input::Failed(failure(&error)),
    }
}
