//! `rcluster profile`, `heap`, `inspect` and `env`: reports of one process about itself.
//!
//! Files are written here, under names that the operator has chosen and with the operator's permissions. A file
//! gets its name when it is complete.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcluster_core::base64;
use rcluster_sys::signals::EndSignals;
use serde_json::{Value, json};

use crate::args::{Env, Heap, Inspect, Profile, SlotOrPrimary, ToFile};
use crate::connection::{Connection, Message, ended};
use crate::output::{Failure, complain, print, printable, reason};
use crate::{Outcome, find, units};

/// A request that is refused is refused within this time.
const REFUSAL_LIMIT: Duration = Duration::from_millis(300);

/// How long a process may take for a request that only reads something.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn profile(options: &Profile) -> Outcome {
    let ms = u64::try_from(options.duration.as_millis()).unwrap_or(u64::MAX);
    let request = json!({ "verb": "profile", "slot": options.slot.to_json(), "duration": ms });
    let text = format!("profiling {} for {}", described(options.slot), units::about(ms));
    // A short one is over before anybody wonders.
    let progress = (options.duration > REFUSAL_LIMIT * 2).then_some(text);
    write(find::connect(&options.target)?, request, &options.to, options.slot, ("cpuprofile", progress))
}

pub(crate) fn heap(options: &Heap) -> Outcome {
    let request = json!({ "verb": "heap", "slot": options.slot.to_json() });
    write(find::connect(&options.target)?, request, &options.to, options.slot, ("heapsnapshot", None))
}

