//! The thread that runs all connections to Redis or Valkey.

use std::future::pending;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};

use rcluster_sys::error::{Doing, SysError};

/// One per process. It lives as long as the process.
static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// The runtime, which is started on first use.
pub(in crate::io) fn runtime() -> Result<Handle, SysError> {
    let mut place = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*place {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing("making a runtime for Redis")?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("rcluster-redis".into())
        .spawn(move || runtime.block_on(pending::<()>()))
        .doing("starting the thread for Redis")?;
    *place = Some(handle.clone());
    Ok(handle)
}
