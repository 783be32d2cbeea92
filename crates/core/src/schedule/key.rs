//! Where a connection belongs, and what identifies a client.

use crate::ids::{Slot, WorkerId};

/// A client's address, as far as it identifies a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address, also an IPv4 address on a dual-stack socket (`::ffff:…`).
    V6([u8; 16]),
}

/// Where a connection belongs, under policies that assign clients to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// To the worker of this client's key.
    Client(Key),
    /// To this worker, which the app has chosen.
    Worker(WorkerId),
}

/// The identity of a client on a sticky listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Determines the slot of clients that name none.
    pub hash: u64,
    /// The slot that the client names, because a worker of that slot has given it the value.
    pub slot: Option<Slot>,
}

impl Key {
    /// A key from the bytes that identify a client: a cookie, a header, a session id.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        // FNV-1a, then mixed, because its high bits hardly change for short texts.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { hash: mix(hash), slot: None }
    }

    /// A key from a value that a client was given: `s<slot>~…` if `stickyId()` made it in a worker of that
    /// slot, else any text.
    #[must_use]
    pub fn named(value: &[u8]) -> Self {
        Self { slot: slot_in(value), ..Self::of(value) }
    }
}

impl From<Address> for Key {
    /// Only the first 64 bits of an IPv6 address count: a host may change the others at any time.
    fn from(address: Address) -> Self {
        match address {
            Address::V4(bytes) => Self::of(&bytes),
            Address::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4 @ ..]) => Self::of(&v4),
            Address::V6([prefix @ .., _, _, _, _, _, _, _, _]) => Self::of(&prefix),
        }
    }
}

/// Enough digits for any number of workers.
const MOST_DIGITS: usize = 6;

fn slot_in(value: &[u8]) -> Option<Slot> {
    let rest = value.strip_prefix(b"s")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=MOST_DIGITS).contains(&digits) || rest.get(digits) != Some(&b'~') {
        return None;
    }
    Some(Slot(rest[..digits].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))))
}

/// Each bit of the input changes each bit of the output with probability one half (the finalizer of
/// splitmix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Key {
        Address::V6(text.parse::<core::net::Ipv6Addr>().unwrap().octets()).into()
    }

    #[test]
    fn an_ipv4_client_is_its_whole_address_on_either_kind_of_socket() {
        let client = Key::from(Address::V4([192, 0, 2, 1]));
        assert_ne!(client, Address::V4([192, 0, 2, 2]).into());
        assert_eq!(client, v6("::ffff:192.0.2.1"));
        assert_ne!(client, v6("::ffff:192.0.2.2"));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let client = v6("2001:db8:1:2::1");
        assert_eq!(client, v6("2001:db8:1:2:aaaa:bbbb:cccc:dddd"));
        assert_ne!(client, v6("2001:db8:1:3::1"));
    }
}
