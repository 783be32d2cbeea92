//! Splits the bytes of a pipe into lines.

/// The longest line in bytes, without its end. A longer line is cut into pieces.
pub const MAX_LINE: usize = 256 << 10;

/// The memory kept between two lines, in bytes, so that a long line does not keep its memory forever.
const KEPT: usize = 16 << 10;

/// A line, or a piece of a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text without the end of the line.
    pub text: &'a [u8],
    /// Whether it is a piece after which another one follows.
    pub continues: bool,
    /// Whether it continues the previous piece.
    pub continued: bool,
}

impl Line<'_> {
    /// The bytes that its worker has written, with the end of the line.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.text.len() as u64 + u64::from(!self.continues)
    }
}

/// The splitter: see the module. It holds at most [`MAX_LINE`] bytes between two calls.
#[derive(Debug, Default)]
pub struct Framing {
    /// The beginning of an incomplete line.
    bytes: Vec<u8>,
    /// Whether a piece of that line has already been passed on.
    is_cut: bool,
}

impl Framing {
    /// Appends bytes. `on_line` gets each line completed by them, and the pieces of lines that are too long.
    pub fn push(&mut self, piece: &[u8], mut on_line: impl FnMut(Line<'_>)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.bytes.is_empty() {
                self.tell(&rest[..end], &mut on_line);
            } else {
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.extend_from_slice(&rest[..end]);
                self.tell(&bytes, &mut on_line);
                bytes.clear();
                if bytes.capacity() <= KEPT {
                    self.bytes = bytes;
                }
            }
            rest = &rest[end + 1..];
        }
        self.bytes.extend_from_slice(rest);
        if self.bytes.len() > MAX_LINE {
            let bytes = std::mem::take(&mut self.bytes);
            self.bytes = self.cut(&bytes, &mut on_line).to_vec();
        }
    }

    /// Ends the input, or this part of it: an incomplete line counts as a line.
    pub fn finish(&mut self, mut on_line: impl FnMut(Line<'_>)) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.tell(&bytes, &mut on_line);
        }
        self.is_cut = false;
    }

    /// Passes on a complete line.
    fn tell(&mut self, line: &[u8], on_line: &mut impl FnMut(Line<'_>)) {
        let text = self.cut(line, on_line);
        let continued = std::mem::take(&mut self.is_cut);
        on_line(Line { text, continues: false, continued });
    }

    /// Passes on pieces while the line is too long; returns the rest.
    fn cut<'a>(&mut self, mut line: &'a [u8], on_line: &mut impl FnMut(Line<'_>)) -> &'a [u8] {
        while line.len() > MAX_LINE {
            let (text, rest) = line.split_at(boundary(&line[..MAX_LINE]));
            let continued = std::mem::replace(&mut self.is_cut, true);
            on_line(Line { text, continues: true, continued });
            line = rest;
        }
        line
    }
}

/// Where to cut a text at its end so that no UTF-8 character is split: at most three bytes before the end.
pub(super) fn boundary(text: &[u8]) -> usize {
    for back in 1..=text.len().min(4) {
        let at = text.len() - back;
        let length = match text[at] {
            // It continues a character.
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        // The character is complete, or cutting would leave nothing.
        return if length <= back || at == 0 { text.len() } else { at };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    /// The lines, with the two flags of each.
    fn lines(framing: &mut Framing, pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool, bool)> {
        let mut found = Vec::new();
        let mut take = |line: Line<'_>| found.push((line.text.to_vec(), line.continues, line.continued));
        for piece in pieces {
            framing.push(piece, &mut take);
        }
        framing.finish(&mut take);
        found
    }

    #[test]
    fn lines_are_complete_wherever_reads_end() {
        let text = "one\n\n\u{fc}\u{20ac}\u{1f600}\r\n\0\u{1b}[31mred\nwithout an end".as_bytes();
        let expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let found = lines(&mut Framing::default(), &pieces);
            assert!(found.iter().all(|(_, continues, continued)| !continues && !continued));
            let found: Vec<&[u8]> = found.iter().map(|(text, ..)| text.as_slice()).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
        assert!(lines(&mut Framing::default(), &[b"a\n"]).len() == 1, "no line follows the last end");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_and_marked() {
        let long = "\u{20ac}".repeat(MAX_LINE / 3 + 2);
        let mut framing = Framing::default();
        let found = lines(&mut framing, &[long.as_bytes(), b"\nshort\n"]);
        let marks: Vec<_> = found.iter().map(|(text, a, b)| (text.len(), *a, *b)).collect();
        let first = MAX_LINE / 3 * 3;
        assert_eq!(marks, [(first, true, false), (long.len() - first, false, true), (5, false, false)]);
        for (text, ..) in &found {
            assert!(std::str::from_utf8(text).is_ok());
        }
        let exact = vec![b'x'; MAX_LINE];
        assert_eq!(lines(&mut framing, &[&exact, b"\n"]), [(exact, false, false)]);
    }

    #[test]
    fn no_byte_is_lost_or_added_for_any_input() {
        for seed in seeds(50).each() {
            let mut random = Random::new(seed.number);
            let mut text = Vec::new();
            let most = if random.one_in(2) { 2 * MAX_LINE } else { 200 };
            for _ in 0..random.below(40) {
                let fill = random.pick(&[b'x', 0xe2, 0x80, 0xff, b'{', 0]).unwrap();
                text.extend(std::iter::repeat_n(fill, random.below(most)));
                text.push(b'\n');
            }
            text.extend(std::iter::repeat_n(b'y', random.below(3)));
            let mut rest = text.as_slice();
            let mut framing = Framing::default();
            let mut found = Vec::new();
            let mut before = false;
            let mut take = |line: Line<'_>| {
                assert!(line.text.len() <= MAX_LINE && line.continued == before);
                before = line.continues;
                found.extend_from_slice(line.text);
                if !line.continues {
                    found.push(b'\n');
                }
            };
            while !rest.is_empty() {
                let size = (1 + random.below(100_000)).min(rest.len());
                framing.push(&rest[..size], &mut take);
                rest = &rest[size..];
            }
            framing.finish(&mut take);
            if text.last().is_some_and(|last| *last != b'\n') {
                text.push(b'\n');
            }
            assert!(found == text);
        }
    }
}
