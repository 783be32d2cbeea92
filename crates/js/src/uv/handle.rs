//! The memory of a libuv handle, from its creation to its close callback.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use napi::Env;
use napi::sys::{napi_async_cleanup_hook_handle, napi_env};
use nix::errno::Errno;

use super::library::{Handle, Libuv, Loop, event_loop, uv};
use crate::callback;
use rcluster_sys::error::{Doing, SysError};

/// The value in the handle's `data`. Freed by the handle's close callback.
struct Attached {
    env: napi_env,
    on_event: Box<dyn Fn()>,
    /// How many calls of `on_event` are on the call stack. More than one if JavaScript has run the event loop in a
    /// callback, as some packages do in order to wait.
    calls: Cell<u32>,
    /// Whether the close callback has come, during one of these calls.
    closed: Cell<bool>,
    /// The watched descriptor; it must stay open as long as libuv, or `on_event`, uses it.
    fd: Cell<Option<OwnedFd>>,
    hook: napi_async_cleanup_hook_handle,
    layout: Layout,
    /// Whether the value is gone that points to the handle.
    dropped: Cell<bool>,
}

/// A handle of this thread's event loop, which does not keep the loop alive. Dropping it closes it.
///
/// It must be dropped on the event loop's thread; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub(super) struct UvHandle {
    pub(super) uv: &'static Libuv,
    handle: NonNull<Handle>,
}

impl UvHandle {
    /// Creates a handle of libuv's type number `kind` on the event loop of `env`. `init` initialises its
    /// memory. [`call`] calls `on_event`. `fd` is kept open until the handle is closed.
    pub(super) fn new(
        env: Env,
        kind: c_int,
        fd: Option<OwnedFd>,
        on_event: Box<dyn Fn()>,
        init: impl FnOnce(&Libuv, *mut Loop, *mut Handle, Option<&OwnedFd>) -> c_int,
    ) -> Result<Self, SysError> {
        let doing = "making a handle of the event loop";
        let uv = uv()?;
        let event_loop = event_loop(env)?;
        let env = env.raw();
        // SAFETY: pure.
        let size = unsafe { (uv.uv_handle_size)(kind) };
        let layout = Layout::from_size_align(size, 16).map_err(|_| Errno::EINVAL).doing(doing)?;
        // SAFETY: the size of a handle is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let handle = NonNull::new(memory.cast::<Handle>()).ok_or(Errno::ENOMEM).doing(doing)?;
        let status = init(uv, event_loop, handle.as_ptr(), fd.as_ref());
        if status != 0 {
            // SAFETY: libuv refused it before linking it into the loop.
            unsafe { std::alloc::dealloc(memory, layout) };
            return Err(Errno::from_raw(-status)).doing(doing);
        }
        let hook = std::ptr::null_mut();
        let (calls, closed, dropped) = (Cell::new(0), Cell::new(false), Cell::new(false));
        let fd = Cell::new(fd);
        let attached = Attached { env, on_event, calls, closed, fd, hook, layout, dropped };
        let attached = Box::into_raw(Box::new(attached));
        // SAFETY: the handle is initialised. It owns the Box from now on, until `on_closed`.
        unsafe { (uv.uv_handle_set_data)(handle.as_ptr(), attached.cast()) };
        let made = Self { uv, handle };
        // SAFETY: the attached value lives until the handle is closed. Only the address of the field is taken
        // here.
        let hook = unsafe { &raw mut (*attached).hook };
        let add = napi::sys::napi_add_async_cleanup_hook;
        // SAFETY: `env` is live. Without the hook, tearing down a loop (of a worker thread) would abort
        // because of the open handle.
        let status = unsafe { add(env, Some(on_cleanup), handle.as_ptr(), hook) };
        if status != napi::sys::Status::napi_ok {
            return Err(Errno::EINVAL).doing("adding a cleanup hook");
        }
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_unref)(handle.as_ptr()) };
        Ok(made)
    }

    /// The raw pointer for libuv's functions; valid as long as self.
    pub(super) fn as_ptr(&self) -> *mut Handle {
        self.handle.as_ptr()
    }
}

impl Drop for UvHandle {
    fn drop(&mut self) {
        // SAFETY: an initialised handle, whose data was set in `new`.
        let attached = unsafe { (self.uv.uv_handle_get_data)(self.handle.as_ptr()) }.cast::<Attached>();
        // SAFETY: it lives until the close callback has run and no `on_event` is running, which may be what drops
        // us. If the environment has ended first, it stays allocated.
        unsafe { &*attached }.dropped.set(true);
        // SAFETY: an initialised handle of this thread's loop, closed once.
        unsafe { close(self.uv, self.handle.as_ptr()) };
    }
}

