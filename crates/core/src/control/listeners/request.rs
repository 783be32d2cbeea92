//! Listen requests: the socket to open, and the key by which workers share it.

use std::os::fd::RawFd;
use std::path::{Component, Path, PathBuf};

use crate::frames::{AddressType, EINVAL, ListenRequest};
use crate::schedule::{Plan, Policy, Scheduling};

/// The backlog if the app gives none, as in Node: the kernel rounds it up to 512.
const DEFAULT_BACKLOG: i32 = 511;

/// libuv's flag for an IPv6 socket that does not accept IPv4, for TCP and UDP.
const IPV6_ONLY: i64 = 1;
/// libuv's flag for a UDP address that several sockets may bind.
const REUSE_ADDRESS: i64 = 4;

/// The longest address, in bytes: Linux' limit of a path. It is kept as long as the listener, and may be
/// invalid text, such as the name of an interface that does not exist.
const MAX_ADDRESS: usize = 4096;

/// Two listen requests with equal keys share a listener. Keys compare text, not meaning: `0.0.0.0`, `::` and
/// no host are three keys, as in Node.
///
/// With port 0 each server of a worker means another port, but the second server of one worker means the same
/// port as the second server of another: `index` distinguishes them. It counts only for port 0. With a fixed
/// port, a worker that retried after a failure would have index 1 and share with no other worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    address: Option<String>,
    port: Option<i64>,
    address_type: Option<AddressType>,
    fd: Option<RawFd>,
    index: Option<u32>,
}

/// A socket to open: the result of a listen request and the scheduling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Where to open it.
    pub address: ListenAddress,
    /// The port or path of the request; empty for a descriptor.
    pub name: String,
    /// How its connections are distributed.
    pub plan: Plan,
    /// Which processes accept.
    pub sharing: Sharing,
    /// The backlog; `None` if the socket is only bound. A shared listener is only bound, because each
    /// worker's libuv calls `listen` itself; so is a UDP socket, which cannot listen.
    pub backlog: Option<i32>,
}

/// Which processes accept the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The dispatcher, which passes them to workers.
    Passed,
    /// All members: each gets the descriptor, and the kernel chooses.
    Shared,
    /// The members: each slot has a descriptor of its own, which its worker gets. The dispatcher accepts
    /// connections for slots without a worker and passes them on.
    PerSlot,
}

impl Sharing {
    /// Whether the reply carries a descriptor.
    #[must_use]
    pub fn gives_socket(self) -> bool {
        self != Self::Passed
    }

    /// Whether the dispatcher passes connections to members.
    #[must_use]
    pub fn has_dispatcher(self) -> bool {
        self != Self::Shared
    }
}

/// Where to open a socket. The address is the worker's text and may be invalid; then opening fails with
/// `EINVAL`, as in libuv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp {
        /// The IP address.
        address: String,
        /// Whether it is IPv6.
        ipv6: bool,
        /// The port.
        port: u16,
        /// Whether an IPv6 socket excludes IPv4.
        ipv6_only: bool,
    },
    /// A TCP port on all addresses: `::` if there is IPv6, else `0.0.0.0`.
    TcpAnywhere {
        /// The port.
        port: u16,
        /// Whether an IPv6 socket excludes IPv4.
        ipv6_only: bool,
    },
    /// A path, or an abstract name if it begins with a NUL. Shorten it with [`shorter`].
    Path {
        /// The path, absolute.
        path: String,
        /// Whether all users may read it.
        readable_all: bool,
        /// Whether all users may write to it.
        writable_all: bool,
    },
    /// A UDP address.
    Udp {
        /// The IP address.
        address: String,
        /// Whether it is IPv6.
        ipv6: bool,
        /// The port.
        port: u16,
        /// Whether an IPv6 socket excludes IPv4.
        ipv6_only: bool,
        /// Whether other sockets may bind the same address.
        reuse_address: bool,
    },
    /// A descriptor of the primary, for connections.
    Stream {
        /// The file descriptor.
        fd: RawFd,
    },
    /// A descriptor of the primary, for datagrams.
    Datagram {
        /// The file descriptor.
        fd: RawFd,
    },
}

/// A valid listen request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedRequest {
    pub(super) key: Key,
    pub(super) spec: ListenerSpec,
}