pub(crate) fn inspect(options: &Inspect) -> Outcome {
    let request = json!({ "verb": "inspect", "slot": options.slot.to_json(), "off": options.off });
    let answer = find::connect(&options.target)?.ask(request, Some(LIMIT))?;
    match answer["url"].as_str() {
        Some(url) => {
            print(&printable(url))?;
            complain(&format!(
                "open chrome://inspect in Chrome; anyone who can connect to this port can run code in the process, until \
                 you close it with `rcluster inspect {} --off`",
                options.slot
            ));
        }
        None => complain(&format!("the inspector of {} is closed", described(options.slot))),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn env(options: &Env) -> Outcome {
    let request = json!({ "verb": "env", "slot": options.slot.to_json() });
    let answer = find::connect(&options.target)?.ask(request, Some(LIMIT))?;
    let names = answer["names"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<String> = names.iter().filter_map(Value::as_str).map(printable).collect();
    names.sort();
    print(&names.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn described(slot: SlotOrPrimary) -> String {
    match slot {
        SlotOrPrimary::Slot(slot) => format!("slot {slot}"),
        SlotOrPrimary::Primary => "the primary".into(),
    }
}

/// Requests data that arrives in pieces, and writes it. `progress` is printed unless the request is refused.
fn write(
    mut connection: Connection,
    request: Value,
    to: &ToFile,
    slot: SlotOrPrimary,
    (extension, progress): (&str, Option<String>),
) -> Outcome {
    let signals = EndSignals::take().map_err(|error| Failure::Refused(error.to_string()))?;
    let mut sink = Sink::open(to, slot, extension)?;
    sink.remove_on(signals);
    connection.send(request)?;
    let mut first = None;
    if let Some(progress) = progress {
        match connection.receive(Some(Instant::now() + REFUSAL_LIMIT)) {
            Err(Failure::TimedOut(_)) => complain(&progress),
            received => first = Some(received?),
        }
    }
    loop {
        match first.take().map_or_else(|| connection.receive(None), Ok)? {
            Message::Event { name, facts } if name == "data" => {
                let bytes = facts["base64"].as_str().and_then(base64::decode);
                let wrong = || Failure::Refused("the cluster has sent invalid base64".into());
                sink.write(&bytes.ok_or_else(wrong)?)?;
            }
            Message::Event { .. } => {}
            Message::Done(result) => {
                let answer = result?;
                let path = sink.finish()?;
                if let Some(path) = path {
                    let bytes = answer["bytes"].as_u64().unwrap_or(0);
                    complain(&format!(
                        "{} have been written to this file; open it in Chrome DevTools:",
                        units::bytes(bytes)
                    ));
                    print(&path.display().to_string())?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            Message::End => return Err(ended()),
        }
    }
}

/// The destination of the bytes.
enum Sink {
    Stdout,
    /// A file that has a temporary name until it is complete, and is removed if it never is.
    File {
        file: File,
        unfinished: Unfinished,
        path: PathBuf,
    },
}

/// The temporary name of a file being written.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has been renamed, or it is incomplete.
        let _gone = remove_file(&self.0);
    }
}

impl Sink {
    fn open(to: &ToFile, slot: SlotOrPrimary, extension: &str) -> Result<Self, Failure> {
        let path = match &to.output {
            Some(path) if path.as_os_str() == "-" => return Ok(Self::Stdout),
            Some(path) => path.clone(),
            None => default_name(slot, extension),
        };
        // Renaming would replace a device, a pipe or a link.
        if path.symlink_metadata().is_ok_and(|it| !it.is_file()) {
            let text = format!("{} is not a regular file; `-o -` writes to stdout", path.display());
            return Err(Failure::Usage(text));
        }
        let unfinished = unfinished(&path)
            .ok_or_else(|| Failure::Usage(format!("{} is not the name of a file", path.display())))?;
        // A heap may contain secrets, so the file is private.
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = opened.map_err(|error| {
            Failure::Refused(format!("cannot write {}: {}", path.display(), reason(&error)))
        })?;
        Ok(Self::File { file, unfinished: Unfinished(unfinished), path })
    }

    /// Ends the process at a signal, and leaves no incomplete file behind.
    fn remove_on(&self, signals: EndSignals) {
        let unfinished = match self {
            Self::Stdout => None,
            Self::File { unfinished, .. } => Some(unfinished.0.clone()),
        };
        std::thread::spawn(move || {
            let signal = signals.wait();
            if let Some(path) = unfinished {
                // It may have its final name already.
                let _gone = remove_file(path);
            }
            std::process::exit(signal.map_or(1, |signal| 128 + i32::from(signal)));
        });
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let result = match self {
            Self::Stdout => stdout().lock().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
        };
        result.map_err(|error| Failure::Refused(format!("cannot write: {}", reason(&error))))
    }

    /// Everything has been written. Returns the path, if it is a file.
    fn finish(self) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Stdout => stdout().lock().flush().map(|()| None),
            Self::File { file, unfinished, path } => {
                drop(file);
                rename(&unfinished.0, &path).map(|()| Some(path))
            }
        }
        .map_err(|error| Failure::Refused(format!("cannot write: {}", reason(&error))))
    }
}

/// The temporary path: next to the file, and unique to this process.
fn unfinished(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Some(path.with_file_name(name))
}

fn default_name(slot: SlotOrPrimary, extension: &str) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let whose = match slot {
        SlotOrPrimary::Slot(slot) => format!("slot-{slot}"),
        SlotOrPrimary::Primary => "primary".into(),
    };
    PathBuf::from(format!("{whose}-{seconds}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_file_gets_its_name() {
        let folder = std::env::temp_dir().join(format!("rcluster-examine-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("a.heapsnapshot");
        let to = ToFile { output: Some(path.clone()) };
        let open = || Sink::open(&to, SlotOrPrimary::Slot(0), "heapsnapshot").unwrap();
        let count = || std::fs::read_dir(&folder).unwrap().count();
        let mut sink = open();
        sink.write(b"half").unwrap();
        assert_eq!((path.exists(), count()), (false, 1));
        drop(sink);
        assert_eq!(count(), 0);
        let mut sink = open();
        sink.write(b"all").unwrap();
        assert_eq!(sink.finish().unwrap(), Some(path.clone()));
        assert_eq!((std::fs::read(&path).unwrap(), count()), (b"all".to_vec(), 1));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        let to = ToFile { output: Some("no-such-folder/..".into()) };
        assert!(matches!(Sink::open(&to, SlotOrPrimary::Primary, "x"), Err(Failure::Usage(_))));
    }

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = std::env::temp_dir().join(format!("rcluster-examine-links-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let link = folder.join("stdout");
        std::os::unix::fs::symlink("/proc/self/fd/1", &link).unwrap();
        for path in [Path::new("/dev/null"), &link, &folder] {
            let to = ToFile { output: Some(path.to_owned()) };
            assert!(
                matches!(Sink::open(&to, SlotOrPrimary::Primary, "x"), Err(Failure::Usage(_))),
                "{}",
                path.display()
            );
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
