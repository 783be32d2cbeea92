//! Calls into Node's process: libuv's event loop, V8 and JavaScript.
//!
//! - [`callback`] calls JavaScript from a callback of the event loop.
//! - [`function`] creates functions that JavaScript calls.
//! - [`value`] creates and reads JavaScript values where napi-rs would copy.
//! - [`uv`] adds handles to Node's own event loop.
//! - [`v8`] interrupts JavaScript that does not return, and reads its stack.
#![allow(unsafe_code, reason = "Node-API, libuv and V8 are called here and nowhere else")]

pub mod callback;
pub mod function;
pub mod uv;
pub mod v8;
pub mod value;
