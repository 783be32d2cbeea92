//! Strictly in turn.

use super::Members;

/// Round robin. Whoever is not ready when its turn comes is passed over and waits for its next turn.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The seat whose turn it is. May point just behind the last seat, which means the first.
    next: usize,
}

impl RoundRobin {
    /// A newcomer sits down right behind the member served last: so it is the last in turn, and nobody
    /// who was waiting for a turn waits longer because workers keep joining.
    pub fn seat(&mut self, count: usize) -> usize {
        let seat = self.next.min(count);
        self.next = seat + 1;
        seat
    }

    /// Keeps the turn with the member that has it when somebody before it leaves.
    pub fn vacate(&mut self, seat: usize) {
        if seat < self.next {
            self.next -= 1;
        }
    }

    /// The first ready member from the one whose turn it is.
    pub fn choose(&mut self, members: &mut impl Members) -> Option<usize> {
        let count = members.count();
        let first = if self.next < count { self.next } else { 0 };
        let seat = (first..count).chain(0..first).find(|&seat| members.is_ready(seat))?;
        self.next = seat + 1;
        Some(seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::WorkerId;

    /// Workers by name; those in upper case are ready.
    struct Names(Vec<char>);

    impl Members for Names {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn worker(&self, seat: usize) -> WorkerId {
            WorkerId(u32::from(self.0[seat]))
        }
        fn is_ready(&mut self, seat: usize) -> bool {
            self.0[seat].is_uppercase()
        }
        fn in_flight(&mut self, _: usize) -> u32 {
            unreachable!("round robin does not weigh its members")
        }
    }

    /// `+X` joins, `-X` leaves, `x` becomes busy, `X` ready; a digit asks for so many choices.
    fn play(script: &str) -> String {
        let (mut turns, mut names, mut chosen) = (RoundRobin::default(), Names(Vec::new()), String::new());
        for word in script.split_whitespace() {
            let mut letters = word.chars();
            let (first, second) = (letters.next().unwrap(), letters.next());
            let seat_of = |names: &Names, name: char| {
                names.0.iter().position(|other| other.eq_ignore_ascii_case(&name)).unwrap()
            };
            match (first, second) {
                ('+', Some(name)) => {
                    let seat = turns.seat(names.0.len());
                    names.0.insert(seat, name);
                }
                ('-', Some(name)) => {
                    let seat = seat_of(&names, name);
                    names.0.remove(seat);
                    turns.vacate(seat);
                }
                (digit, None) if digit.is_ascii_digit() => {
                    for _ in 0..digit.to_digit(10).unwrap() {
                        chosen.push(turns.choose(&mut names).map_or('.', |seat| names.0[seat]));
                    }
                }
                (name, _) => {
                    let seat = seat_of(&names, name);
                    names.0[seat] = name;
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
        ] {
            assert_eq!(play(script), expected, "{rule}: {script}");
        }
    }
}
