//! A barrier in the queue of a native thread.

/// Runs on the thread when all commands before it have been carried out. Dropped without running if the
/// thread has ended.
pub struct Barrier(Box<dyn FnOnce() + Send>);

impl Barrier {
    /// `act` must be short: connections wait while it runs.
    pub fn new(act: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(act))
    }

    pub(in crate::io) fn run(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Barrier")
    }
}
