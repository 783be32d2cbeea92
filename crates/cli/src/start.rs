//! `rcluster start`: checks the options, and becomes the primary, or passes the plan to the script that becomes it.

mod launch;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::args::{Log, LogMode, Ready, Start};
use crate::output::{self, Failure};

/// Set by the JavaScript of `bin/rcluster.js`, which reads the plan and becomes the primary.
const SHIM: &str = "RCLUSTER_SHIM";

/// Set by the shell script of `bin/rcluster.js`: the directory of the package.
const PACKAGE: &str = "RCLUSTER_PACKAGE";

/// The exit code that marks the output as a plan.
const PLAN: u8 = 100;

/// The extensions that Node tries if it does not find a program.
const EXTENSIONS: [&str; 4] = ["", ".js", ".json", ".node"];

pub(crate) fn run(start: &Start) -> Outcome {
    let is_for_shim = std::env::var_os(SHIM).is_some();
    let package = std::env::var_os(PACKAGE).map(PathBuf::from);
    if !is_for_shim && package.is_none() {
        let text = "`start` needs Node: run `npx rcluster start`, or the `rcluster` that npm has installed";
        return Err(Failure::Usage(text.into()));
    }
    let plan = json!({
        "app": program(&start.app)?,
        "cwd": named_directory().map(text).transpose()?,
        "args": start.args,
        "config": start.config.as_deref().map(|path| file("--config", path)).transpose()?,
        "envFile": start.env_file.as_deref().map(|path| file("--env-file", path)).transpose()?,
        "watch": watched(start)?,
        "options": options(start),
    });
    match package {
        Some(package) if !is_for_shim => Err(launch::execute_node(plan, &package)),
        _ => {
            output::print_json(&plan.to_string())?;
            Ok(ExitCode::from(PLAN))
        }
    }
}

/// The options of `supervise()`, under their names there.
fn options(start: &Start) -> Map<String, Value> {
    let ms = |time: Duration| json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut options = Map::new();
    let workers = |text: &String| text.parse::<u32>().map_or_else(|_| json!("auto"), Value::from);
    let given = [
        ("workers", start.workers.as_ref().map(workers)),
        ("standby", start.standby.map(Value::from)),
        ("control", start.control.clone().map(Value::from)),
        ("metrics", start.metrics.clone().map(Value::from)),
        ("minReady", start.min_ready.map(Value::from)),
        (
            "ready",
            start.ready.map(|ready| {
                json!(match ready {
                    Ready::Online => "online",
                    Ready::Listening => "listening",
                    Ready::Explicit => "explicit",
                })
            }),
        ),
        ("unresponsiveAfter", start.unresponsive_after.map(ms)),
        ("recycle", start.max_memory.as_ref().map(|memory| json!({ "memory": memory }))),
        ("drainTimeout", start.drain_timeout.map(ms)),
        ("shutdownDelay", start.shutdown_delay.map(ms)),
        (
            "logs",
            start.logs.map(|mode| {
                json!(match mode {
                    LogMode::Auto => "auto",
                    LogMode::Inherit => "inherit",
                    LogMode::Raw => "raw",
                    LogMode::Prefix => "prefix",
                    LogMode::Json => "json",
                })
            }),
        ),
        (
            "log",
            start.log.map(|log| match log {
                Log::Off => json!(false),
                Log::Warn => json!("warn"),
                Log::Info => json!("info"),
            }),
        ),
    ];
    options.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    options
}

/// The program, if Node finds one there.
fn program(app: &Path) -> Result<String, Failure> {
    let exists = |extension: &&str| {
        let mut name = app.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name).exists()
    };
    let path = absolute(app)?;
    if !EXTENSIONS.iter().any(exists) {
        return Err(Failure::Usage(format!("there is no program {path}")));
    }
    if app.is_dir() && !has_entry(app) {
        let text =
            format!("there is no program in {path}: it has no index.js, and no package.json with \"main\"");
        return Err(Failure::Usage(text));
    }
    if let Some(why) = why_no_program(app) {
        return Err(Failure::Usage(format!("{path} {why}")));
    }
    Ok(path)
}

