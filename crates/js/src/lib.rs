//! What rcluster asks of Node's process: libuv's event loop, V8, and calls into JavaScript.
//!
//! - [`callback`] enters JavaScript from a callback of the loop.
//! - [`function`] makes functions that JavaScript calls.
//! - [`value`] makes and reads JavaScript values where napi-rs would copy.
//! - [`uv`] puts handles on Node's own loop.
//! - [`v8`] interrupts JavaScript that does not return, and asks for its stack.
#![allow(unsafe_code, reason = "Node-API, libuv and V8 are called here and nowhere else")]

pub mod callback;
pub mod function;
pub mod uv;
pub mod v8;
pub mod value;
