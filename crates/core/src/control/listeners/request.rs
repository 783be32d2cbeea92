//! Listen requests: what is to be opened, and the key by which workers share it.

use std::os::fd::RawFd;
use std::path::{Component, Path, PathBuf};

use crate::schedule::{Plan, Policy, Scheduling};
use crate::wire::{AddressType, EINVAL, Query};

/// The backlog where the app names none, as in Node: the kernel makes 512 of it.
const DEFAULT_BACKLOG: i32 = 511;

/// libuv's flag for an IPv6 socket that takes no IPv4, for TCP and UDP alike.
const IPV6_ONLY: i64 = 1;
/// libuv's flag for a UDP address that several sockets may have.
const REUSE_ADDRESS: i64 = 4;

/// The longest address, in bytes: that of a path in Linux. It is kept as long as the listener is, and may be text that
/// means nothing, like the name of an interface that does not exist.
const MAX_ADDRESS: usize = 4096;

/// What makes two listen requests mean the same listener: the same words, not the same meaning.
/// `0.0.0.0`, `::` and no host at all are three, as in Node.
///
/// Where the port is 0 every server of a worker means another port, but the second server of
/// one worker the same as the second of another: that is what `index` is for. It counts only
/// there. With a fixed port a worker that failed and tried again would be at index 1, and share
/// with nobody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    address: Option<String>,
    port: Option<i64>,
    address_type: Option<AddressType>,
    fd: Option<RawFd>,
    index: Option<u32>,
}

/// A socket to be opened: what follows from a listen request and the scheduling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Where to open it.
    pub address: ListenAddress,
    /// The port or path, as the worker asked for it; for a descriptor nothing.
    pub name: String,
    /// How its connections are distributed.
    pub plan: Plan,
    /// Who accepts.
    pub sharing: Sharing,
    /// What to listen with; `None` if it is only to be bound. A shared listener is only bound,
    /// because each worker's libuv calls `listen` itself; so is UDP, which cannot.
    pub backlog: Option<i32>,
}

/// Who accepts the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The dispatcher, which passes them on.
    Passed,
    /// Every member gets the descriptor, and the kernel chooses who accepts.
    Shared,
    /// Every slot has a descriptor of its own, which its worker gets. What comes to a slot without a worker
    /// the dispatcher accepts and passes on.
    PerSlot,
}

impl Sharing {
    /// Whether a worker gets a descriptor with the answer.
    #[must_use]
    pub fn gives_socket(self) -> bool {
        self != Self::Passed
    }

    /// Whether the dispatcher has connections for members.
    #[must_use]
    pub fn has_dispatcher(self) -> bool {
        self != Self::Shared
    }
}

/// Where a socket is to be opened. The address is text as the worker wrote it, so it may be no
/// address at all; then opening fails with `EINVAL`, as in libuv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp {
        /// The IP address.
        address: String,
        /// Its version is 6.
        ipv6: bool,
        /// The port.
        port: u16,
        /// No IPv4 on an IPv6 socket.
        ipv6_only: bool,
    },
    /// A TCP port on every address: `::` if there is IPv6, else `0.0.0.0`.
    TcpAnywhere {
        /// The port.
        port: u16,
        /// No IPv4 on an IPv6 socket.
        ipv6_only: bool,
    },
    /// A path, or an abstract name if it begins with a NUL. To be shortened by [`shorter`].
    Path {
        /// The path, absolute.
        path: String,
        /// Everybody may read it.
        readable_all: bool,
        /// Everybody may write to it.
        writable_all: bool,
    },
    /// A UDP address.
    Udp {
        /// The IP address.
        address: String,
        /// Its version is 6.
        ipv6: bool,
        /// The port.
        port: u16,
        /// No IPv4 on an IPv6 socket.
        ipv6_only: bool,
        /// Others may have the same address.
        reuse_address: bool,
    },
    /// A descriptor of the primary, for connections.
    Stream {
        /// Its number.
        fd: RawFd,
    },
    /// A descriptor of the primary, for datagrams.
    Datagram {
        /// Its number.
        fd: RawFd,
    },
}

/// A listen request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListenRequest {
    pub(super) key: Key,
    pub(super) spec: ListenerSpec,
}

