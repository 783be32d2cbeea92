//! The number of declarations of a process: the subscriptions and handlers that it has announced.
//!
//! The exchange reads the rings of processes one after the other. If one process tells another that it is
//! ready, the other one's request may be read before the declaration on which it depends. So each process
//! publishes how many declarations its ring contains, and before the exchange delivers a message, it reads
//! the pending declarations of all processes.

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
