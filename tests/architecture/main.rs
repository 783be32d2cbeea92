//! Imports run one way: `node` -> `io` -> { `core`, `sys` }. Reads the sources and names each path that
//! goes another way, be it in a `use` or in the middle of the code.

mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use paths::{named_paths, tokens};

/// What a folder of `src` may not name, and why.
struct Rule {
    folder: &'static str,
    forbidden: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        folder: "core",
        forbidden: &[
            "crate::io",
            "crate::node",
            "crate::sys",
            "libc",
            "napi",
            "napi_derive",
            "nix",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "tokio",
        ],
        because: "core decides: time and facts are given to it, and it touches nothing",
    },
    Rule {
        folder: "sys",
        forbidden: &["crate::core", "crate::io", "crate::node"],
        because: "sys does what it is told and knows nothing of workers and listeners",
    },
    Rule {
        folder: "io",
        forbidden: &["crate::node", "libc", "napi", "napi_derive", "nix"],
        because: "io turns events into inputs of core; system calls are the business of sys, and Node that of node",
    },
    Rule {
        folder: "node",
        forbidden: &["libc", "nix", "tokio"],
        because: "node converts; what it needs of the system it gets from io and sys",
    },
];

#[test]
fn imports_run_one_way() {
    let mut violations = Vec::new();
    for rule in RULES {
        let sources = sources(&src().join(rule.folder));
        assert!(!sources.is_empty(), "there is no src/{}", rule.folder);
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

#[test]
fn only_sys_is_unsafe() {
    let mut violations = Vec::new();
    for file in sources(&src()).iter().filter(|file| !file.starts_with(src().join("sys"))) {
        let text = fs::read_to_string(file).expect("a source can be read");
        for token in tokens(&text).iter().filter(|token| token.is("unsafe")) {
            violations.push(format!("{}:{}: unsafe outside of sys", file.display(), token.line));
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files under a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that a file is: `["crate", "core", "wire"]`.
fn module_of(file: &Path) -> Vec<String> {
    let below = file.strip_prefix(src()).expect("a file of src").with_extension("");
    let names = below.iter().map(|name| name.to_string_lossy().into_owned());
    let mut module: Vec<String> = std::iter::once("crate".to_owned()).chain(names).collect();
    module.pop_if(|name| ["lib", "mod"].contains(&name.as_str()));
    module
}
