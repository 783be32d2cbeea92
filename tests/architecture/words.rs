//! Words that the project does not use, because there are established ones for the same: see
//! `docs/glossary.md`.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// The folders and files to search, relative to the root.
const PLACES: &[&str] = &[
    "src",
    "crates",
    "lib",
    "docs",
    "tests",
    "types",
    "__test__",
    "testing",
    "benchmark",
    "benches",
    "examples",
    "fuzz/fuzz_targets",
    "loom",
    "README.md",
    "CONTRIBUTING.md",
    "index.d.ts",
    "register.d.ts",
];

/// A term, word by word, and its replacement. `*` matches any ending of a word, and `|` separates
/// alternatives.
const TERMS: &[(&str, &str)] = &[
    ("bury|buries|buried|burial", "reap"),
    ("catch|catches up", "flush"),
    ("check scheduling", "apply scheduling"),
    ("comeback|comebacks", "returned, reclaimed"),
    ("desk|desks", "front"),
    ("doorway*", "preread"),
    ("farewell*", "lingering close"),
    ("happening|happenings", "event"),
    ("hostage*", "blocked"),
    ("inquiry|inquiries", "hook"),
    ("knock*", "first client"),
    ("leavers", "leaving"),
    ("neglect*", "unattended"),
    ("newborn*", "child"),
    ("stand|stands|stood|standing still", "blocked, idle"),
    ("stand|stands|stood|standing in for", "accept on behalf"),
    ("stranger*", "external program"),
    ("vigil*", "accept watch"),
    ("wish|wishes|wished", "listen request, option"),
];

/// Names in the code, and their replacements.
const NAMES: &[(&str, &str)] = &[
    ("giveBack", "return, handOver, release"),
    ("give_back", "return, hand_over, release"),
    ("takeBack", "reclaim, remove"),
    ("take_back", "reclaim, remove"),
];

#[test]
fn the_words_of_the_glossary_are_used() {
    let mut found = Vec::new();
    for place in PLACES {
        let files = texts(&root().join(place));
        assert!(!files.is_empty(), "there is nothing to read in {place}");
        for file in files {
            // This file contains the terms.
            if file == root().join("tests/architecture/words.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source can be read");
            for (line, term, better) in unwanted(&text) {
                found.push(format!("{}:{line}: {term}: say {better}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn comments_say_more_than_one_word() {
    let mut found = Vec::new();
    for place in ["src", "crates"] {
        for file in texts(&root().join(place)).into_iter().filter(|file| has_extension(file, &["rs"])) {
            let text = fs::read_to_string(&file).expect("a source can be read");
            for line in one_word_comments(&text) {
                found.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "what is meant, in which unit, and whose is it?\n{}", found.join("\n"));
}

/// The text of a line of a doc comment.
fn comment<'text>(line: Option<&&'text str>) -> Option<&'text str> {
    line?.trim_start().strip_prefix("///")
}

/// Whether a comment is a single word. A name in the code, or one like `IPv4`, is informative.
fn is_stub(comment: &str) -> bool {
    let text = comment.trim().trim_end_matches('.');
    !text.is_empty() && text.chars().all(char::is_alphabetic)
}

/// The line numbers of doc comments of one word.
fn one_word_comments(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let says_nothing = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| lines.get(before));
        let alone = comment(before).is_none() && comment(lines.get(at + 1)).is_none();
        alone && comment(lines.get(*at)).is_some_and(is_stub)
    };
    (0..lines.len()).filter(says_nothing).map(|at| at + 1).collect()
}

/// All text files at or below a path, without third-party and generated ones.
fn texts(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let is_ours = !["node_modules", "target"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && is_ours {
            files.extend(texts(&path));
        } else if path.is_file() && has_extension(&path, &["rs", "js", "mjs", "cjs", "ts", "mts", "md"]) {
            files.push(path);
        }
    }
    files
}

fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one))
}

/// The forbidden terms and names in a text, with their lines. The words of a term may be on two lines, or
/// form one name: `stand still`, `stand_still`, `standStill`.
fn unwanted(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let named = NAMES.iter().filter(|(name, _)| content.contains(name));
        found.extend(named.map(|(name, better)| (line, *name, *better)));
    }
    // Most texts contain none of them, and need not be split into words.
    let lower = text.to_lowercase();
    let may_have = |term: &str| term.split(' ').all(|part| alternatives(part).any(|one| lower.contains(one)));
    let suspected: Vec<_> = TERMS.iter().filter(|(term, _)| may_have(term)).collect();
    if suspected.is_empty() {
        return found;
    }
    let words = words(text);
    for (term, better) in suspected {
        let parts: Vec<&str> = term.split(' ').collect();
        for here in words.windows(parts.len()) {
            if here.iter().zip(&parts).all(|((_, word), part)| is_one_of(word, part)) {
                found.push((here[0].0, *term, *better));
            }
        }
    }
    found
}

/// The words that a part of a term matches, or their beginnings.
fn alternatives(part: &str) -> impl Iterator<Item = &str> {
    part.split('|').map(|one| one.trim_end_matches('*'))
}

fn is_one_of(word: &str, part: &str) -> bool {
    part.split('|').any(|one| match one.strip_suffix('*') {
        Some(beginning) => word.starts_with(beginning),
        None => word == one,
    })
}

/// The words of a text in lower case, and their lines. A capital inside a name starts a new word.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let mut word = String::new();
        let mut was_lower = false;
        for letter in content.chars().chain([' ']) {
            let begins = letter.is_uppercase() && was_lower;
            if (begins || !letter.is_alphabetic()) && !word.is_empty() {
                words.push((line, std::mem::take(&mut word)));
            }
            if letter.is_alphabetic() {
                word.extend(letter.to_lowercase());
            }
            was_lower = letter.is_lowercase();
        }
    }
    words
}

#[test]
fn a_term_is_found_however_it_is_written() {
    for text in ["stands_still()", "standsStill()", "StandStill", "/// stands\n    /// still", "Stood still."]
    {
        let found = unwanted(text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].0, 1, "{text}");
    }
    for text in ["it stands here, still", "still stands", "stand", "memory is given back", "questions"] {
        assert_eq!(unwanted(text), [], "{text}");
    }
    assert_eq!(unwanted("a\nknocking"), [(2, "knock*", "first client")]);
    assert_eq!(unwanted("self.give_back()"), [(1, "give_back", "return, hand_over, release")]);
}

#[test]
fn a_comment_of_one_word_is_found() {
    assert_eq!(one_word_comments("/// Which.\nid: u32\n    /// Two words.\n/// Where\n"), [1]);
    assert_eq!(one_word_comments("/// IPv4.\nV4\n\n/// [`News::Stolen`].\nStolen"), [0_usize; 0]);
    assert_eq!(one_word_comments("/// It goes on on a second\n/// line.\nid: u32"), [0_usize; 0]);
}
