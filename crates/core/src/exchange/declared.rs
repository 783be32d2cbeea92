//! Counts what a process has declared: the channels that it hears, and the names that it handles.
//!
//! The exchange reads the rings of processes one after the other. A process that has been told by another that
//! it is ready may therefore make a request which is read first. So each process publishes how many
//! declarations are in its ring, and the exchange reads those of all processes before it delivers a message.

use super::pairs::MAX_PAIRS;
use super::transport::{Pushed, Transport};
use super::wire::is_declaration;

/// The place at which the number is published. It follows those of the pairs.
pub const DECLARED: usize = MAX_PAIRS;

/// The number: see the module.
#[derive(Debug, Default)]
pub(super) struct Declared(usize);

impl Declared {
    /// Puts a request into the ring, and counts it if it is a declaration.
    pub(super) fn push(&mut self, transport: &mut impl Transport, request: &[u64]) -> Pushed {
        let pushed = transport.push(request);
        let declares = request.first().is_some_and(|word| is_declaration(word.to_le_bytes()[0]));
        if pushed == Pushed::Done && declares {
            self.0 += 1;
            transport.publish(DECLARED, self.0);
        }
        pushed
    }
}
