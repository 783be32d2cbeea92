//! Stores that are kept in files, for JavaScript.

use std::cell::RefCell;

use napi::bindgen_prelude::Function;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::failure;
use crate::io::store::persist;
use rcluster_js::callback::EventCallback;
use rcluster_js::uv::UvPoll;
use rcluster_sys::epoll::Waker;

/// The last save of a store.
#[napi(object)]
pub struct SavedShared {
    /// When, in ms since 1970; 0 if never.
    pub at: f64,
    /// The revision that was saved.
    pub revision: f64,
    /// The error of a save that failed since then.
    pub error: Option<String>,
}

/// A watch on failed saves.
#[napi]
pub struct SaveWatch {
    _poll: RefCell<UvPoll>,
}

/// The last save of a store; none if it is not kept, or is being saved.
#[napi]
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
pub fn saved_shared(name: String) -> Option<SavedShared> {
    let saved = persist::saved(&name)?;
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which neither comes near")]
    Some(SavedShared { at: saved.at as f64, revision: saved.revision as f64, error: saved.error })
}

/// Saves all kept stores that have changed, and blocks until that is done. Returns why saves failed.
#[napi(catch_unwind)]
#[must_use]
pub fn save_shared() -> Vec<String> {
    persist::save_all()
}

/// Calls `on_failure` whenever a save has failed; `saved_shared()` returns the error.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
pub fn watch_saves(env: Env, on_failure: Function<'_, (), ()>) -> Result<SaveWatch> {
    let fd = persist::failures().map_err(failure)?;
    let watched = fd.try_clone().map_err(failure)?;
    let waker = Waker::adopt(fd);
    let callback = EventCallback::new(env, &on_failure, "RCLUSTERSAVE").map_err(failure)?;
    let on_ready = move || {
        waker.clear();
        callback.call([]);
    };
    let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
    Ok(SaveWatch { _poll: RefCell::new(poll) })
}
