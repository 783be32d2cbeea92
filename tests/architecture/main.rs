//! Rules that no compiler enforces. Here are those about dependencies: reads the sources and reports each path in a
//! forbidden direction, both in `use` and in the middle of the code.

mod lengths;
mod paths;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use paths::named_paths;

/// The paths that a folder must not name, and why.
struct Rule {
    folder: &'static str,
    forbidden: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        folder: "crates/core/src",
        forbidden: &[
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
        because: "the core decides: time and facts are given to it, and it touches nothing",
    },
    Rule {
        folder: "src/io",
        forbidden: &["crate::node", "napi", "napi_derive"],
        because: "io turns events into inputs of the core; Node is the business of node and of rcluster_js",
    },
    Rule {
        folder: "src/node",
        forbidden: &["tokio"],
        because: "node converts; what it needs of the system it gets from io",
    },
];

#[test]
fn imports_run_one_way() {
    let mut violations = Vec::new();
    for rule in RULES {
        let sources = sources(&root().join(rule.folder), "rs");
        assert!(!sources.is_empty(), "there is no {}", rule.folder);
        for file in &sources {
            let text = fs::read_to_string(file).expect("a source can be read");
            for named in named_paths(&module_of(file), &text) {
                if rule.forbidden.iter().any(|forbidden| named.reaches(forbidden)) {
                    let path = named.path.join("::");
                    violations.push(format!("{}:{}: {path}: {}", file.display(), named.line, rule.because));
                }
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with an extension under a folder.
fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            files.extend(sources(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            files.push(path);
        }
    }
    files
}

/// The module path of a file: `["crate", "io", "control"]`.
fn module_of(file: &Path) -> Vec<String> {
    let below = file.strip_prefix(root()).expect("a file of the workspace").with_extension("");
    let names = below.iter().map(|name| name.to_string_lossy().into_owned());
    let names = names.skip_while(|name| name != "src").skip(1);
    let mut module: Vec<String> = std::iter::once("crate".to_owned()).chain(names).collect();
    module.pop_if(|name| ["lib", "mod"].contains(&name.as_str()));
    module
}
