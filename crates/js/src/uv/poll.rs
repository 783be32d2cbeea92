//! A descriptor watched by Node's own event loop.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use napi::Env;
use nix::errno::Errno;

use super::handle::{UvHandle, call, has_ended};
use super::library::{Handle, uv};
use rcluster_sys::error::{Doing, SysError};

/// libuv's number for the type; part of its ABI since 1.0.
const UV_POLL: c_int = 8;
const UV_READABLE: c_int = 1;
const UV_WRITABLE: c_int = 2;

/// The events to watch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read.
    Read,
    /// There is room to write.
    Write,
    /// There is something to read, or room to write.
    ReadAndWrite,
}

/// A descriptor that Node's event loop watches, without being kept alive by it. Dropping it ends the watch
/// and closes the descriptor.
///
/// It must be dropped on the event loop's thread; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub struct UvPoll(UvHandle);

impl UvPoll {
    /// Watches `fd` on the event loop of `env` and calls `on_ready` while the condition holds. The initial
    /// condition is that there is something to read.
    ///
    /// `on_ready` is not called any more once JavaScript has ended. The event loop still turns then, and what was received
    /// could not be passed on: a connection would be lost that another process can still serve.
    pub fn new(env: Env, fd: OwnedFd, on_ready: Box<dyn Fn()>) -> Result<Self, SysError> {
        let handle = UvHandle::new(env, UV_POLL, Some(fd), on_ready, |uv, event_loop, handle, fd| {
            let number = fd.map_or(-1, AsRawFd::as_raw_fd);
            // SAFETY: `handle` is memory of the right size, `event_loop` is this thread's. On success
            // libuv keeps the pointer until the close callback, which frees it.
            unsafe { (uv.uv_poll_init)(event_loop, handle, number) }
        })?;
        let poll = Self(handle);
        poll.watch_for(Interest::Read)?;
        Ok(poll)
    }

    /// Changes the events to watch for, or resumes after [`UvPoll::pause`].
    pub fn watch_for(&self, interest: Interest) -> Result<(), SysError> {
        let events = match interest {
            Interest::Read => UV_READABLE,
            Interest::Write => UV_WRITABLE,
            Interest::ReadAndWrite => UV_READABLE | UV_WRITABLE,
        };
        // SAFETY: an initialised handle of this thread's loop.
        let status = unsafe { (self.0.uv.uv_poll_start)(self.0.as_ptr(), events, on_event) };
        if status == 0 {
            Ok(())
        } else {
            Err(Errno::from_raw(-status)).doing("starting to watch a descriptor")
        }
    }

    /// Sets whether the watch keeps the event loop alive.
    pub fn hold_loop(&self, hold: bool) {
        if hold {
            // SAFETY: an initialised handle of this thread's loop.
            unsafe { (self.0.uv.uv_ref)(self.0.as_ptr()) };
        } else {
            // SAFETY: as above.
            unsafe { (self.0.uv.uv_unref)(self.0.as_ptr()) };
        }
    }

    /// Stops watching for now.
    pub fn pause(&self) {
        // SAFETY: an initialised handle of this thread's loop; stopping cannot fail.
        unsafe { (self.0.uv.uv_poll_stop)(self.0.as_ptr()) };
    }
}

unsafe extern "C" fn on_event(handle: *mut Handle, status: c_int, _events: c_int) {
    // The creator of the handle has found libuv.
    let Ok(uv) = uv() else { return };
    // An error (EBADF) is also reported as readable: reading returns it.
    let _ = status;
    // SAFETY: libuv calls back for a handle that UvHandle::new created. The same for `call`.
    let has_ended = unsafe { has_ended(uv, handle) };
    // After a panic, whose message the panic hook has printed, the watch is stopped as well, because it would spin.
    // SAFETY: see above.
    if has_ended || unsafe { call(uv, handle) } {
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_poll_stop)(handle) };
    }
}
