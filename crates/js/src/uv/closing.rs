//! A process handle of Node that is being closed without ever having had a process.
//!
//! Node makes such a handle for each `ChildProcess`. Workers are not spawned by it, so it has to be
//! given back, and libuv closes a process handle only after a spawn: one that fails before anything
//! is forked will do. From 1.52 on, though, libuv takes a handle off the loop's list of handles when
//! its spawn fails, and takes it off once more when it is closed. Between the two its neighbours
//! may have changed, or be freed, and the list breaks. Making the handle its own neighbour turns
//! the second time into nothing.

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

/// The beginning of every handle, as `uv.h` of libuv 1.x lays it out (`UV_HANDLE_FIELDS`).
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

/// A handle's place in the loop's list of all handles.
#[repr(C)]
struct Place {
    next: *mut Place,
    prev: *mut Place,
}

/// What was found of the handle that was closed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Found {
    /// It was off the list already. Now nothing happens when it is taken off again.
    OffTheList,
    /// It stands in the list as it should, as with libuv before 1.52.
    OnTheList,
    /// What was closed last on this loop is no process handle.
    NoProcess,
}

/// Sees to it that the process handle which JavaScript has just closed can be taken off the loop's
/// list of handles once more. To be called in the same turn of the event loop as the spawn that
/// failed, right after the `close()`.
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
    // SAFETY: `helper` is memory of the right size and `event_loop` is this thread's. It never
    // fails, and links the helper into the loop's list until it is closed.
    unsafe { (uv.uv_idle_init)(event_loop, helper.as_ptr()) };
    // SAFETY: just initialised. libuv owns the memory until on_closed frees it. No cleanup hook is
    // needed: it is closed in the same pass of the loop as the handle that was closed before it,
    // for which Node waits when the environment ends.
    unsafe { (uv.uv_close)(helper.as_ptr(), Some(on_closed)) };

    // Handles that are being closed form a stack, which is how the one before us is found.
    // SAFETY: the helper is alive until the loop turns. Its fields are laid out as `Fields` says,
    // in all of libuv 1.x on unix.
    let handle = unsafe { (*helper.as_ptr().cast::<Fields>()).next_closing };
    if handle.is_null() {
        return Ok(Found::NoProcess);
    }
    // SAFETY: libuv holds it in its stack, so it is a handle that has not been freed.
    let handle = unsafe { &mut *handle };
    if handle.kind != UV_PROCESS {
        return Ok(Found::NoProcess);
    }
    let own = &raw mut handle.place;
    // SAFETY: the handle was put on the list, and perhaps taken off, in this same turn of the
    // loop, in which nothing else was freed: handles are freed by a later phase. So its
    // neighbour, which may also be itself or the loop's own place, is alive.
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
    // The same computation has succeeded when the memory was allocated.
    let Ok(layout) = helper_layout("freeing a handle") else { return };
    // SAFETY: allocated with this layout by `mend_closing_process`; libuv has let go of it.
    unsafe { dealloc(helper.cast(), layout) };
}
