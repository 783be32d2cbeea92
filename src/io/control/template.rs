//! What supervised workers are started with.

use std::ffi::CString;

use super::launch::{Inspect, Launch, Launched, Ports};
use super::shared::Common;
use super::workers::SupervisedWorker;
use rcluster_core::control::supervise::Options;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::wire::{Settings, milliseconds};
use rcluster_sys::error::SysError;
use rcluster_sys::memory::Memory;

/// How a supervised cluster is to be kept up.
#[derive(Debug)]
pub struct SuperviseSetup {
    /// What the operator has chosen.
    pub options: Options,
    /// What workers are started with.
    pub launch: Launch,
    /// Chance, for waits and limits.
    pub seed: u64,
}

/// Starts supervised workers, without asking JavaScript.
pub(super) struct Template(SuperviseSetup);

/// A supervised worker that has been started.
pub(super) struct Started {
    pub(super) worker: WorkerId,
    pub(super) supervised: SupervisedWorker,
    pub(super) launched: Launched,
    /// The port of its inspector, if it has one of its own.
    pub(super) inspect_port: Option<String>,
}

impl Template {
    pub(super) fn new(setup: SuperviseSetup) -> Self {
        Self(setup)
    }

    /// What workers are started with from now on.
    pub(super) fn relaunch(&mut self, mut launch: Launch) {
        // The workers that are there keep their ports.
        if let Some(Inspect { ports: Ports::Chosen(new), .. }) = &mut launch.inspect
            && let Some(Inspect { ports: Ports::Chosen(old), .. }) = &mut self.0.launch.inspect
        {
            old.choose_anew(std::mem::take(new).into_ports());
            *new = std::mem::take(old);
        }
        self.0.launch = launch;
    }

    pub(super) fn add_inspect_ports(&mut self, ports: Vec<String>) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.0.launch.inspect {
            chosen.add(ports);
        }
    }

    /// A worker has ended: the port of its inspector is free.
    pub(super) fn on_exit(&mut self, worker: WorkerId) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.0.launch.inspect {
            chosen.on_exit(worker);
        }
    }

    /// Starts a worker; without a slot for the time being, if it is a standby.
    pub(super) fn start(
        &mut self,
        slot: Option<Slot>,
        retry: bool,
        common: &Common,
    ) -> Result<Started, SysError> {
        let worker = common.numbers.next();
        let own = self.own(worker, slot, retry)?;
        let inspect = self.0.launch.inspect.as_mut();
        let inspect_port = inspect.map(|inspect| inspect.port(worker, &common.inspectors));
        let started = self.0.launch.start(worker, slot, own, inspect_port.as_deref(), &common.forwarding);
        let launched = started.inspect_err(|_| self.on_exit(worker))?;
        let pid = launched.child.pid.as_raw();
        let limited = self.0.options.recycle.memory.is_some();
        // Without its figures a worker is not recycled for its memory, which is no reason to have none.
        let memory = limited.then(|| Memory::of(pid).ok()).flatten();
        let supervised = SupervisedWorker { pid, memory, newcomer: None, external: None };
        Ok(Started { worker, supervised, launched, inspect_port })
    }

    /// What is a worker's own in its environment.
    fn own(&self, worker: WorkerId, slot: Option<Slot>, retry: bool) -> Result<Vec<CString>, SysError> {
        let options = &self.0.options;
        let settings = Settings {
            slot,
            standby: slot.is_none(),
            drain_timeout_ms: milliseconds(options.drain_timeout),
            retire_on_exception: options.retire_on_exception,
            instance_var: options.instance_var.clone(),
            retry,
        };
        let encoded = settings.encode();
        let settings = encoded.map_err(|_| SysError::invalid("writing the settings of a worker"))?;
        let mut own = vec![format!("NODE_UNIQUE_ID={}", worker.0), format!("RCLUSTER_SETTINGS={settings}")];
        let instance = options.instance_var.as_ref().zip(slot);
        own.extend(instance.map(|(name, slot)| format!("{name}={}", slot.0)));
        let text = |text| CString::new(text).map_err(|_| SysError::invalid("writing a worker's environment"));
        own.into_iter().map(text).collect()
    }
}
