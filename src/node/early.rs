//! Early workers: the primary's side takes one over, and the worker's side becomes a worker.

use std::sync::Mutex;

use napi::Result;
use napi_derive::napi;

use super::shared::failure;
use rcluster_sys::early::{self, EarlyWorker, Numbers};

/// Taken over, until supervision starts.
static TAKEN_OVER: Mutex<Option<EarlyWorker>> = Mutex::new(None);

/// The numbers of an early worker that the command `rcluster` has started in this process, before it executed Node.
#[napi(object)]
pub struct EarlyWorkerNumbers {
    /// The process id.
    pub pid: i32,
    /// The descriptor that refers to the process.
    pub pidfd: i32,
    /// The socket for its orders.
    pub orders: i32,
    /// The primary's end of Node's IPC channel.
    pub channel: i32,
}

/// Takes over an early worker, which the first supervised worker may become. Its descriptors belong to the native part
/// from here on.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands objects over by value")]
pub fn take_over_early_worker(numbers: EarlyWorkerNumbers) -> Result<()> {
    let EarlyWorkerNumbers { pid, pidfd, orders, channel } = numbers;
    let early = EarlyWorker::adopt(Numbers { pid, pidfd, orders, channel }).map_err(failure)?;
    if let Ok(mut place) = TAKEN_OVER.lock() {
        *place = Some(early);
    }
    Ok(())
}

/// Ends the early worker, if it has not become a worker.
#[napi(catch_unwind)]
pub fn end_early_worker() {
    drop(taken_over());
}

/// The early worker, if there is one and nobody has asked before.
pub(super) fn taken_over() -> Option<EarlyWorker> {
    TAKEN_OVER.lock().ok()?.take()
}

/// Waits, in an early worker, until the primary needs it. Returns the variables to set, as `NAME=value`; null if it is not
/// needed. Its descriptors are those of a worker then, and `number`, the socket, is one of them.
#[napi(catch_unwind)]
pub fn await_orders(number: i32) -> Result<Option<Vec<String>>> {
    early::await_orders(number).map_err(failure)
}
