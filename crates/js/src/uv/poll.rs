//! A descriptor watched by Node's own event loop.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use napi::Env;
use nix::errno::Errno;

use super::handle::{UvHandle, call};
use super::library::{Handle, uv};
use rcluster_sys::error::{Doing, SysError};

/// libuv's number for the type; part of its ABI since 1.0.
const UV_POLL: c_int = 8;
const UV_READABLE: c_int = 1;
const UV_WRITABLE: c_int = 2;

/// What to watch a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read.
    Read,
    /// There is something to read, or room to write.
    ReadAndWrite,
}

/// A descriptor that Node's event loop watches, without keeping the loop alive. Dropping it ends the watch and closes the descriptor.
///
/// It must be dropped on the thread of the loop; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub struct UvPoll(UvHandle);

impl UvPoll {
    /// Watches `fd` on the loop of `env` and calls `on_ready` while it has
    /// what is watched for: at first, something to read.
    pub fn new(env: Env, fd: OwnedFd, on_ready: Box<dyn FnMut()>) -> Result<Self, SysError> {
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

    /// Watches for something else, or again after [`UvPoll::pause`].
    pub fn watch_for(&self, interest: Interest) -> Result<(), SysError> {
        let events = match interest {
            Interest::Read => UV_READABLE,
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

    /// Whether the watch keeps the loop alive.
    pub fn hold_loop(&self, hold: bool) {
        if hold {
            // SAFETY: an initialised handle of this thread's loop.
            unsafe { (self.0.uv.uv_ref)(self.0.as_ptr()) };
        } else {
            // SAFETY: as above.
            unsafe { (self.0.uv.uv_unref)(self.0.as_ptr()) };
        }
    }

    /// Stops watching for the time being.
    pub fn pause(&self) {
        // SAFETY: an initialised handle of this thread's loop; stopping cannot fail.
        unsafe { (self.0.uv.uv_poll_stop)(self.0.as_ptr()) };
    }
}

unsafe extern "C" fn on_event(handle: *mut Handle, status: c_int, _events: c_int) {
    // Whoever made the handle has found libuv.
    let Ok(uv) = uv() else { return };
    // An error (EBADF) is told as readable too: reading will say what it is.
    let _ = status;
    // SAFETY: libuv calls back for a handle that UvHandle::new made.
    if unsafe { call(uv, handle) } {
        // The panic has been printed by the hook. The watch ends, lest it spins.
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_poll_stop)(handle) };
    }
}
