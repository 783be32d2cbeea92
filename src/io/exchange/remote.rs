//! The link of other machines with the exchange of this one: it takes part like a process of this machine.

use crate::io::redis::MachineLink;
use rcluster_core::exchange::{Exchange, Leaders};
use rcluster_core::machines::Output;
use rcluster_core::machines::bridge::Bridge;

/// See the module.
pub(super) struct Elsewhere {
    link: MachineLink,
    bridge: Bridge,
}

impl Elsewhere {
    pub(super) fn new(link: MachineLink, exchange: &mut Exchange) -> Self {
        Self { link, bridge: Bridge::new(exchange) }
    }

    /// Hands on what processes of this machine want to hear, and what they have for others.
    pub(super) fn deliver(&mut self, exchange: &mut Exchange) {
        self.bridge.take(exchange, |input| self.link.tell(input));
    }

    /// Does what has been decided about messages and requests between machines.
    pub(super) fn on_outputs(&mut self, exchange: &mut Exchange, outputs: &[Output], leaders: Leaders<'_>) {
        self.bridge.on_outputs(exchange, outputs, leaders, |input| self.link.tell(input));
        self.link.on_delivered(outputs);
    }
}
