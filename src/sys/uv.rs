//! libuv's poll handle: a descriptor watched by Node's own event loop.
//!
//! It is how a worker learns of a message: no thread, no hop, and JavaScript is entered from
//! the same place of the loop from which libuv's own sockets enter it.

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

use napi::Env;
use napi::sys::napi_async_cleanup_hook_handle;
use nix::errno::Errno;
use nix::libc;

use super::error::{Doing, SysError};

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

/// `uv_handle_t`, of which only libuv knows the size.
pub(super) type Handle = c_void;

type OnEvent = unsafe extern "C" fn(*mut Handle, c_int, c_int);
type OnClosed = unsafe extern "C" fn(*mut Handle);

/// Declares functions of libuv and looks them up in the process on first use.
///
/// They are in the node binary. Linking to them would tie the crate's own tests, which run
/// without Node, to symbols that are not there.
macro_rules! libuv {
    ($(fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        #[derive(Debug)]
        pub(super) struct Libuv {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Libuv {
            fn find() -> Result<Self, SysError> {
                Ok(Self {
                    $($name: {
                        let symbol = symbol(concat!(stringify!($name), "\0"))?;
                        // SAFETY: libuv documents the function with this signature, unchanged
                        // since 1.19, which is older than any Node that we run on.
                        unsafe { std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol) }
                    },)*
                })
            }
        }
    };
}

libuv! {
    fn uv_handle_size(c_int) -> usize;
    fn uv_handle_set_data(*mut Handle, *mut c_void);
    fn uv_handle_get_data(*const Handle) -> *mut c_void;
    fn uv_poll_init(*mut c_void, *mut Handle, c_int) -> c_int;
    fn uv_poll_start(*mut Handle, c_int, OnEvent) -> c_int;
    fn uv_poll_stop(*mut Handle) -> c_int;
    fn uv_close(*mut Handle, Option<OnClosed>);
    fn uv_is_closing(*const Handle) -> c_int;
    fn uv_unref(*mut Handle);
    fn uv_idle_init(*mut c_void, *mut Handle) -> c_int;
    fn uv_version() -> c_uint;
}

fn symbol(name: &'static str) -> Result<NonNull<c_void>, SysError> {
    // SAFETY: `name` ends with a NUL. Looking a symbol up has no effect.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
    NonNull::new(found).ok_or(Errno::ENOSYS).doing("finding libuv in this process")
}

/// libuv's functions. Handles exist only where this has succeeded once.
pub(super) fn uv() -> Result<&'static Libuv, SysError> {
    static LIBUV: OnceLock<Result<Libuv, SysError>> = OnceLock::new();
    LIBUV.get_or_init(Libuv::find).as_ref().map_err(|error| *error)
}

/// The event loop of this thread.
pub(super) fn event_loop(env: Env) -> Result<*mut c_void, SysError> {
    let mut event_loop = std::ptr::null_mut();
    // SAFETY: an Env is only ever lent to native code by its live environment, on its thread.
    let status = unsafe { napi::sys::napi_get_uv_event_loop(env.raw(), &raw mut event_loop) };
    if status == napi::sys::Status::napi_ok {
        Ok(event_loop.cast())
    } else {
        Err(Errno::EINVAL).doing("finding the event loop")
    }
}

/// A descriptor that Node's event loop watches, without keeping the loop alive. Dropping it ends the watch and closes the descriptor.
///
/// It must be dropped on the thread of the loop; it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub struct UvPoll {
    uv: &'static Libuv,
    handle: NonNull<Handle>,
}

/// What hangs on the handle's `data`. Freed by the handle's close callback.
struct Watch {
    on_ready: Box<dyn FnMut()>,
    fd: OwnedFd,
    hook: napi_async_cleanup_hook_handle,
    layout: std::alloc::Layout,
    dropped: bool,
}

impl UvPoll {
    /// Watches `fd` on the loop of `env` and calls `on_ready` while it has
    /// what is watched for: at first, something to read.
    pub fn new(env: Env, fd: OwnedFd, on_ready: Box<dyn FnMut()>) -> Result<Self, SysError> {
        let doing = "watching a descriptor on the event loop";
        let uv = uv()?;
        let event_loop = event_loop(env)?;
        let env = env.raw();
        // SAFETY: pure.
        let size = unsafe { (uv.uv_handle_size)(UV_POLL) };
        let layout = std::alloc::Layout::from_size_align(size, 16).map_err(|_| Errno::EINVAL).doing(doing)?;
        // SAFETY: the size of a handle is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let handle = NonNull::new(memory.cast::<Handle>()).ok_or(Errno::ENOMEM).doing(doing)?;
        // SAFETY: `handle` is memory of the right size, `event_loop` is this thread's. On success
        // libuv keeps the pointer until the close callback, which frees it.
        let status = unsafe { (uv.uv_poll_init)(event_loop, handle.as_ptr(), fd.as_raw_fd()) };
        if status != 0 {
            // SAFETY: uv_poll_init refused it before it linked it into the loop.
            unsafe { std::alloc::dealloc(memory, layout) };
            return Err(Errno::from_raw(-status)).doing(doing);
        }
        let watch = Watch { on_ready, fd, hook: std::ptr::null_mut(), layout, dropped: false };
        let watch = Box::into_raw(Box::new(watch));
        // SAFETY: the handle is initialised. The Box now belongs to it until `on_closed`.
        unsafe { (uv.uv_handle_set_data)(handle.as_ptr(), watch.cast()) };
        let poll = Self { uv, handle };
        // SAFETY: the Watch is alive until the handle is closed. Only the place is taken here.
        let hook = unsafe { &raw mut (*watch).hook };
        let add = napi::sys::napi_add_async_cleanup_hook;
        // SAFETY: `env` is live; without the hook a loop that is torn down (a worker thread's)
        // aborts over the open handle.
        let status = unsafe { add(env, Some(on_cleanup), handle.as_ptr(), hook) };
        if status != napi::sys::Status::napi_ok {
            return Err(Errno::EINVAL).doing("adding a cleanup hook");
        }
        // SAFETY: an initialised handle of this thread's loop.
        unsafe { (uv.uv_unref)(handle.as_ptr()) };
        poll.watch_for(Interest::Read)?;
        Ok(poll)
    }

