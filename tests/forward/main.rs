//! The forwarder's thread with real sockets on both sides: both the clients and the workers with ports of
//! their own are in this process.

mod bytes;
mod ends;
mod faults;
mod header;
mod tools;