impl ResolvedRequest {
    /// Validates a listen request. The error is the error number of the refusal.
    pub(super) fn read(request: &ListenRequest, scheduling: &Scheduling) -> Result<Self, i32> {
        if request.address.as_ref().is_some_and(|address| address.len() > MAX_ADDRESS) {
            return Err(EINVAL);
        }
        let fd = match request.fd {
            Some(fd) if fd >= 0 => Some(RawFd::try_from(fd).map_err(|_| EINVAL)?),
            _ => None,
        };
        let datagram = matches!(request.address_type, Some(AddressType::Udp4 | AddressType::Udp6));
        let address = match fd {
            Some(fd) if datagram => ListenAddress::Datagram { fd },
            Some(fd) => ListenAddress::Stream { fd },
            None => ListenAddress::read(request)?,
        };
        let name = address.name();
        let plan = scheduling.plan(&name).clone();
        let sharing = match (plan.policy, &address) {
            _ if datagram => Sharing::Shared,
            (Policy::Kernel, ListenAddress::Tcp { .. } | ListenAddress::TcpAnywhere { .. }) => {
                Sharing::PerSlot
            }
            // Only a TCP address can be bound once per slot.
            (Policy::None | Policy::Kernel, _) => Sharing::Shared,
            _ => Sharing::Passed,
        };
        let backlog = (sharing != Sharing::Shared).then(|| backlog(request.backlog));
        let key = Key {
            address: request.address.clone(),
            port: request.port,
            address_type: request.address_type,
            fd,
            index: (request.port == Some(0)).then_some(request.index),
        };
        Ok(Self { key, spec: ListenerSpec { address, name, plan, sharing, backlog } })
    }
}

impl ListenAddress {
    /// The app's name for it: the port or the path. Empty for a descriptor.
    fn name(&self) -> String {
        match self {
            Self::Tcp { port, .. } | Self::TcpAnywhere { port, .. } | Self::Udp { port, .. } => {
                port.to_string()
            }
            Self::Path { path, .. } => path.clone(),
            Self::Stream { .. } | Self::Datagram { .. } => String::new(),
        }
    }

    /// The address of a request without a descriptor.
    fn read(request: &ListenRequest) -> Result<Self, i32> {
        let flags = request.flags.unwrap_or(0);
        let ipv6_only = flags & IPV6_ONLY != 0;
        let tcp_port = || u16::try_from(request.port.ok_or(EINVAL)?).map_err(|_| EINVAL);
        let address = || request.address.clone().ok_or(EINVAL);
        match request.address_type.ok_or(EINVAL)? {
            AddressType::Tcp4 | AddressType::Tcp6 if request.address.is_none() => {
                Ok(Self::TcpAnywhere { port: tcp_port()?, ipv6_only })
            }
            AddressType::Tcp4 => {
                Ok(Self::Tcp { address: address()?, ipv6: false, port: tcp_port()?, ipv6_only })
            }
            AddressType::Tcp6 => {
                Ok(Self::Tcp { address: address()?, ipv6: true, port: tcp_port()?, ipv6_only })
            }
            AddressType::Path => {
                let path = address()?;
                // The worker made the path absolute, with its own working directory. A relative path would
                // have another meaning here.
                if !path.starts_with(['/', '\0']) {
                    return Err(EINVAL);
                }
                Ok(Self::Path {
                    path,
                    readable_all: request.readable_all == Some(true),
                    writable_all: request.writable_all == Some(true),
                })
            }
            kind @ (AddressType::Udp4 | AddressType::Udp6) => {
                // Unsupported flags are refused, as in libuv.
                if flags & !(IPV6_ONLY | REUSE_ADDRESS) != 0 {
                    return Err(EINVAL);
                }
                Ok(Self::Udp {
                    address: address()?,
                    ipv6: kind == AddressType::Udp6,
                    // `bind()` without a port means any port.
                    port: u16::try_from(request.port.unwrap_or(0)).map_err(|_| EINVAL)?,
                    ipv6_only,
                    reuse_address: flags & REUSE_ADDRESS != 0,
                })
            }
        }
    }
}

/// Interprets the backlog like Node: none and 0 mean the default. The kernel takes negative numbers as very
/// large, so numbers beyond 32 bits become very large, too.
fn backlog(asked: Option<i64>) -> i32 {
    match asked {
        None | Some(0) => DEFAULT_BACKLOG,
        Some(asked) => i32::try_from(asked).unwrap_or(i32::MAX),
    }
}

/// The shorter form of a socket's path: as it is, or relative to the primary's working directory. A Unix
/// address holds about a hundred bytes, and an app deep in the file system changes its directory in order to
/// listen on a short name. If both are equally long, the relative one is used, as in Node.
///
/// An abstract name that a worker "resolved" (`/its/directory/\0name`) becomes the abstract name again. The
/// built-in supports abstract names in the same way.
#[must_use]
pub fn shorter(path: &str, directory: Option<&Path>) -> PathBuf {
    let as_is = PathBuf::from(path);
    let Some(directory) = directory.filter(|_| as_is.is_absolute()) else {
        return as_is;
    };
    let relative = relative(&as_is, directory);
    // The relative path of the directory itself is empty, which would be another kind of address.
    if (1..=path.len()).contains(&relative.as_os_str().len()) { relative } else { as_is }
}

/// The path relative to `directory`; both are absolute.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let (path, directory) = (normal(path), normal(directory));
    let common = path.iter().zip(&directory).take_while(|(one, other)| one == other).count();
    let up = directory[common..].iter().map(|_| Component::ParentDir);
    up.chain(path[common..].iter().copied()).collect()
}

/// The components of an absolute path without `.`, `..` and double slashes.
fn normal(path: &Path) -> Vec<Component<'_>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(_) => names.push(component),
            Component::ParentDir => {
                names.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names
}

#[cfg(test)]
mod tests;
