//! A watch on a file, for JavaScript.

use std::cell::RefCell;
use std::path::Path;

use napi::bindgen_prelude::Function;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::failure;
use rcluster_js::callback::{Argument, EventCallback};
use rcluster_js::uv::UvPoll;
use rcluster_sys::file_watch::FileWatch as Watch;

/// A watch on a file. It does not keep the event loop alive.
#[napi]
pub struct FileWatch {
    poll: RefCell<Option<UvPoll>>,
}

/// Watches a file by its absolute path; it need not exist. `on_change` is called with 0 when its content may
/// have changed, and with 1 when it can no longer be watched and a new watch is needed.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings and functions over by value")]
pub fn watch_file(env: Env, path: String, on_change: Function<'_, u32, ()>) -> Result<FileWatch> {
    let watch = Watch::new(Path::new(&path)).map_err(failure)?;
    let watched = watch.watched().map_err(failure)?;
    let watch = RefCell::new(watch);
    let callback = EventCallback::new(env, &on_change, "RCLUSTERFILE").map_err(failure)?;
    let on_ready = move || {
        let changed = watch.borrow_mut().changed();
        match changed {
            Ok(false) => {}
            Ok(true) => callback.call([Argument::Number(0)]),
            Err(_) => callback.call([Argument::Number(1)]),
        }
    };
    let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
    Ok(FileWatch { poll: RefCell::new(Some(poll)) })
}

#[napi]
impl FileWatch {
    /// Ends the watch.
    #[napi]
    pub fn close(&self) {
        self.poll.borrow_mut().take();
    }
}
