//! The commands that inspect one process.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Target;
use crate::units;

const LONGEST_PROFILE: Duration = Duration::from_secs(600);

#[derive(Args, Debug)]
pub(crate) struct Profile {
    /// The number of the slot, or primary
    #[arg(value_name = "SLOT|primary", value_parser = slot_or_primary)]
    pub(crate) slot: SlotOrPrimary,
    /// For how long, at most 10m
    #[arg(value_name = "TIME", default_value = "10s", value_parser = of_profile)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) to: ToFile,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Heap {
    /// The number of the slot, or primary
    #[arg(value_name = "SLOT|primary", value_parser = slot_or_primary)]
    pub(crate) slot: SlotOrPrimary,
    #[command(flatten)]
    pub(crate) to: ToFile,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Where to write.
#[derive(Args, Debug, Default)]
pub(crate) struct ToFile {
    /// The file to write; an existing one is replaced. - is stdout [default: a new file in this directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The number of the slot, or primary
    #[arg(value_name = "SLOT|primary", value_parser = slot_or_primary)]
    pub(crate) slot: SlotOrPrimary,
    /// Close the inspector
    #[arg(long)]
    pub(crate) off: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Env {
    /// The number of the slot, or primary
    #[arg(value_name = "SLOT|primary", value_parser = slot_or_primary)]
    pub(crate) slot: SlotOrPrimary,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// The process to inspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotOrPrimary {
    Slot(u32),
    Primary,
}

impl SlotOrPrimary {
    /// Its form in the protocol.
    pub(crate) fn to_json(self) -> serde_json::Value {
        match self {
            Self::Slot(slot) => slot.into(),
            Self::Primary => "primary".into(),
        }
    }
}

impl std::fmt::Display for SlotOrPrimary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slot(slot) => slot.fmt(f),
            Self::Primary => f.write_str("primary"),
        }
    }
}

pub(super) fn slot(text: &str) -> Result<u32, String> {
    match text {
        "all" => Err("expected one slot; `rcluster reload` replaces all workers".into()),
        _ => text.parse().map_err(|_| "expected the number of a slot, which `rcluster status` shows".into()),
    }
}

pub(super) fn pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a process id, which `rcluster status` shows".into())
}

/// The cluster refuses longer ones.
fn of_profile(text: &str) -> Result<Duration, String> {
    let duration = units::duration(text)?;
    if (Duration::from_millis(1)..=LONGEST_PROFILE).contains(&duration) {
        Ok(duration)
    } else {
        Err("expected a time from 1ms to 10m".into())
    }
}

pub(super) fn slot_or_primary(text: &str) -> Result<SlotOrPrimary, String> {
    if text == "primary" { Ok(SlotOrPrimary::Primary) } else { slot(text).map(SlotOrPrimary::Slot) }
}
