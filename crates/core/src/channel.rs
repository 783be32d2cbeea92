//! The messages on a worker's connection channel.
//!
//! This is the hot path of rcluster, so messages are binary and not JSON: a tag, then an entry for each
//! descriptor that travels with the message. Every message is one packet. An entry is the number of the
//! listener, in four bytes; for a connection that another worker has had before, what is known of it follows
//! (see [`Kept`]).

use super::ids::{ListenerId, Slot};
use super::schedule::Key;

/// The longest message in bytes: a tag and an entry for each of 32 descriptors.
pub const MAX_MESSAGE: usize = 1 + KEPT_ENTRY * MAX_CONNECTIONS;

/// Bytes of an entry: the listener.
const ENTRY: usize = 4;

/// Bytes of the entry of a kept connection: listener, flags, slot, and a hash of eight bytes.
const KEPT_ENTRY: usize = 20;

/// Flag: a request has been answered on the connection.
const SERVED: u32 = 1;
/// Flag: there is a hash.
const HAS_KEY: u32 = 2;
/// Flag: there is a slot.
const HAS_SLOT: u32 = 4;

/// The largest number of connections, and so of descriptors, in one message.
pub const MAX_CONNECTIONS: usize = 32;

/// The number of connections in one message between processes whose descriptor limit is `descriptors`. A
/// message is received completely or not at all, so with few descriptors, small messages can use the last
/// ones.
#[must_use]
pub fn batch_limit(descriptors: usize) -> usize {
    (descriptors / 128).clamp(1, MAX_CONNECTIONS)
}

/// The first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// Primary to worker: new connections.
    Connections = b'C',
    /// Primary to worker: no content; answer if a wake-up is wanted.
    Probe = b'P',
    /// Worker to primary: the event loop has turned, as requested.
    Woke = b'W',
    /// Worker to primary: these connections are returned, because the worker does not listen there.
    NotListening = b'N',
    /// Worker to primary: these connections are returned, because the server is full.
    Full = b'F',
    /// Worker to primary: a server has room again. Carries one listener and no descriptor.
    Room = b'R',
    /// Worker to primary: a server is full and no longer accepts by itself. Carries one listener and no
    /// descriptor.
    NoRoom = b'X',
    /// Worker to primary: hand these open connections over to other workers. Primary to worker: connections
    /// handed over by others, whose clients are not new.
    HandedOver = b'H',
    /// Worker to primary: these handed-over connections are returned, because the server is full.
    KeptFull = b'K',
}

/// What is known of a connection that one worker has handed over to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whether a request has been answered on it. If not, its client is still at its first request.
    pub served: bool,
    /// What identifies its client on a sticky listener: from its last request, if requests decide.
    pub key: Option<Key>,
}

/// The content of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// No descriptors and no listener.
    Nothing,
    /// No descriptors and one listener.
    Word,
    /// New connections.
    Connections,
    /// Connections that a worker has had before.
    KeptConnections,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'C' => Self::Connections,
            b'P' => Self::Probe,
            b'W' => Self::Woke,
            b'N' => Self::NotListening,
            b'F' => Self::Full,
            b'R' => Self::Room,
            b'X' => Self::NoRoom,
            b'H' => Self::HandedOver,
            b'K' => Self::KeptFull,
            _ => return None,
        })
    }

    fn carries(self) -> Carries {
        match self {
            Self::Probe | Self::Woke => Carries::Nothing,
            Self::Room | Self::NoRoom => Carries::Word,
            Self::Connections | Self::NotListening | Self::Full => Carries::Connections,
            Self::HandedOver | Self::KeptFull => Carries::KeptConnections,
        }
    }

    /// The length in bytes of an entry.
    fn entry(self) -> usize {
        if self.carries() == Carries::KeptConnections { KEPT_ENTRY } else { ENTRY }
    }
}

/// A parsed message, without its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The tag.
    pub tag: Tag,
    entries: &'a [u8],
}

/// A violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The tag is unknown.
    #[error("a channel message begins with the unknown tag {0:#04x}")]
    UnknownTag(u8),
    /// There is no tag, or an incomplete entry.
    #[error("a channel message has {0} bytes, which no message has")]
    Length(usize),
    /// The number of descriptors differs from the number of listeners.
    #[error("a channel message names {listeners} listeners and brings {descriptors} descriptors")]
    Descriptors {
        /// The number of listeners in the message.
        listeners: usize,
        /// The number of descriptors that came with it.
        descriptors: usize,
    },
}

