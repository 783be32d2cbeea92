//! Merges the metrics that workers keep themselves, with prom-client.
//!
//! A worker that does not answer counts with its last answer; the counters of an ended worker stay. Workers
//! are not trusted: invalid metrics are left out, and the number of samples and the length of their texts are limited. A
//! worker takes at most half of the room that is left, so the others have room, whatever it reports.

mod ended;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use self::ended::Ended;
use super::exposition::Exposition;
use super::room::Room;
use crate::http::Format;
use crate::ids::WorkerId;

/// The largest number of samples of one worker, and of all together.
const MAX_SAMPLES: usize = 100_000;

/// Metrics of workers have no names with this beginning.
const RESERVED: &str = "rcluster_";

/// The largest number of bytes of all names, labels and help texts together.
const MAX_BYTES: usize = 16 << 20;

/// A metric of prom-client, as `getMetricsAsJSON()` returns it.
#[derive(Clone, Debug, Deserialize)]
struct Metric {
    name: String,
    #[serde(default)]
    help: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    aggregator: Aggregator,
    values: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// How the samples of several processes are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Aggregator {
    #[default]
    Sum,
    First,
    Min,
    Max,
    Average,
    Omit,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    value: Number,
    #[serde(default)]
    labels: BTreeMap<String, Text>,
    metric_name: Option<String>,
}

/// A number; values that JSON cannot represent are text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Other(String),
}

/// The value of a label. Some programs use numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Words(String),
    Number(serde_json::Number),
    Flag(bool),
}

impl Number {
    fn get(&self) -> Option<f64> {
        match self {
            Self::Finite(number) => Some(*number),
            Self::Other(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => None,
            },
        }
    }
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Words(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

/// A sample: its name and labels. Shared, because there can be many and each is kept in several places.
type Key = Arc<(String, Vec<(String, String)>)>;

fn bytes(key: &Key) -> usize {
    let (name, labels) = &**key;
    labels.iter().fold(name.len(), |sum, (label, value)| sum + label.len() + value.len())
}

/// The samples of one metric, in the order of their first appearance.
#[derive(Clone, Debug)]
struct Family {
    help: String,
    kind: Kind,
    aggregator: Aggregator,
    order: Vec<Key>,
    values: BTreeMap<Key, (f64, u32)>,
}

impl Family {
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.aggregator == other.aggregator
    }

    fn is_shown(&self) -> bool {
        self.aggregator != Aggregator::Omit
    }

    /// The same metric without samples.
    fn emptied(&self) -> Self {
        let Self { kind, aggregator, .. } = *self;
        Self { help: self.help.clone(), kind, aggregator, order: Vec::new(), values: BTreeMap::new() }
    }

    /// A sample whose value is added later.
    fn choose(&mut self, key: &Key) {
        self.order.push(key.clone());
        self.values.insert(key.clone(), (0.0, 0));
    }

    /// Merges a value into that of a sample, if it has been chosen.
    fn add(&mut self, key: &Key, value: f64, count: u32) {
        let Some((sum, counted)) = self.values.get_mut(key) else { return };
        if *counted == 0 {
            (*sum, *counted) = (value, count);
            return;
        }
        *counted = counted.saturating_add(count);
        match self.aggregator {
            Aggregator::Sum | Aggregator::Average => *sum += value,
            Aggregator::Min => *sum = sum.min(value),
            Aggregator::Max => *sum = sum.max(value),
            Aggregator::First | Aggregator::Omit => {}
        }
    }

    fn samples(&self) -> impl Iterator<Item = (&Key, f64)> {
        self.order.iter().filter_map(|key| {
            let (value, count) = self.values.get(key)?;
            let is_average = self.aggregator == Aggregator::Average;
            Some((key, if is_average { value / f64::from((*count).max(1)) } else { *value }))
        })
    }

    /// Keeps only the samples that never fall and that can be added up.
    fn keep_rising(&mut self) {
        let rises = self.kind != Kind::Gauge && self.aggregator == Aggregator::Sum;
        // Quantiles cannot be added; the sum and the count of observations can.
        let is_quantile = |(name, _): &(String, String)| self.kind == Kind::Summary && name == "quantile";
        let is_kept = |key: &Key| rises && !key.1.iter().any(is_quantile);
        self.order.retain(is_kept);
        self.values.retain(|key, _| is_kept(key));
    }
}

/// Metrics by name.
#[derive(Clone, Debug, Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn room(&self) -> Room {
        let mut room = Room { samples: MAX_SAMPLES, bytes: MAX_BYTES };
        for (name, family) in &self.0 {
            room.samples = room.samples.saturating_sub(family.order.len());
            let texts = family.order.iter().map(bytes).sum::<usize>();
            room.bytes = room.bytes.saturating_sub(name.len() + family.help.len() + texts);
        }
        room
    }

    /// Chooses which samples of another worker are merged: those that are there already, and as many more as it may take.
    /// If a metric's type differs, the existing one stays.
    fn choose(&mut self, others: &Self, room: &mut Room) {
        let (mut own, rest) = room.split();
        for (name, other) in &others.0 {
            for key in &other.order {
                if let Some(family) = self.0.get_mut(name) {
                    let is_new = family.is_like(other) && !family.values.contains_key(key);
                    if is_new && own.take(bytes(key)) {
                        family.choose(key);
                    }
                } else if own.take(name.len() + other.help.len() + bytes(key)) {
                    let mut family = other.emptied();
                    family.choose(key);
                    self.0.insert(name.clone(), family);
                }
            }
        }
        *room = own.join(&rest);
    }

    /// Adds the values of another worker to the chosen samples.
    fn add(&mut self, others: &Self) {
        for (name, other) in &others.0 {
            let Some(family) = self.0.get_mut(name).filter(|it| it.is_like(other)) else { continue };
            for (key, (value, count)) in &other.values {
                family.add(key, *value, *count);
            }
        }
    }

    /// Adds the metrics of another worker.
    fn append(&mut self, others: &Self) {
        let mut room = self.room();
        self.choose(others, &mut room);
        self.add(others);
    }

    /// Whether a metric other than `name` is shown under another name.
    fn has_other(&self, name: &str, other: &str) -> bool {
        name != other && self.0.get(other).is_some_and(Family::is_shown)
    }

    /// Begins a metric. `OpenMetrics` names a counter without `_total`, and its samples with it; if another metric has one of
    /// these names, the type is `unknown` there, which keeps the name.
    ///
    /// Returns the suffix that its samples get there, and nothing if the name is in use.
    fn begin(&self, name: &str, family: &Family, to: &mut Exposition) -> Option<&'static str> {
        let mut kind = family.kind.name();
        if to.format() == Format::OpenMetrics && family.kind == Kind::Counter {
            let base = name.strip_suffix("_total").unwrap_or(name);
            let total = format!("{base}_total");
            let clashes = self.has_other(name, base) || self.has_other(name, &total);
            if !clashes && to.begin(base, &[&total], kind, &family.help) {
                return Some(if name == base { "_total" } else { "" });
            }
            kind = "unknown";
        }
        to.begin(name, &[], kind, &family.help).then_some("")
    }

    /// Keeps only what never falls.
    fn kept(mut self) -> Self {
        self.0.values_mut().for_each(Family::keep_rising);
        self.0.retain(|_, family| !family.order.is_empty());
        self
    }
}

