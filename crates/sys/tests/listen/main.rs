//! Opening sockets to listen on, against the real system.
#![allow(unsafe_code, reason = "a test must be able to be another user, or in another directory")]

mod given;
mod tcp;
mod tools;
mod udp;
mod unix;
