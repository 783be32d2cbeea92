//! How far this machine has applied the changes of a store.

use super::payload::Group;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The incarnation of the store; empty if none is known.
    epoch: Vec<u8>,
    revision: u64,
    /// The last entry of the stream; empty if there is none.
    place: String,
    /// Whether the values here are those of the server at this position.
    is_sound: bool,
}

impl Position {
    pub(super) fn epoch(&self) -> &[u8] {
        &self.epoch
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The last entry of the stream that was applied; empty if there is none.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether applying the changes after this position is enough. Otherwise the whole store has to be loaded.
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// The content here differs from the server's, even if the server says that it is up to date.
    pub(super) fn invalidate(&mut self) {
        self.is_sound = false;
    }

    /// The whole store was loaded.
    pub(super) fn on_loaded(&mut self, epoch: &[u8], revision: u64, place: &str) {
        *self = Self { epoch: epoch.to_owned(), revision, place: place.to_owned(), is_sound: true };
    }

    /// Moves past an entry of the stream. Returns false if another one is missing before it, or if it is from another
    /// incarnation of the store.
    pub(super) fn advance(&mut self, place: String, epoch: &[u8], groups: &[Group<'_>]) -> bool {
        let mut revision = self.revision;
        let is_next = epoch == self.epoch
            && groups.iter().all(|group| {
                let is_next = group.before == revision;
                revision = group.revision;
                is_next
            });
        if is_next {
            (self.revision, self.place) = (revision, place);
        }
        is_next
    }

    /// Whether a server with this store can have been at the revision `reached`. `None` stands for a store that does not exist.
    pub(super) fn is_known_to(&self, epoch: Option<&[u8]>, revision: u64, reached: u64) -> bool {
        epoch == Some(self.epoch.as_slice()) && revision >= reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &[u8] = b"0123456789abcdef";

    fn groups(revisions: &[u64]) -> Vec<Group<'static>> {
        let group = |&revision| Group { before: revision - 1, revision, changes: Vec::new() };
        revisions.iter().map(group).collect()
    }

    fn at(revision: u64) -> Position {
        let mut position = Position::default();
        position.on_loaded(EPOCH, revision, "7-0");
        position
    }

    #[test]
    fn a_store_has_to_be_loaded_first_and_after_damage() {
        let mut position = Position::default();
        assert!(!position.is_sound());
        position.on_loaded(EPOCH, 3, "7-0");
        assert!(position.is_sound());
        position.invalidate();
        assert!(!position.is_sound());
    }

    #[test]
    fn entries_without_a_gap_move_it() {
        let mut position = at(3);
        assert!(position.advance("8-0".into(), EPOCH, &groups(&[4, 5])));
        assert_eq!((position.revision(), position.place()), (5, "8-0"));
    }

    #[test]
    fn a_gap_a_repetition_and_another_epoch_leave_it_where_it_is() {
        let mut position = at(3);
        for (epoch, revisions) in [(EPOCH, &[5][..]), (EPOCH, &[3]), (EPOCH, &[4, 6]), (b"another", &[4])] {
            assert!(!position.advance("8-0".into(), epoch, &groups(revisions)), "{revisions:?}");
            assert_eq!((position.revision(), position.place()), (3, "7-0"));
        }
    }

    #[test]
    fn a_leap_moves_only_a_machine_that_has_everything_before_it() {
        let leap = [Group { before: 5, revision: 90, changes: Vec::new() }];
        assert!(!at(4).advance("8-0".into(), EPOCH, &leap) && !at(6).advance("8-0".into(), EPOCH, &leap));
        let mut position = at(5);
        assert!(position.advance("8-0".into(), EPOCH, &leap));
        assert!(position.advance("9-0".into(), EPOCH, &groups(&[91])));
    }

    #[test]
    fn a_server_that_is_behind_or_has_another_store_does_not_know_it() {
        let position = at(3);
        assert!(position.is_known_to(Some(EPOCH), 3, 3) && position.is_known_to(Some(EPOCH), 9, 3));
        assert!(!position.is_known_to(Some(EPOCH), 2, 3));
        assert!(!position.is_known_to(Some(b"another"), 3, 3));
        assert!(!position.is_known_to(None, 3, 3));
    }
}
