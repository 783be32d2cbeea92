//! A record of the log.
//!
//! ```text
//! op, kind, lengths | revision | expiry, if any | origin, if moved | key … | value …
//! ```

use super::atomic::Words;
use super::geometry::MAX_KEY;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was set.
    Set,
    /// The key was deleted.
    Delete,
    /// The value expired.
    Expire,
    /// The key was evicted to make room.
    Evict,
    /// All keys with this prefix were deleted.
    Clear,
}

const PAD: u8 = 6;
const MOVED: u8 = 0x80;
const EXPIRES: u8 = 0x40;

impl Change {
    /// The code of this change, in records and for JavaScript.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Delete => 2,
            Self::Expire => 3,
            Self::Evict => 4,
            Self::Clear => 5,
        }
    }

    pub(super) fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Set,
            2 => Self::Delete,
            3 => Self::Expire,
            4 => Self::Evict,
            5 => Self::Clear,
            _ => return None,
        })
    }
}

/// The header of an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Padding of this many words.
    Pad(usize),
    /// A change.
    Record(Record),
}

/// What the header of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of change.
    pub change: Change,
    /// The encoding of the value, defined by the writer of the value.
    pub kind: u8,
    /// Whether it is a copy of an older record, made by compaction.
    pub moved: bool,
    /// Whether the value expires; the time takes one word.
    pub expires: bool,
    /// Length of the key in bytes.
    pub key_len: usize,
    /// Length of the value in bytes.
    pub value_len: usize,
}

impl Record {
    /// The number of words before the key.
    #[must_use]
    pub fn head(&self) -> usize {
        2 + usize::from(self.expires) + usize::from(self.moved)
    }

    /// The offset of the expiry time from the first word.
    pub(super) fn end_at(&self) -> Option<usize> {
        self.expires.then_some(2)
    }

    /// The offset from the first word of the address that it was copied from.
    pub(super) fn origin_at(&self) -> Option<usize> {
        self.moved.then(|| self.head() - 1)
    }

    /// Its length in words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.head() + self.key_len.div_ceil(8) + self.value_len.div_ceil(8)
    }

    /// The words that it counts for while it is current: its length after a move.
    #[must_use]
    pub fn charge(&self) -> usize {
        self.words() + usize::from(!self.moved)
    }

    /// Encodes the first word.
    #[must_use]
    pub fn encode(&self) -> u64 {
        let mut op = self.change.number();
        if self.moved {
            op |= MOVED;
        }
        if self.expires {
            op |= EXPIRES;
        }
        self.key_len as u64 & 0xffff
            | u64::from(self.kind) << 16
            | u64::from(op) << 24
            | (self.value_len as u64) << 32
    }
}

impl Header {
    /// Decodes a first word, which may be garbage if the block has been reused. `room` is the number of words
    /// to the end of the block. `None` if it does not start a record that fits.
    #[must_use]
    pub fn decode(word: u64, room: usize) -> Option<Self> {
        let [key_low, key_high, kind, op, ..] = word.to_le_bytes();
        let value_len = usize::try_from(word >> 32).ok()?;
        if op == PAD {
            return (value_len >= 1 && value_len <= room).then_some(Self::Pad(value_len));
        }
        let record = Record {
            change: Change::of(op & !(MOVED | EXPIRES))?,
            kind,
            moved: op & MOVED != 0,
            expires: op & EXPIRES != 0,
            key_len: usize::from(u16::from_le_bytes([key_low, key_high])),
            value_len,
        };
        (record.key_len <= MAX_KEY && record.words() <= room).then_some(Self::Record(record))
    }

    /// The first word of padding of this many words.
    #[must_use]
    pub fn encode_pad(words: usize) -> u64 {
        u64::from(PAD) << 24 | (words as u64) << 32
    }
}

/// Bytes as words, the last one padded with zeros.
pub fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = bytes.as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    });
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

/// Reads `len` bytes from the word `at` on into `bytes`, replacing its content.
pub fn read_bytes(words: &impl Words, at: usize, len: usize, bytes: &mut Vec<u8>) {
    // The old content is not cleared, because it is overwritten.
    bytes.resize(len.next_multiple_of(8), 0);
    words.copy(at, bytes.as_chunks_mut::<8>().0);
    bytes.truncate(len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for change in [Change::Set, Change::Delete, Change::Expire, Change::Evict, Change::Clear] {
            for (moved, expires) in [(false, false), (false, true), (true, false), (true, true)] {
                let record = Record { change, kind: 7, moved, expires, key_len: 1000, value_len: 70_000 };
                assert_eq!(Header::decode(record.encode(), record.words()), Some(Header::Record(record)));
                assert_eq!(Header::decode(record.encode(), record.words() - 1), None, "it does not fit");
            }
        }
        assert_eq!(Header::decode(Header::encode_pad(1), 1), Some(Header::Pad(1)));
        for wrong in [0, u64::MAX, Header::encode_pad(0), Header::encode_pad(2)] {
            assert_eq!(Header::decode(wrong, 1), None);
        }
    }

    #[test]
    fn bytes_become_words_and_come_back() {
        for len in 0..20 {
            let bytes: Vec<u8> = (1..=len).collect();
            let words: std::sync::Arc<[_]> =
                words_of(&bytes).map(super::super::atomic::AtomicU64::new).collect();
            let mut read = vec![9; 30 - bytes.len()];
            read_bytes(&words, 0, bytes.len(), &mut read);
            assert_eq!(read, bytes);
        }
    }
}
