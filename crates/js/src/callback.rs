//! Entering JavaScript from a libuv callback.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::null_mut;

use napi::bindgen_prelude::{FromNapiValue, Function, JsValuesTupleIntoVec};
use napi::sys::{self, Status, napi_async_context, napi_env, napi_ref, napi_value};
use napi::threadsafe_function::ThreadsafeFunction;
use napi::{Env, JsValue};

/// A JavaScript function that native code calls from the event loop, outside any other call.
///
/// # Design
/// `napi_make_callback` with an async context runs process.nextTick and promise jobs after the call, as after
/// every callback of Node itself; with a plain function call they would wait until something else runs. The
/// context has no resource object: a temporary one is collected and loses `AsyncLocalStorage` on some
/// versions.
#[derive(Debug)]
pub struct EventCallback {
    env: napi_env,
    function: napi_ref,
    context: napi_async_context,
}

/// One argument of an [`EventCallback`].
#[derive(Debug)]
pub enum Argument<'a> {
    /// A whole number.
    Number(u32),
    /// A string.
    Text(&'a str),
    /// A descriptor, which JavaScript owns from then on; `None` becomes -1.
    Descriptor(Option<OwnedFd>),
}

impl EventCallback {
    /// Keeps `function` for calls from the event loop. `name` is the type of event for async hooks.
    pub fn new<A: JsValuesTupleIntoVec>(
        env: Env,
        function: &Function<'_, A, ()>,
        name: &str,
    ) -> Result<Self, NapiStatus> {
        let (env, function) = (env.raw(), function.raw());
        let mut label = null_mut();
        // SAFETY: env is live; the text is copied.
        check(unsafe {
            sys::napi_create_string_utf8(env, name.as_ptr().cast(), name.len().cast_signed(), &raw mut label)
        })?;
        let mut context = null_mut();
        // SAFETY: env is live; a null resource is allowed.
        check(unsafe { sys::napi_async_init(env, null_mut(), label, &raw mut context) })?;
        let mut reference = null_mut();
        // SAFETY: `function` is a value of env. The reference is freed with self.
        check(unsafe { sys::napi_create_reference(env, function, 1, &raw mut reference) })?;
        Ok(Self { env, function: reference, context })
    }