impl<'a> Message<'a> {
    /// Parses a message that came with `descriptors` descriptors.
    pub fn parse(bytes: &'a [u8], descriptors: usize) -> Result<Self, ChannelError> {
        let (&first, entries) = bytes.split_first().ok_or(ChannelError::Length(0))?;
        let tag = Tag::of(first).ok_or(ChannelError::UnknownTag(first))?;
        let count = entries.len() / tag.entry();
        let (right_length, expected) = match tag.carries() {
            Carries::Nothing => (count == 0, 0),
            Carries::Word => (count == 1, 0),
            Carries::Connections | Carries::KeptConnections => {
                ((1..=MAX_CONNECTIONS).contains(&count), count)
            }
        };
        if entries.len() % tag.entry() != 0 || !right_length {
            return Err(ChannelError::Length(bytes.len()));
        }
        if descriptors != expected {
            return Err(ChannelError::Descriptors { listeners: count, descriptors });
        }
        Ok(Self { tag, entries })
    }

    /// The number of descriptors with which a message should have come, as far as its bytes show it.
    #[must_use]
    pub fn descriptors(bytes: &[u8]) -> usize {
        let Some((&first, entries)) = bytes.split_first() else { return 0 };
        Tag::of(first).map_or(0, |tag| match tag.carries() {
            Carries::Nothing | Carries::Word => 0,
            Carries::Connections | Carries::KeptConnections => entries.len() / tag.entry(),
        })
    }

    /// The listeners, in the order of the descriptors.
    #[must_use]
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = ListenerId> + use<'a> {
        self.entries.chunks_exact(self.tag.entry()).map(|entry| ListenerId(number(entry, 0)))
    }

    /// The listeners, each with what is known of a connection that a worker has had before; `None` for new
    /// connections.
    #[must_use]
    pub fn connections(&self) -> impl ExactSizeIterator<Item = (ListenerId, Option<Kept>)> + use<'a> {
        let is_kept = self.tag.carries() == Carries::KeptConnections;
        let entries = self.entries.chunks_exact(self.tag.entry());
        entries.map(move |entry| (ListenerId(number(entry, 0)), is_kept.then(|| Kept::read(entry))))
    }
}

/// The number at the `index`-th four bytes of an entry.
fn number(entry: &[u8], index: usize) -> u32 {
    let bytes = entry[4 * index..].first_chunk().copied().unwrap_or_default();
    u32::from_le_bytes(bytes)
}

impl Kept {
    fn read(entry: &[u8]) -> Self {
        let flags = number(entry, 1);
        let slot = (flags & HAS_SLOT != 0).then(|| Slot(number(entry, 2)));
        let hash = (u64::from(number(entry, 4)) << 32) | u64::from(number(entry, 3));
        let key = (flags & HAS_KEY != 0).then_some(Key { hash, slot });
        Self { served: flags & SERVED != 0, key }
    }

    fn write(self, entry: &mut [u8]) {
        let Self { served, key } = self;
        let slot = key.and_then(|key| key.slot);
        let flags = (u32::from(served) * SERVED)
            | (u32::from(key.is_some()) * HAS_KEY)
            | (u32::from(slot.is_some()) * HAS_SLOT);
        entry[4..8].copy_from_slice(&flags.to_le_bytes());
        entry[8..12].copy_from_slice(&slot.map_or(0, |slot| slot.0).to_le_bytes());
        entry[12..20].copy_from_slice(&key.map_or(0, |key| key.hash).to_le_bytes());
    }
}

/// Encodes a message. It grows with each entry and can be cleared for the next message.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: [u8; MAX_MESSAGE],
    length: usize,
    /// The length of an entry.
    entry: usize,
}

impl Writer {
    /// Creates a message with a tag and no entry.
    #[must_use]
    pub fn new(tag: Tag) -> Self {
        let mut bytes = [0; MAX_MESSAGE];
        bytes[0] = tag as u8;
        Self { bytes, length: 1, entry: tag.entry() }
    }

