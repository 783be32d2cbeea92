//! Reads a byte slice from the front; every read may fail at its end.

/// The bytes not yet read.
pub(super) struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    pub(super) fn new(bytes: &'bytes [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (first, rest) = self.0.split_first_chunk::<LEN>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'bytes [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn rest(&self) -> &'bytes [u8] {
        self.0
    }
}
