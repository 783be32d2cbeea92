//! The same worker for the same client.

use std::cmp::Reverse;

use super::key::mix;
use super::{Key, Members, RoundRobin};
use crate::ids::{Slot, WorkerId};

/// Sticky by rendezvous hashing: every pair of a client and a slot has a score, and the client belongs to the
/// slot with the highest score. A new slot takes its share from each of the others, and no other client
/// moves; when it goes, its clients spread evenly over the rest. The *slot* counts, so a replacement gets the
/// clients of its predecessor.
///
/// Clients without a key, as on a Unix socket, are served in turn.
#[derive(Debug, Default)]
pub struct Sticky {
    pub(super) turns: RoundRobin,
}

impl Sticky {
    /// The member to which the client belongs, or none if that is not ready and the client is `patient`;
    /// otherwise the next one in the client's ranking.
    pub fn choose(&mut self, members: &mut impl Members, key: Option<Key>, patient: bool) -> Option<usize> {
        let Some(key) = key else {
            return self.turns.choose(members);
        };
        let all = 0..members.count();
        if patient {
            let favourite = all.max_by_key(|&seat| rank(members, seat, key))?;
            return members.is_ready(favourite).then_some(favourite);
        }
        let ready: Vec<usize> = all.filter(|&seat| members.is_ready(seat)).collect();
        ready.into_iter().max_by_key(|&seat| rank(members, seat, key))
    }
}

/// If two workers share a slot, one is replacing the other: the newer one is chosen.
fn rank(members: &impl Members, seat: usize, key: Key) -> (bool, u64, Reverse<Slot>, WorkerId) {
    let slot = members.slot(seat);
    (key.slot == Some(slot), score(key, slot), Reverse(slot), members.worker(seat))
}

fn score(key: Key, slot: Slot) -> u64 {
    mix(key.hash ^ mix(u64::from(slot.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Address;
    use crate::schedule::names::Names;

    const CLIENTS: u32 = 100_000;

    /// The slot of each of 100,000 consecutive addresses.
    fn homes(members: &[String]) -> Vec<u32> {
        let mut names = Names::read(&members.iter().map(String::as_str).collect::<Vec<_>>());
        let mut sticky = Sticky::default();
        (0..CLIENTS)
            .map(|client| {
                let key = Address::V4((0x0a00_0000 + client).to_be_bytes()).into();
                let seat = sticky.choose(&mut names, Some(key), true).unwrap();
                names.slot(seat).0
            })
            .collect()
    }

    fn ready(slots: impl IntoIterator<Item = u32>) -> Vec<String> {
        slots.into_iter().map(|slot| format!("A 0 1000 0 {slot}")).collect()
    }

    fn moved(before: &[u32], after: &[u32]) -> f64 {
        let moved = before.iter().zip(after).filter(|(before, after)| before != after).count();
        f64::from(u32::try_from(moved).unwrap()) / f64::from(CLIENTS)
    }

    #[test]
    fn clients_are_spread_evenly() {
        for workers in [3, 10] {
            let mut shares = vec![0_u32; workers as usize];
            for slot in homes(&ready(0..workers)) {
                shares[slot as usize] += 1;
            }
            let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
            assert!(f64::from(*most) / f64::from(*least) <= 1.1, "{workers}: {shares:?}");
        }
    }

    #[test]
    fn few_clients_change_their_slot() {
        let ten = homes(&ready(0..10));
        let more = homes(&ready(0..11));
        assert!(moved(&ten, &more) <= 1.2 / 11.0, "one more");
        assert!(ten.iter().zip(&more).all(|(before, after)| before == after || *after == 10), "only to it");
        let fewer = homes(&ready((0..10).filter(|slot| *slot != 4)));
        assert!(ten.iter().zip(&fewer).all(|(before, after)| (before == after) == (*before != 4)));
        // Other seats and worker numbers, the same slots.
        assert!(moved(&ten, &homes(&ready((0..10).rev()))) == 0.0, "a replacement in the same slot");
    }

    #[test]
    fn a_patient_client_waits_and_an_impatient_one_goes_to_its_second_slot() {
        let key = Some(Key::of(b"client"));
        let mut sticky = Sticky::default();
        let mut all = Names::read(&["A 0 1000 0 0", "B 0 1000 0 1", "C 0 1000 0 2"]);
        let home = sticky.choose(&mut all, key, true).unwrap();
        all.set_ready(home, false);
        assert_eq!(sticky.choose(&mut all, key, true), None);
        let second = sticky.choose(&mut all, key, false).unwrap();
        assert_ne!(second, home);
        assert_eq!(sticky.choose(&mut all, key, false), Some(second), "always the same one");
        all.set_ready(home, true);
        assert_eq!(sticky.choose(&mut all, key, false), Some(home), "and back home");
    }

    #[test]
    fn a_slot_that_the_client_names_comes_first_if_it_exists() {
        let mut sticky = Sticky::default();
        let mut all = Names::read(&["A 0 1000 0 0", "B 0 1000 0 1", "C 0 1000 0 2"]);
        let named = |slot| Some(Key { slot: Some(Slot(slot)), ..Key::of(b"client") });
        for slot in 0..3 {
            assert_eq!(sticky.choose(&mut all, named(slot), true), Some(slot as usize));
        }
        assert_eq!(
            sticky.choose(&mut all, named(7), true),
            sticky.choose(&mut all, Some(Key::of(b"client")), true),
            "a slot that does not exist"
        );
    }

    #[test]
    fn without_a_key_members_take_turns_and_of_two_in_one_slot_the_newer_one_is_chosen() {
        let mut sticky = Sticky::default();
        let mut all = Names::read(&["A 0 1000 0 0", "B 0 1000 0 0"]);
        assert_eq!([0; 4].map(|_| sticky.choose(&mut all, None, true).unwrap()), [0, 1, 0, 1]);
        assert_eq!(sticky.choose(&mut all, Some(Key::of(b"client")), true), Some(1));
    }
}
