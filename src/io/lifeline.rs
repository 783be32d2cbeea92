//! The worker's end of its lifeline: what its watch thread answers while JavaScript is blocked.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rcluster_core::lifeline::{ASK, Answer};
use rcluster_js::v8::Interrupter;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::send;
use rcluster_sys::watch::Watch;

/// How long a worker may take to end by itself once its primary is gone.
const ORPHAN_GRACE: Duration = Duration::from_millis(1500);

/// Starts the watch on a lifeline. `interrupter` reaches the main thread, or says why it cannot.
pub fn start(lifeline: OwnedFd, interrupter: Result<Interrupter, SysError>) -> Result<Watch, SysError> {
    let lifeline = Arc::new(lifeline);
    let answering = Arc::clone(&lifeline);
    Watch::start(lifeline, ORPHAN_GRACE, move |message| {
        // Of a primary of another version there may be questions that we do not know.
        if message != ASK {
            return;
        }
        match &interrupter {
            Ok(interrupter) => {
                let lifeline = Arc::clone(&answering);
                interrupter.stack(move |text| answer(&lifeline, &Answer::Stack(text)));
            }
            Err(error) => answer(&answering, &Answer::Unreachable(error.to_string())),
        }
    })
}

fn answer(lifeline: &OwnedFd, answer: &Answer) {
    // A primary that does not read, or is gone, has no use for it any more.
    let _unheard = send(lifeline.as_fd(), &answer.encode(), &[]);
}
