//! The text formats of metrics: `OpenMetrics` 1.0, and Prometheus' 0.0.4.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::histogram::Histogram;
use crate::http::Format;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only rises. The name of the family is without `_total`, which its samples have.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Only its labels count. The name of the family is without `_info`, which its sample has.
    Info,
}

/// Writes families. Each must be written once, completely.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
    /// The names of the families so far.
    names: Names,
}

/// The labels of one sample: names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Writes the samples of one family. A family without samples is left out.
#[derive(Debug)]
pub struct Family<'a> {
    to: &'a mut Exposition,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    has_begun: bool,
}

impl Exposition {
    /// Creates an empty text.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new(), names: Names::default() }
    }

    /// Begins a family. Its name ends with its unit.
    pub fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &'a str) -> Family<'a> {
        Family { to: self, name, kind, help, has_begun: false }
    }

    /// Writes a family that is a histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.describe(name, name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (limit, count) in histogram.buckets() {
            self.sample(&bucket, &[("le", &decimal(limit, self.format))], whole(count));
        }
        self.sample(&bucket, &[("le", "+Inf")], whole(histogram.count()));
        self.sample(&format!("{name}_sum"), &[], histogram.sum());
        self.sample(&format!("{name}_count"), &[], whole(histogram.count()));
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Begins a family whose samples follow, unless its name is in use, or one of those that its samples have instead.
    pub(super) fn begin(&mut self, name: &str, samples: &[&str], kind: &str, help: &str) -> bool {
        let is_new = self.names.add(name, samples);
        if is_new {
            self.write_head(name, kind, help);
        }
        is_new
    }

    fn describe(&mut self, name: &str, sample: &str, kind: &str, help: &str) {
        self.names.add(name, &[sample]);
        self.write_head(name, kind, help);
    }

    fn write_head(&mut self, name: &str, kind: &str, help: &str) {
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, self.format == Format::OpenMetrics);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let value = number(value);
        let _ = writeln!(self.text, " {value}");
    }
}

impl Family<'_> {
    /// Writes a sample. Its labels must be unique in the family.
    pub fn add(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        };
        let sample = format!("{}{suffix}", self.name);
        if !std::mem::replace(&mut self.has_begun, true) {
            let (name, kind) = match (self.to.format, self.kind) {
                (Format::OpenMetrics, Kind::Counter) => (self.name, "counter"),
                (Format::OpenMetrics, Kind::Info) => (self.name, "info"),
                (Format::Prometheus, Kind::Counter) => (sample.as_str(), "counter"),
                (_, Kind::Info | Kind::Gauge) => (sample.as_str(), "gauge"),
            };
            self.to.describe(name, &sample, kind, self.help);
        }
        self.to.sample(&sample, labels, value);
        self
    }

    /// Writes a sample if its value is known.
    pub fn add_known(&mut self, labels: Labels<'_>, value: Option<f64>) -> &mut Self {
        match value {
            Some(value) => self.add(labels, value),
            None => self,
        }
    }
}

/// Appends text with characters escaped that would end the text or its line.
pub(super) fn escape(to: &mut String, text: &str, quotes: bool) {
    for letter in text.chars() {
        match letter {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            letter => to.push(letter),
        }
    }
}

/// Formats a value. Infinite values and NaN have names.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}

/// `OpenMetrics` requires a decimal point in the limits of buckets.
fn decimal(limit: f64, format: Format) -> String {
    match format {
        Format::OpenMetrics if limit.fract() == 0.0 => format!("{limit:.1}"),
        _ => limit.to_string(),
    }
}

/// A count as a value. Not exact beyond 2^53, like every number in these formats.
#[allow(clippy::cast_precision_loss, reason = "see above")]
#[must_use]
pub(super) fn whole(count: u64) -> f64 {
    count as f64
}

/// The names of the families written so far, and of samples that have other names: all must be unique.
#[derive(Debug, Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// False if one of the names is in use; then none is added.
    fn add(&mut self, family: &str, samples: &[&str]) -> bool {
        let all = [family].into_iter().chain(samples.iter().copied());
        let are_free = !all.clone().any(|name| self.0.contains(name));
        if are_free {
            self.0.extend(all.map(str::to_owned));
        }
        are_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family(Kind::Info, "app", "Of\nwhat \"version\".").add(&[("version", "1\"\\\n")], 1.0);
        exposition.family(Kind::Counter, "work_seconds", "Work.").add(&[("slot", "0")], 1.5).add(&[], 3.0);
        exposition.family(Kind::Gauge, "nothing", "Not known.").add_known(&[], None);
        let mut histogram = Histogram::of_seconds(&[0.5, 1.0]);
        histogram.observe(Duration::from_millis(500));
        histogram.observe(Duration::from_secs(2));
        exposition.histogram("boot_seconds", "Boots.", &histogram);
        exposition.finish()
    }

    #[test]
    fn open_metrics_is_written_as_its_specification_has_it() {
        let expected = "# HELP app Of\\nwhat \\\"version\\\".\n# TYPE app info\napp_info{version=\"1\\\"\\\\\\n\"} 1\n\
            # HELP work_seconds Work.\n# TYPE work_seconds counter\nwork_seconds_total{slot=\"0\"} 1.5\nwork_seconds_total 3\n\
            # HELP boot_seconds Boots.\n# TYPE boot_seconds histogram\nboot_seconds_bucket{le=\"0.5\"} 1\n\
            boot_seconds_bucket{le=\"1.0\"} 1\nboot_seconds_bucket{le=\"+Inf\"} 2\nboot_seconds_sum 2.5\nboot_seconds_count 2\n\
            # EOF\n";
        assert_eq!(write(Format::OpenMetrics), expected);
    }

    #[test]
    fn in_the_older_format_families_have_the_names_of_their_samples() {
        let text = write(Format::Prometheus);
        assert!(text.contains("# TYPE work_seconds_total counter\nwork_seconds_total{slot=\"0\"} 1.5\n"));
        assert!(text.contains("# HELP app_info Of\\nwhat \"version\".\n# TYPE app_info gauge\n"));
        assert!(text.contains("boot_seconds_bucket{le=\"1\"} 1\n") && !text.contains("EOF"));
        assert!(!text.contains("nothing"));
    }
}
