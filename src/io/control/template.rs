//! How supervised workers are started.

use std::ffi::CString;

use super::launch::{Inspect, Launch, Launched, OneWorker, Ports};
use super::operator::OperatorSetup;
use super::shared::Common;
use super::worker::SupervisedWorker;
use rcluster_core::control::supervise::Options;
use rcluster_core::frames::{Settings, milliseconds};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_sys::early::EarlyWorker;
use rcluster_sys::error::SysError;
use rcluster_sys::memory::Memory;

/// The setup of a supervised cluster.
#[derive(Debug)]
pub struct SuperviseSetup {
    /// The app's options.
    pub options: Options,
    /// How workers are started.
    pub launch: Launch,
    /// A random seed, for waits and limits.
    pub seed: u64,
    /// What the control socket needs.
    pub operator: OperatorSetup,
    /// A process that the first worker may become.
    pub early: Option<EarlyWorker>,
}

/// Starts supervised workers, without JavaScript.
pub(super) struct Template {
    options: Options,
    launch: Launch,
    early: Option<EarlyWorker>,
}

/// A supervised worker that has been started.
pub(super) struct Started {
    pub(super) worker: WorkerId,
    pub(super) supervised: SupervisedWorker,
    pub(super) launched: Launched,
    /// The port of its inspector, if it has one of its own.
    pub(super) inspect_port: Option<String>,
}

impl Template {
    pub(super) fn new(options: Options, launch: Launch, early: Option<EarlyWorker>) -> Self {
        Self { options, launch, early }
    }

    /// Replaces the launch of workers from now on.
    pub(super) fn relaunch(&mut self, mut launch: Launch) {
        // The running workers keep their ports.
        if let Some(Inspect { ports: Ports::Chosen(new), .. }) = &mut launch.inspect
            && let Some(Inspect { ports: Ports::Chosen(old), .. }) = &mut self.launch.inspect
        {
            old.choose_anew(std::mem::take(new).into_ports());
            *new = std::mem::take(old);
        }
        self.launch = launch;
    }

    pub(super) fn add_inspect_ports(&mut self, ports: Vec<String>) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.launch.inspect {
            chosen.add(ports);
        }
    }

    /// A worker has exited: the port of its inspector is free.
    pub(super) fn on_exit(&mut self, worker: WorkerId) {
        if let Some(Inspect { ports: Ports::Chosen(chosen), .. }) = &mut self.launch.inspect {
            chosen.on_exit(worker);
        }
    }

    /// Starts a worker, without a slot if it is a standby.
    pub(super) fn start(
        &mut self,
        slot: Option<Slot>,
        retry: bool,
        common: &Common,
    ) -> Result<Started, SysError> {
        let worker = common.numbers.next();
        let own = self.own(worker, slot, retry)?;
        let inspect = self.launch.inspect.as_mut();
        let inspect_port = inspect.map(|inspect| inspect.port(worker, &common.inspectors));
        let one = OneWorker {
            worker,
            slot,
            own,
            inspect_port: inspect_port.as_deref(),
            captured: common.logs.captured(),
            early: self.early.take(),
        };
        let started = self.launch.start(one, &common.forwarding);
        let launched = started.inspect_err(|_| self.on_exit(worker))?;
        let pid = launched.child.pid.as_raw();
        let recycle = &self.options.recycle;
        let limited = recycle.memory.is_some() || recycle.memory_share.is_some();
        // A worker whose memory cannot be read is not recycled for it, but is started all the same.
        let memory = limited.then(|| Memory::of(pid).ok()).flatten();
        let supervised = SupervisedWorker { pid, memory, newcomer: None, external: None };
        Ok(Started { worker, supervised, launched, inspect_port })
    }

    /// The part of the environment that only this worker gets.
    fn own(&self, worker: WorkerId, slot: Option<Slot>, retry: bool) -> Result<Vec<CString>, SysError> {
        let options = &self.options;
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
