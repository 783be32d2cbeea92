//! Round robin: members strictly in turn.

use super::Members;
use super::weighted::Weighted;

/// Round robin. A member that is not ready on its turn is skipped until its next turn.
///
/// While a member is in its slow start, it is served less often, and the others take turns around it.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The seat of the next turn. May be just behind the last seat, which means the first.
    next: usize,
    weighted: Weighted,
}

impl RoundRobin {
    /// A new member gets the seat right behind the member served last: so its turn is the last, and a stream
    /// of new members does not delay the turns of others.
    pub fn seat(&mut self, count: usize) -> usize {
        let seat = self.next.min(count);
        self.served(seat);
        self.weighted.seat(seat);
        seat
    }

    /// Keeps the turn with the same member when a member before it leaves.
    pub fn vacate(&mut self, seat: usize) {
        if seat < self.next {
            self.next -= 1;
        }
        self.weighted.vacate(seat);
    }

    /// The first ready member, starting with the next turn.
    pub fn choose(&mut self, members: &mut impl Members) -> Option<usize> {
        let mut order = self.order(members.count());
        let seat = if members.any_warming() {
            self.weighted.choose(members, order)?
        } else {
            self.weighted.forget();
            order.find(|&seat| members.is_ready(seat))?
        };
        self.served(seat);
        Some(seat)
    }

    /// All `count` seats, starting with the next turn.
    pub(super) fn order(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let first = if self.next < count { self.next } else { 0 };
        (first..count).chain(0..first)
    }

    /// The next turn is the seat behind this one.
    pub(super) fn served(&mut self, seat: usize) {
        self.next = seat + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::names::Names;

    /// `+X` joins, `-X` leaves, `x` becomes busy, `X` ready; a digit makes that many choices.
    fn play(script: &str) -> String {
        let (mut turns, mut names, mut chosen) = (RoundRobin::default(), Names::read(&[]), String::new());
        for word in script.split_whitespace() {
            let mut letters = word.chars();
            match (letters.next().unwrap(), letters.next()) {
                ('+', Some(name)) => {
                    let seat = turns.seat(names.count());
                    // A member named N is in its slow start.
                    names.insert(seat, &if name == 'N' { "N 0 250".into() } else { name.to_string() });
                }
                ('-', Some(name)) => {
                    let seat = names.seat_of(name);
                    names.remove(seat);
                    turns.vacate(seat);
                }
                (digit, None) if digit.is_ascii_digit() => {
                    for _ in 0..digit.to_digit(10).unwrap() {
                        chosen.push(turns.choose(&mut names).map_or('.', |seat| names.letter(seat)));
                    }
                }
                (name, _) => {
                    let seat = names.seat_of(name);
                    names.set_ready(seat, name.is_uppercase());
                }
            }
        }
        chosen
    }

    #[test]
    fn turns() {
        for (script, expected, rule) in [
            ("2", "..", "nobody is there"),
            ("+A +B +C 7", "ABCABCA", "in the order of joining, over and over"),
            ("+A +B +C b 4", "ACAC", "who is not ready is passed over"),
            ("+A +B +C b 2 B 4", "ACABCA", "and has to wait for its next turn"),
            ("+A +B a b 2 B 2", "..BB", "nobody is ready"),
            ("+A +B +C 1 +D 5", "ABCADB", "a newcomer is the last in turn"),
            ("+A +B 1 +C +D 5", "ABACDB", "newcomers come in the order of joining"),
            ("+A +B +C 2 -A 3", "ABCBC", "somebody before the turn leaves"),
            ("+A +B +C 1 -B 3", "ACAC", "the one whose turn it is leaves"),
            ("+A +B +C 2 -C 3", "ABABA", "the last one leaves on its turn"),
            ("+A 1 -A 1 +B 2", "A.BB", "all leave, another comes"),
            ("+A +B +N 9", "ABNABABAB", "a newcomer with a quarter of the weight gets a quarter of a share"),
            ("+A +N a 2", "NN", "and everything when nobody else is ready"),
            ("+A +B +N 5 -N 4", "ABNABABAB", "it leaves, and all are equal again"),
        ] {
            assert_eq!(play(script), expected, "{rule}: {script}");
        }
    }
}
