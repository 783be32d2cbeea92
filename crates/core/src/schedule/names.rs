//! Members by name, for the tests of the policies.

use super::{FULL_WEIGHT, Members};
use crate::ids::{Slot, WorkerId};

struct Name {
    letter: char,
    load: u32,
    weight: u32,
    utilisation: u32,
    slot: u32,
}

/// Members with a name in upper case are ready.
pub(crate) struct Names {
    members: Vec<Name>,
    /// The number of reads of any member's load.
    pub(crate) looks: usize,
}

impl Names {
    /// Each text: the name, its connections, its weight, its utilisation, its slot. Missing fields at the end
    /// get their defaults.
    pub(crate) fn read(texts: &[&str]) -> Self {
        let members = texts.iter().enumerate().map(|(seat, text)| {
            let mut words = text.split(' ');
            let letter = words.next().unwrap().chars().next().unwrap();
            let mut number = |default| words.next().map_or(default, |word| word.parse().unwrap());
            Name {
                letter,
                load: number(0),
                weight: number(FULL_WEIGHT),
                utilisation: number(0),
                slot: number(u32::try_from(seat).unwrap()),
            }
        });
        Self { members: members.collect(), looks: 0 }
    }

    /// Gives it a connection. Returns its name.
    pub(crate) fn take_one(&mut self, seat: usize) -> char {
        self.members[seat].load = self.members[seat].load.saturating_add(1);
        self.members[seat].letter
    }

    pub(crate) fn set_ready(&mut self, seat: usize, ready: bool) {
        let letter = &mut self.members[seat].letter;
        *letter = if ready { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
    }

    pub(crate) fn loads(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|name| name.load)
    }

    pub(crate) fn insert(&mut self, seat: usize, text: &str) {
        self.members.insert(seat, Self::read(&[text]).members.remove(0));
    }

    pub(crate) fn remove(&mut self, seat: usize) {
        self.members.remove(seat);
    }

    pub(crate) fn seat_of(&self, letter: char) -> usize {
        self.members.iter().position(|name| name.letter.eq_ignore_ascii_case(&letter)).unwrap()
    }

    pub(crate) fn letter(&self, seat: usize) -> char {
        self.members[seat].letter
    }
}

impl Members for Names {
    fn count(&self) -> usize {
        self.members.len()
    }
    fn worker(&self, seat: usize) -> WorkerId {
        WorkerId(u32::try_from(seat).unwrap())
    }
    fn slot(&self, seat: usize) -> Slot {
        Slot(self.members[seat].slot)
    }
    fn is_ready(&mut self, seat: usize) -> bool {
        self.members[seat].letter.is_uppercase()
    }
    fn load(&mut self, seat: usize) -> u32 {
        self.looks += 1;
        self.members[seat].load
    }
    fn utilisation(&mut self, seat: usize) -> u32 {
        self.members[seat].utilisation
    }
    fn any_warming(&self) -> bool {
        self.members.iter().any(|name| name.weight < FULL_WEIGHT)
    }
    fn weight(&self, seat: usize) -> u32 {
        self.members[seat].weight
    }
}
