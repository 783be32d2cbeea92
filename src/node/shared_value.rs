//! Conversion of keys and values of shared stores from and to JavaScript.

use napi::bindgen_prelude::{Float64Array, FromNapiValue, Unknown};
use napi::{Env, Error, Result, Status};

use rcluster_core::store::geometry::MAX_KEY;
use rcluster_core::store::view::Value;
use rcluster_core::store::writer::NUMBER;
use rcluster_js::callback::NapiStatus;
use rcluster_js::value;

/// The size of the longest key, with extra room to detect a longer one.
pub(super) const KEY_ROOM: usize = MAX_KEY + 8;

// The types of values. `lib/shared/values.js` has the same numbers. NUMBER is 1.
const ASCII: u8 = 2;
const UTF16: u8 = 3;
const TRUE: u8 = 4;
const FALSE: u8 = 5;
const NULL: u8 = 6;
const BUFFER: u8 = 7;
const JSON_ASCII: u8 = 8;
const JSON_UTF16: u8 = 9;
const CLONE: u8 = 10;

fn failure(error: NapiStatus) -> Error {
    Error::new(Status::GenericFailure, error.to_string())
}

pub(super) fn undefined(env: Env) -> Result<Unknown<'static>> {
    value::undefined(env).map_err(failure)
}

pub(super) fn boolean(env: Env, truth: bool) -> Result<Unknown<'static>> {
    value::boolean(env, truth).map_err(failure)
}

pub(super) fn number(env: Env, number: f64) -> Result<Unknown<'static>> {
    value::number(env, number).map_err(failure)
}

pub(super) fn read_number(env: Env, number: &Unknown<'_>) -> Result<f64> {
    value::read_number(env, number).map_err(failure)
}

/// A key as bytes; `None` if no value can have it: it is too long, or not well-formed.
pub(super) fn read_key<'room>(
    env: Env,
    key: &Unknown<'_>,
    room: &'room mut [u8; KEY_ROOM],
) -> Result<Option<&'room [u8]>> {
    let len = value::read_utf8(env, key, room).map_err(failure)?;
    let Some(len) = len.filter(|len| *len <= MAX_KEY) else { return Ok(None) };
    // An unpaired surrogate has become this character: it would be the key of another value.
    let is_replaced = room[..len].contains(&REPLACEMENT[0])
        && room[..len].windows(REPLACEMENT.len()).any(|bytes| *bytes == REPLACEMENT);
    if is_replaced && !value::is_well_formed(env, key).map_err(failure)? {
        return Ok(None);
    }
    Ok(Some(&room[..len]))
}

/// U+FFFD in UTF-8.
const REPLACEMENT: [u8; 3] = *b"\xef\xbf\xbd";

pub(super) fn key(env: Env, bytes: &[u8]) -> Result<Unknown<'static>> {
    value::utf8(env, bytes).map_err(failure)
}

/// The numbers of an array, for writing.
pub(super) fn numbers(array: &mut Float64Array) -> &mut [f64] {
    value::numbers(array)
}

/// Calls `then` with the bytes of a value. `kind` is the type that JavaScript has determined: strings are
/// always [`ASCII`] or, if they contain JSON, [`JSON_ASCII`].
pub(super) fn with_bytes(
    env: Env,
    kind: u32,
    value: &Unknown<'_>,
    then: impl FnOnce(u8, &[u8]) -> bool,
) -> Result<bool> {
    let kind = u8::try_from(kind).unwrap_or(0);
    Ok(match kind {
        NUMBER => then(kind, &f64::from_unknown(*value)?.to_le_bytes()),
        ASCII | JSON_ASCII => {
            let mut short = [0; 256];
            if let Some(len) = value::read_utf8(env, value, &mut short).map_err(failure)?
                && short[..len].is_ascii()
            {
                return Ok(then(kind, &short[..len]));
            }
            let mut units = Vec::new();
            value::read_utf16(env, value, &mut units).map_err(failure)?;
            if units.iter().all(|unit| *unit < 0x80) {
                let bytes: Vec<u8> = units.iter().map(|unit| unit.to_le_bytes()[0]).collect();
                then(kind, &bytes)
            } else {
                let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
                then(kind + (UTF16 - ASCII), &bytes)
            }
        }
        BUFFER | CLONE => then(kind, &napi::bindgen_prelude::BufferSlice::from_unknown(*value)?),
        _ => then(kind, &[]),
    })
}

/// A value that has been read.
#[derive(Debug, Default)]
pub(super) struct Held(Value);

impl Held {
    /// The buffer for a value.
    pub(super) fn entry(&mut self) -> &mut Value {
        &mut self.0
    }

    pub(super) fn set(&mut self, value: &mut Value) {
        std::mem::swap(&mut self.0, value);
    }

    pub(super) fn forget(&mut self) {
        self.0.kind = 0;
    }

    pub(super) fn kind(&self) -> u32 {
        u32::from(self.0.kind)
    }

    pub(super) fn times(&self, now: u64) -> Vec<f64> {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no store comes near")]
        let (revision, rest) = (self.0.revision as f64, self.0.expires.saturating_sub(now) as f64);
        vec![revision, if self.0.expires == 0 { f64::INFINITY } else { rest }]
    }

    pub(super) fn value(&self, env: Env) -> Result<Unknown<'static>> {
        let bytes = self.0.bytes.as_slice();
        let value = match self.0.kind {
            NUMBER => value::number(env, f64::from_le_bytes(bytes.try_into().unwrap_or_default())),
            ASCII | JSON_ASCII => value::latin1(env, bytes),
            UTF16 | JSON_UTF16 => {
                let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
                value::utf16(env, &units.collect::<Vec<u16>>())
            }
            TRUE => value::boolean(env, true),
            FALSE => value::boolean(env, false),
            NULL => value::null(env),
            BUFFER | CLONE => value::buffer(env, bytes),
            _ => value::undefined(env),
        };
        value.map_err(failure)
    }
}
