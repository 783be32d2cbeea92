//! `rcluster init`: writes what systemd, Docker or Kubernetes needs to run the app, for the operator to read
//! and change.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::Outcome;
use crate::args::{Init, Kind};
use crate::output::{Failure, print, reason};

/// A file's name and its text, with `{{…}}` placeholders.
type Template = (&'static str, &'static str);

const SYSTEMD: &[Template] = &[("{{name}}.service", include_str!("../templates/systemd/service"))];
const DOCKER: &[Template] = &[
    ("Dockerfile", include_str!("../templates/docker/Dockerfile")),
    (".dockerignore", include_str!("../templates/docker/dockerignore")),
    ("compose.yaml", include_str!("../templates/docker/compose.yaml")),
];
const K8S: &[Template] = &[("kubernetes.yaml", include_str!("../templates/k8s/kubernetes.yaml"))];

/// The first port that any user may open.
const FREE_PORTS: u16 = 1024;

/// What a unit without root needs for the ports below.
const BIND: &str =
    "# Ports below 1024 are not free to all users.\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n";

pub(crate) fn run(options: &Init) -> Outcome {
    if let Some(misnomer) = options.misnomer() {
        return Err(Failure::Usage(misnomer));
    }
    let templates = match options.kind {
        Kind::Systemd => SYSTEMD,
        Kind::Docker => DOCKER,
        Kind::K8s => K8S,
    };
    let files: Vec<(String, String)> =
        templates.iter().map(|(name, text)| (fill(name, options), fill(text, options))).collect();
    let Some(directory) = &options.output else {
        for (name, text) in &files {
            // A single file can be redirected as it is; several need headings to tell them apart.
            if files.len() > 1 {
                print(&format!("# ---- {name} ----"))?;
            }
            print(text.trim_end())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    // Checked before any file is written.
    if let Some((name, _)) = files.iter().find(|(name, _)| directory.join(name).symlink_metadata().is_ok()) {
        let path = directory.join(name);
        return Err(exists(&path));
    }
    std::fs::create_dir_all(directory).map_err(|error| {
        Failure::Refused(format!("cannot create {}: {}", directory.display(), reason(&error)))
    })?;
    for (name, text) in &files {
        let path = directory.join(name);
        write(&path, text).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(&path),
            _ => Failure::Refused(format!("cannot write {}: {}", path.display(), reason(&error))),
        })?;
        print(&path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn exists(path: &Path) -> Failure {
    Failure::Refused(format!(
        "{} exists already and is not overwritten: move it away, or choose another --output or --name",
        path.display()
    ))
}

/// Writes a file that must not exist yet.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn fill(template: &str, options: &Init) -> String {
    let bind = if options.port < FREE_PORTS { BIND } else { "" };
    template
        .replace("{{bind}}", bind)
        .replace("{{name}}", &options.name)
        .replace("{{app}}", &options.app)
        .replace("{{port}}", &options.port.to_string())
        .replace("{{directory}}", &options.directory)
        .replace("{{node}}", &options.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Init {
        Init {
            kind: Kind::K8s,
            name: "shop".into(),
            app: "server.js".into(),
            port: 8080,
            directory: "/opt/shop".into(),
            node: "/usr/bin/node".into(),
            output: None,
        }
    }

    #[test]
    fn only_a_low_port_takes_the_right_to_open_it() {
        let [(_, unit)] = SYSTEMD else { panic!("there is one unit") };
        for (port, has_right) in [(80, true), (1023, true), (1024, false), (8080, false)] {
            let text = fill(unit, &Init { port, ..options() });
            assert_eq!(text.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"), has_right, "{port}");
        }
    }

    #[test]
    fn only_kubernetes_refuses_an_underscore() {
        let named = |kind, name: &str| Init { kind, name: name.into(), ..options() }.misnomer();
        assert_eq!((named(Kind::Docker, "my_app"), named(Kind::Systemd, "my_app")), (None, None));
        assert!(named(Kind::K8s, "my_app").is_some() && named(Kind::K8s, "my-app").is_none());
    }

    #[test]
    fn no_placeholder_is_left() {
        let options = options();
        for (name, text) in [SYSTEMD, DOCKER, K8S].concat() {
            let (name, text) = (fill(name, &options), fill(text, &options));
            assert!(!name.contains("{{") && !text.contains("{{"), "{name}: {text}");
        }
    }
}