impl ListenRequest {
    /// Validates a listen request, or says with which error number to refuse it.
    pub(super) fn read(query: &Query, scheduling: &Scheduling) -> Result<Self, i32> {
        if query.address.as_ref().is_some_and(|address| address.len() > MAX_ADDRESS) {
            return Err(EINVAL);
        }
        let fd = match query.fd {
            Some(fd) if fd >= 0 => Some(RawFd::try_from(fd).map_err(|_| EINVAL)?),
            _ => None,
        };
        let datagram = matches!(query.address_type, Some(AddressType::Udp4 | AddressType::Udp6));
        let address = match fd {
            Some(fd) if datagram => ListenAddress::Datagram { fd },
            Some(fd) => ListenAddress::Stream { fd },
            None => ListenAddress::read(query)?,
        };
        let name = address.name();
        let plan = scheduling.plan(&name).clone();
        let sharing = match (plan.policy, &address) {
            _ if datagram => Sharing::Shared,
            (Policy::Kernel, ListenAddress::Tcp { .. } | ListenAddress::TcpAnywhere { .. }) => {
                Sharing::PerSlot
            }
            // Only a TCP address can be bound once for each slot.
            (Policy::None | Policy::Kernel, _) => Sharing::Shared,
            _ => Sharing::Passed,
        };
        let backlog = (sharing != Sharing::Shared).then(|| backlog(query.backlog));
        let key = Key {
            address: query.address.clone(),
            port: query.port,
            address_type: query.address_type,
            fd,
            index: (query.port == Some(0)).then_some(query.index),
        };
        Ok(Self { key, spec: ListenerSpec { address, name, plan, sharing, backlog } })
    }
}

impl ListenAddress {
    /// What the app calls it: the port or the path. Nothing for a descriptor.
    fn name(&self) -> String {
        match self {
            Self::Tcp { port, .. } | Self::TcpAnywhere { port, .. } | Self::Udp { port, .. } => {
                port.to_string()
            }
            Self::Path { path, .. } => path.clone(),
            Self::Stream { .. } | Self::Datagram { .. } => String::new(),
        }
    }

    /// The address of a request that names no descriptor.
    fn read(query: &Query) -> Result<Self, i32> {
        let flags = query.flags.unwrap_or(0);
        let ipv6_only = flags & IPV6_ONLY != 0;
        let tcp_port = || u16::try_from(query.port.ok_or(EINVAL)?).map_err(|_| EINVAL);
        let address = || query.address.clone().ok_or(EINVAL);
        match query.address_type.ok_or(EINVAL)? {
            AddressType::Tcp4 | AddressType::Tcp6 if query.address.is_none() => {
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
                // The worker made it absolute, with the directory it was in. A relative one
                // would mean something else here.
                if !path.starts_with(['/', '\0']) {
                    return Err(EINVAL);
                }
                Ok(Self::Path {
                    path,
                    readable_all: query.readable_all == Some(true),
                    writable_all: query.writable_all == Some(true),
                })
            }
            kind @ (AddressType::Udp4 | AddressType::Udp6) => {
                // Flags that we would not honour are refused, as libuv does.
                if flags & !(IPV6_ONLY | REUSE_ADDRESS) != 0 {
                    return Err(EINVAL);
                }
                Ok(Self::Udp {
                    address: address()?,
                    ipv6: kind == AddressType::Udp6,
                    // `bind()` without a port means any.
                    port: u16::try_from(query.port.unwrap_or(0)).map_err(|_| EINVAL)?,
                    ipv6_only,
                    reuse_address: flags & REUSE_ADDRESS != 0,
                })
            }
        }
    }
}

/// The backlog as Node reads it: nothing and 0 are the default. A negative one goes through, and
/// the kernel takes it for very large; so whatever has no room in 32 bits is very large, too.
fn backlog(asked: Option<i64>) -> i32 {
    match asked {
        None | Some(0) => DEFAULT_BACKLOG,
        Some(asked) => i32::try_from(asked).unwrap_or(i32::MAX),
    }
}

/// The shorter way to write a socket's path: as it is, or relative to the directory the primary
/// is in. A unix address has room for about a hundred bytes, and an app that is deep in the file
/// system goes there to listen on a short name. When both are as long the relative one is taken,
/// as in Node.
///
/// An abstract name that a worker "resolved" (`/its/directory/\0name`) becomes itself again on
/// the way, and that is how abstract names work with the built-in.
#[must_use]
pub fn shorter(path: &str, directory: Option<&Path>) -> PathBuf {
    let as_is = PathBuf::from(path);
    let Some(directory) = directory.filter(|_| as_is.is_absolute()) else {
        return as_is;
    };
    let relative = relative(&as_is, directory);
    // Nothing at all is what the directory itself becomes, and would be another kind of address.
    if (1..=path.len()).contains(&relative.as_os_str().len()) { relative } else { as_is }
}

/// How to write `path` as seen from `directory`; both absolute.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let (path, directory) = (normal(path), normal(directory));
    let common = path.iter().zip(&directory).take_while(|(one, other)| one == other).count();
    let up = directory[common..].iter().map(|_| Component::ParentDir);
    up.chain(path[common..].iter().copied()).collect()
}

/// The names of an absolute path without `.`, `..` and doubled slashes.
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
