//! A store as bytes, for a file.
//!
//! ```text
//! magic (8) | version (4) | 0 (4) | revision (8) | entries (8) | bytes of entries (8) | entries | checksum (8)
//! entry: expires (8) | bytes of the key (4) | bytes of the value (4) | kind (1) | key | value
//! ```
//! All numbers are little-endian. Times are in ms since 1970, because the clock by which keys expire restarts
//! with the system. The checksum detects damage; it does not protect against a process that may write the
//! file.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::geometry::MAX_KEY;
use super::reader::Reader;

const MAGIC: [u8; 8] = *b"rcstore\n";

/// The version of this format.
const VERSION: u32 = 1;

/// JavaScript cannot represent larger revisions exactly.
const MAX_REVISION: u64 = 1 << 53;

const HEAD: usize = 40;
const CHECKSUM: usize = 8;
const ENTRY: usize = 17;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In UTF-8.
    pub key: Vec<u8>,
    /// The encoding of the value.
    pub kind: u8,
    /// The value.
    pub value: Vec<u8>,
    /// When it expires, in ms since 1970; 0 if it does not.
    pub expires: u64,
}

/// The content of a store at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the last change.
    pub revision: u64,
    /// All keys.
    pub entries: Vec<Entry>,
}

/// Why bytes are not a valid snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin with the magic bytes.
    #[error("it is not the file of a shared store")]
    Foreign,
    /// It has another version.
    #[error("it has version {0} of the format, and this package reads version {VERSION}")]
    Version(u32),
    /// It is too short or too long.
    #[error("its length is not what it says")]
    Length,
    /// The checksum does not match.
    #[error("its checksum is wrong")]
    Checksum,
    /// The content is invalid.
    #[error("its content is invalid")]
    Content,
}

impl Snapshot {
    /// Encodes the snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body: usize = self.entries.iter().map(|it| ENTRY + it.key.len() + it.value.len()).sum();
        let mut bytes = Vec::with_capacity(HEAD + body + CHECKSUM);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [self.revision, self.entries.len() as u64, body as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for Entry { key, kind, value, expires } in &self.entries {
            bytes.extend_from_slice(&expires.to_le_bytes());
            for part in [key, value] {
                // Keys and values of a store are never longer.
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            }
            bytes.push(*kind);
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes a snapshot, completely or not at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut head = Reader::new(bytes);
        if head.take::<8>() != Some(MAGIC) {
            return Err(Damaged::Foreign);
        }
        let version = head.take().map(u32::from_le_bytes).ok_or(Damaged::Length)?;
        if version != VERSION {
            return Err(Damaged::Version(version));
        }
        let rest =
            head.take::<4>().and_then(|_| Some([number(&mut head)?, number(&mut head)?, number(&mut head)?]));
        let [revision, count, body] = rest.ok_or(Damaged::Length)?;
        let covered = bytes.len().checked_sub(CHECKSUM).ok_or(Damaged::Length)?;
        if usize::try_from(body).ok().and_then(|body| body.checked_add(HEAD)) != Some(covered) {
            return Err(Damaged::Length);
        }
        let (content, end) = bytes.split_at(covered);
        if number(&mut Reader::new(end)) != Some(checksum(content)) {
            return Err(Damaged::Checksum);
        }
        let mut reader = Reader::new(&content[HEAD..]);
        let mut entries = Vec::new();
        while !reader.rest().is_empty() {
            entries.push(entry(&mut reader).ok_or(Damaged::Content)?);
        }
        if entries.len() as u64 != count || revision > MAX_REVISION {
            return Err(Damaged::Content);
        }
        Ok(Self { revision, entries })
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

fn number(reader: &mut Reader<'_>) -> Option<u64> {
    reader.take().map(u64::from_le_bytes)
}

fn entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let expires = number(reader)?;
    let key_len = u32::from_le_bytes(reader.take()?) as usize;
    let value_len = u32::from_le_bytes(reader.take()?) as usize;
    let [kind] = reader.take()?;
    if key_len > MAX_KEY || kind == 0 {
        return None;
    }
    let key = std::str::from_utf8(reader.bytes(key_len)?).ok()?.as_bytes().to_vec();
    let value = reader.bytes(value_len)?.to_vec();
    Some(Entry { key, kind, value, expires })
}

#[cfg(test)]
mod tests {
    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    fn some(random: &mut Random) -> Snapshot {
        let entries = (0..random.bits() % 20).map(|i| Entry {
            key: format!("key {i}").into_bytes(),
            kind: 1 + u8::try_from(random.bits() % 10).unwrap(),
            value: (0..random.bits() % 50).map(|_| random.bits().to_le_bytes()[0]).collect(),
            expires: random.bits() % 3 * 1_000_000,
        });
        Snapshot { entries: entries.collect(), revision: random.bits() % 1000 }
    }

    #[test]
    fn snapshots_round_trip() {
        for seed in seeds(100).each() {
            let snapshot = some(&mut Random::new(seed.number));
            assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
        }
    }

    #[test]
    fn every_single_change_and_every_cut_is_found() {
        let mut random = Random::new(1);
        let bytes = some(&mut random).encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (random.bits() % 8);
            assert!(Snapshot::decode(&changed).is_err(), "byte {at}");
            assert!(Snapshot::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Snapshot::decode(&longer), Err(Damaged::Length));
        assert_eq!(Snapshot::decode(b""), Err(Damaged::Foreign));
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Snapshot::decode(&newer), Err(Damaged::Version(2)));
    }

    #[test]
    fn damage_with_a_valid_checksum_is_found() {
        let entry = |key: &[u8], kind| Entry { key: key.to_vec(), kind, value: Vec::new(), expires: 0 };
        for wrong in [entry(b"\xff", 1), entry(b"key", 0), entry(&[b'x'; MAX_KEY + 1], 1)] {
            let snapshot = Snapshot { revision: 1, entries: vec![wrong] };
            assert_eq!(Snapshot::decode(&snapshot.encode()), Err(Damaged::Content));
        }
        // Random damage with a valid checksum.
        for seed in seeds(500).each() {
            let mut random = Random::new(seed.number);
            let mut bytes = some(&mut random).encode();
            bytes.truncate(bytes.len() - CHECKSUM);
            for _ in 0..3 {
                let range = (bytes.len() - HEAD).max(1) as u64;
                let at = HEAD + usize::try_from(random.bits() % range).unwrap();
                if at < bytes.len() {
                    bytes[at] = random.bits().to_le_bytes()[0];
                }
            }
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            let _some_or_damaged = Snapshot::decode(&bytes);
        }
    }
}
