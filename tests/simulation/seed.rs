//! What all simulations share.

/// Names the seed if the run it stands for panics.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; RCLUSTER_SEED={} plays it again", self.0);
        }
    }
}
