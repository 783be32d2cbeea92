//! What we write in front of a connection as its PROXY header, we read as the same client; and whatever else stands there
//! is read in the same way however it arrives.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::forward::proxy::{Endpoints, Version, header};
use rcluster_core::schedule::{Address, By, Key, LIMIT, PrereadRule, Verdict};

const PEER: Option<Address> = Some(Address::V4([127, 0, 0, 1]));
/// The longest line of version 1, and the longest header of version 2, that a receiver has to expect.
const V1_LONGEST: usize = 107;
const V2_LONGEST: usize = 16 + 216;

#[derive(Arbitrary, Debug)]
enum Ends {
    Ip(SocketAddr, SocketAddr),
    Unix(Vec<u8>, Vec<u8>),
    Unknown,
}

fn address(source: SocketAddr) -> Address {
    match source.ip() {
        IpAddr::V4(ip) => Address::V4(ip.octets()),
        IpAddr::V6(ip) => Address::V6(ip.octets()),
    }
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = Unstructured::new(input);
    let (Ok(ends), Ok(tail)) = (Ends::arbitrary(&mut bytes), <&[u8]>::arbitrary(&mut bytes)) else { return };
    let endpoints = match ends {
        Ends::Ip(source, destination) => Endpoints::Ip { source, destination },
        Ends::Unix(source, destination) => Endpoints::Unix { source, destination },
        Ends::Unknown => Endpoints::Unknown,
    };
    let rule = PrereadRule { by: By::Address, proxy_protocol: true };
    for version in [Version::V1, Version::V2] {
        let head = header(version, &endpoints);
        let longest = if version == Version::V1 { V1_LONGEST } else { V2_LONGEST };
        assert!(head.len() <= longest, "{version:?}: {} bytes", head.len());
        let whole = [&head, tail].concat();
        let client = match &endpoints {
            // A header has one family of addresses; where ours differ it names nobody.
            Endpoints::Ip { source, destination }
                if source.ip().to_canonical().is_ipv4() == destination.ip().to_canonical().is_ipv4()
                    || source.is_ipv4() == destination.is_ipv4() =>
            {
                Some(address(*source))
            }
            _ => PEER,
        };
        assert_eq!(rule.look(&whole, PEER, true), Verdict::Decided(client.map(Key::from)), "{version:?}");
        for cut in 0..head.len() {
            assert_eq!(rule.look(&head[..cut], PEER, false), Verdict::Undecided, "{version:?} after {cut}");
        }
    }
    // Anything behind what all headers begin with.
    for magic in [b"PROXY TCP4 ".as_slice(), b"PROXY TCP6 ", b"\r\n\r\n\0\r\nQUIT\n!", b""] {
        let whole = [magic, input].concat();
        let verdict = rule.look(&whole, PEER, false);
        assert!(verdict != Verdict::Undecided || whole.len() < LIMIT);
        assert_ne!(rule.look(&whole, PEER, true), Verdict::Undecided);
        let early = rule.look(&whole[..whole.len() / 2], PEER, false);
        assert!(early == Verdict::Undecided || early == verdict);
    }
});
