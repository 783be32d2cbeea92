//! The options of `supervise()`: their types, defaults and limits. JavaScript reads the limits and defaults
//! from `lib/primary/supervise/options.json`, which a test below compares with this file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::option_rules::{
    Invalid, Row, Rule, check, millis, name_or_false, off_or_count, off_or_millis, percent,
};
use crate::logs::Mode;

/// The largest number of workers and of standbys: far more than a machine can use, and few enough that a
/// typing error in `scale()` does not bring it down.
pub const MAX_WORKERS: u32 = 1024;

/// The longest time of JavaScript's timers in ms: about 25 days.
const LONGEST: u64 = (1 << 31) - 1;
/// The largest integer that JavaScript represents exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The options of `supervise()`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// The number of slots; 1 to [`MAX_WORKERS`].
    pub workers: u32,
    /// The number of standbys; 0 to [`MAX_WORKERS`].
    pub standby: u32,
    /// The ends after which a worker is replaced.
    pub restart: RestartPolicy,
    /// Exit codes after which it is not replaced, whatever `restart` says.
    pub stop_exit_codes: Vec<i32>,
    /// The limit of restarts of one slot.
    pub restart_intensity: Intensity,
    /// The limit of restarts of all slots together.
    pub total_intensity: Intensity,
    /// The wait before a restart.
    pub backoff: Backoff,
    /// What to do when the limit is reached.
    pub on_give_up: OnGiveUp,
    /// The primary's exit code after [`OnGiveUp::Exit`], and when no slot can serve any more.
    pub give_up_exit_code: i32,
    /// How long starting workers is tried if none has ever been ready. `None`: without limit.
    #[serde(with = "off_or_millis")]
    pub start_up_limit: Option<Duration>,
    /// When a worker counts as ready.
    pub ready: ReadyWhen,
    /// How long a worker may take to get ready.
    #[serde(with = "millis")]
    pub ready_timeout: Duration,
    /// How long a worker may drain.
    #[serde(with = "millis")]
    pub drain_timeout: Duration,
    /// How long after SIGTERM a worker gets SIGKILL.
    #[serde(with = "millis")]
    pub kill_timeout: Duration,
    /// How long the drain may take in a shutdown because of [`OnGiveUp::Exit`].
    #[serde(with = "millis")]
    pub shutdown_timeout: Duration,
    /// How long the event loop of a worker may be blocked. `None`: not watched.
    #[serde(with = "off_or_millis")]
    pub unresponsive_after: Option<Duration>,
    /// When a healthy worker is replaced.
    pub recycle: Recycle,
    /// Whether an uncaught exception retires a worker instead of ending it.
    pub retire_on_exception: bool,
    /// The environment variable that holds a worker's slot. `None`: no variable.
    #[serde(with = "name_or_false")]
    pub instance_var: Option<String>,
    /// The default number of workers that a reload replaces at a time; at least 1.
    pub reload_concurrency: u32,
    /// The default time to keep running after an operator has stopped the cluster.
    #[serde(with = "millis")]
    pub shutdown_delay: Duration,
    /// Where the control socket is: a path, `@name`, `auto` or `off`.
    pub control: String,
    /// Where metrics and probes are served: see [`Address`](crate::http::Address), or `off`.
    pub metrics: String,
    /// The number of ready workers with which probes find the cluster ready; at least 1.
    pub min_ready: u32,
    /// Whether the number of slots follows the number of CPUs. Written as `workers: 'auto'`.
    #[serde(skip)]
    pub follow_cpus: bool,
    /// How workers write to the primary's stdout and stderr.
    pub logs: Mode,
    /// The interval of sampling the workers; at least 1 ms. Not an option of the app.
    #[serde(skip)]
    pub sample_period: Duration,
}

