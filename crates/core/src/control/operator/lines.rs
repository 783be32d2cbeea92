//! Splits a client's bytes into lines.

use crate::pieces::Pieces;

/// The longest line in bytes, without its end.
pub const MAX_LINE: usize = 1 << 20;

/// A line is longer than [`MAX_LINE`]. Nothing after it can be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes received that are not a whole line yet. Never more than [`MAX_LINE`] and one piece.
#[derive(Debug, Default)]
pub struct Lines {
    pieces: Pieces,
    /// So many bytes at the beginning contain no end of a line.
    searched: usize,
}

impl Lines {
    /// Appends received bytes. Take all whole lines before the next call.
    pub fn push(&mut self, piece: &[u8]) {
        self.pieces.push(piece);
    }

    /// The next whole line, without its line feed and a carriage return before that. Skips empty lines.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let Self { pieces, searched } = self;
        while let Some(found) = pieces.rest()[*searched..].iter().position(|&byte| byte == b'\n') {
            let end = *searched + found;
            if end > MAX_LINE {
                return Err(TooLong);
            }
            let line = &pieces.rest()[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
            pieces.consume(end + 1);
            *searched = 0;
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        *searched = pieces.rest().len();
        if *searched > MAX_LINE { Err(TooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        std::iter::from_fn(|| lines.next_line().unwrap())
            .map(|line| String::from_utf8(line).unwrap())
            .collect()
    }

    #[test]
    fn lines_are_complete_wherever_reads_end() {
        let text = "{\"a\":1}\n\r\n\n{\"b\":2}\r\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece);
                found.extend(all(&mut lines));
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}"], "in pieces of {size}");
            lines.push(b"!\n");
            assert_eq!(all(&mut lines), ["rest!"]);
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_takes_more_memory() {
        let mut lines = Lines::default();
        lines.push(&vec![b' '; MAX_LINE]);
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"\n");
        assert_eq!(lines.next_line().unwrap().unwrap().len(), MAX_LINE);
        lines.push(&vec![b' '; MAX_LINE + 1]);
        assert_eq!(lines.next_line(), Err(TooLong));
        lines.push(b"\n");
        assert_eq!(lines.next_line(), Err(TooLong), "and stays so");
    }
}
