//! The link between this machine's exchange and other machines. In the exchange, they take part like one
//! process.

use crate::io::redis::MachineLink;
use rcluster_core::exchange::{Exchange, Leaders};
use rcluster_core::machines::Output;
use rcluster_core::machines::bridge::Bridge;

/// The link: see the module.
pub(super) struct OtherMachines {
    link: MachineLink,
    bridge: Bridge,
}

impl OtherMachines {
    pub(super) fn new(link: MachineLink, exchange: &mut Exchange) -> Self {
        Self { link, bridge: Bridge::new(exchange) }
    }

    /// Passes changed subscriptions, and frames for other machines, from the exchange to the link.
    pub(super) fn deliver(&mut self, exchange: &mut Exchange) {
        self.bridge.take(exchange, |input| self.link.tell(input));
    }

    /// Carries out the outputs about messages and requests between machines.
    pub(super) fn on_outputs(&mut self, exchange: &mut Exchange, outputs: &[Output], leaders: Leaders<'_>) {
        self.bridge.on_outputs(exchange, outputs, leaders, |input| self.link.tell(input));
        self.link.on_delivered(outputs);
    }
}
