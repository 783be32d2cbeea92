//! The messages on a worker's connection channel.
//!
//! The hot path of rcluster, so it is bytes and not JSON: a tag, then an entry for each descriptor that travels
//! with the message. Every message is one packet. An entry is the number of the listener, in four bytes; where the
//! connection has been with a worker before, what is known of it follows (see [`Kept`]).

use super::ids::{ListenerId, Slot};
use super::schedule::Key;

/// The longest message in bytes: a tag and an entry for each of 32 descriptors.
pub const MAX_MESSAGE: usize = 1 + KEPT_ENTRY * MAX_CONNECTIONS;

/// The length in bytes of an entry: the listener.
const ENTRY: usize = 4;

/// The length in bytes of the entry of a kept connection: listener, flags, slot, and a hash of eight bytes.
const KEPT_ENTRY: usize = 20;

/// In the flags: a request has been answered on the connection.
const SERVED: u32 = 1;
/// In the flags: there is a hash.
const HAS_KEY: u32 = 2;
/// In the flags: there is a slot.
const HAS_SLOT: u32 = 4;

/// The most connections in one message. It is the limit of descriptors, too.
pub const MAX_CONNECTIONS: usize = 32;

/// How many connections go into one message between processes that may have `descriptors` open. A message is received
/// as a whole or not at all, so with few of them small ones make use of the last.
#[must_use]
pub fn batch_limit(descriptors: usize) -> usize {
    (descriptors / 128).clamp(1, MAX_CONNECTIONS)
}

/// The first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// Primary to worker: these connections are yours.
    Connections = b'C',
    /// Primary to worker: nothing, but answer if a wake-up is wanted.
    Probe = b'P',
    /// Worker to primary: my loop has turned, as you wanted to know.
    Woke = b'W',
    /// Worker to primary: take these connections back, I do not listen there.
    NotListening = b'N',
    /// Worker to primary: take these connections back, my server is full.
    Full = b'F',
    /// Worker to primary: my server has room again. Names one listener, carries no descriptor.
    Room = b'R',
    /// Worker to primary: my server is full, and I do not accept by myself any more. Names one listener, carries no
    /// descriptor.
    NoRoom = b'X',
    /// Worker to primary: give these connections, which I have served, to other workers. Primary to worker: these
    /// connections are yours, and their clients are no new ones.
    HandedOver = b'H',
    /// Worker to primary: take these handed-over connections back, my server is full.
    KeptFull = b'K',
}

/// What is known of a connection that has been with a worker before and is handed over to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whether a request has been answered on it. If none has, its client still is at its first one.
    pub served: bool,
    /// What its client is recognised by, on a sticky listener: by its last request, where requests decide.
    pub key: Option<Key>,
}

/// What a message carries for each of its descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// It has no descriptors and names no listener.
    Nothing,
    /// It has no descriptors and names one listener.
    Word,
    /// New connections.
    Connections,
    /// Connections that have been with a worker before.
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

/// What a message says, without its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What kind it is.
    pub tag: Tag,
    entries: &'a [u8],
}

/// A message that nobody who follows the rules would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There is no such tag.
    #[error("a channel message begins with the unknown tag {0:#04x}")]
    UnknownTag(u8),
    /// No tag, or not a whole number of listeners behind it.
    #[error("a channel message has {0} bytes, which no message has")]
    Length(usize),
    /// A descriptor must come with each listener of a message that hands connections over.
    #[error("a channel message names {listeners} listeners and brings {descriptors} descriptors")]
    Descriptors {
        /// How many listeners the message names.
        listeners: usize,
        /// How many descriptors came with it.
        descriptors: usize,
    },
}

impl<'a> Message<'a> {
    /// Reads a message that came with `descriptors` descriptors.
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

    /// How many descriptors a message should have come with, as far as that can be told from its bytes.
    #[must_use]
    pub fn descriptors(bytes: &[u8]) -> usize {
        let Some((&first, entries)) = bytes.split_first() else { return 0 };
        Tag::of(first).map_or(0, |tag| match tag.carries() {
            Carries::Nothing | Carries::Word => 0,
            Carries::Connections | Carries::KeptConnections => entries.len() / tag.entry(),
        })
    }

    /// The listeners it names, in the order of its descriptors.
    #[must_use]
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = ListenerId> + use<'a> {
        self.entries.chunks_exact(self.tag.entry()).map(|entry| ListenerId(number(entry, 0)))
    }

    /// The same, with what is known of connections that have been with a worker before; None for new ones.
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

/// Writes a message. It grows with each listener and can be cleared for the next.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: [u8; MAX_MESSAGE],
    length: usize,
    /// The length of an entry.
    entry: usize,
}

impl Writer {
    /// A message with a tag and no listener yet.
    #[must_use]
    pub fn new(tag: Tag) -> Self {
        let mut bytes = [0; MAX_MESSAGE];
        bytes[0] = tag as u8;
        Self { bytes, length: 1, entry: tag.entry() }
    }

    /// Names one more listener; with what is known of the connection, in a message about kept ones.
    ///
    /// # Panics
    /// When it names [`MAX_CONNECTIONS`] already.
    pub fn push(&mut self, listener: ListenerId, kept: Option<Kept>) {
        let entry = &mut self.bytes[self.length..self.length + self.entry];
        entry[..4].copy_from_slice(&listener.0.to_le_bytes());
        if self.entry == KEPT_ENTRY {
            kept.unwrap_or_default().write(entry);
        }
        self.length += self.entry;
    }

    /// Forgets the listeners; the tag stays.
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