    /// The descriptor that is watched.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        let watch = self.watch();
        // SAFETY: the Watch lives until the close callback, which runs after self is dropped
        // (or after the environment ended, when nobody calls this any more). Only this field is
        // borrowed: `on_ready` may be running.
        unsafe { &(*watch).fd }.as_fd()
    }

    fn watch(&self) -> *mut Watch {
        // SAFETY: an initialised handle, whose data was set in `new`.
        unsafe { (self.uv.uv_handle_get_data)(self.handle.as_ptr()) }.cast()
    }

    /// Watches for something else, or again after [`UvPoll::pause`].
    pub fn watch_for(&self, interest: Interest) -> Result<(), SysError> {
        let events = match interest {
            Interest::Read => UV_READABLE,
            Interest::ReadAndWrite => UV_READABLE | UV_WRITABLE,
        };
        // SAFETY: an initialised handle of this thread's loop.
        let status = unsafe { (self.uv.uv_poll_start)(self.handle.as_ptr(), events, on_event) };
        if status == 0 {
            Ok(())
        } else {
            Err(Errno::from_raw(-status)).doing("starting to watch a descriptor")
        }
    }

    /// Stops watching for the time being.
    pub fn pause(&self) {
        // SAFETY: an initialised handle of this thread's loop; stopping cannot fail.
        unsafe { (self.uv.uv_poll_stop)(self.handle.as_ptr()) };
    }
}

impl Drop for UvPoll {
    fn drop(&mut self) {
        let watch = self.watch();
        // SAFETY: the Watch lives until the close callback has run. Only this field is written:
        // `on_ready` may be what drops us.
        unsafe { (*watch).dropped = true };
        // SAFETY: an initialised handle of this thread's loop, closed once.
        unsafe { close(self.uv, self.handle.as_ptr()) };
    }
}

/// Closes a handle unless that is under way.
///
/// # Safety
/// `handle` is initialised and this is the thread of its loop.
unsafe fn close(uv: &Libuv, handle: *mut Handle) {
    // SAFETY: by contract.
    if unsafe { (uv.uv_is_closing)(handle) } == 0 {
        // SAFETY: by contract; on_closed frees what belongs to it.
        unsafe { (uv.uv_close)(handle, Some(on_closed)) };
    }
}

unsafe extern "C" fn on_event(handle: *mut Handle, status: c_int, _events: c_int) {
    // Whoever made the handle has found libuv.
    let Ok(uv) = uv() else { return };
    // SAFETY: data is the Watch until the close callback has run.
    let watch = unsafe { (uv.uv_handle_get_data)(handle) }.cast::<Watch>();
    // An error (EBADF) is told as readable too: reading will say what it is.
    let _ = status;
    // A panic must not unwind into libuv. What the callback shares is behind its own locks or
    // cells, which stay consistent or poison themselves.
    // SAFETY: libuv calls one callback of a handle at a time; the Watch outlives it, since the
    // close callback runs in a later phase of the loop. `on_ready` is the only field used.
    let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { ((*watch).on_ready)() }));
    if outcome.is_err() {
        // The panic has been printed by the hook. The watch ends, lest it spins.
        // SAFETY: as above.
        unsafe { (uv.uv_poll_stop)(handle) };
    }
}

/// The environment ends before the value was dropped.
unsafe extern "C" fn on_cleanup(_hook: napi_async_cleanup_hook_handle, handle: *mut c_void) {
    let Ok(uv) = uv() else { return };
    // SAFETY: the hook is removed in on_closed, so the handle has not been freed.
    unsafe { close(uv, handle) };
}

unsafe extern "C" fn on_closed(handle: *mut Handle) {
    let Ok(uv) = uv() else { return };
    // SAFETY: an initialised handle, whose data was set in `new`.
    let data = unsafe { (uv.uv_handle_get_data)(handle) };
    // SAFETY: it was made by Box::into_raw in `new`, and this runs once.
    let watch = unsafe { Box::from_raw(data.cast::<Watch>()) };
    if !watch.hook.is_null() {
        // SAFETY: the hook came from napi_add_async_cleanup_hook and is removed once.
        unsafe { napi::sys::napi_remove_async_cleanup_hook(watch.hook) };
    }
    if watch.dropped {
        // SAFETY: allocated with this layout in `new`; libuv has let go of it.
        unsafe { std::alloc::dealloc(handle.cast(), watch.layout) };
    } else {
        // The environment ended first and the value may still point here: its Drop only looks
        // at `dropped`, so the few hundred bytes stay until the process ends.
        std::mem::forget(watch);
    }
}
