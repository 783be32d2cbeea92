//! A record of the log.
//!
//! ```text
//! op, kind, lengths | revision | expires | origin, if it has been moved | key … | value …
//! ```

use super::atomic::Words;
use super::geometry::MAX_KEY;

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has a value.
    Set,
    /// It was deleted.
    Delete,
    /// It has expired.
    Expire,
    /// It had to make room for others.
    Evict,
    /// All keys that begin with this one were deleted.
    Clear,
}

const PAD: u8 = 6;
const MOVED: u8 = 0x80;

impl Change {
    /// As it stands in a record, and is told to JavaScript.
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

    fn of(number: u8) -> Option<Self> {
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

/// The beginning of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing, for so many words.
    Pad(usize),
    /// A change.
    Record(Record),
}

/// What the first words of a change say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What has happened.
    pub change: Change,
    /// What the bytes of the value mean: for whoever wrote them to know.
    pub kind: u8,
    /// Whether it is a copy of an older record, which is being cleaned away.
    pub moved: bool,
    /// Bytes of the key.
    pub key_len: usize,
    /// Bytes of the value.
    pub value_len: usize,
}

impl Record {
    /// Words before the key.
    #[must_use]
    pub fn head(&self) -> usize {
        3 + usize::from(self.moved)
    }

    /// All its words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.head() + self.key_len.div_ceil(8) + self.value_len.div_ceil(8)
    }

    /// What it counts for while it is current: its words once it has been moved.
    #[must_use]
    pub fn charge(&self) -> usize {
        self.words() + usize::from(!self.moved)
    }

    /// The first word.
    #[must_use]
    pub fn encode(&self) -> u64 {
        let op = self.change.number() | if self.moved { MOVED } else { 0 };
        self.key_len as u64 & 0xffff
            | u64::from(self.kind) << 16
            | u64::from(op) << 24
            | (self.value_len as u64) << 32
    }
}

impl Header {
    /// Reads a first word, which may be anything while the block is being used for something else. `room` is how
    /// many words there are up to the end of the block. `None` if it is not the beginning of a record that fits.
    #[must_use]
    pub fn decode(word: u64, room: usize) -> Option<Self> {
        let [key_low, key_high, kind, op, ..] = word.to_le_bytes();
        let value_len = usize::try_from(word >> 32).ok()?;
        if op == PAD {
            return (value_len >= 1 && value_len <= room).then_some(Self::Pad(value_len));
        }
        let record = Record {
            change: Change::of(op & !MOVED)?,
            kind,
            moved: op & MOVED != 0,
            key_len: usize::from(u16::from_le_bytes([key_low, key_high])),
            value_len,
        };
        (record.key_len <= MAX_KEY && record.words() <= room).then_some(Self::Record(record))
    }

    /// The first word of a pad of so many words.
    #[must_use]
    pub fn encode_pad(words: usize) -> u64 {
        u64::from(PAD) << 24 | (words as u64) << 32
    }
}

/// Bytes as words, the last one filled up with zeros.
pub fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (whole, rest) = bytes.as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    });
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

/// Reads `len` bytes that begin at the word `at`. What was in `bytes` before is gone.
pub fn read_bytes(words: &impl Words, at: usize, len: usize, bytes: &mut Vec<u8>) {
    // What is there already is not cleared: it is overwritten.
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
            for moved in [false, true] {
                let record = Record { change, kind: 7, moved, key_len: 1000, value_len: 70_000 };
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