impl Default for Options {
    /// One worker, and the documented defaults of all other options.
    fn default() -> Self {
        Self {
            workers: 1,
            standby: 0,
            restart: RestartPolicy::Always,
            stop_exit_codes: Vec::new(),
            restart_intensity: Intensity { max: 60, period: Duration::from_secs(60) },
            total_intensity: Intensity { max: 60, period: Duration::from_secs(60) },
            backoff: Backoff::default(),
            on_give_up: OnGiveUp::Degrade,
            give_up_exit_code: 70,
            start_up_limit: Some(Duration::from_secs(60)),
            ready: ReadyWhen::Listening,
            ready_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(8),
            kill_timeout: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(8),
            unresponsive_after: None,
            recycle: Recycle::default(),
            retire_on_exception: true,
            instance_var: None,
            reload_concurrency: 1,
            shutdown_delay: Duration::ZERO,
            control: "auto".into(),
            metrics: "off".into(),
            min_ready: 1,
            follow_cpus: false,
            logs: Mode::Auto,
            sample_period: Duration::from_millis(50),
        }
    }
}

impl Options {
    /// The allowed values and the default of each option, as the JSON with which JavaScript checks an app's
    /// options.
    ///
    /// # Panics
    /// Never: every row can be written as JSON.
    #[must_use]
    pub fn rules() -> serde_json::Value {
        serde_json::to_value(Self::rows()).expect("rows are JSON")
    }

    /// The allowed values of each option. The defaults of the struct's fields come from [`Options::default`];
    /// other options are handled in JavaScript and have their defaults here.
    fn rows() -> Vec<Row> {
        let workers = u64::from(MAX_WORKERS);
        let time = |min| Rule::Whole { min, max: LONGEST };
        let whole = |min, max| Rule::Whole { min, max };
        let fraction = |min, max| Rule::Fraction { min, max };
        let words = |words: &[&'static str]| Rule::Words { words: words.to_vec() };
        let rows = vec![
            Row::new("workers", Rule::WholeOrAuto { min: 1, max: workers }).by_default("auto"),
            Row::new("standby", whole(0, workers)),
            Row::new("restart", words(&["always", "on-failure", "never"])),
            Row::new("stopExitCodes", Rule::ListOfWhole { min: 0, max: 255 }),
            Row::new("restartIntensity", Rule::Group),
            Row::new("restartIntensity.max", whole(0, 1_000_000)),
            Row::new("restartIntensity.period", time(1)),
            Row::new("totalIntensity", Rule::Group),
            Row::new("totalIntensity.max", whole(0, 1_000_000))
                .follows("restartIntensity.max")
                .times("workers"),
            Row::new("totalIntensity.period", time(1)).follows("restartIntensity.period"),
            Row::new("backoff", Rule::Group),
            Row::new("backoff.initial", time(0)),
            Row::new("backoff.max", time(0)).not_less_than("backoff.initial"),
            Row::new("backoff.factor", fraction(1, 100)),
            Row::new("backoff.jitter", fraction(0, 1)),
            Row::new("backoff.immediate", whole(0, 1_000_000)),
            Row::new("backoff.resetAfter", time(1)),
            Row::new("onGiveUp", words(&["degrade", "exit"])),
            Row::new("giveUpExitCode", whole(0, 255)),
            Row::new("startUpLimit", time(0)),
            Row::new("ready", words(&["online", "listening", "explicit"])),
            Row::new("readyTimeout", time(1)),
            Row::new("drainTimeout", time(0)),
            Row::new("killTimeout", time(0)),
            Row::new("shutdownTimeout", time(0)).follows("drainTimeout"),
            Row::new("unresponsiveAfter", Rule::OffOrWhole { least: 100, min: 0, max: LONGEST }),
            Row::new("recycle", Rule::Group),
            Row::new("recycle.memory", Rule::Memory { max: MAX_SAFE }),
            Row::new("recycle.age", time(0)),
            Row::new("recycle.connections", whole(0, MAX_SAFE)),
            Row::new("recycle.jitter", fraction(0, 1)),
            Row::new("retireOnException", Rule::Flag),
            Row::new("instanceVar", Rule::Variable),
            Row::new("reloadConcurrency", whole(1, workers)),
            Row::new("signals", Rule::Flag).by_default(true),
            Row::new("shutdownDelay", time(0)),
            Row::new("control", Rule::Place { words: vec!["auto", "off"] }),
            Row::new("metrics", Rule::Address { words: vec!["off"] }),
            Row::new("minReady", whole(1, workers)),
            Row::new("logs", words(&["auto", "inherit", "raw", "prefix", "json"])),
            Row::new("log", Rule::Log { words: vec!["warn", "info"] }).by_default("warn"),
        ];
        let defaults = serde_json::to_value(Self::default()).unwrap_or_default();
        rows.into_iter().map(|row| row.with_default_of(&defaults)).collect()
    }

    /// Parses options that JavaScript has checked and completed, and validates them again.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        let mut value: Value = serde_json::from_str(text).map_err(|error| Invalid::unreadable(&error))?;
        // JavaScript replaces `workers: 'auto'` by a number, and sets this mark.
        let marked = value.as_object_mut().and_then(|options| options.remove("followCpus"));
        let follow_cpus = marked == Some(Value::Bool(true));
        check(&Self::rows(), &value)?;
        let share = take_share(&mut value);
        let mut options: Self = serde_json::from_value(value).map_err(|error| Invalid::unreadable(&error))?;
        options.follow_cpus = follow_cpus;
        options.recycle.memory_share = share;
        Ok(options)
    }
}