    /// Appends an entry; `kept` only counts in messages about kept connections.
    ///
    /// # Panics
    /// If the message already has [`MAX_CONNECTIONS`] entries.
    pub fn push(&mut self, listener: ListenerId, kept: Option<Kept>) {
        let entry = &mut self.bytes[self.length..self.length + self.entry];
        entry[..4].copy_from_slice(&listener.0.to_le_bytes());
        if self.entry == KEPT_ENTRY {
            kept.unwrap_or_default().write(entry);
        }
        self.length += self.entry;
    }

    /// Removes the entries; the tag stays.
    pub fn clear(&mut self) {
        self.length = 1;
    }

    /// The message so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_make_small_messages() {
        let limits = [0, 64, 255, 256, 1024, 4096, usize::MAX].map(batch_limit);
        assert_eq!(limits, [1, 1, 1, 2, 8, 32, 32]);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut writer = Writer::new(Tag::Connections);
        writer.push(ListenerId(1), None);
        writer.push(ListenerId(u32::MAX), None);
        let message = Message::parse(writer.bytes(), 2).unwrap();
        assert_eq!(message.tag, Tag::Connections);
        assert_eq!(message.listeners().collect::<Vec<_>>(), [ListenerId(1), ListenerId(u32::MAX)]);
        writer.clear();
        assert_eq!(writer.bytes(), b"C");
    }

    #[test]
    fn every_tag_survives_the_trip() {
        let cases = [
            (Tag::Connections, 1, 1),
            (Tag::Probe, 0, 0),
            (Tag::Woke, 0, 0),
            (Tag::NotListening, 2, 2),
            (Tag::Full, 1, 1),
            (Tag::Room, 1, 0),
            (Tag::NoRoom, 1, 0),
            (Tag::HandedOver, 2, 2),
            (Tag::KeptFull, 1, 1),
        ];
        for (tag, listeners, descriptors) in cases {
            let mut writer = Writer::new(tag);
            for _ in 0..listeners {
                writer.push(ListenerId(9), None);
            }
            let message = Message::parse(writer.bytes(), descriptors).unwrap();
            assert_eq!((message.tag, message.listeners().len()), (tag, listeners));
            assert_eq!(Message::descriptors(writer.bytes()), descriptors);
        }
    }

    #[test]
    fn what_is_known_of_a_kept_connection_travels_with_it() {
        let hash = 0x0123_4567_89ab_cdef;
        let all = [
            Kept::default(),
            Kept { served: true, key: None },
            Kept { served: true, key: Some(Key { hash, slot: None }) },
            Kept { served: false, key: Some(Key { hash: u64::MAX, slot: Some(Slot(7)) }) },
        ];
        let mut writer = Writer::new(Tag::HandedOver);
        for kept in all.into_iter().cycle().take(MAX_CONNECTIONS) {
            writer.push(ListenerId(3), Some(kept));
        }
        assert_eq!(writer.bytes().len(), MAX_MESSAGE);
        let message = Message::parse(writer.bytes(), MAX_CONNECTIONS).unwrap();
        let expected = all.into_iter().cycle().take(MAX_CONNECTIONS);
        assert!(message.connections().eq(expected.map(|kept| (ListenerId(3), Some(kept)))));
    }

    #[test]
    fn of_a_new_connection_nothing_is_known() {
        let mut writer = Writer::new(Tag::Connections);
        writer.push(ListenerId(3), None);
        let message = Message::parse(writer.bytes(), 1).unwrap();
        assert!(message.connections().eq([(ListenerId(3), None)]));
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_panic() {
        assert_eq!(Message::parse(b"", 0), Err(ChannelError::Length(0)));
        assert_eq!(Message::parse(b"x", 0), Err(ChannelError::UnknownTag(b'x')));
        assert_eq!(Message::parse(b"C", 0), Err(ChannelError::Length(1)));
        assert_eq!(Message::parse(b"C123", 1), Err(ChannelError::Length(4)));
        assert_eq!(
            Message::parse(b"C1234", 2),
            Err(ChannelError::Descriptors { listeners: 1, descriptors: 2 })
        );
        assert_eq!(
            Message::parse(b"R1234", 1),
            Err(ChannelError::Descriptors { listeners: 1, descriptors: 1 })
        );
        assert_eq!(Message::parse(b"H1234", 1), Err(ChannelError::Length(5)), "half an entry");
        let long = [b'F'; 1 + ENTRY * (MAX_CONNECTIONS + 1)];
        assert_eq!(Message::parse(&long, 33), Err(ChannelError::Length(long.len())));
    }
}
