//! Chooses the format of metrics from the header `Accept`.

/// A format of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

/// A weight of 1, in thousandths.
const ONE: u32 = 1000;

impl Format {
    /// The header `Content-Type` of this format.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format for a client with this `Accept` header: `OpenMetrics` if the header names it and does not
    /// prefer the other format.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';');
            let name = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(weight).unwrap_or(ONE);
            if name.eq_ignore_ascii_case("application/openmetrics-text") {
                open_metrics = open_metrics.max(weight);
            } else if name.eq_ignore_ascii_case("text/plain") {
                text = text.max(weight);
            }
        }
        if open_metrics > 0 && open_metrics >= text { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// `q=0.5` in thousandths. An invalid weight counts as 0.
fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_short_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse::<u32>().ok().filter(|_| is_short_number);
    Some(match (whole, thousandths) {
        ("0", Some(thousandths)) => thousandths,
        ("1", Some(0)) => ONE,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_gets_what_it_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Q=1.0 , text/plain", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.301", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=0.000, */*", Format::Prometheus),
            ("application/openmetrics-text;q=x", Format::Prometheus),
            ("application/openmetrics-text;q=2", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("", Format::Prometheus),
            (";;,=,q=1", Format::Prometheus),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }
}