/// The registries of all workers: see the module.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    workers: BTreeMap<WorkerId, Families>,
    ended: Ended,
}

impl Registries {
    /// A worker has reported its metrics, as JSON. False if they are malformed.
    pub fn on_report(&mut self, worker: WorkerId, text: &str) -> bool {
        let Ok(metrics) = serde_json::from_str::<Vec<Metric>>(text) else { return false };
        self.workers.insert(worker, read(metrics));
        true
    }

    /// A worker has ended.
    pub fn on_exit(&mut self, worker: WorkerId) {
        let last = self.workers.remove(&worker).unwrap_or_default();
        self.ended.on_exit(worker, last);
    }

    /// A report that a worker has made before its end. It is ignored if it is malformed.
    pub fn on_last_report(&mut self, worker: WorkerId, text: &str) {
        if let Ok(metrics) = serde_json::from_str(text) {
            self.ended.on_report(worker, read(metrics));
        }
    }

    /// All reports that were gathered together have been given.
    pub fn on_merged(&mut self) {
        self.ended.on_merged();
    }

    /// The number of running workers that have reported metrics.
    #[must_use]
    pub fn reporting(&self) -> usize {
        self.workers.len()
    }

    /// All metrics as text.
    #[must_use]
    pub fn text(&self, format: Format) -> String {
        let mut to = Exposition::new(format);
        self.write(&mut to);
        to.finish()
    }

    /// Writes all metrics. A family whose name is in use is left out.
    pub(super) fn write(&self, to: &mut Exposition) {
        let mut all = self.ended.sums();
        // First for all workers, so that a sample that is shown has the values of all.
        let mut room = all.room();
        for families in self.workers.values() {
            all.choose(families, &mut room);
        }
        for families in self.workers.values() {
            all.add(families);
        }
        for (name, family) in all.0.iter().filter(|(_, family)| family.is_shown()) {
            let Some(suffix) = all.begin(name, family, to) else { continue };
            for (key, value) in family.samples() {
                let (sample, labels) = &**key;
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                to.sample(&format!("{sample}{suffix}"), &labels, value);
            }
        }
    }
}

fn read(metrics: Vec<Metric>) -> Families {
    let mut families = Families::default();
    let mut room = MAX_SAMPLES;
    for Metric { name, help, kind, aggregator, values } in metrics {
        // Not even a name that could be taken for one of ours, such as that of a sample of a histogram.
        if !is_name(&name, true) || name.starts_with(RESERVED) || families.0.contains_key(&name) {
            continue;
        }
        let mut family = Family { help, kind, aggregator, order: Vec::new(), values: BTreeMap::new() };
        for Sample { value, labels, metric_name } in values {
            let sample = metric_name.unwrap_or_else(|| name.clone());
            let is_own = sample.strip_prefix(name.as_str()).is_some_and(|end| is_suffix(kind, end));
            let names_fit = labels.keys().all(|label| is_name(label, false));
            let Some(value) = value.get().filter(|_| is_own && names_fit && room > 0) else { continue };
            room -= 1;
            let labels = labels.into_iter().map(|(name, value)| (name, value.into_string())).collect();
            let key = Arc::new((sample, labels));
            if !family.values.contains_key(&key) {
                family.choose(&key);
            }
            family.add(&key, value, 1);
        }
        if !family.order.is_empty() {
            families.0.insert(name, family);
        }
    }
    families
}

fn is_suffix(kind: Kind, end: &str) -> bool {
    match kind {
        Kind::Counter | Kind::Gauge => end.is_empty(),
        Kind::Histogram => matches!(end, "_bucket" | "_sum" | "_count"),
        Kind::Summary => matches!(end, "" | "_sum" | "_count"),
    }
}

/// Whether a name is valid for a metric, or for a label, which has no colon.
fn is_name(name: &str, colon: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colon && byte == b':');
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
