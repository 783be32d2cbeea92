//! Received bytes, of which a parser consumes the beginning.

/// The bytes received that are not parsed yet.
#[derive(Debug, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// So many of them are consumed. They are removed with the next piece, not each time: a piece can consist of
    /// thousands of lines or records.
    consumed: usize,
}

impl Pieces {
    /// Appends received bytes.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.consumed));
        self.bytes.extend_from_slice(piece);
    }

    /// The bytes that are not consumed.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// The first bytes of the rest are parsed. There must be so many.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.rest().len(), "only what is there can be consumed");
        self.consumed += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_gone_and_the_rest_is_joined_with_the_next_piece() {
        let mut pieces = Pieces::default();
        pieces.push(b"one two");
        pieces.consume(4);
        assert_eq!(pieces.rest(), b"two");
        pieces.push(b" three");
        assert_eq!((pieces.rest(), pieces.bytes.len()), (&b"two three"[..], 9));
        pieces.consume(9);
        assert_eq!(pieces.rest(), b"");
        pieces.push(b"");
        assert!(pieces.bytes.is_empty());
    }
}
