//! The forwarder's thread with real sockets on both sides: clients here, and workers that listen by
//! themselves, here as well.

mod bytes;
mod ends;
mod faults;
mod header;
mod tools;
