//! The options of `supervise()`: their types, defaults and limits. JavaScript reads the limits and defaults from
//! `lib/primary/supervise/options.json`, which a test below compares with this file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::option_rules::{Invalid, Row, Rule, check, millis, name_or_false, off_or_count, off_or_millis};

/// The most workers and standbys there can be: far more than a machine has use for, and few enough
/// that a slip of the finger in `scale()` does not bring it down.
pub const MAX_WORKERS: u32 = 1024;

/// The longest time in ms that JavaScript's timers can wait: about 25 days.
const LONGEST: u64 = (1 << 31) - 1;
/// The largest integer that JavaScript represents exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// How a cluster is kept up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// How many slots there are; 1 to [`MAX_WORKERS`].
    pub workers: u32,
    /// How many booted workers wait without connections; 0 to [`MAX_WORKERS`].
    pub standby: u32,
    /// After which ends a worker is replaced.
    pub restart: RestartPolicy,
    /// Exit codes after which it is not, whatever `restart` says.
    pub stop_exit_codes: Vec<i32>,
    /// How many restarts one slot may have.
    pub restart_intensity: Intensity,
    /// How many all slots together may have.
    pub total_intensity: Intensity,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// What to do once there have been too many.
    pub on_give_up: OnGiveUp,
    /// The primary's exit code after [`OnGiveUp::Exit`], and when no slot can serve any more.
    pub give_up_exit_code: i32,
    /// For how long starting workers is tried if none has ever been ready. None: for ever.
    #[serde(with = "off_or_millis")]
    pub start_up_limit: Option<Duration>,
    /// When a worker counts as ready.
    pub ready: ReadyWhen,
    /// A worker that is not ready by then has failed to start.
    #[serde(with = "millis")]
    pub ready_timeout: Duration,
    /// How long a worker may drain.
    #[serde(with = "millis")]
    pub drain_timeout: Duration,
    /// How long a worker has after SIGTERM before it gets SIGKILL.
    #[serde(with = "millis")]
    pub kill_timeout: Duration,
    /// How long the drain may take when we shut down because of [`OnGiveUp::Exit`].
    #[serde(with = "millis")]
    pub shutdown_timeout: Duration,
    /// How long the event loop of a worker may be blocked. None: it is not looked at.
    #[serde(with = "off_or_millis")]
    pub unresponsive_after: Option<Duration>,
    /// When a worker that is well is replaced all the same.
    pub recycle: Recycle,
    /// Whether an uncaught exception retires a worker instead of ending it.
    pub retire_on_exception: bool,
    /// The environment variable in which a worker has its slot. None: there is none.
    #[serde(with = "name_or_false")]
    pub instance_var: Option<String>,
    /// How often workers are looked at; at least 1 ms. Not for the operator to choose.
    #[serde(skip)]
    pub sample_period: Duration,
}

impl Default for Options {
    /// One worker, and the documented defaults for all the rest.
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
            sample_period: Duration::from_millis(50),
        }
    }
}

impl Options {
    /// What each option may be and what it is by default, as the JSON that JavaScript checks an app's options by.
    ///
    /// # Panics
    /// Never: a row has nothing that JSON lacks.
    #[must_use]
    pub fn rules() -> serde_json::Value {
        serde_json::to_value(Self::rows()).expect("rows are JSON")
    }

    /// What each option may be. Those of the struct have their defaults from [`Options::default`]; the others are
    /// carried out in JavaScript and have them here.
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
            Row::new("recycle.memory", whole(0, MAX_SAFE)),
            Row::new("recycle.age", time(0)),
            Row::new("recycle.connections", whole(0, MAX_SAFE)),
            Row::new("recycle.jitter", fraction(0, 1)),
            Row::new("retireOnException", Rule::Flag),
            Row::new("instanceVar", Rule::Variable),
            Row::new("reloadConcurrency", whole(1, workers)).by_default(1),
            Row::new("signals", Rule::Flag).by_default(true),
            Row::new("shutdownDelay", time(0)).by_default(0),
            Row::new("log", Rule::Log { words: vec!["warn", "info"] }).by_default("warn"),
        ];
        let defaults = serde_json::to_value(Self::default()).unwrap_or_default();
        rows.into_iter().map(|row| row.with_default_of(&defaults)).collect()
    }

    /// Reads what JavaScript has checked and completed, and checks it again.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        let value = serde_json::from_str(text).map_err(|error| Invalid::unreadable(&error))?;
        check(&Self::rows(), &value)?;
        serde_json::from_value(value).map_err(|error| Invalid::unreadable(&error))
    }
}

/// After which ends a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After any.
    Always,
    /// After all but exit code 0.
    OnFailure,
    /// After none. A worker that retires is not replaced either.
    Never,
}

/// At most `max` restarts in any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intensity {
    /// How many. 0: the first failure is one too many.
    pub max: u32,
    /// In how much time.
    #[serde(with = "millis")]
    pub period: Duration,
}

