//! The command that writes files for service managers.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// What runs the cluster
    pub(crate) kind: Kind,
    /// The name of the service: lower-case letters, digits, hyphens and, except for Kubernetes, underscores
    #[arg(long, default_value = "app", value_parser = name)]
    pub(crate) name: String,
    /// The program that each worker runs, relative to the directory of the app
    #[arg(long, value_name = "app.js", default_value = "app.js", value_parser = plain)]
    pub(crate) app: String,
    /// The port of the app, which is passed to it in the variable PORT
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The directory of the app, for systemd
    #[arg(long, value_name = "DIR", default_value = "/srv/app", value_parser = plain)]
    pub(crate) directory: String,
    /// The executable of Node, for systemd
    #[arg(long, value_name = "PATH", default_value = "/usr/bin/node", value_parser = plain)]
    pub(crate) node: String,
    /// The directory to write the files to. Existing files are never overwritten [default: print them]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A unit file with readiness, watchdog and a store for sockets
    Systemd,
    /// Dockerfile, .dockerignore and compose.yaml
    #[value(aliases = ["compose", "docker-compose", "podman"])]
    Docker,
    /// A deployment with probes, and a service
    #[value(aliases = ["kubernetes", "kube"])]
    K8s,
}

impl Init {
    /// Why the name does not fit what it is for.
    pub(crate) fn misnomer(&self) -> Option<String> {
        let is_one = matches!(self.kind, Kind::K8s) && self.name.contains('_');
        is_one.then(|| format!("--name {}: Kubernetes allows no underscores", self.name))
    }
}

/// A name that systemd and Docker accept.
fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_name = (1..=63).contains(&text.len()) && text.bytes().all(fits);
    if is_name && !text.starts_with(['-', '_']) && !text.ends_with(['-', '_']) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 63 lower-case letters, digits, hyphens and underscores".into())
    }
}

/// A path that needs no quoting in any of the files.
fn plain(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("expected a path of letters, digits and ._-+@/; for others, edit the file".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_service_managers_accept() {
        let longest = "x".repeat(63);
        for text in ["a", "app-2", "my_app", longest.as_str()] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        for text in ["", "-a", "a-", "_a", "a_", "App", "a.b", &"x".repeat(64)] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_needs_no_quoting() {
        for text in ["app.js", "/srv/my_app/app@1.js", "./a+b"] {
            assert_eq!(plain(text).as_deref(), Ok(text));
        }
        for text in ["", "-x", "a b", "$HOME", "a;b", "a\nb"] {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
