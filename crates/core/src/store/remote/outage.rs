//! When the operator is told that a store cannot use its server.

use std::time::Duration;

use super::status::{State, Status};
use crate::warning_limit::WarningLimit;

/// Whether a store is without its server, and when that was last told.
#[derive(Debug, Default)]
pub struct Outage {
    is_told: bool,
    limit: WarningLimit,
}

impl Outage {
    /// The status has changed. Returns why the server cannot be used, if that is news: once for each outage, and not
    /// again within a minute.
    pub fn on_status(&mut self, status: &Status, now: Duration) -> Option<String> {
        let why = match status.state {
            State::Connecting | State::Offline => status.error.as_ref().unwrap_or(&status.lost),
            State::Loading => return None,
            State::Following => {
                self.is_told = false;
                return None;
            }
        };
        if why.is_empty() || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        self.limit.is_due(now).then(|| why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, lost: &str, error: Option<&str>) -> Status {
        Status { state, lost: lost.into(), error: error.map(Into::into), ..Status::default() }
    }

    #[test]
    fn each_outage_is_told_once_with_its_reason() {
        let mut outage = Outage::default();
        let mut tell = |at, status| outage.on_status(&status, Duration::from_secs(at));
        assert_eq!(tell(0, status(State::Connecting, "", None)), None, "nothing has failed yet");
        assert_eq!(tell(1, status(State::Connecting, "", Some("refused"))), Some("refused".into()));
        assert_eq!(tell(2, status(State::Connecting, "", Some("no route"))), None);
        assert_eq!(tell(3, status(State::Loading, "", None)), None);
        assert_eq!(tell(4, status(State::Following, "", None)), None);
        assert_eq!(tell(90, status(State::Offline, "reset", None)), Some("reset".into()));
        assert_eq!(tell(91, status(State::Loading, "reset", None)), None);
        assert_eq!(tell(92, status(State::Offline, "reset", Some("refused"))), None, "the outage goes on");
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_told_at_most_once_a_minute() {
        let mut outage = Outage::default();
        let mut told = 0;
        for at in (0..600).step_by(2) {
            let now = Duration::from_secs(at);
            told += usize::from(outage.on_status(&status(State::Offline, "reset", None), now).is_some());
            outage.on_status(&status(State::Following, "", None), now);
        }
        assert_eq!(told, 1, "until it has held for a minute");
    }
}