/// Removes the memory limit from validated options if it is a fraction of all memory, and returns the
/// fraction.
fn take_share(options: &mut Value) -> Option<f64> {
    let memory = options.pointer_mut("/recycle/memory")?;
    let share = percent(memory.as_str()?)?;
    *memory = Value::from(0);
    Some(f64::from(share) / 100.0)
}

/// The ends after which a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every end.
    Always,
    /// After every end but exit code 0.
    OnFailure,
    /// Never. A worker that retires is not replaced either.
    Never,
}

/// At most `max` restarts in any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intensity {
    /// The number. With 0, the first failure exceeds the limit.
    pub max: u32,
    /// The period.
    #[serde(with = "millis")]
    pub period: Duration,
}

/// The wait before a restart: `initial`, then multiplied by `factor` each time, up to `max`. The first few
/// restarts of workers that had been ready do not wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The first wait.
    #[serde(with = "millis")]
    pub initial: Duration,
    /// The longest wait.
    #[serde(with = "millis")]
    pub max: Duration,
    /// The factor by which it grows; at least 1.
    pub factor: f64,
    /// The fraction by which a wait may randomly be longer or shorter; 0 to 1.
    pub jitter: f64,
    /// The number of consecutive failures of ready workers that are restarted without a wait.
    pub immediate: u32,
    /// A worker that has been ready for this long resets the failures.
    #[serde(with = "millis")]
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(15),
            factor: 2.0,
            jitter: 0.2,
            immediate: 5,
            reset_after: Duration::from_secs(1),
        }
    }
}

/// What to do when the limit of restarts is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnGiveUp {
    /// Continue with fewer workers, as long as a slot can have one.
    Degrade,
    /// Shut down, and have the primary exit.
    Exit,
}

/// The stage at which a worker counts as ready. A later stage counts too: a worker that listens is online,
/// and one that reports itself ready is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyWhen {
    /// Its link is up.
    Online,
    /// Its first server is up.
    Listening,
    /// It reports that it is ready.
    Explicit,
}

/// The limits at which a healthy worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recycle {
    /// Bytes of resident memory.
    #[serde(with = "off_or_count")]
    pub memory: Option<u64>,
    /// The fraction of all memory that the workers may have together, more than 0 and at most 1. Written as
    /// `memory: '80%'`. It sets `memory` as soon as the amount of memory is known.
    #[serde(skip)]
    pub memory_share: Option<f64>,
    /// Time in service.
    #[serde(with = "off_or_millis")]
    pub age: Option<Duration>,
    /// Connections received.
    #[serde(with = "off_or_count")]
    pub connections: Option<u64>,
    /// The fraction by which each limit differs from worker to worker; 0 to 1. The memory limit only gets
    /// lower: a limit that some workers may exceed by a tenth is no limit.
    pub jitter: f64,
}

impl Default for Recycle {
    fn default() -> Self {
        Self { memory: None, memory_share: None, age: None, connections: None, jitter: 0.1 }
    }
}

#[cfg(test)]
mod tests;
