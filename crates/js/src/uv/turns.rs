//! The turns of Node's own event loop, and how long it is at work.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::time::Duration;

use napi::Env;
use nix::errno::Errno;

use super::handle::{UvHandle, call};
use super::library::{Handle, Libuv, Loop, uv};
use rcluster_sys::error::{Doing, SysError};

/// libuv's number for the type; part of its ABI since 1.0.
const UV_PREPARE: c_int = 9;

/// Hears of every turn of the event loop, without keeping it alive or waking it: a loop that has nothing to do does not turn.
///
/// It must be dropped on the thread of the loop; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub struct UvTurns(#[allow(dead_code, reason = "it is there to be dropped")] UvHandle);

impl UvTurns {
    /// Calls `on_turn` at each turn of the loop of `env`, right before it waits for events, with the time that it has been at
    /// work since now: all the time that it was not waiting.
    pub fn new(env: Env, on_turn: impl Fn(Duration) + 'static) -> Result<Self, SysError> {
        let clock: Rc<Cell<Option<Clock>>> = Rc::default();
        let read = Rc::clone(&clock);
        let on_event = move || {
            if let Some(clock) = read.get() {
                on_turn(clock.busy());
            }
        };
        let handle =
            UvHandle::new(env, UV_PREPARE, None, Box::new(on_event), |uv, event_loop, handle, _| {
                clock.set(Some(Clock::start(uv, event_loop)));
                // SAFETY: `handle` is memory of the right size, `event_loop` is this thread's. On success
                // libuv keeps the pointer until the close callback, which frees it.
                unsafe { (uv.uv_prepare_init)(event_loop, handle) }
            })?;
        // SAFETY: an initialised handle of this thread's loop.
        let status = unsafe { (handle.uv.uv_prepare_start)(handle.as_ptr(), on_prepare) };
        if status != 0 {
            return Err(Errno::from_raw(-status)).doing("counting the turns of the event loop");
        }
        Ok(Self(handle))
    }
}

/// Tells work from waiting. Node has libuv keep the time that its loop waits, for `eventLoopUtilization()`.
#[derive(Clone, Copy, Debug)]
struct Clock {
    event_loop: *mut Loop,
    /// In nanoseconds.
    start: u64,
    idle_before: u64,
}

impl Clock {
    fn start(uv: &Libuv, event_loop: *mut Loop) -> Self {
        // SAFETY: pure.
        let start = unsafe { (uv.uv_hrtime)() };
        // SAFETY: this thread's loop, which lives as long as the handle that calls us.
        let idle_before = unsafe { (uv.uv_metrics_idle_time)(event_loop) };
        Self { event_loop, start, idle_before }
    }

    fn busy(self) -> Duration {
        // Whoever made the handle has found libuv.
        let Ok(uv) = uv() else { return Duration::ZERO };
        let now = Self::start(uv, self.event_loop);
        let idle = now.idle_before.saturating_sub(self.idle_before);
        Duration::from_nanos((now.start - self.start).saturating_sub(idle))
    }
}

unsafe extern "C" fn on_prepare(handle: *mut Handle) {
    // Whoever made the handle has found libuv.
    let Ok(uv) = uv() else { return };
    // SAFETY: libuv calls back for a handle that UvHandle::new made.
    if unsafe { call(uv, handle) } {
        // The panic has been printed by the hook.
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_prepare_stop)(handle) };
    }
}
