//! Functions of JavaScript that are native, with as little around them as there can be.
//!
//! Calling a method of a class costs several times what it costs to read a shared store: each call checks what the object
//! is and looks up its native part. Here each function has its native part with it.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use napi::bindgen_prelude::Unknown;
use napi::sys::{self, napi_callback_info, napi_env, napi_value};
use napi::{Env, JsValue};

use super::callback::{NapiStatus, check};

/// Makes a function that calls `call` with its first `N` arguments; those that are missing are `undefined`. An error
/// becomes an exception. `call` is dropped when the function has been collected, or when its environment ends.
pub fn function<const N: usize, F>(env: Env, name: &CStr, call: F) -> Result<Unknown<'static>, NapiStatus>
where
    F: for<'call> Fn(Env, [Unknown<'call>; N]) -> napi::Result<Unknown<'call>> + 'static,
{
    let data: *mut c_void = Box::into_raw(Box::new(call)).cast();
    let (callback, mut function) = (Some(enter::<N, F> as _), null_mut());
    let (env, len) = (env.raw(), name.count_bytes().cast_signed());
    // SAFETY: env is live and the name is copied. `data` is what `enter` of the same F takes it for.
    let made =
        unsafe { sys::napi_create_function(env, name.as_ptr(), len, callback, data, &raw mut function) };
    let kept = check(made).and_then(|()| {
        // SAFETY: env is live and `function` one of its values. From here on the function owns `data`: `drop_call` is
        // called once, when nobody can call the function any more.
        check(unsafe {
            sys::napi_add_finalizer(env, function, data, Some(drop_call::<F>), null_mut(), null_mut())
        })
    });
    if let Err(error) = kept {
        // SAFETY: nobody else has it: no function has been handed out.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
        return Err(error);
    }
    // SAFETY: a value of this env, which has just been made in the scope of the call that asked for it.
    Ok(unsafe { Unknown::from_raw_unchecked(env, function) })
}

unsafe extern "C" fn enter<const N: usize, F>(env: napi_env, info: napi_callback_info) -> napi_value
where
    F: for<'call> Fn(Env, [Unknown<'call>; N]) -> napi::Result<Unknown<'call>> + 'static,
{
    let (mut count, mut values, mut data) = (N, [null_mut(); N], null_mut());
    // SAFETY: called by Node-API with a call that is going on. N values are written at the most; all are: those that
    // are missing are `undefined`.
    let status = unsafe {
        sys::napi_get_cb_info(env, info, &raw mut count, values.as_mut_ptr(), null_mut(), &raw mut data)
    };
    if check(status).is_err() {
        return null_mut();
    }
    // SAFETY: it was made by `function` with this F, and lives as long as the function, which is being called. F is shared
    // only: a call may come while another is going on.
    let call = unsafe { &*data.cast::<F>() };
    let env = Env::from_raw(env);
    // SAFETY: values of this env, in the scope of this call.
    let arguments = values.map(|value| unsafe { Unknown::from_raw_unchecked(env.raw(), value) });
    match call(env, arguments) {
        Ok(value) => value.raw(),
        Err(error) => {
            // It fails only where JavaScript is being ended already.
            let _thrown = env.throw_error(&error.reason, None);
            null_mut()
        }
    }
}

unsafe extern "C" fn drop_call<F>(_env: napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by `function` with this F, which gave it away to be dropped here once.
    drop(unsafe { Box::from_raw(data.cast::<F>()) });
}