/// Whether the JavaScript of the handle's environment has ended. The event loop turns once more then, until all handles are
/// closed.
///
/// # Safety
/// `handle` must have been created by [`UvHandle::new`], and libuv must be calling one of its callbacks.
pub(super) unsafe fn has_ended(uv: &Libuv, handle: *mut Handle) -> bool {
    // SAFETY: data is the attached value until the close callback has run.
    let attached = unsafe { (uv.uv_handle_get_data)(handle) }.cast::<Attached>();
    // SAFETY: it lives as long as the handle.
    let env = unsafe { (*attached).env };
    // SAFETY: the environment closes the handle before it ends.
    unsafe { callback::has_ended(env) }
}

/// Calls the `on_event` of the handle. Returns true if it panicked and the handle should be stopped.
///
/// # Safety
/// `handle` must have been created by [`UvHandle::new`], and libuv must be calling one of its callbacks.
pub(super) unsafe fn call(uv: &Libuv, handle: *mut Handle) -> bool {
    // SAFETY: data is the attached value until the close callback has run.
    let attached = unsafe { (uv.uv_handle_get_data)(handle) }.cast::<Attached>();
    // SAFETY: it is freed by on_closed, or by the last of these calls. They may run the event loop, and so come back to
    // here, to Drop and to on_closed on this thread, where all use shared references only.
    let running = unsafe { &*attached };
    running.calls.set(running.calls.get() + 1);
    // A panic must not unwind into libuv. The state that the callback shares is behind locks or cells, which
    // stay consistent or are poisoned.
    let panicked = catch_unwind(AssertUnwindSafe(|| (running.on_event)())).is_err();
    running.calls.set(running.calls.get() - 1);
    if running.calls.get() == 0 && running.closed.get() {
        // SAFETY: the close callback has come, and this was the last call.
        unsafe { free(handle, attached) };
        return false;
    }
    // SAFETY: an initialised handle, which has not been freed.
    panicked && unsafe { (uv.uv_is_closing)(handle) } == 0
}

/// Closes a handle unless it is closing already.
///
/// # Safety
/// `handle` must be initialised, and this must be the thread of its loop.
unsafe fn close(uv: &Libuv, handle: *mut Handle) {
    // SAFETY: by contract.
    if unsafe { (uv.uv_is_closing)(handle) } == 0 {
        // SAFETY: by contract; on_closed frees what belongs to it.
        unsafe { (uv.uv_close)(handle, Some(on_closed)) };
        // SAFETY: an initialised handle, whose data was set in `new`.
        let attached = unsafe { (uv.uv_handle_get_data)(handle) }.cast::<Attached>();
        // SAFETY: the close callback comes in a later phase of the loop.
        let attached = unsafe { &*attached };
        // libuv no longer polls it. A listening socket's address is free only when all have closed it.
        if attached.calls.get() == 0 {
            drop(attached.fd.take());
        }
    }
}

/// The environment ends before the value has been dropped.
unsafe extern "C" fn on_cleanup(_hook: napi_async_cleanup_hook_handle, handle: *mut c_void) {
    let Ok(uv) = uv() else { return };
    // SAFETY: the hook is removed in on_closed, so the handle has not been freed.
    unsafe { close(uv, handle) };
}

unsafe extern "C" fn on_closed(handle: *mut Handle) {
    let Ok(uv) = uv() else { return };
    // SAFETY: an initialised handle, whose data was set in `new`.
    let data = unsafe { (uv.uv_handle_get_data)(handle) };
    let attached = data.cast::<Attached>();
    // SAFETY: it is freed below, or by the last call that is still running.
    let running = unsafe { &*attached };
    if running.calls.get() > 0 {
        running.closed.set(true);
        return;
    }
    // SAFETY: libuv has closed the handle, and no call is running.
    unsafe { free(handle, attached) };
}

/// Frees what belongs to a handle.
///
/// # Safety
/// The close callback must have come, no call of `on_event` may be running, and this must be called once.
unsafe fn free(handle: *mut Handle, attached: *mut Attached) {
    // SAFETY: it was made by Box::into_raw in `new`, and is freed once by contract.
    let attached = unsafe { Box::from_raw(attached) };
    drop(attached.fd.take());
    if !attached.hook.is_null() {
        // SAFETY: the hook came from napi_add_async_cleanup_hook and is removed once.
        unsafe { napi::sys::napi_remove_async_cleanup_hook(attached.hook) };
    }
    if attached.dropped.get() {
        // SAFETY: allocated with this layout in `new`; libuv does not use it any more.
        unsafe { std::alloc::dealloc(handle.cast(), attached.layout) };
    } else {
        // The environment ended first and the value may still point here: its Drop only accesses `dropped`,
        // so the few hundred bytes stay allocated until the process ends.
        std::mem::forget(attached);
    }
}
