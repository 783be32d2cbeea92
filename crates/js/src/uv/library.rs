//! The functions of libuv, which the node binary contains.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use napi::Env;
use nix::errno::Errno;
use nix::libc;

use rcluster_sys::error::{Doing, SysError};

/// `uv_handle_t`, whose size only libuv knows.
pub(super) type Handle = c_void;
/// `uv_loop_t`.
pub(super) type Loop = c_void;

pub(super) type OnPoll = unsafe extern "C" fn(*mut Handle, c_int, c_int);
pub(super) type OnPrepare = unsafe extern "C" fn(*mut Handle);
pub(super) type OnHandle = unsafe extern "C" fn(*mut Handle, *mut c_void);
pub(super) type OnClosed = unsafe extern "C" fn(*mut Handle);

/// Declares functions of libuv and looks them up in the process on first use.
///
/// Linking to them would make the crate's own tests, which run without Node, depend on symbols that do not
/// exist there.
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
                        // SAFETY: libuv documents the function with this signature, unchanged since 1.39,
                        // which is older than in any supported Node.
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
    fn uv_poll_init(*mut Loop, *mut Handle, c_int) -> c_int;
    fn uv_poll_start(*mut Handle, c_int, OnPoll) -> c_int;
    fn uv_poll_stop(*mut Handle) -> c_int;
    fn uv_prepare_init(*mut Loop, *mut Handle) -> c_int;
    fn uv_prepare_start(*mut Handle, OnPrepare) -> c_int;
    fn uv_prepare_stop(*mut Handle) -> c_int;
    fn uv_idle_init(*mut Loop, *mut Handle) -> c_int;
    fn uv_version() -> c_uint;
    fn uv_close(*mut Handle, Option<OnClosed>);
    fn uv_is_closing(*const Handle) -> c_int;
    fn uv_walk(*mut Loop, OnHandle, *mut c_void);
    fn uv_handle_get_type(*const Handle) -> c_int;
    fn uv_process_get_pid(*const Handle) -> c_int;
    fn uv_ref(*mut Handle);
    fn uv_unref(*mut Handle);
    fn uv_hrtime() -> u64;
    fn uv_metrics_idle_time(*mut Loop) -> u64;
}

fn symbol(name: &'static str) -> Result<NonNull<c_void>, SysError> {
    // SAFETY: `name` ends with a NUL. Looking up a symbol has no side effects.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
    NonNull::new(found).ok_or(Errno::ENOSYS).doing("finding libuv in this process")
}

/// libuv's functions. Handles exist only if this has succeeded once.
pub(super) fn uv() -> Result<&'static Libuv, SysError> {
    static LIBUV: OnceLock<Result<Libuv, SysError>> = OnceLock::new();
    LIBUV.get_or_init(Libuv::find).as_ref().map_err(|error| *error)
}

/// The event loop of this thread.
pub(super) fn event_loop(env: Env) -> Result<*mut Loop, SysError> {
    let mut event_loop = std::ptr::null_mut();
    // SAFETY: an Env is only passed to native code by its live environment, on its thread.
    let status = unsafe { napi::sys::napi_get_uv_event_loop(env.raw(), &raw mut event_loop) };
    if status == napi::sys::Status::napi_ok {
        Ok(event_loop.cast())
    } else {
        Err(Errno::EINVAL).doing("finding the event loop")
    }
}
