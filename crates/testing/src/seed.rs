/// Names the seed of a simulation if the run it stands for panics.
#[derive(Debug)]
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; RCLUSTER_SEED={} plays it again", self.0);
        }
    }
}
