//! JavaScript strings and numbers with a minimum of copies: this is most of the cost of reading a shared
//! store.

use std::ptr::null_mut;

use napi::bindgen_prelude::{Float64Array, Unknown};
use napi::sys::{self, Status, napi_value};
use napi::{Env, JsValue};

use super::callback::{NapiStatus, check};

/// The room that is enough for most strings, in bytes.
const SHORT: usize = 512;

/// Reads a string as UTF-8 into `bytes`, which must be at least five bytes longer than the longest string to
/// be read. Returns the length; `None` if the string may have been truncated. An unpaired surrogate becomes
/// U+FFFD.
pub fn read_utf8(env: Env, text: &Unknown<'_>, bytes: &mut [u8]) -> Result<Option<usize>, NapiStatus> {
    let mut len = 0;
    // SAFETY: env is live and `text` one of its values. At most as many bytes are written as there is room for.
    let status = unsafe {
        sys::napi_get_value_string_utf8(
            env.raw(),
            text.raw(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            &raw mut len,
        )
    };
    // A truncated string ends within the last character, of up to four bytes.
    check(status)?;
    Ok((len + 4 < bytes.len()).then_some(len))
}

/// Appends a string as UTF-8. Returns false, and appends nothing, if it is not a string. An unpaired surrogate becomes
/// U+FFFD.
pub fn append_utf8(env: Env, text: &Unknown<'_>, bytes: &mut Vec<u8>) -> Result<bool, NapiStatus> {
    let (env, text) = (env.raw(), text.raw());
    bytes.reserve(SHORT);
    loop {
        let (spare, mut len) = (bytes.spare_capacity_mut(), 0);
        let room = spare.len();
        // SAFETY: env is live and `text` one of its values. At most as many bytes are written as there is room for.
        let status = unsafe {
            sys::napi_get_value_string_utf8(env, text, spare.as_mut_ptr().cast(), room, &raw mut len)
        };
        if status == Status::napi_string_expected {
            return Ok(false);
        }
        check(status)?;
        // A truncated string ends within the last character, of up to four bytes.
        if len + 4 < room {
            // SAFETY: the call has written `len` bytes behind those that were there.
            unsafe { bytes.set_len(bytes.len() + len) };
            return Ok(true);
        }
        // SAFETY: as above; without a buffer only the length is returned.
        check(unsafe { sys::napi_get_value_string_utf8(env, text, null_mut(), 0, &raw mut len) })?;
        bytes.reserve(len + 5);
    }
}

/// Whether a string has no unpaired surrogates.
pub fn is_well_formed(env: Env, text: &Unknown<'_>) -> Result<bool, NapiStatus> {
    let mut units = Vec::new();
    read_utf16(env, text, &mut units)?;
    Ok(char::decode_utf16(units).all(|unit| unit.is_ok()))
}

/// Reads a string as UTF-16. `units` is overwritten.
pub fn read_utf16(env: Env, text: &Unknown<'_>, units: &mut Vec<u16>) -> Result<(), NapiStatus> {
    let mut len = 0;
    // SAFETY: as above; without a buffer only the length is returned.
    check(unsafe { sys::napi_get_value_string_utf16(env.raw(), text.raw(), null_mut(), 0, &raw mut len) })?;
    units.clear();
    units.resize(len + 1, 0);
    // SAFETY: as above; there is room for all units and a terminator.
    check(unsafe {
        sys::napi_get_value_string_utf16(
            env.raw(),
            text.raw(),
            units.as_mut_ptr().cast(),
            units.len(),
            &raw mut len,
        )
    })?;
    units.truncate(len);
    Ok(())
}

/// Creates a string of characters below 256, one per byte.
pub fn latin1(env: Env, bytes: &[u8]) -> Result<Unknown<'static>, NapiStatus> {
    make(env, |value| {
        let len = bytes.len().cast_signed();
        // SAFETY: env is live; the bytes are copied.
        unsafe { sys::napi_create_string_latin1(env.raw(), bytes.as_ptr().cast(), len, value) }
    })
}

/// Creates a string of UTF-16 units, which are not validated.
pub fn utf16(env: Env, units: &[u16]) -> Result<Unknown<'static>, NapiStatus> {
    make(env, |value| {
        let len = units.len().cast_signed();
        // SAFETY: env is live; the units are copied.
        unsafe { sys::napi_create_string_utf16(env.raw(), units.as_ptr().cast(), len, value) }
    })
}

/// Creates a string from UTF-8.
pub fn utf8(env: Env, bytes: &[u8]) -> Result<Unknown<'static>, NapiStatus> {
    make(env, |value| {
        let len = bytes.len().cast_signed();
        // SAFETY: env is live; the bytes are copied.
        unsafe { sys::napi_create_string_utf8(env.raw(), bytes.as_ptr().cast(), len, value) }
    })
}

/// The numbers of an array, for writing.
pub fn numbers(array: &mut Float64Array) -> &mut [f64] {
    // SAFETY: this is the thread of the array's environment, and no JavaScript runs while it is borrowed.
    unsafe { array.as_mut() }
}

/// Reads a number.
pub fn read_number(env: Env, number: &Unknown<'_>) -> Result<f64, NapiStatus> {
    let mut value = 0.0;
    // SAFETY: env is live and `number` is one of its values; if it is not a number, the status says so.
    check(unsafe { sys::napi_get_value_double(env.raw(), number.raw(), &raw mut value) })?;
    Ok(value)
}

/// Creates a number.
pub fn number(env: Env, number: f64) -> Result<Unknown<'static>, NapiStatus> {
    // SAFETY: env is live.
    make(env, |value| unsafe { sys::napi_create_double(env.raw(), number, value) })
}

/// Creates `true` or `false`.
pub fn boolean(env: Env, truth: bool) -> Result<Unknown<'static>, NapiStatus> {
    // SAFETY: env is live.
    make(env, |value| unsafe { sys::napi_get_boolean(env.raw(), truth, value) })
}

/// `null`.
pub fn null(env: Env) -> Result<Unknown<'static>, NapiStatus> {
    // SAFETY: env is live.
    make(env, |value| unsafe { sys::napi_get_null(env.raw(), value) })
}

/// `undefined`.
pub fn undefined(env: Env) -> Result<Unknown<'static>, NapiStatus> {
    // SAFETY: env is live.
    make(env, |value| unsafe { sys::napi_get_undefined(env.raw(), value) })
}

/// Creates a Buffer with a copy of the bytes.
pub fn buffer(env: Env, bytes: &[u8]) -> Result<Unknown<'static>, NapiStatus> {
    make(env, |value| {
        // SAFETY: env is live; the bytes are copied.
        unsafe {
            sys::napi_create_buffer_copy(env.raw(), bytes.len(), bytes.as_ptr().cast(), null_mut(), value)
        }
    })
}

fn make<'env>(env: Env, create: impl FnOnce(*mut napi_value) -> i32) -> Result<Unknown<'env>, NapiStatus> {
    let mut value = null_mut();
    check(create(&raw mut value))?;
    // SAFETY: a value of this env, which has just been made in the scope of the call that asked for it.
    Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), value) })
}
