//! What the app has asked for: how the connections of a listener are distributed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{By, PrereadRule};

/// The policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Strictly in turn.
    #[default]
    RoundRobin,
    /// Workers accept by themselves, from one socket that they share.
    None,
    /// The one with the fewest connections.
    LeastConnections,
    /// The one whose event loop has the least to do.
    LeastLoaded,
    /// The same one for the same client.
    Sticky,
    /// Workers accept by themselves, each from a socket of its own.
    Kernel,
    /// The one that the app chooses.
    Hook,
}

/// How the connections of a listener are distributed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Plan {
    /// Who comes next among those who are ready.
    pub policy: Policy,
    /// For how long after it has joined a worker gets less than its share, more and more.
    #[serde(deserialize_with = "millis")]
    pub slow_start: Duration,
    /// Where a connection belongs to a worker, how long it waits for that one while others are ready.
    #[serde(deserialize_with = "millis")]
    pub patience: Duration,
    /// Under the sticky policy, what to look for in what a client sends first.
    pub preread: PrereadRule,
    /// How long a client has to send it.
    #[serde(deserialize_with = "millis")]
    pub preread_timeout: Duration,
    /// Which of the app's hooks chooses, under that policy.
    pub hook: u32,
    /// How long it has for that.
    #[serde(deserialize_with = "millis")]
    pub hook_timeout: Duration,
    /// What becomes of connections for which nobody is ready.
    pub overload: Overload,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            slow_start: Duration::ZERO,
            patience: Duration::from_millis(250),
            preread: PrereadRule::default(),
            preread_timeout: Duration::from_millis(100),
            hook: 0,
            hook_timeout: Duration::from_millis(100),
            overload: Overload::default(),
        }
    }
}

/// What becomes of connections for which nobody is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overload {
    /// The most that wait in the dispatcher.
    pub queue: usize,
    /// How long one may wait there before it is shed. Never, if there is none.
    #[serde(deserialize_with = "some_millis")]
    pub deadline: Option<Duration>,
    /// What is done with one too many.
    pub action: Action,
}

impl Default for Overload {
    fn default() -> Self {
        Self { queue: 128, deadline: None, action: Action::Wait }
    }
}

/// What is done with a connection too many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Action {
    /// It is left in the backlog.
    Wait,
    /// It is reset.
    Reset,
    /// It is answered and closed.
    Respond {
        /// The status of the HTTP response.
        status: u16,
        /// In seconds.
        retry_after: Option<u32>,
        /// Plain text.
        body: String,
    },
}

impl Plan {
    /// By what a client is recognised when a drain hands its connection over to another worker; `None` where
    /// connections are not handed over.
    #[must_use]
    pub fn hand_over(&self) -> Option<By> {
        match self.policy {
            // There the dispatcher has not sent the connection.
            Policy::Kernel | Policy::None => None,
            Policy::Sticky => self.preread.hand_over(),
            Policy::RoundRobin | Policy::LeastConnections | Policy::LeastLoaded | Policy::Hook => {
                Some(By::Address)
            }
        }
    }
}

impl Policy {
    /// Whether a connection may belong to one worker and wait for that while others are ready.
    #[must_use]
    pub fn has_homes(self) -> bool {
        matches!(self, Self::Sticky | Self::Hook)
    }
}

impl Action {
    /// What a client is told before its connection is closed; `None` if it is reset.
    #[must_use]
    pub fn response(&self) -> Option<Vec<u8>> {
        let Self::Respond { status, retry_after, body } = self else { return None };
        // Clients go by the number; the phrase is for people.
        let phrase = match status {
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Overloaded",
        };
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\n");
        if let Some(seconds) = retry_after {
            // Writing to a String cannot fail.
            let _ = write!(head, "Retry-After: {seconds}\r\n");
        }
        let length = body.len();
        let _ = write!(
            head,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Some([head.as_bytes(), body.as_bytes()].concat())
    }
}

impl Overload {
    /// Whether there is an end to the waiting here other than a worker.
    #[must_use]
    pub fn sheds(&self) -> bool {
        self.action != Action::Wait
    }
}

/// The plans of all listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scheduling {
    /// That of every listener which has none of its own.
    pub default: Plan,
    /// By port or path, as the app asks for it.
    pub listeners: BTreeMap<String, Plan>,
}

