//! Long files usually contain a second idea, which belongs to a type of its own.

use std::fs;

use super::{root, sources};

/// The maximum number of lines of a file, tests included.
const LIMIT: usize = 400;

/// The folders, each with the extension of its sources.
const PLACES: &[(&str, &str)] =
    &[("src", "rs"), ("crates", "rs"), ("tests", "rs"), ("benches", "rs"), ("lib", "js"), ("bin", "js")];

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for (folder, extension) in PLACES {
        let files = sources(&root().join(folder), extension);
        assert!(!files.is_empty(), "there is no .{extension} in {folder}");
        for file in files {
            let lines = fs::read_to_string(&file).expect("a source can be read").lines().count();
            if lines > LIMIT {
                found.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "a file has {LIMIT} lines at the most:\n{}", found.join("\n"));
}
