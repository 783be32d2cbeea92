//! The paths of the HTTP listener.

use std::time::Duration;

/// The resource that a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The HTML page.
    Page,
    /// All metrics.
    Metrics,
    /// Whether the native threads respond; and, if a time is given, whether the primary's JavaScript has been
    /// blocked for less.
    Live {
        /// The longest time that the primary's JavaScript may be blocked.
        primary: Option<Duration>,
    },
    /// Whether enough workers are ready and the cluster is not about to end.
    Ready,
    /// Whether enough workers have been ready at least once.
    Started,
    /// The status document.
    Status,
    /// The status document, and the cluster's events as a stream.
    Events,
}

/// The path is unknown, or its query is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    NotFound,
    /// `primary` is not a valid time.
    NoTime,
}

impl Route {
    /// Parses the target of a request: a path, and possibly a query.
    pub(super) fn of(target: &str) -> Result<Self, NoRoute> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/" => Ok(Self::Page),
            "/metrics" => Ok(Self::Metrics),
            "/livez" => Ok(Self::Live { primary: primary(query)? }),
            "/readyz" => Ok(Self::Ready),
            "/startupz" => Ok(Self::Started),
            "/status" => Ok(Self::Status),
            "/events" => Ok(Self::Events),
            _ => Err(NoRoute::NotFound),
        }
    }
}

/// The parameter `primary` of a query. Other parameters are ignored, such as those that probes add to bypass
/// caches.
fn primary(query: &str) -> Result<Option<Duration>, NoRoute> {
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    let given = parameters.filter(|(name, _)| *name == "primary").map(|(_, value)| value).next();
    given.map(|value| time(value).ok_or(NoRoute::NoTime)).transpose()
}

/// Parses `500ms`, `5s`, `1m`.
fn time(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    Some(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_paths_match() {
        for (target, route) in [
            ("/", Route::Page),
            ("/?a", Route::Page),
            ("/metrics", Route::Metrics),
            ("/metrics?name[]=x", Route::Metrics),
            ("/livez", Route::Live { primary: None }),
            ("/livez?now", Route::Live { primary: None }),
            ("/livez?primary=5s", Route::Live { primary: Some(Duration::from_secs(5)) }),
            ("/livez?a=1&primary=500ms", Route::Live { primary: Some(Duration::from_millis(500)) }),
            ("/livez?primary=2m", Route::Live { primary: Some(Duration::from_secs(120)) }),
            ("/readyz", Route::Ready),
            ("/startupz", Route::Started),
            ("/status", Route::Status),
            ("/events", Route::Events),
        ] {
            assert_eq!(Route::of(target), Ok(route), "{target}");
        }
        for target in
            ["", "*", "//", "/metrics/", "/Metrics", "/%6detrics", "/status/../metrics", "http://a/metrics"]
        {
            assert_eq!(Route::of(target), Err(NoRoute::NotFound), "{target}");
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        for value in ["", "5", "s", "-5s", "5 s", "1.5s", "5h", "99999999999s"] {
            assert_eq!(Route::of(&format!("/livez?primary={value}")), Err(NoRoute::NoTime), "{value}");
        }
    }
}
