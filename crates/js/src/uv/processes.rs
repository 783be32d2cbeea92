//! The processes that libuv waits for.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};

use napi::Env;

use super::library::{Handle, Libuv, event_loop, uv};
use rcluster_sys::error::SysError;

/// libuv's number for this type of handle; part of its ABI since 1.0.
const UV_PROCESS: c_int = 10;

struct Walk {
    uv: &'static Libuv,
    pids: HashSet<i32>,
}

/// The process ids of all children that this thread's event loop must reap, and of those that it has reaped
/// and whose handles are not closed yet.
pub fn awaited_processes(env: Env) -> Result<HashSet<i32>, SysError> {
    let uv = uv()?;
    let event_loop = event_loop(env)?;
    let mut walk = Walk { uv, pids: HashSet::new() };
    // SAFETY: the loop is this thread's and alive. It calls back only during this call, with the pointer to
    // `walk`, which is not used otherwise meanwhile. The callback opens or closes no handles.
    unsafe { (uv.uv_walk)(event_loop, on_handle, (&raw mut walk).cast()) };
    Ok(walk.pids)
}

unsafe extern "C" fn on_handle(handle: *mut Handle, walk: *mut c_void) {
    // SAFETY: see the call of `uv_walk`.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: libuv passes a live handle.
    if unsafe { (walk.uv.uv_handle_get_type)(handle) } == UV_PROCESS {
        // SAFETY: it is a process handle.
        walk.pids.insert(unsafe { (walk.uv.uv_process_get_pid)(handle) });
    }
}
