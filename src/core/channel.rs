//! The messages on a worker's connection channel.
//!
//! The hot path of rcluster, so it is bytes and not JSON: a tag, then a listener number of four
//! bytes for each descriptor that travels with the message. Every message is one packet.

use super::ids::ListenerId;

/// The longest message in bytes: a tag and a listener for each of 32 descriptors.
pub const MAX_MESSAGE: usize = 1 + 4 * MAX_CONNECTIONS;

/// The most connections in one message. It is the limit of descriptors, too.
pub const MAX_CONNECTIONS: usize = 32;

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
}

/// What a message says, without its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What kind it is.
    pub tag: Tag,
    listeners: &'a [u8],
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
        let (&first, listeners) = bytes.split_first().ok_or(ChannelError::Length(0))?;
        let tag = match first {
            b'C' => Tag::Connections,
            b'P' => Tag::Probe,
            b'W' => Tag::Woke,
            b'N' => Tag::NotListening,
            b'F' => Tag::Full,
            b'R' => Tag::Room,
            b'X' => Tag::NoRoom,
            other => return Err(ChannelError::UnknownTag(other)),
        };
        let count = listeners.len() / 4;
        let expected = match tag {
            Tag::Connections | Tag::NotListening | Tag::Full => count,
            Tag::Probe | Tag::Woke | Tag::Room | Tag::NoRoom => 0,
        };
        let right_length = match tag {
            Tag::Connections | Tag::NotListening | Tag::Full => (1..=MAX_CONNECTIONS).contains(&count),
            Tag::Probe | Tag::Woke => count == 0,
            Tag::Room | Tag::NoRoom => count == 1,
        };
        if listeners.len() % 4 != 0 || !right_length {
            return Err(ChannelError::Length(bytes.len()));
        }
        if descriptors != expected {
            return Err(ChannelError::Descriptors { listeners: count, descriptors });
        }
        Ok(Self { tag, listeners })
    }

    /// The listeners it names, in the order of its descriptors.
    #[must_use]
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = ListenerId> + use<'a> {
        let (numbers, _) = self.listeners.as_chunks();
        numbers.iter().map(|number| ListenerId(u32::from_le_bytes(*number)))
    }
}

/// Writes a message. It grows with each listener and can be cleared for the next.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: [u8; MAX_MESSAGE],
    length: usize,
}

impl Writer {
    /// A message with a tag and no listener yet.
    #[must_use]
    pub fn new(tag: Tag) -> Self {
        let mut bytes = [0; MAX_MESSAGE];
        bytes[0] = tag as u8;
        Self { bytes, length: 1 }
    }

    /// Names one more listener.
    ///
    /// # Panics
    /// When it names [`MAX_CONNECTIONS`] already.
    pub fn push(&mut self, listener: ListenerId) {
        self.bytes[self.length..self.length + 4].copy_from_slice(&listener.0.to_le_bytes());
        self.length += 4;
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
    fn what_was_written_is_read_back() {
        let mut writer = Writer::new(Tag::Connections);
        writer.push(ListenerId(1));
        writer.push(ListenerId(u32::MAX));
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
        ];
        for (tag, listeners, descriptors) in cases {
            let mut writer = Writer::new(tag);
            for _ in 0..listeners {
                writer.push(ListenerId(9));
            }
            let message = Message::parse(writer.bytes(), descriptors).unwrap();
            assert_eq!((message.tag, message.listeners().len()), (tag, listeners));
        }
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
        let long = vec![b'F'; MAX_MESSAGE + 4];
        assert_eq!(Message::parse(&long, 33), Err(ChannelError::Length(MAX_MESSAGE + 4)));
    }
}
