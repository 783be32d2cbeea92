//! What one machine publishes for others. It comes from a server, and may be anything.

use crate::exchange::MAX_DATA;

/// The version of the format, which is the first byte.
const VERSION: u8 = 1;

/// How many bytes the name of a machine has.
pub const MACHINE: usize = 32;

const BEAT: u8 = 1;
const MESSAGE: u8 = 2;
const LOST: u8 = 3;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A machine finds out whether it hears itself.
    Beat(u64),
    /// A message of a channel, or for the handlers of a name.
    Message {
        /// The worker that has sent it; 0 is the primary.
        worker: u32,
        /// The message.
        data: &'a [u8],
    },
    /// So many of these were not published.
    Lost(u64),
}

/// Who says it, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saying<'a> {
    /// The machine.
    pub machine: &'a [u8],
    /// What it says.
    pub said: Said<'a>,
}

impl<'a> Saying<'a> {
    /// Writes it down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, number, data) = match self.said {
            Said::Beat(number) => (BEAT, number, &[][..]),
            Said::Message { worker, data } => (MESSAGE, worker.into(), data),
            Said::Lost(count) => (LOST, count, &[][..]),
        };
        let mut bytes = Vec::with_capacity(2 + MACHINE + 8 + data.len());
        bytes.extend([VERSION, kind]);
        bytes.extend(self.machine);
        bytes.extend(number.to_le_bytes());
        bytes.extend(data);
        bytes
    }

    /// Reads it. `None` if it makes no sense.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let ([VERSION, kind], rest) = bytes.split_first_chunk()? else { return None };
        let (machine, rest) = rest.split_at_checked(MACHINE)?;
        let (number, data) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        let said = match *kind {
            BEAT if data.is_empty() => Said::Beat(number),
            MESSAGE if data.len() <= MAX_DATA => Said::Message { worker: u32::try_from(number).ok()?, data },
            LOST if data.is_empty() => Said::Lost(number),
            _ => return None,
        };
        Some(Self { machine, said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const NAME: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_said_is_read_as_it_was_written() {
        let message = |worker, data| Said::Message { worker, data };
        for said in [Said::Beat(7), message(u32::MAX, b"text"), message(0, b""), Said::Lost(u64::MAX)] {
            let saying = Saying { machine: NAME, said };
            assert_eq!(Saying::decode(&saying.encode()), Some(saying));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let whole = Saying { machine: NAME, said: Said::Lost(1) }.encode();
        for length in 0..whole.len() {
            assert_eq!(Saying::decode(&whole[..length]), None, "{length} bytes");
        }
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 200)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(Saying::decode(&bytes), None, "{value} at {at}");
        }
        let long = vec![0; MAX_DATA + 1];
        let said = Said::Message { worker: 1, data: &long };
        assert_eq!(Saying::decode(&Saying { machine: NAME, said }.encode()), None);
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let length = usize::try_from(random.bits() % 80).unwrap();
            let mut bytes: Vec<u8> = (0..length).map(|_| random.bits().to_le_bytes()[0]).collect();
            bytes.iter_mut().take(1).for_each(|version| *version = VERSION);
            bytes.iter_mut().skip(1).take(1).for_each(|kind| *kind %= 5);
            if let Some(saying) = Saying::decode(&bytes) {
                assert_eq!(saying.encode(), bytes, "what is read says all that there was");
            }
        }
    }
}