/// Whether Node finds the program of a directory. Node itself reports if the file that `main` names does not
/// exist.
fn has_entry(directory: &Path) -> bool {
    let package = std::fs::read(directory.join("package.json")).ok();
    let package: Option<Value> = package.and_then(|text| serde_json::from_slice(&text).ok());
    let has_main = package.is_some_and(|package| package["main"].is_string());
    has_main || EXTENSIONS[1..].iter().any(|extension| directory.join(format!("index{extension}")).exists())
}

/// Why a file is certainly not a program: Node would run it without an error, and it would never listen.
fn why_no_program(app: &Path) -> Option<&'static str> {
    let name = app.file_name()?.to_str()?;
    if name.starts_with("ecosystem.") || name.ends_with(".config.js") || name.ends_with(".config.cjs") {
        return Some(
            "is a configuration: name the program, and its options on the command line or with --config",
        );
    }
    let is_data = app.extension().is_some_and(|it| it.eq_ignore_ascii_case("json"));
    is_data.then_some("is no program: name the file that Node runs; a file of options is given with --config")
}

/// The paths to watch; null for none. Folders that the operator has chosen are watched with everything in
/// them.
fn watched(start: &Start) -> Result<Value, Failure> {
    if !start.watch && start.watch_path.is_empty() {
        return Ok(Value::Null);
    }
    let missing = start.watch_path.iter().find(|path| !path.exists());
    if let Some(path) = missing {
        return Err(Failure::Usage(format!("--watch-path: there is nothing at {}", path.display())));
    }
    let chosen: Vec<String> = start.watch_path.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
    Ok(json!({ "paths": chosen }))
}

fn file(option: &str, path: &Path) -> Result<String, Failure> {
    let absolute = absolute(path)?;
    if !path.is_file() {
        return Err(Failure::Usage(format!("{option}: there is no file {absolute}")));
    }
    Ok(absolute)
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let named = named_directory().map(|directory| directory.join(path));
    let path = std::path::absolute(named.as_deref().unwrap_or(path));
    text(path.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Usage("the working directory does not exist any more".into()),
        _ => Failure::Usage(format!("the working directory cannot be read: {}", output::reason(&error))),
    })?)
}

fn text(path: PathBuf) -> Result<String, Failure> {
    path.into_os_string().into_string().map_err(|_| Failure::Usage("a path is not UTF-8".into()))
}

/// The working directory by the name that the shell has for it, if that goes through a symbolic link. A deployment may
/// change the link, and the next worker starts in the new directory.
fn named_directory() -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("PWD")?);
    is_link_to(&named, &std::env::current_dir().ok()?).then_some(named)
}

fn is_link_to(named: &Path, directory: &Path) -> bool {
    named.is_absolute()
        && named.as_os_str() != directory.as_os_str()
        && named.canonicalize().is_ok_and(|real| real.as_os_str() == directory.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_s_directory_is_used_only_if_it_is_the_same() {
        let folder = std::env::temp_dir().canonicalize().unwrap();
        let folder = folder.join(format!("rcluster-start-{}", std::process::id()));
        let (first, second, current) = (folder.join("1"), folder.join("2"), folder.join("current"));
        std::fs::create_dir_all(&first).unwrap();
        std::fs::create_dir(&second).unwrap();
        std::os::unix::fs::symlink("1", &current).unwrap();
        assert!(is_link_to(&current, &first));
        // Without a shell, PWD is that of another directory, or useless.
        for named in [&first, &second, &folder.join("missing"), Path::new("current"), Path::new("")] {
            assert!(!is_link_to(named, &first), "{}", named.display());
        }
        assert!(!is_link_to(&current, &second));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn option_files_are_not_programs() {
        let is_refused = |name: &str| why_no_program(Path::new(name)).is_some();
        for name in ["package.json", "a/ecosystem.config.js", "ecosystem.json", "pm2.config.cjs", "A.JSON"] {
            assert!(is_refused(name), "{name}");
        }
        for name in ["app.js", "app", ".", "config.js", "dist/json", "server.mjs", ".."] {
            assert!(!is_refused(name), "{name}");
        }
    }
}
