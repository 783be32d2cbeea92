//! Where the values of a store live: the app's settings.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// The default time that a write waits for the server, in ms.
const DEFAULT_WAIT: u64 = 1000;

/// The longest wait, in ms: a day.
const MAX_WAIT: u64 = 86_400_000;

/// The largest number of addresses.
const MAX_ADDRESSES: usize = 64;

/// The longest of all texts, in bytes.
const MAX_TEXT: usize = 4096;

/// A password. Only the server gets it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the server is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Servers {
    /// One server.
    Single(Address),
    /// One server, on a Unix socket.
    Socket(String),
    /// The sentinels know the server that is the primary of this name.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Address>,
        /// The name of the primary.
        name: String,
    },
    /// The nodes know which of them owns the slot of the store.
    Cluster(Vec<Address>),
}

/// Certificates for TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate authorities for the server; those of the system by default.
    #[serde(default)]
    pub ca: Option<String>,
    /// The certificate of this client.
    #[serde(default)]
    pub cert: Option<String>,
    /// The key of that certificate.
    #[serde(default)]
    pub key: Option<Secret>,
}

/// The settings: see the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// How the server is found.
    pub servers: Servers,
    /// The user name, unless it is the default user.
    #[serde(default)]
    pub username: Option<String>,
    /// The password of the user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The number of the database.
    #[serde(default)]
    pub database: u32,
    /// TLS settings, to use TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The prefix of the keys of all stores.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How long a write waits for an unreachable server, in ms.
    #[serde(default = "default_wait")]
    pub wait: u64,
}

fn default_prefix() -> String {
    "rcluster:".into()
}

fn default_wait() -> u64 {
    DEFAULT_WAIT
}

impl Backend {
    /// The error in the settings, if any. Workers may send anything.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        let addresses = match &self.servers {
            Servers::Single(address) => std::slice::from_ref(address),
            Servers::Socket(path) if path.is_empty() || path.len() > 100 => {
                return Some(format!("the path of a socket has 1 to 100 bytes, and not {}", path.len()));
            }
            Servers::Socket(_) => &[],
            Servers::Sentinel { sentinels, .. } => sentinels,
            Servers::Cluster(nodes) => nodes,
        };
        if addresses.len() > MAX_ADDRESSES || (addresses.is_empty() && !self.is_socket()) {
            return Some(format!("there are 1 to {MAX_ADDRESSES} addresses, and not {}", addresses.len()));
        }
        if addresses.iter().any(|it| it.host.is_empty() || it.host.len() > 255 || it.port == 0) {
            return Some("an address has a host of up to 255 bytes and a port".into());
        }
        if matches!(self.servers, Servers::Cluster(_)) && self.database != 0 {
            return Some("a Redis Cluster has the database 0 only".into());
        }
        if self.wait > MAX_WAIT {
            return Some(format!("a write waits for {MAX_WAIT} ms at the most, and not {}", self.wait));
        }
        let texts = [Some(&self.prefix), self.username.as_ref(), self.password.as_ref().map(|it| &it.0)];
        texts.into_iter().flatten().any(|it| it.len() > MAX_TEXT).then(|| "a text is too long".into())
    }

    fn is_socket(&self) -> bool {
        matches!(self.servers, Servers::Socket(_))
    }
}

/// A user as a URL contains it: all characters that mean something there are escaped.
fn encoded(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            let _never_fails = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Formats the settings as a URL, without the password.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.servers, self.tls.is_some()) {
            (Servers::Sentinel { .. }, false) => "redis+sentinel",
            (Servers::Sentinel { .. }, true) => "rediss+sentinel",
            (Servers::Cluster(_), false) => "redis+cluster",
            (Servers::Cluster(_), true) => "rediss+cluster",
            (Servers::Socket(_), _) => "redis+unix",
            (Servers::Single(_), false) => "redis",
            (Servers::Single(_), true) => "rediss",
        };
        write!(f, "{scheme}://")?;
        if let Some(username) = &self.username {
            write!(f, "{}@", encoded(username))?;
        }
        let list =
            |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match &self.servers {
            Servers::Single(address) => write!(f, "{address}")?,
            Servers::Socket(path) => write!(f, "{path}")?,
            Servers::Sentinel { sentinels, name } => write!(f, "{}/{name}", list(sentinels))?,
            Servers::Cluster(nodes) => write!(f, "{}", list(nodes))?,
        }
        if self.database == 0 {
            return Ok(());
        }
        let separator = if self.is_socket() { "?db=" } else { "/" };
        write!(f, "{separator}{}", self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Backend {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn it_is_shown_without_its_password() {
        let backend = read(
            r#"{"servers":{"single":{"host":"::1","port":6379}},"username":"me","password":"geheim","database":3,"tls":{}}"#,
        );
        assert_eq!(backend.to_string(), "rediss://me@[::1]:6379/3");
        assert!(!format!("{backend:?}").contains("geheim"));
        let backend = read(r#"{"servers":{"single":{"host":"a","port":1}},"username":"u@x/é"}"#);
        assert_eq!(backend.to_string(), "redis://u%40x%2F%C3%A9@a:1");
        assert_eq!((backend.prefix.as_str(), backend.wait, backend.mistake()), ("rcluster:", 1000, None));
        let socket = read(r#"{"servers":{"socket":"/run/redis"},"database":1}"#);
        assert_eq!(socket.to_string(), "redis+unix:///run/redis?db=1");
    }

    #[test]
    fn invalid_settings_are_named() {
        for wrong in [
            r#"{"servers":{"single":{"host":"","port":1}}}"#,
            r#"{"servers":{"single":{"host":"a","port":0}}}"#,
            r#"{"servers":{"cluster":[]}}"#,
            r#"{"servers":{"cluster":[{"host":"a","port":1}]},"database":1}"#,
            r#"{"servers":{"socket":""}}"#,
            r#"{"servers":{"socket":"/a"},"wait":86400001}"#,
        ] {
            assert!(read(wrong).mistake().is_some(), "{wrong}");
        }
    }
}
