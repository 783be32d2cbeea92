//! libuv handles on Node's own event loop: without a thread in between, and entering JavaScript from the same
//! phase of the loop as libuv's own sockets.
//!
//! - [`UvPoll`] watches a descriptor, by which a worker is notified of messages.
//! - [`UvTurns`] is notified of every turn of the event loop.
//! - [`mend_closing_process`] repairs the loop's list after Node closes a process handle that was never used.
//! - [`awaited_processes`] returns the processes that libuv must reap.

mod closing;
mod handle;
mod library;
mod poll;
mod processes;
mod turns;

pub use closing::{Found, mend_closing_process};
pub use poll::{Interest, UvPoll};
pub use processes::awaited_processes;
pub use turns::{BlockedClock, Turn, UvTurns};
