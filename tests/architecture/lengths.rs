//! Long files usually contain a second idea, which belongs to a type of its own.

use std::fs;

use super::{root, sources};

/// The maximum number of lines of a file, tests included.
const LIMIT: usize = 400;

/// The folders, each with the extension of its sources.
const PLACES: &[(&str, &str)] =
    &[("src", "rs"), ("crates", "rs"), ("tests", "rs"), ("benches", "rs"), ("lib", "js"), ("bin", "js")];

/// The files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[(
    "crates/core/src/machines.rs",
    "messages between machines are about to get a type for each of their parts",
)];

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for (folder, extension) in PLACES {
        let files = sources(&root().join(folder), extension);
        assert!(!files.is_empty(), "there is no .{extension} in {folder}");
        for file in files {
            let lines = fs::read_to_string(&file).expect("a source can be read").lines().count();
            let is_allowed = LONGER.iter().any(|(longer, _)| file == root().join(longer));
            if (lines > LIMIT) != is_allowed {
                let needless = if is_allowed { ", and needs no exception" } else { "" };
                found.push(format!("{} has {lines} lines{needless}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "a file has {LIMIT} lines at the most:\n{}", found.join("\n"));
}
