//! What a dishonest worker may name.

use rcluster_core::dispatch::Refusal;
use rcluster_core::ids::ListenerId;
use rcluster_core::random::Random;

/// One that may exist, one that has existed, or one that never will.
pub(crate) fn any_listener(random: &mut Random) -> ListenerId {
    ListenerId(random.number(0, 15))
}

pub(crate) fn any_refusal(random: &mut Random) -> Refusal {
    random.pick(&[Refusal::Full, Refusal::NotListening, Refusal::HandedOver]).unwrap()
}
