//! What a process does with a frame of the exchange.

use super::frame::{Frame, Kind};
use super::pairs::PairId;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Pass the frame to the process.
    Tell,
    /// The ring has room again.
    Flush,
    /// The socket of a pair has come with the frame.
    Paired { pair: PairId, worker: u32, place: usize },
    /// The other process has ended a pair, with this status of its requests.
    Unpaired { pair: PairId, status: u8 },
    /// Nothing may be sent to a pair any more.
    Retired(PairId),
    /// The same, and the pair has to be ended.
    End(PairId),
    /// The other process of a pair has sent a mark.
    Mark { pair: PairId, number: u64 },
}

impl Consequence {
    pub(super) fn of(frame: &Frame<'_>) -> Self {
        let pair = PairId(frame.rest);
        match frame.kind {
            Kind::Room => Self::Flush,
            Kind::Paired => Self::Paired { pair, worker: frame.worker, place: frame.flag.into() },
            Kind::Unpaired => Self::Unpaired { pair, status: frame.flag },
            Kind::Retired if frame.flag == 0 => Self::Retired(pair),
            Kind::Retired => Self::End(pair),
            Kind::Mark => Self::Mark { pair, number: frame.number },
            _ => Self::Tell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_about_the_ring_and_pairs_are_not_for_the_process() {
        let of_flag = |kind, flag| {
            let frame = Frame { kind, flag, worker: 5, rest: 7, number: 9, name: &[], data: &[] };
            Consequence::of(&frame)
        };
        let of = |kind| of_flag(kind, 3);
        let pair = PairId(7);
        assert_eq!(of(Kind::Room), Consequence::Flush);
        assert_eq!(of(Kind::Paired), Consequence::Paired { pair, worker: 5, place: 3 });
        assert_eq!(of(Kind::Unpaired), Consequence::Unpaired { pair, status: 3 });
        assert_eq!(of_flag(Kind::Retired, 0), Consequence::Retired(pair));
        assert_eq!(of(Kind::Retired), Consequence::End(pair));
        assert_eq!(of(Kind::Mark), Consequence::Mark { pair, number: 9 });
        for kind in [Kind::Request, Kind::Notice, Kind::Outcome, Kind::Cancelled] {
            assert_eq!(of(kind), Consequence::Tell, "{kind:?}");
        }
    }
}
