//! Parses the request of a client from a line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::examine::Examination;
use crate::ids::Slot;

/// The version of the protocol. A request with another version is refused; one without a version gets this
/// one.
pub const VERSION: u32 = 1;

/// The longest `id` that is text, in bytes.
const MAX_ID: usize = 64;

/// The verbs, listed in the answer to `hello`.
pub const VERBS: [&str; 16] = [
    "hello", "status", "metrics", "watch", "scale", "reload", "restart", "drain", "stack", "stop", "unwatch",
    "logs", "profile", "heap", "inspect", "env",
];

/// The number of last lines to send, unless the client says otherwise.
const LINES: u32 = 100;
/// The largest number of last lines.
const MAX_LINES: u32 = 10_000;

/// The longest and the default duration of a profile, in ms.
const MAX_PROFILE: u32 = 600_000;
const DEFAULT_PROFILE: u32 = 10_000;

/// The client's name for its request. Each line of the answer carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Id(Value);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's name for it; null if it gave none.
    pub id: Id,
    /// The operation.
    pub verb: Verb,
}

/// The requested operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The versions and the capabilities of the primary.
    Hello,
    /// The status document.
    Status,
    /// The metrics, as text.
    Metrics,
    /// Send all events from now on.
    Watch,
    /// Send no more events.
    Unwatch,
    /// Change the number of workers.
    Scale(Workers),
    /// Replace all workers by new ones.
    Reload {
        /// How many at a time; `None` for the app's setting.
        concurrency: Option<u32>,
    },
    /// Replace the worker of one slot.
    Restart(Slot),
    /// Have no worker in one slot.
    Drain(Slot),
    /// The JavaScript stack of a process.
    Stack(Target),
    /// The lines that workers have written and will write.
    Logs(Wanted),
    /// Examine a worker or the primary.
    Examine(Target, Examination),
    /// Drain all workers and have the primary exit.
    Stop {
        /// How long to wait before the drain; `None` for the app's setting.
        delay: Option<Duration>,
        /// How long the drain may take; `None` for the app's setting.
        timeout: Option<Duration>,
    },
}

/// The requested lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The slot; `None` for all.
    pub slot: Option<Slot>,
    /// The number of last lines; 0 to 10,000.
    pub lines: u32,
    /// Whether to send new lines too.
    pub follow: bool,
}

/// The requested number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// This number.
    Exactly(u32),
    /// This many more, or fewer.
    By(i32),
    /// One for each usable CPU.
    Auto,
}

/// The target of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The worker in this slot.
    Slot(Slot),
    /// The primary.
    Primary,
}

/// A line that is not a valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id of the request, if it could be parsed.
    pub id: Id,
    /// The error code.
    pub code: &'static str,
    /// The error message.
    pub message: String,
}

/// All fields of all requests. Unknown fields are ignored.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Fields {
    v: Option<Value>,
    #[serde(default)]
    id: Value,
    verb: Option<Value>,
    workers: Option<Value>,
    concurrency: Option<Value>,
    slot: Option<Value>,
    delay: Option<Value>,
    timeout: Option<Value>,
    lines: Option<Value>,
    follow: Option<Value>,
    duration: Option<Value>,
    off: Option<Value>,
}

impl Request {
    /// Parses a line.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let refusal = |message| Refusal { id: Id::default(), code: "ERR_RCLUSTER_REQUEST", message };
        let fields: Fields = match serde_json::from_slice(line) {
            // serde also accepts an array for a struct.
            Ok(fields) if line.trim_ascii_start().starts_with(b"{") => fields,
            Ok(_) => return Err(refusal("the request is not an object".into())),
            Err(error) => return Err(refusal(format!("the request is not JSON that can be read: {error}"))),
        };
        let id = Id::of(&fields.id).ok_or_else(|| {
            refusal(format!("\"id\" has to be an integer, or text of at most {MAX_ID} bytes"))
        })?;
        if fields.v.as_ref().is_some_and(|version| *version != json!(VERSION)) {
            let message = format!("this is version {VERSION} of the protocol, and no other is spoken");
            return Err(Refusal { id, code: "ERR_RCLUSTER_VERSION", message });
        }
        match fields.verb() {
            Ok(verb) => Ok(Self { id, verb }),
            Err((code, message)) => Err(Refusal { id, code, message }),
        }
    }
}

impl Id {
    fn of(value: &Value) -> Option<Self> {
        let fits = match value {
            Value::Null => true,
            Value::Number(number) => number.is_i64() || number.is_u64(),
            Value::String(text) => text.len() <= MAX_ID,
            _ => false,
        };
        fits.then(|| Self(value.clone()))
    }
}

