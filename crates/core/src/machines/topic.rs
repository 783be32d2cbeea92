//! The ids of machines, and the topics on which they publish.

use std::fmt;
use std::sync::Arc;

/// The unique id of a machine: hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId([u8; Self::LENGTH]);

impl MachineId {
    /// The number of digits.
    pub const LENGTH: usize = 32;

    /// Formats two random numbers as an id.
    #[must_use]
    pub fn new(numbers: [u64; 2]) -> Self {
        let mut digits = [0; Self::LENGTH];
        let halves = numbers.into_iter().flat_map(u64::to_be_bytes).flat_map(|byte| [byte >> 4, byte & 15]);
        for (digit, half) in digits.iter_mut().zip(halves) {
            *digit = if half < 10 { b'0' + half } else { b'a' + half - 10 };
        }
        Self(digits)
    }

    /// Parses an id.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        bytes.try_into().ok().filter(|_| bytes.iter().all(is_digit)).map(Self)
    }

    /// The digits.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}

/// A topic of the server. The topics that every machine needs sort first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Requests to all machines.
    Requests,
    /// Publications to one machine.
    Machine(MachineId),
    /// Messages of a channel.
    Channel(Arc<[u8]>),
    /// Notices to the handlers of a name.
    Handler(Arc<[u8]>),
}

const REQUESTS: &[u8] = b"requests";
const MACHINE: &[u8] = b"machine:";
const CHANNEL: &[u8] = b"channel:";
const HANDLER: &[u8] = b"handler:";

impl Topic {
    /// The name on the server, after the prefix.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        match self {
            Self::Requests => REQUESTS.into(),
            Self::Machine(machine) => [MACHINE, machine.digits()].concat(),
            Self::Channel(name) => [CHANNEL, name].concat(),
            Self::Handler(name) => [HANDLER, name].concat(),
        }
    }

    /// Parses a name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        if name == REQUESTS {
            return Some(Self::Requests);
        }
        if let Some(machine) = name.strip_prefix(MACHINE) {
            return MachineId::of(machine).map(Self::Machine);
        }
        let behind = |kind| name.strip_prefix(kind).map(Arc::from);
        behind(CHANNEL).map(Self::Channel).or_else(|| behind(HANDLER).map(Self::Handler))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let machine = MachineId::new([0x0123_4567_89ab_cdef, u64::MAX]);
        assert_eq!(machine.digits(), b"0123456789abcdefffffffffffffffff");
        assert_eq!(MachineId::of(machine.digits()), Some(machine));
        let name = |text: &str| Arc::from(text.as_bytes());
        for topic in [
            Topic::Requests,
            Topic::Machine(machine),
            Topic::Channel(name("news")),
            Topic::Channel(name("")),
            Topic::Handler(name("handler:")),
        ] {
            assert_eq!(Topic::of_name(&topic.name()), Some(topic));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [&b"chanel:news"[..], b"request", b"requests:", b"machine:", b"machine:7", b""] {
            assert_eq!(Topic::of_name(name), None);
        }
        assert_eq!(MachineId::of(b"0123456789ABCDEF0123456789abcdef"), None);
    }
}
