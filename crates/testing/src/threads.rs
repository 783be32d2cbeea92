//! A process that can start no thread.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Runs `body` while no thread can be started in this process. Has no effect on a privileged user: see
/// [`crate::alone_as_user`].
///
/// # Panics
/// If the limit cannot be changed.
pub fn without_new_threads(body: impl FnOnce()) {
    let (limit, most) = getrlimit(Resource::RLIMIT_NPROC).expect("a limit that exists can be read");
    setrlimit(Resource::RLIMIT_NPROC, 0, most).expect("a limit can be lowered");
    body();
    setrlimit(Resource::RLIMIT_NPROC, limit, most).expect("a limit can be raised up to the highest one");
}
