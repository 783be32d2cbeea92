//! How many entries of the stream are requested at once.

/// The most entries, and about the most bytes, of an answer. On a slow link, a larger one would not arrive in time.
const ENTRIES: usize = 256;
const BYTES: usize = 512 << 10;

/// See the module. The sizes of entries are not known in advance: a connection begins with a single one, and the number at
/// most doubles with each answer.
#[derive(Debug)]
pub(super) struct Portion(usize);

impl Default for Portion {
    fn default() -> Self {
        Self(1)
    }
}

impl Portion {
    pub(super) fn entries(&self) -> usize {
        self.0
    }

    /// Entries have arrived.
    pub(super) fn on_entries(&mut self, entries: &[(String, Vec<u8>)]) {
        let Some(largest) = entries.iter().map(|(_, payload)| payload.len()).max() else { return };
        self.0 = (2 * self.0).min(BYTES / largest.max(1)).clamp(1, ENTRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(portion: &mut Portion, sizes: &[usize]) -> usize {
        let entries: Vec<_> = sizes.iter().map(|size| (String::new(), vec![0; *size])).collect();
        portion.on_entries(&entries);
        portion.entries()
    }

    #[test]
    fn small_entries_are_requested_in_ever_larger_numbers() {
        let mut portion = Portion::default();
        let numbers: Vec<_> = (0..9).map(|_| after(&mut portion, &[100])).collect();
        assert_eq!(numbers, [2, 4, 8, 16, 32, 64, 128, 256, 256]);
    }

    #[test]
    fn an_answer_has_about_as_many_bytes_as_arrive_in_time() {
        let mut portion = Portion(256);
        assert_eq!(after(&mut portion, &[]), 256, "nothing is known about the next ones");
        assert_eq!(after(&mut portion, &[100, BYTES / 4, 100]), 4);
        assert_eq!(after(&mut portion, &[3 * BYTES]), 1);
        assert_eq!(after(&mut portion, &[0]), 2);
    }
}
