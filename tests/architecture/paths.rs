//! Reads the paths that a Rust source names. Parses only as much of the language as that needs.

/// A path that a source names, without `self` and `super`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// Whether it brings a name into scope, through which everything below it can be reached.
    imported: bool,
}

impl Named {
    /// Whether the path is the forbidden one, is below it, or imports one of its parents.
    pub(crate) fn reaches(&self, forbidden: &str) -> bool {
        let forbidden: Vec<&str> = forbidden.split("::").collect();
        let common = self.path.iter().zip(&forbidden).take_while(|(a, b)| a == b).count();
        common == forbidden.len() || (self.imported && common == self.path.len())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Token<'text> {
    pub(crate) line: usize,
    /// A name, `::`, or any other character.
    text: &'text str,
}

impl Token<'_> {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first == '_' || first.is_alphabetic())
    }
}

/// The names and symbols of a source, without comments and quoted text.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if let Some(length) = quoted(rest) {
            (length, false)
        } else if first == '_' || first.is_alphanumeric() {
            let is_part = |c: char| c == '_' || c.is_alphanumeric();
            (rest.find(|c| !is_part(c)).unwrap_or(rest.len()), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if kept {
            tokens.push(Token { line, text: &rest[..length] });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of a block comment, which may be nested.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string or character literal that the text begins with, if any.
fn quoted(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !['b', 'c', 'r'].contains(&c)).filter(|length| *length <= 2)?;
    let body = &text[prefix..];
    let hashes = body.find(|c| c != '#')?;
    if text[..prefix].ends_with('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = prefix + hashes + 1;
        return Some(text[inside..].find(&end).map_or(text.len(), |at| inside + at + end.len()));
    }
    let quote = body.chars().next().filter(|c| ['"', '\''].contains(c))?;
    // A lifetime has no second quote: 'a as opposed to 'a' and '\n'.
    if quote == '\'' && !body[1..].starts_with('\\') && body.chars().nth(2) != Some('\'') {
        return None;
    }
    let mut escaped = false;
    let end = body[1..].find(|c| {
        let found = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        found
    });
    Some(end.map_or(text.len(), |at| prefix + at + 2))
}

/// All paths of two names or more, and all imports.
pub(crate) fn named_paths(module: &[String], source: &str) -> Vec<Named> {
    let mut reader = Reader { tokens: tokens(source), at: 0, named: Vec::new() };
    reader.read(module);
    reader.named
}

struct Reader<'text> {
    tokens: Vec<Token<'text>>,
    at: usize,
    named: Vec<Named>,
}

impl<'text> Reader<'text> {
    /// Reads a module to its closing brace, or to the end of the file.
    fn read(&mut self, module: &[String]) {
        let mut depth = 0;
        while let Some(token) = self.peek(0) {
            if token.is("}") && depth == 0 {
                return;
            }
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
            }
            if token.is("mod") && self.is_at(2, "{") {
                let inner = [module, &[self.tokens[self.at + 1].text.to_owned()]].concat();
                self.at += 3;
                self.read(&inner);
                self.at += 1;
            } else if token.is("use") && !self.is_at(1, "<") {
                self.at += 1;
                self.tree(module, &[]);
            } else if token.is_name() && self.is_at(1, "::") {
                self.path(module);
            } else {
                self.at += 1;
            }
        }
    }

    /// Reads a path in the middle of the code.
    fn path(&mut self, module: &[String]) {
        let line = self.tokens[self.at].line;
        let mut path = vec![self.tokens[self.at].text];
        self.at += 1;
        while self.is_at(0, "::") && self.peek(1).is_some_and(Token::is_name) {
            path.push(self.tokens[self.at + 1].text);
            self.at += 2;
        }
        self.name(line, module, &path, false);
    }

    /// Reads what follows `use`, or one branch of it: `a::b`, `a::{b, c as d}`, `a::*`.
    fn tree(&mut self, module: &[String], stem: &[&'text str]) {
        let mut path = stem.to_vec();
        while let Some(token) = self.peek(0) {
            let (line, text) = (token.line, token.text);
            match text {
                "::" | "*" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while self.peek(0).is_some() && !self.is_at(0, "}") {
                        self.tree(module, &path);
                        self.at += usize::from(self.is_at(0, ","));
                    }
                    self.at += 1;
                    return;
                }
                "self" if !stem.is_empty() => self.at += 1,
                "as" => self.at += 2,
                _ if token.is_name() => {
                    path.push(text);
                    self.at += 1;
                }
                _ => return self.name(line, module, &path, true),
            }
        }
    }

    /// Records a path, relative to the root of its crate.
    fn name(&mut self, line: usize, module: &[String], path: &[&str], imported: bool) {
        let mut absolute = Vec::new();
        for (index, name) in path.iter().enumerate() {
            match *name {
                "self" if index == 0 => absolute = module.to_vec(),
                "super" => {
                    if index == 0 {
                        absolute = module.to_vec();
                    }
                    absolute.pop();
                }
                name => absolute.push(name.to_owned()),
            }
        }
        self.named.push(Named { line, path: absolute, imported });
    }

    fn peek(&self, ahead: usize) -> Option<&Token<'text>> {
        self.tokens.get(self.at + ahead)
    }

    fn is_at(&self, ahead: usize, text: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.is(text))
    }
}

