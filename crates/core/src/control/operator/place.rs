//! The address of the control socket.

use std::path::PathBuf;

/// The file name of the socket in the service's own directory; also the name of the folder for several
/// sockets.
const NAME: &str = "rcluster";

/// An address of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    Path(PathBuf),
    /// An abstract name, which is not in the file system. Linux tools write it `@name`.
    Abstract(String),
}

/// What the default addresses depend on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `$RUNTIME_DIRECTORY`: the directories that systemd created for the service, separated by colons.
    pub runtime_directory: Option<String>,
    /// `$XDG_RUNTIME_DIR`: the directory of the user's session.
    pub session_directory: Option<String>,
    /// The user that runs the primary.
    pub uid: u32,
    /// The primary's process.
    pub pid: u32,
}

impl Place {
    /// Parses what an operator writes: a path, or `@name`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(name) if !name.is_empty() => Self::Abstract(name.into()),
            _ => Self::Path(text.into()),
        }
    }

    /// The addresses on which to try to listen, in order. `chosen` is the option `control`.
    #[must_use]
    pub fn candidates(chosen: &str, around: &Surroundings) -> Vec<Self> {
        match chosen {
            "off" => Vec::new(),
            "auto" => around.places(),
            place => vec![Self::parse(place)],
        }
    }

    /// Whether a socket with this name may be a control socket, judged by its name. `text` is an address as
    /// the system lists it, with `@` for abstract names.
    #[must_use]
    pub fn is_known(text: &str) -> bool {
        if let Some(name) = text.strip_prefix('@') {
            let parts: Vec<&str> = name.split('/').collect();
            return matches!(parts[..], [NAME, uid, pid] if is_number(uid) && is_number(pid));
        }
        let mut parts = text.rsplit('/');
        let (file, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(stem) = file.strip_suffix(".sock") else { return false };
        text.starts_with('/') && (stem == NAME || (folder == NAME && is_number(stem)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl Surroundings {
    fn places(&self) -> Vec<Place> {
        let absolute =
            |text: &Option<String>| text.clone().filter(|text| text.starts_with('/')).map(PathBuf::from);
        let first =
            self.runtime_directory.as_deref().and_then(|list| list.split(':').next()).map(str::to_owned);
        let service = absolute(&first).map(|folder| folder.join(format!("{NAME}.sock")));
        let session = absolute(&self.session_directory);
        let session = session.map(|folder| folder.join(NAME).join(format!("{}.sock", self.pid)));
        let name = Place::Abstract(format!("{NAME}/{}/{}", self.uid, self.pid));
        service.into_iter().chain(session).map(Place::Path).chain([name]).collect()
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(chosen: &str, service: Option<&str>, session: Option<&str>) -> Vec<String> {
        let around = Surroundings {
            runtime_directory: service.map(str::to_owned),
            session_directory: session.map(str::to_owned),
            uid: 1000,
            pid: 42,
        };
        Place::candidates(chosen, &around).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_service_s_directory_comes_first_and_an_abstract_name_last() {
        let all = ["/run/app/rcluster.sock", "/run/user/1000/rcluster/42.sock", "@rcluster/1000/42"];
        assert_eq!(candidates("auto", Some("/run/app:/run/other"), Some("/run/user/1000")), all);
        assert_eq!(candidates("auto", None, None), all[2..]);
        assert_eq!(candidates("auto", Some("relative"), Some("")), all[2..]);
    }

    #[test]
    fn a_chosen_place_is_the_only_one() {
        assert_eq!(candidates("off", Some("/run/app"), None), [""; 0]);
        assert_eq!(candidates("/tmp/a.sock", Some("/run/app"), None), ["/tmp/a.sock"]);
        assert_eq!(candidates("@mine", None, None), ["@mine"]);
        assert_eq!(Place::parse("@"), Place::Path("@".into()));
    }

    #[test]
    fn default_places_are_recognized_by_their_names() {
        for text in candidates("auto", Some("/run/app"), Some("/run/user/1000")) {
            assert!(Place::is_known(&text), "{text}");
        }
        for text in [
            "",
            "@",
            "@rcluster/1000",
            "@rcluster/x/1",
            "@rcluster/1/2/3",
            "rcluster.sock",
            "/a/42.sock",
            "/rcluster/x.sock",
            "/rcluster/42",
            "@rcluster//1",
        ] {
            assert!(!Place::is_known(text), "{text}");
        }
    }
}
