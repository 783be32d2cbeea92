//! libuv's handles on Node's own event loop: no thread, no hop, and JavaScript is entered from the
//! same place of the loop from which libuv's own sockets enter it.
//!
//! - [`UvPoll`] watches a descriptor: it is how a worker learns of a message.
//! - [`UvTurns`] hears of every turn of the loop.
//! - [`mend_closing_process`] helps Node to close a process handle that it has never used.
//! - [`awaited_processes`] are those that libuv is to reap.

mod closing;
mod handle;
mod library;
mod poll;
mod processes;
mod turns;

pub use closing::{Found, mend_closing_process};
pub use poll::{Interest, UvPoll};
pub use processes::awaited_processes;
pub use turns::UvTurns;
