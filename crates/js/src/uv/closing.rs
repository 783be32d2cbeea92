//! A process handle of Node that is being closed without ever having had a process.
//!
//! Node creates such a handle for each `ChildProcess`. Workers are not spawned by it, but it must be freed,
//! and libuv closes a process handle only after a spawn: one that fails before the fork suffices. From 1.52
//! on, however, libuv removes a handle from the loop's list of handles when its spawn fails, and removes it
//! again when it is closed. In between its neighbours may have changed or been freed, which corrupts the
//! list. Making the handle its own neighbour turns the second removal into a no-op.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::NonNull;

use napi::Env;
use nix::errno::Errno;

use super::library::{Handle, event_loop, uv};
use rcluster_sys::error::{Doing, SysError};

/// libuv's numbers for types; part of its ABI since 1.0.
const UV_IDLE: c_int = 6;
const UV_PROCESS: c_int = 10;

/// The common fields of every handle, in the layout of `uv.h` of libuv 1.x (`UV_HANDLE_FIELDS`).
#[repr(C)]
struct Fields {
    data: *mut c_void,
    event_loop: *mut c_void,
    kind: c_int,
    close_cb: *mut c_void,
    place: Place,
    reserved: [*mut c_void; 4],
    next_closing: *mut Fields,
    flags: c_uint,
}

/// A handle's links in the loop's list of all handles.
#[repr(C)]
struct Place {
    next: *mut Place,
    prev: *mut Place,
}

/// The state of the handle that was closed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Found {
    /// It had been removed from the list. Now removing it again has no effect.
    OffTheList,
    /// It is in the list, as expected with libuv before 1.52.
    OnTheList,
    /// The handle that was closed last on this loop is not a process handle.
    NoProcess,
}

/// Ensures that the process handle which JavaScript has just closed can be removed from the loop's list of
/// handles once more. Must be called in the same turn of the event loop as the failed spawn, right after the
/// `close()`.
pub fn mend_closing_process(env: Env) -> Result<Found, SysError> {
    let doing = "closing a process handle";
    let uv = uv()?;
    // SAFETY: pure.
    if unsafe { (uv.uv_version)() } >> 16 != 1 {
        return Err(Errno::ENOSYS).doing("reading the handles of this version of libuv");
    }
    let event_loop = event_loop(env)?;
    let layout = helper_layout(doing)?;
    // SAFETY: the size of a handle is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    let helper = NonNull::new(memory.cast::<Handle>()).ok_or(Errno::ENOMEM).doing(doing)?;
    // SAFETY: `helper` is memory of the right size and `event_loop` is this thread's. The call never fails,
    // and links the helper into the loop's list until it is closed.
    unsafe { (uv.uv_idle_init)(event_loop, helper.as_ptr()) };
    // SAFETY: just initialised. libuv owns the memory until on_closed frees it. No cleanup hook is needed: it
    // is closed in the same pass of the loop as the handle that was closed before it, and Node waits for that
    // one when the environment ends.
    unsafe { (uv.uv_close)(helper.as_ptr(), Some(on_closed)) };

    // Closing handles form a stack, through which the one before the helper is found.
    // SAFETY: the helper is alive until the loop turns. Its fields have the layout of `Fields` in all of
    // libuv 1.x on Unix.
    let handle = unsafe { (*helper.as_ptr().cast::<Fields>()).next_closing };
    if handle.is_null() {
        return Ok(Found::NoProcess);
    }
    // SAFETY: it is on libuv's stack, so the handle has not been freed.
    let handle = unsafe { &mut *handle };
    if handle.kind != UV_PROCESS {
        return Ok(Found::NoProcess);
    }
    let own = &raw mut handle.place;
    // SAFETY: the handle was added to the list, and perhaps removed, in this same turn of the loop, in which
    // nothing else was freed: handles are freed in a later phase. So its neighbour, which may also be itself
    // or the list head, is alive.
    if unsafe { (*handle.place.prev).next } == own {
        return Ok(Found::OnTheList);
    }
    handle.place = Place { next: own, prev: own };
    Ok(Found::OffTheList)
}

fn helper_layout(doing: &'static str) -> Result<Layout, SysError> {
    // SAFETY: pure.
    let size = unsafe { (uv()?.uv_handle_size)(UV_IDLE) };
    Layout::from_size_align(size.max(size_of::<Fields>()), 16).map_err(|_| Errno::EINVAL).doing(doing)
}

unsafe extern "C" fn on_closed(helper: *mut Handle) {
    // The same computation succeeded when the memory was allocated.
    let Ok(layout) = helper_layout("freeing a handle") else { return };
    // SAFETY: allocated with this layout by `mend_closing_process`; libuv does not use it any more.
    unsafe { dealloc(helper.cast(), layout) };
}