type Wrong = (&'static str, String);

impl Fields {
    fn verb(&self) -> Result<Verb, Wrong> {
        let name = match &self.verb {
            Some(Value::String(name)) => name.as_str(),
            _ => return Err(("ERR_RCLUSTER_REQUEST", "\"verb\" is missing".into())),
        };
        Ok(match name {
            "hello" => Verb::Hello,
            "status" => Verb::Status,
            "metrics" => Verb::Metrics,
            "watch" => Verb::Watch,
            "unwatch" => Verb::Unwatch,
            "scale" => Verb::Scale(self.workers()?),
            "reload" => {
                Verb::Reload { concurrency: whole("concurrency", self.concurrency.as_ref(), 1, 1024)? }
            }
            "restart" => Verb::Restart(self.slot()?),
            "drain" => Verb::Drain(self.slot()?),
            "stack" => Verb::Stack(self.target()?),
            "profile" => {
                Verb::Examine(self.target()?, Examination::Profile { duration_ms: self.duration()? })
            }
            "heap" => Verb::Examine(self.target()?, Examination::Heap),
            "inspect" if self.is_off()? => Verb::Examine(self.target()?, Examination::CloseInspector),
            "inspect" => Verb::Examine(self.target()?, Examination::Inspect),
            "env" => Verb::Examine(self.target()?, Examination::Env),
            "logs" => Verb::Logs(Wanted {
                slot: whole("slot", self.slot.as_ref(), 0, u32::MAX)?.map(Slot),
                lines: whole("lines", self.lines.as_ref(), 0, MAX_LINES)?.unwrap_or(LINES),
                follow: flag("follow", self.follow.as_ref())?,
            }),
            "stop" => Verb::Stop {
                delay: milliseconds("delay", self.delay.as_ref())?,
                timeout: milliseconds("timeout", self.timeout.as_ref())?,
            },
            _ => {
                let shown: String = name.chars().take(32).collect();
                let message = format!("there is no verb \"{shown}\"; there are {}", VERBS.join(", "));
                return Err(("ERR_RCLUSTER_VERB", message));
            }
        })
    }

    fn slot(&self) -> Result<Slot, Wrong> {
        let slot = whole("slot", self.slot.as_ref(), 0, u32::MAX)?;
        slot.map(Slot).ok_or_else(|| invalid("slot", "the number of a slot"))
    }

    fn target(&self) -> Result<Target, Wrong> {
        if self.slot.as_ref() == Some(&json!("primary")) {
            return Ok(Target::Primary);
        }
        self.slot().map(Target::Slot)
    }

    /// The duration of the profile, in ms.
    fn duration(&self) -> Result<u32, Wrong> {
        let duration = whole("duration", self.duration.as_ref(), 1, MAX_PROFILE)?;
        Ok(duration.unwrap_or(DEFAULT_PROFILE))
    }

    fn is_off(&self) -> Result<bool, Wrong> {
        match &self.off {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(off)) => Ok(*off),
            Some(_) => Err(invalid("off", "true or false")),
        }
    }

    /// Accepts 4, "+1", "-1" or "auto".
    fn workers(&self) -> Result<Workers, Wrong> {
        let wrong = || invalid("workers", "a number, a difference such as \"+1\" or \"-1\", or \"auto\"");
        match &self.workers {
            Some(Value::String(text)) if text == "auto" => Ok(Workers::Auto),
            Some(Value::String(text)) if text.starts_with(['+', '-']) => {
                text.parse().map(Workers::By).map_err(|_| wrong())
            }
            Some(Value::Number(number)) => {
                let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                number.map(Workers::Exactly).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl Workers {
    /// The resulting number of workers. `now` is the current number, `auto` the one for [`Workers::Auto`].
    #[must_use]
    pub fn count(self, now: u32, auto: u32) -> u32 {
        match self {
            Self::Exactly(count) => count,
            Self::By(difference) => now.saturating_add_signed(difference),
            Self::Auto => auto,
        }
    }
}

fn invalid(field: &str, expected: &str) -> Wrong {
    ("ERR_INVALID_ARG_VALUE", format!("\"{field}\" has to be {expected}"))
}

fn whole(field: &str, value: Option<&Value>, min: u32, max: u32) -> Result<Option<u32>, Wrong> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    match number.filter(|number| (min..=max).contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(invalid(field, &format!("an integer from {min} to {max}"))),
    }
}

fn flag(field: &str, value: Option<&Value>) -> Result<bool, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(invalid(field, "true or false")),
    }
}

/// The limit is that of JavaScript's timers: about 25 days.
fn milliseconds(field: &str, value: Option<&Value>) -> Result<Option<Duration>, Wrong> {
    let ms = whole(field, value, 0, (1 << 31) - 1)?;
    Ok(ms.map(|ms| Duration::from_millis(ms.into())))
}

#[cfg(test)]
mod tests;
