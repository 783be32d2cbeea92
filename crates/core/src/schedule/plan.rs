//! The app's settings: how the connections of a listener are distributed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{By, PrereadRule};

/// The policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Strictly in turn.
    #[default]
    RoundRobin,
    /// Workers accept by themselves, from one shared socket.
    None,
    /// The worker with the fewest connections.
    LeastConnections,
    /// The worker whose event loop is the least busy.
    LeastLoaded,
    /// The same worker for the same client.
    Sticky,
    /// Workers accept by themselves, each from a socket of its own.
    Kernel,
    /// The worker that the app chooses.
    Hook,
}

/// How the connections of a listener are distributed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Plan {
    /// The rule that ranks the workers that are ready.
    pub policy: Policy,
    /// How long a worker that has joined gets less than its share, gradually more.
    #[serde(deserialize_with = "millis")]
    pub slow_start: Duration,
    /// How long a connection that belongs to a worker waits for it while others are ready.
    #[serde(deserialize_with = "millis")]
    pub patience: Duration,
    /// Under the sticky policy: what identifies a client in its first bytes.
    pub preread: PrereadRule,
    /// How long a client has to send them.
    #[serde(deserialize_with = "millis")]
    pub preread_timeout: Duration,
    /// The app's hook, under the hook policy.
    pub hook: u32,
    /// How long the hook may take.
    #[serde(deserialize_with = "millis")]
    pub hook_timeout: Duration,
    /// What happens to connections for which no worker is ready.
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

/// What happens to connections for which no worker is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overload {
    /// The largest number of connections that wait in the dispatcher.
    pub queue: usize,
    /// How long a connection may wait there before it is shed. `None`: without limit.
    #[serde(deserialize_with = "some_millis")]
    pub deadline: Option<Duration>,
    /// What to do with excess connections.
    pub action: Action,
}

impl Default for Overload {
    fn default() -> Self {
        Self { queue: 128, deadline: None, action: Action::Wait }
    }
}

/// What to do with an excess connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Action {
    /// Leave it in the backlog.
    Wait,
    /// Reset it.
    Reset,
    /// Send an HTTP response and close it.
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
    /// What identifies a client when a drain hands its connection over to another worker; `None` if
    /// connections are not handed over.
    #[must_use]
    pub fn hand_over(&self) -> Option<By> {
        match self.policy {
            // Under these policies the dispatcher has not passed the connection.
            Policy::Kernel | Policy::None => None,
            Policy::Sticky => self.preread.hand_over(),
            Policy::RoundRobin | Policy::LeastConnections | Policy::LeastLoaded | Policy::Hook => {
                Some(By::Address)
            }
        }
    }
}

impl Policy {
    /// Whether a connection may belong to one worker and wait for it while others are ready.
    #[must_use]
    pub fn has_homes(self) -> bool {
        matches!(self, Self::Sticky | Self::Hook)
    }
}

impl Action {
    /// The response to a client before its connection is closed; `None` if it is reset.
    #[must_use]
    pub fn response(&self) -> Option<Vec<u8>> {
        let Self::Respond { status, retry_after, body } = self else { return None };
        // Clients use the number; the phrase is for human readers.
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
    /// Whether connections are shed, and do not wait without limit.
    #[must_use]
    pub fn sheds(&self) -> bool {
        self.action != Action::Wait
    }
}

/// The plans of all listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scheduling {
    /// The plan of every listener without a plan of its own.
    pub default: Plan,
    /// By port or path, as the app requests it.
    pub listeners: BTreeMap<String, Plan>,
}

impl Scheduling {
    /// Parses what JavaScript has validated and encoded.
    ///
    /// # Errors
    /// If the two sides do not agree, which is a bug in rcluster.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("reading the scheduling options: {error}"))
    }

    /// One policy for all listeners.
    #[must_use]
    pub fn all(policy: Policy) -> Self {
        Self { default: Plan { policy, ..Plan::default() }, ..Self::default() }
    }

    /// Node's two policies: workers share each socket, or take turns.
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
    fn options_are_parsed_and_missing_ones_have_defaults() {
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
    fn policies_that_hand_connections_over_and_their_keys() {
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
