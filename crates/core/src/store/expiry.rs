//! Expiry of values.

use std::cmp::Reverse;

use super::atomic::{AtomicU64, Words};
use super::geometry::{Field, MAX_KEY};
use super::memory::{Memory, NoRoom};
use super::ops::Op;
use super::record::{Change, read_bytes};
use super::view::{Hit, Key};
use super::writer::{REMOVAL, Store};

/// How long to wait, in ms, after there was no memory for the record of a removal.
const NO_ROOM_PAUSE: u64 = 1000;

/// The largest number of expired keys that one call removes.
const EXPIRE_AT_ONCE: usize = 256;

impl<W: Words + AsRef<[AtomicU64]>> Store<W> {
    /// Registers the expiry time of the record at `address`.
    pub(super) fn expect(&mut self, expires: u64, address: u64) {
        self.expiries.push(Reverse((expires, address)));
        if self.expiries.len() > 2 * self.mortal + 1024 {
            let memory = &self.memory;
            let mut bytes = Vec::new();
            self.expiries.retain(|Reverse((_, address))| current_at(memory, *address, &mut bytes).is_some());
        }
    }

    /// Removes expired keys. Some may be left over for the next call.
    pub fn expire(&mut self, now: u64) {
        if now < self.expire_from {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        for _ in 0..EXPIRE_AT_ONCE {
            let Some(entry @ Reverse((expires, address))) = self.expiries.pop() else { break };
            if expires > now {
                self.expiries.push(entry);
                break;
            }
            if current_at(&self.memory, address, &mut bytes).is_some() && self.drop_expired(&bytes).is_err() {
                // Readers no longer see it. It is removed when there is room for the record.
                self.expiries.push(entry);
                self.expire_from = now + NO_ROOM_PAUSE;
                break;
            }
        }
        self.bytes = bytes;
        self.memory.publish(self.revision);
    }

    /// Removes expired values of the keys of these operations. So their expiry is a change of its own, before
    /// the operations' changes.
    pub(super) fn expire_keys(&mut self, ops: &[Op<'_>], now: u64) -> Result<(), NoRoom> {
        if self.expiries.peek().is_none_or(|Reverse((expires, _))| *expires > now) {
            return Ok(());
        }
        for op in ops {
            if let Op::Clear { prefix } = op {
                self.expire_prefix(prefix, now)?;
                continue;
            }
            let key = op.key();
            if key.len() > MAX_KEY {
                continue;
            }
            let hit = self.memory.find(self.memory.view.key(key));
            let expires = hit.map_or(0, |hit| self.memory.view.times(&hit.located).1);
            if expires != 0 && expires <= now {
                self.drop_expired(key)?;
            }
        }
        Ok(())
    }

    /// Removes expired values of all keys with a prefix. Looks only at what has expired.
    fn expire_prefix(&mut self, prefix: &[u8], now: u64) -> Result<(), NoRoom> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let (mut others, mut result) = (Vec::new(), Ok(()));
        while let Some(entry @ Reverse((expires, address))) = self.expiries.pop() {
            if expires > now {
                others.push(entry);
                break;
            }
            if current_at(&self.memory, address, &mut bytes).is_none() {
                continue;
            }
            if !bytes.starts_with(prefix) {
                others.push(entry);
            } else if self.drop_expired(&bytes).is_err() {
                others.push(entry);
                result = Err(NoRoom);
                break;
            }
        }
        self.expiries.extend(others);
        self.bytes = bytes;
        result
    }

    pub(super) fn drop_expired(&mut self, key: &[u8]) -> Result<(), NoRoom> {
        self.make_room(REMOVAL)?;
        // Making room may have moved the record.
        if let Some(hit) = self.memory.find(self.memory.view.key(key)) {
            self.drop_key(Change::Expire, key, hit)?;
            self.memory.bump(Field::Expired);
        }
        Ok(())
    }

    /// Whether an expired key is still in the store. Readers do not see it.
    pub fn has_expired(&mut self, now: u64) -> bool {
        let mut bytes = std::mem::take(&mut self.bytes);
        let has = loop {
            match self.expiries.peek() {
                Some(Reverse((expires, address))) if *expires <= now => {
                    if current_at(&self.memory, *address, &mut bytes).is_some() {
                        break true;
                    }
                    self.expiries.pop();
                }
                _ => break false,
            }
        };
        self.bytes = bytes;
        has
    }

    /// When [`Store::expire`] has something to do, in ms. The time may belong to a value that was overwritten.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiries.peek().map(|Reverse((expires, _))| (*expires).max(self.expire_from))
    }
}

/// The current record at an address. Leaves its key in `bytes`.
pub(super) fn current_at<W: Words + AsRef<[AtomicU64]>>(
    memory: &Memory<W>,
    address: u64,
    bytes: &mut Vec<u8>,
) -> Option<Hit> {
    let located = memory.is_kept(address).then(|| memory.locate(address)).flatten()?;
    let (at, _) = located.payload();
    read_bytes(&memory.view.words, at, located.record.key_len, bytes);
    let key: Key<'_> = memory.view.key(bytes);
    memory.find(key).filter(|hit| hit.address == address)
}