    /// Calls the function. An exception becomes an uncaught exception of the process, as in any event
    /// callback.
    pub fn call<const N: usize>(&self, arguments: [Argument<'_>; N]) {
        let mut scope = null_mut();
        // SAFETY: env is live while its event loop calls us, and this is its thread.
        if unsafe { sys::napi_open_handle_scope(self.env, &raw mut scope) } != Status::napi_ok {
            return;
        }
        let outcome = self.call_in_scope(arguments);
        if outcome.is_err() {
            self.report_exception();
        }
        // SAFETY: opened above.
        unsafe { sys::napi_close_handle_scope(self.env, scope) };
    }

    fn call_in_scope<const N: usize>(&self, arguments: [Argument<'_>; N]) -> Result<(), NapiStatus> {
        let (mut function, mut receiver, mut result) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the reference is ours and strong.
        check(unsafe { sys::napi_get_reference_value(self.env, self.function, &raw mut function) })?;
        // SAFETY: env is live.
        check(unsafe { sys::napi_get_global(self.env, &raw mut receiver) })?;
        let mut values = [null_mut(); N];
        for (value, argument) in values.iter_mut().zip(arguments) {
            check(self.value(argument, value))?;
        }
        // SAFETY: all values are of this env and this scope.
        check(unsafe {
            sys::napi_make_callback(
                self.env,
                self.context,
                receiver,
                function,
                N,
                values.as_ptr(),
                &raw mut result,
            )
        })
    }

    fn value(&self, argument: Argument<'_>, value: &mut napi_value) -> i32 {
        match argument {
            // SAFETY: env is live; `value` is our own variable. The same for the other two.
            Argument::Number(number) => unsafe { sys::napi_create_uint32(self.env, number, value) },
            Argument::Text(text) => {
                let length = text.len().cast_signed();
                // SAFETY: see above; the text is copied.
                unsafe { sys::napi_create_string_utf8(self.env, text.as_ptr().cast(), length, value) }
            }
            Argument::Descriptor(fd) => {
                let number = fd.map_or(-1, IntoRawFd::into_raw_fd);
                // SAFETY: see above.
                unsafe { sys::napi_create_int32(self.env, number, value) }
            }
        }
    }

    fn report_exception(&self) {
        let mut pending = false;
        // SAFETY: env is live.
        let status = unsafe { sys::napi_is_exception_pending(self.env, &raw mut pending) };
        if status != Status::napi_ok || !pending {
            // JavaScript is shutting down (process.exit(), a terminated thread), so there is no handler.
            return;
        }
        let mut exception = null_mut();
        // SAFETY: env is live and has a pending exception.
        if unsafe { sys::napi_get_and_clear_last_exception(self.env, &raw mut exception) } == Status::napi_ok
        {
            // SAFETY: `exception` is a value of this env and scope.
            unsafe { sys::napi_fatal_exception(self.env, exception) };
        }
    }
}

impl Drop for EventCallback {
    fn drop(&mut self) {
        // SAFETY: created in `new`, freed once. The environment is alive: an EventCallback belongs to a handle of its
        // event loop, which its cleanup hook closes, or to an object, whose finalizer it runs, before it ends.
        unsafe { sys::napi_delete_reference(self.env, self.function) };
        // SAFETY: as above.
        unsafe { sys::napi_async_destroy(self.env, self.context) };
    }
}

/// Whether JavaScript has ended for good: its event loop is empty, or its thread is terminated.
///
/// # Safety
/// `env` must be live, and this must be its thread.
pub(super) unsafe fn has_ended(env: napi_env) -> bool {
    let mut scope = null_mut();
    // SAFETY: by contract; the same for all calls here.
    if unsafe { sys::napi_open_handle_scope(env, &raw mut scope) } != Status::napi_ok {
        return true;
    }
    let (mut undefined, mut is_same, mut is_thrown) = (null_mut(), false, false);
    // SAFETY: see above.
    unsafe { sys::napi_get_undefined(env, &raw mut undefined) };
    // Node-API has no function that tells this. Those that may run JavaScript refuse to, even if, as here, they need not.
    // SAFETY: see above; `undefined` is a value of this scope.
    let status = unsafe { sys::napi_strict_equals(env, undefined, undefined, &raw mut is_same) };
    if status != Status::napi_ok {
        // They also refuse while an exception is pending.
        // SAFETY: see above.
        unsafe { sys::napi_is_exception_pending(env, &raw mut is_thrown) };
    }
    // SAFETY: opened above.
    unsafe { sys::napi_close_handle_scope(env, scope) };
    status != Status::napi_ok && !is_thrown
}

/// A Node-API status that is not ok.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Node-API answered with status {0}")]
pub struct NapiStatus(pub i32);

pub(super) fn check(status: i32) -> Result<(), NapiStatus> {
    if status == Status::napi_ok { Ok(()) } else { Err(NapiStatus(status)) }
}

/// Sets whether a threadsafe function keeps the event loop alive. Must be called on the event loop's thread.
pub fn hold_loop<T, R, A, const HANDLED: bool, const WEAK: bool>(
    env: Env,
    function: &ThreadsafeFunction<T, R, A, napi::Status, HANDLED, WEAK>,
    hold: bool,
) where
    T: 'static,
    R: 'static + FromNapiValue,
    A: 'static + JsValuesTupleIntoVec,
{
    let (env, function) = (env.raw(), function.raw());
    let status = if hold {
        // SAFETY: `function` is alive and of this env; the call sets a flag of its uv handle.
        unsafe { sys::napi_ref_threadsafe_function(env, function) }
    } else {
        // SAFETY: as above.
        unsafe { sys::napi_unref_threadsafe_function(env, function) }
    };
    debug_assert_eq!(status, Status::napi_ok, "setting whether the loop is held");
}
