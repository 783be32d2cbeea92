//! Native functions for JavaScript with minimal overhead.
//!
//! Calling a method of a class costs several times as much as reading a shared store, because each call
//! checks the type of the object and looks up its native part. Here each function has a direct pointer to its
//! native part.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use napi::bindgen_prelude::Unknown;
use napi::sys::{self, napi_callback_info, napi_env, napi_value};
use napi::{Env, JsValue};

use super::callback::{NapiStatus, check};

/// Creates a function that calls `call` with its first `N` arguments; missing ones are `undefined`. An error
/// becomes an exception. `call` is dropped when the function has been collected, or when its environment
/// ends.
pub fn function<const N: usize, F>(env: Env, name: &CStr, call: F) -> Result<Unknown<'static>, NapiStatus>
where
    F: for<'call> Fn(Env, [Unknown<'call>; N]) -> napi::Result<Unknown<'call>> + 'static,
{
    let data: *mut c_void = Box::into_raw(Box::new(call)).cast();
    let (callback, mut function) = (Some(enter::<N, F> as _), null_mut());
    let (env, len) = (env.raw(), name.count_bytes().cast_signed());
    // SAFETY: env is live and the name is copied. `enter` with the same F gives `data` its type back.
    let made =
        unsafe { sys::napi_create_function(env, name.as_ptr(), len, callback, data, &raw mut function) };
    let kept = check(made).and_then(|()| {
        // SAFETY: env is live and `function` is one of its values. From here on the function owns `data`:
        // `drop_call` is called once, when the function can no longer be called.
        check(unsafe {
            sys::napi_add_finalizer(env, function, data, Some(drop_call::<F>), null_mut(), null_mut())
        })
    });
    if let Err(error) = kept {
        // SAFETY: there is no other owner: the function has not been returned.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
        return Err(error);
    }
    // SAFETY: a value of this env, which has just been created in the scope of the current call.
    Ok(unsafe { Unknown::from_raw_unchecked(env, function) })
}

unsafe extern "C" fn enter<const N: usize, F>(env: napi_env, info: napi_callback_info) -> napi_value
where
    F: for<'call> Fn(Env, [Unknown<'call>; N]) -> napi::Result<Unknown<'call>> + 'static,
{
    let (mut count, mut values, mut data) = (N, [null_mut(); N], null_mut());
    // SAFETY: called by Node-API during a call. At most N values are written, and all of them are: missing
    // arguments are `undefined`.
    let status = unsafe {
        sys::napi_get_cb_info(env, info, &raw mut count, values.as_mut_ptr(), null_mut(), &raw mut data)
    };
    if check(status).is_err() {
        return null_mut();
    }
    // SAFETY: it was created by `function` with this F, and lives as long as the function, which is being
    // called. F is only shared: calls may nest.
    let call = unsafe { &*data.cast::<F>() };
    let env = Env::from_raw(env);
    // SAFETY: values of this env, in the scope of this call.
    let arguments = values.map(|value| unsafe { Unknown::from_raw_unchecked(env.raw(), value) });
    match call(env, arguments) {
        Ok(value) => value.raw(),
        Err(error) => {
            // It fails only while JavaScript is shutting down.
            let _thrown = env.throw_error(&error.reason, None);
            null_mut()
        }
    }
}

unsafe extern "C" fn drop_call<F>(_env: napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: created by `function` with this F, which passed ownership on to be dropped here once.
    drop(unsafe { Box::from_raw(data.cast::<F>()) });
}
