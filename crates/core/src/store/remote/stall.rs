//! Whether the server has made a change that is not in its stream.
//!
//! The server may have removed it from the stream before it was read here, and only the next change would show the gap.
//! Changes that are on their way may take long to arrive. But a server that is ahead, and is then asked for changes, answers
//! at once if it has any.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// The position that the last heartbeat has found the server ahead of.
    behind: Option<u64>,
    /// The answers since then that contained no change.
    empty: u32,
}

impl Stall {
    /// A heartbeat has found the server at `revision`.
    pub(super) fn on_beat(&mut self, position: u64, revision: u64) {
        let behind = (revision > position).then_some(position);
        if behind.is_none() || behind != self.behind {
            *self = Self { behind, empty: 0 };
        }
    }

    /// The server has no entry after `position`. Returns whether a change is missing.
    pub(super) fn is_missing_at(&mut self, position: u64) -> bool {
        if self.behind != Some(position) {
            return false;
        }
        // The first such answer may be older than the heartbeat.
        self.empty += 1;
        self.empty > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_missing_if_a_server_that_is_ahead_has_none() {
        let mut stall = Stall::default();
        assert!(!stall.is_missing_at(7) && !stall.is_missing_at(7), "nothing has changed");
        stall.on_beat(7, 8);
        assert!(!stall.is_missing_at(7), "it may be an answer from before the change");
        stall.on_beat(7, 9);
        assert!(stall.is_missing_at(7));
    }

    #[test]
    fn changes_that_take_long_to_arrive_are_not_missing() {
        let mut stall = Stall::default();
        for revision in 8..100 {
            stall.on_beat(7, revision);
        }
        assert!(!stall.is_missing_at(50), "some have arrived");
        stall.on_beat(50, 50);
        assert!(!stall.is_missing_at(50) && !stall.is_missing_at(50), "all have arrived");
    }
}
