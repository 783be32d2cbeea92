//! A watch on folders of source code, for JavaScript.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use napi::bindgen_prelude::Function;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::failure;
use rcluster_js::callback::{Argument, EventCallback};
use rcluster_js::uv::UvPoll;
use rcluster_sys::tree_watch::{Counts, TreeWatch as Watch};

/// The extensions of files that are code, or are loaded like code.
const CODE: &[&str] = &["js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx", "json", "node", "wasm"];

/// A watch on folders. It does not keep the event loop alive.
#[napi]
pub struct TreeWatch {
    poll: RefCell<Option<UvPoll>>,
}

/// Watches folders by their absolute paths, recursively: all files, or only code. `node_modules` and names
/// that begin with a dot are left out. `on_change(path)` is called when a file has changed, and with an empty
/// path if the folders can no longer be watched.
#[napi(catch_unwind)]
#[allow(clippy::needless_pass_by_value, reason = "napi hands strings and functions over by value")]
pub fn watch_folders(
    env: Env,
    paths: Vec<String>,
    all_files: bool,
    on_change: Function<'_, String, ()>,
) -> Result<TreeWatch> {
    let roots: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let counts: Counts = if all_files { is_source } else { is_code };
    let watch = Watch::new(&roots, counts).map_err(failure)?;
    let watched = watch.watched().map_err(failure)?;
    let watch = RefCell::new(watch);
    let callback = EventCallback::new(env, &on_change, "RCLUSTERFILE").map_err(failure)?;
    let on_ready = move || {
        let changed = watch.borrow_mut().changed();
        match changed {
            Ok(None) => {}
            Ok(Some(path)) => callback.call([Argument::Text(&path.to_string_lossy())]),
            Err(_) => callback.call([Argument::Text("")]),
        }
    };
    let poll = UvPoll::new(env, watched, Box::new(on_ready)).map_err(failure)?;
    Ok(TreeWatch { poll: RefCell::new(Some(poll)) })
}

fn is_source(name: &OsStr, is_folder: bool) -> bool {
    // Kubernetes updates all files of a `ConfigMap` by replacing this link.
    if name == "..data" {
        return !is_folder;
    }
    name != "node_modules" && !name.as_encoded_bytes().starts_with(b".")
}

fn is_code(name: &OsStr, is_folder: bool) -> bool {
    let ending = Path::new(name).extension().and_then(OsStr::to_str);
    is_source(name, is_folder) && (is_folder || ending.is_some_and(|ending| CODE.contains(&ending)))
}

#[napi]
impl TreeWatch {
    /// Ends the watch.
    #[napi]
    pub fn close(&self) {
        self.poll.borrow_mut().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_a_config_map_counts_where_all_files_do() {
        let counts = |name: &str, is_folder| is_source(OsStr::new(name), is_folder);
        assert!(counts("..data", false) && counts("app.conf", false));
        assert!(!counts("..data", true) && !counts("..2026_01_01", true) && !counts("..data_tmp", false));
        assert!(!is_code(OsStr::new("..data"), false));
    }

    #[test]
    fn code_counts_and_files_of_other_tools_do_not() {
        let counts = |name: &str, is_folder| is_code(OsStr::new(name), is_folder);
        assert!(counts("app.js", false) && counts("lib", true) && counts("lib.js", true));
        for (name, is_folder) in [
            ("node_modules", true),
            (".git", true),
            (".app.js.swp", false),
            ("app.log", false),
            ("js", false),
        ] {
            assert!(!counts(name, is_folder), "{name}");
        }
    }
}
