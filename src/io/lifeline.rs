//! The worker's end of the lifeline: its watchdog thread answers here while JavaScript is blocked.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rcluster_core::lifeline::{ASK, Answer};
use rcluster_core::own_frames;
use rcluster_js::v8::Interrupter;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::send;
use rcluster_sys::watch::Watch;

/// How long a worker may take to exit by itself after its primary is gone.
const ORPHAN_GRACE: Duration = Duration::from_millis(1500);

/// Starts the watchdog thread. `interrupter` interrupts the main thread's JavaScript; an error says why that
/// is impossible. `library` is the folder of this package's JavaScript.
pub fn start(
    lifeline: OwnedFd,
    interrupter: Result<Interrupter, SysError>,
    library: String,
) -> Result<Watch, SysError> {
    let lifeline = Arc::new(lifeline);
    let library: Arc<str> = library.into();
    let answering = Arc::clone(&lifeline);
    Watch::start(lifeline, ORPHAN_GRACE, move |message| {
        // A primary of another version may send requests that this version does not know.
        if message != ASK {
            return;
        }
        match &interrupter {
            Ok(interrupter) => {
                let (lifeline, library) = (Arc::clone(&answering), Arc::clone(&library));
                interrupter.stack(move |text| {
                    answer(&lifeline, &Answer::Stack(own_frames::leave_out(&text, &library)));
                });
            }
            Err(error) => answer(&answering, &Answer::Unreachable(error.to_string())),
        }
    })
}

fn answer(lifeline: &OwnedFd, answer: &Answer) {
    // If the primary does not read, or is gone, the answer is not needed.
    let _unneeded = send(lifeline.as_fd(), &answer.encode(), &[]);
}