/// The paths in a source of the module `core::wire`, as text; imports are marked.
fn read(source: &str) -> Vec<String> {
    let module = ["crate", "core", "wire"].map(str::to_owned);
    let named = named_paths(&module, source).into_iter();
    named
        .map(|named| format!("{}{}", if named.imported { "use " } else { "" }, named.path.join("::")))
        .collect()
}

#[test]
fn use_trees_are_read_to_their_leaves() {
    assert_eq!(
        read("use std::{fmt, net::{self, IpAddr as Ip}, time::*};\nuse nix;"),
        ["use std::fmt", "use std::net", "use std::net::IpAddr", "use std::time", "use nix"],
    );
}

#[test]
fn relative_paths_are_resolved() {
    assert_eq!(
        read("use super::super::sys::spawn;\nuse self::frame::Frame;\nmod tests { use super::super::ids; }"),
        ["use crate::sys::spawn", "use crate::core::wire::frame::Frame", "use crate::core::ids"],
    );
    assert_eq!(
        read("mod a { fn b() { if c { d() } } }\nuse super::ids;"),
        ["use crate::core::ids"],
        "after a module its parent goes on",
    );
}

#[test]
fn paths_in_the_code_are_found() {
    assert_eq!(
        read("fn now() -> u64 { let t = std::time::Instant::now(); Vec::<u8>::new(); t }"),
        ["std::time::Instant::now", "Vec"],
    );
}

#[test]
fn comments_and_quotes_are_skipped() {
    assert_eq!(
        read(
            r##"// std::fs
            /* std::fs /* std::net */ libc::c */ fn a<'a>(b: &'a str) -> char {
                let _ = ("\"std::fs::read", r#"" std::net"#, b"nix::x", c"nix::y", '"', '\'', b'"');
                std::mem::drop(b)
            }"##
        ),
        ["std::mem::drop"],
    );
}

#[test]
fn a_forbidden_path_is_recognized() {
    let reaches = |source: &str, forbidden: &str| {
        let module = ["crate", "core"].map(str::to_owned);
        named_paths(&module, source).iter().any(|named| named.reaches(forbidden))
    };
    assert!(reaches("use crate::sys::spawn::Spawn;", "crate::sys"));
    assert!(reaches("use crate::sys;", "crate::sys"));
    assert!(reaches("use std::time;", "std::time::Instant"), "Instant can be reached as time::Instant");
    assert!(reaches("fn f() { nix::unistd::getpid(); }", "nix"));
    assert!(!reaches("use std::time::Duration;", "std::time::Instant"));
    assert!(!reaches("fn f() { std::time::Duration::ZERO }", "std::time::Instant"));
    assert!(!reaches("use crate::system::x;", "crate::sys"));
}
