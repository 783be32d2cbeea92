//! Random values in messages of a dishonest worker.

use rcluster_core::dispatch::Refusal;
use rcluster_core::ids::ListenerId;
use rcluster_core::random::Random;

/// A listener that may exist, has existed, or never will.
pub(crate) fn any_listener(random: &mut Random) -> ListenerId {
    ListenerId(random.number(0, 15))
}

pub(crate) fn any_refusal(random: &mut Random) -> Refusal {
    random.pick(&[Refusal::Full, Refusal::NotListening, Refusal::HandedOver]).unwrap()
}