impl Scheduling {
    /// Reads what JavaScript has validated and written.
    ///
    /// # Errors
    /// Where the two do not agree, which is a mistake of ours.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("reading the scheduling options: {error}"))
    }

    /// One policy for everything.
    #[must_use]
    pub fn all(policy: Policy) -> Self {
        Self { default: Plan { policy, ..Plan::default() }, ..Self::default() }
    }

    /// The two policies that Node has: workers share each socket, or are served in turn.
    #[must_use]
    pub fn of_node(share: bool) -> Self {
        Self::all(if share { Policy::None } else { Policy::RoundRobin })
    }

    /// The plan for this port or path.
    #[must_use]
    pub fn plan(&self, name: &str) -> &Plan {
        self.listeners.get(name).unwrap_or(&self.default)
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn some_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::LONGEST_NAME;

    #[test]
    fn options_are_read_and_what_is_missing_is_as_usual() {
        assert_eq!(Scheduling::parse("{}"), Ok(Scheduling::default()));
        let text = r#"{"default":{"policy":"least-loaded","slowStart":500},
            "listeners":{"80":{"policy":"sticky","patience":40,"preread":{"by":"cookie","name":"id","proxyProtocol":true}},
            "/run/app":{"overload":{"queue":0,"deadline":70,"action":{"kind":"reset"}}}}}"#;
        let scheduling = Scheduling::parse(text).unwrap();
        assert_eq!(scheduling.plan("81").policy, Policy::LeastLoaded);
        assert_eq!(scheduling.plan("81").slow_start, Duration::from_millis(500));
        assert_eq!(scheduling.plan("80").patience, Duration::from_millis(40));
        let rule = PrereadRule { by: By::Cookie("id".into()), proxy_protocol: true };
        assert_eq!(scheduling.plan("80").preread, rule);
        let overload = &scheduling.plan("/run/app").overload;
        assert_eq!((overload.queue, overload.deadline), (0, Some(Duration::from_millis(70))));
        assert!(overload.sheds());
        assert!(Scheduling::parse(r#"{"default":{"policy":"best"}}"#).is_err());
    }

    #[test]
    fn where_connections_are_handed_over_and_by_what() {
        let hand_over = |text: &str| serde_json::from_str::<Plan>(text).unwrap().hand_over();
        for policy in ["round-robin", "least-connections", "least-loaded", "hook"] {
            assert_eq!(hand_over(&format!(r#"{{"policy":"{policy}"}}"#)), Some(By::Address), "{policy}");
        }
        for policy in ["none", "kernel"] {
            assert_eq!(hand_over(&format!(r#"{{"policy":"{policy}"}}"#)), None, "{policy}");
        }
        let sticky = |rule: &str| hand_over(&format!(r#"{{"policy":"sticky","preread":{rule}}}"#));
        assert_eq!(sticky(r#"{"by":"address"}"#), Some(By::Address));
        assert_eq!(sticky(r#"{"by":"query","name":"sid"}"#), Some(By::Query("sid".into())));
        assert_eq!(sticky(r#"{"by":"address","proxyProtocol":true}"#), None);
        assert_eq!(sticky(r#"{"by":"cookie","name":"id","proxyProtocol":true}"#), None);
        let long = "x".repeat(LONGEST_NAME + 1);
        assert_eq!(sticky(&format!(r#"{{"by":"header","name":"{long}"}}"#)), None);
    }

    #[test]
    fn a_response_is_http() {
        let text = r#"{"kind":"respond","status":503,"retryAfter":7,"body":"später"}"#;
        let action: Action = serde_json::from_str(text).unwrap();
        let expected = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\nConnection: close\r\n\r\nspäter";
        assert_eq!(action.response(), Some(expected.as_bytes().to_vec()));
        assert_eq!(Action::Reset.response(), None);
    }
}
