//! The turns of Node's own event loop, and its busy time.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::Env;
use nix::errno::Errno;

use super::handle::{UvHandle, call};
use super::library::{Handle, Libuv, Loop, uv};
use rcluster_sys::error::{Doing, SysError};

/// libuv's number for the type; part of its ABI since 1.0.
const UV_PREPARE: c_int = 9;

/// Notified of every turn of the event loop, without keeping it alive or waking it: an idle loop does not
/// turn.
///
/// It must be dropped on the event loop's thread; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub struct UvTurns(#[allow(dead_code, reason = "it is there to be dropped")] UvHandle);

/// A turn of the event loop.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The end of the turn, by the monotonic clock.
    pub now: Duration,
    /// The total busy time of the loop, in which it was not waiting.
    pub busy: Duration,
}

impl UvTurns {
    /// Calls `on_turn` at each turn of the event loop of `env`, right before it waits for events. Time counts
    /// from now.
    pub fn new(env: Env, on_turn: impl Fn(Turn) + 'static) -> Result<Self, SysError> {
        let clock: Rc<Cell<Option<Clock>>> = Rc::default();
        let read = Rc::clone(&clock);
        let on_event = move || {
            if let Some((clock, now)) = read.get().and_then(|clock| Some((clock, clock.now()?))) {
                on_turn(Turn { now: Duration::from_nanos(now.start), busy: now.busy_since(&clock) });
            }
        };
        Self::start(env, &clock, Box::new(on_event))
    }

    /// Starts a clock with which any thread can read how long the loop has been busy since it last waited.
    pub fn clock(env: Env) -> Result<(Self, BlockedClock), SysError> {
        let clock: Rc<Cell<Option<Clock>>> = Rc::default();
        let last: Arc<Mutex<Option<Clock>>> = Arc::default();
        let (turned, read) = (Arc::clone(&last), Rc::clone(&clock));
        let on_event = move || {
            let mut last = turned.lock().unwrap_or_else(PoisonError::into_inner);
            // Stays `None` once the environment has ended.
            if last.is_some() {
                *last = read.get().and_then(Clock::now);
            }
        };
        let ending = Arc::clone(&last);
        // On process.exit() hooks do not run; then the loop lives as long as the process.
        env.add_env_cleanup_hook((), move |()| {
            *ending.lock().unwrap_or_else(PoisonError::into_inner) = None;
        })
        .map_err(|_| Errno::EINVAL)
        .doing("adding a cleanup hook")?;
        let turns = Self::start(env, &clock, Box::new(on_event))?;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = clock.get();
        Ok((turns, BlockedClock(last)))
    }

    fn start(env: Env, clock: &Cell<Option<Clock>>, on_event: Box<dyn Fn()>) -> Result<Self, SysError> {
        let handle = UvHandle::new(env, UV_PREPARE, None, on_event, |uv, event_loop, handle, _| {
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

/// Distinguishes busy from idle time. Node makes libuv measure the idle time of its loop, for
/// `eventLoopUtilization()`.
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

    /// The current values. `None` without libuv, but the creator of the handle has found it.
    fn now(self) -> Option<Self> {
        Some(Self::start(uv().ok()?, self.event_loop))
    }

    /// The busy time of the loop since `then`.
    fn busy_since(self, then: &Self) -> Duration {
        let idle = self.idle_before.saturating_sub(then.idle_before);
        Duration::from_nanos(self.start.saturating_sub(then.start).saturating_sub(idle))
    }
}

// SAFETY: other threads use `event_loop` for uv_metrics_idle_time only, which libuv documents as thread-safe,
// and under the lock that the end of the environment takes as well.
unsafe impl Send for Clock {}

/// How long the event loop has been busy since it last waited for events, readable from any thread.
#[derive(Clone, Debug)]
pub struct BlockedClock(Arc<Mutex<Option<Clock>>>);

impl BlockedClock {
    /// `None` once the environment has ended.
    #[must_use]
    pub fn blocked_for(&self) -> Option<Duration> {
        // Held while the loop is used, so that it cannot end meanwhile.
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.and_then(|last| Some(last.now()?.busy_since(&last)))
    }
}

unsafe extern "C" fn on_prepare(handle: *mut Handle) {
    // The creator of the handle has found libuv.
    let Ok(uv) = uv() else { return };
    // SAFETY: libuv calls back for a handle that UvHandle::new created.
    if unsafe { call(uv, handle) } {
        // The panic hook has printed the message.
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_prepare_stop)(handle) };
    }
}