/// How long to wait before a restart: `initial`, then each time `factor` times as long, up to `max`.
/// The first few restarts of workers that had been ready do not wait at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The first wait.
    #[serde(with = "millis")]
    pub initial: Duration,
    /// The longest.
    #[serde(with = "millis")]
    pub max: Duration,
    /// How fast it grows; at least 1.
    pub factor: f64,
    /// By which part of itself a wait may be longer or shorter; 0 to 1.
    pub jitter: f64,
    /// How many failures in a row of workers that had been ready are not waited for.
    pub immediate: u32,
    /// A worker that has been ready for so long wipes the slate clean.
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

/// What to do once there have been too many restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnGiveUp {
    /// Stay with fewer workers, as long as there is a slot that can have one.
    Degrade,
    /// Shut down, and have the primary exit.
    Exit,
}

/// When a worker counts as ready. What is more than is asked for counts, too: a worker that listens
/// is online, and one that says that it is ready knows best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyWhen {
    /// Its link is up.
    Online,
    /// Its first server is up.
    Listening,
    /// It says so, and only then.
    Explicit,
}

/// When a worker that is well is replaced all the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recycle {
    /// Bytes of resident memory.
    #[serde(with = "off_or_count")]
    pub memory: Option<u64>,
    /// Time in service.
    #[serde(with = "off_or_millis")]
    pub age: Option<Duration>,
    /// Connections received.
    #[serde(with = "off_or_count")]
    pub connections: Option<u64>,
    /// By which part of itself each limit differs from worker to worker; 0 to 1. Memory only goes
    /// down: a limit that some workers may exceed by a tenth is none.
    pub jitter: f64,
}

impl Default for Recycle {
    fn default() -> Self {
        Self { memory: None, age: None, connections: None, jitter: 0.1 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The documented defaults for one worker, as JavaScript sends them.
    fn complete() -> Value {
        let mut value = serde_json::to_value(Options::default()).unwrap();
        for (key, default) in
            [("reloadConcurrency", json!(1)), ("signals", json!(true)), ("shutdownDelay", json!(0))]
        {
            value[key] = default;
        }
        value
    }

    fn with(path: &str, value: Value) -> Result<Options, Invalid> {
        let mut options = complete();
        *options.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value;
        Options::from_json(&options.to_string())
    }

    #[test]
    fn each_field_has_a_row_and_each_row_a_default() {
        let rows = Options::rows();
        for key in serde_json::to_value(Options::default()).unwrap().as_object().unwrap().keys() {
            assert!(rows.iter().any(|row| row.path == key), "{key} has no row");
        }
        for row in &rows {
            let derived = row.follows.is_some() || row.rule == Rule::Group;
            assert_eq!(row.default.is_null(), derived, "{}", row.path);
        }
    }

    #[test]
    fn defaults_come_back_as_they_were() {
        assert_eq!(Options::from_json(&complete().to_string()), Ok(Options::default()));
        let named = with("instanceVar", json!("SLOT")).unwrap();
        assert_eq!(named.instance_var.as_deref(), Some("SLOT"));
        assert_eq!(with("startUpLimit", json!(0)).unwrap().start_up_limit, None);
        assert_eq!(with("restart", json!("on-failure")).unwrap().restart, RestartPolicy::OnFailure);
    }

    #[test]
    fn each_limit_is_kept() {
        for row in Options::rows() {
            let wrong = match row.rule {
                Rule::Whole { max, .. } | Rule::WholeOrAuto { max, .. } => vec![json!(max + 1), json!("1")],
                Rule::OffOrWhole { least, max, .. } => vec![json!(least - 1), json!(max + 1), json!(1.5)],
                Rule::Fraction { min, max } => vec![json!(max + 1), json!(f64::from(min) - 0.5), json!(null)],
                Rule::ListOfWhole { max, .. } => vec![json!([max + 1]), json!(1)],
                Rule::Words { .. } => vec![json!("neither"), json!(1)],
                Rule::Flag => vec![json!(1)],
                Rule::Variable => vec![json!("A=B"), json!("RCLUSTER_LINK"), json!(true)],
                Rule::Group => vec![json!(1), json!([])],
                Rule::Log { .. } => vec![],
            };
            for value in wrong {
                let refused = with(row.path, value.clone());
                assert_eq!(refused.unwrap_err().received, value.to_string(), "{}", row.path);
            }
        }
    }

    #[test]
    fn what_is_missing_unknown_or_contradictory_is_named() {
        let mut options = complete();
        options.as_object_mut().unwrap().remove("standby");
        assert_eq!(Options::from_json(&options.to_string()).unwrap_err().path, "standby");
        options = complete();
        options["backoff"]["delay"] = json!(5);
        assert_eq!(Options::from_json(&options.to_string()).unwrap_err().path, "backoff.delay");
        assert_eq!(with("backoff.max", json!(99)).unwrap_err().path, "backoff.max");
        assert_eq!(Options::from_json("[").unwrap_err().path, "");
    }
}
