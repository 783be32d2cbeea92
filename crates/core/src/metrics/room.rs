//! The room for metrics of workers, which no worker can take alone.

/// How many more samples there can be, and how long their texts.
pub(super) struct Room {
    pub(super) samples: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Takes the room of one sample, if there is enough.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let is_enough = self.samples > 0 && self.bytes >= bytes;
        if is_enough {
            self.samples -= 1;
            self.bytes -= bytes;
        }
        is_enough
    }

    /// In two halves: what one worker may take, and what stays for the others.
    pub(super) fn split(&self) -> (Self, Self) {
        let own = Self { samples: self.samples.div_ceil(2), bytes: self.bytes.div_ceil(2) };
        let others = Self { samples: self.samples - own.samples, bytes: self.bytes - own.bytes };
        (own, others)
    }

    pub(super) fn join(&self, other: &Self) -> Self {
        Self { samples: self.samples + other.samples, bytes: self.bytes + other.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_half_of_the_room_at_most() {
        let room = Room { samples: 3, bytes: 9 };
        let (mut own, others) = room.split();
        assert_eq!([own.take(4), own.take(2), own.take(1), own.take(0)], [true, false, true, false]);
        let room = own.join(&others);
        assert_eq!((room.samples, room.bytes), (1, 4));
        assert_eq!((room.split().1.samples, room.split().1.bytes), (0, 2));
    }
}
