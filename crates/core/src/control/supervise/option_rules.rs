//! The allowed values of options, as data: checked here, and by JavaScript in
//! `lib/primary/supervise/options.js`.

use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::http::Address;

/// An option, or a group of options.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Its name; in a group, `group.name`.
    pub(super) path: &'static str,
    /// Its allowed values.
    pub(super) rule: Rule,
    /// Its default. Null for a group, and for an option whose default is another option.
    pub(super) default: Value,
    /// The option whose value is the default.
    pub(super) follows: Option<&'static str>,
    /// The factor of the default: the option by which it is multiplied.
    pub(super) times: Option<&'static str>,
    /// The option that must not be greater than this one.
    pub(super) not_less_than: Option<&'static str>,
}

/// The allowed values of an option.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(super) enum Rule {
    /// An integer.
    Whole { min: u64, max: u64 },
    /// An integer or `'auto'`, which JavaScript replaces by a number.
    WholeOrAuto { min: u64, max: u64 },
    /// 0 to disable, or an integer of at least `least`.
    OffOrWhole { least: u64, min: u64, max: u64 },
    /// Bytes, with 0 to disable, or a percentage of all memory, such as `80%`.
    Memory { max: u64 },
    /// A number.
    Fraction { min: u32, max: u32 },
    /// A list of integers.
    ListOfWhole { min: u64, max: u64 },
    /// One of these words.
    Words { words: Vec<&'static str> },
    /// `true` or `false`.
    Flag,
    /// The name of an environment variable that neither Node nor rcluster uses, or `false`.
    Variable,
    /// `false`, a word, or a function. It stays in JavaScript.
    Log { words: Vec<&'static str> },
    /// One of these words, or the address of a Unix socket: a path, or `@name`.
    Place { words: Vec<&'static str> },
    /// One of these words, or a listen address: see [`Address`]. JavaScript writes a port as digits.
    Address { words: Vec<&'static str> },
    /// An object with the options whose paths begin with its own.
    Group,
}

/// An invalid option.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the option \"{path}\" of supervise() must be {expected}, and is {received}")]
pub struct Invalid {
    /// The path of the option.
    pub path: String,
    /// The allowed values.
    pub expected: String,
    /// The value, as JSON.
    pub received: String,
}

impl Invalid {
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        Self { path: String::new(), expected: "complete JSON".into(), received: error.to_string() }
    }
}

impl Row {
    pub(super) fn new(path: &'static str, rule: Rule) -> Self {
        Self { path, rule, default: Value::Null, follows: None, times: None, not_less_than: None }
    }

    pub(super) fn by_default(self, default: impl Into<Value>) -> Self {
        Self { default: default.into(), ..self }
    }

    pub(super) fn follows(self, other: &'static str) -> Self {
        Self { follows: Some(other), ..self }
    }

    pub(super) fn times(self, other: &'static str) -> Self {
        Self { times: Some(other), ..self }
    }

    pub(super) fn not_less_than(self, other: &'static str) -> Self {
        Self { not_less_than: Some(other), ..self }
    }

    /// Takes the default from the complete options, unless it has one already or follows another option.
    pub(super) fn with_default_of(self, defaults: &Value) -> Self {
        if self.rule == Rule::Group || self.follows.is_some() || !self.default.is_null() {
            return self;
        }
        let default = at(defaults, self.path).cloned().unwrap_or_default();
        Self { default, ..self }
    }
}

/// Validates complete options.
pub(super) fn check(rows: &[Row], options: &Value) -> Result<(), Invalid> {
    refuse_unknown(rows, options, "")?;
    for row in rows {
        if matches!(row.rule, Rule::Log { .. }) {
            continue;
        }
        let value = at(options, row.path).unwrap_or(&Value::Null);
        let invalid = |expected| Invalid { path: row.path.into(), expected, received: value.to_string() };
        if let Some(expected) = row.rule.objection(value) {
            return Err(invalid(expected));
        }
        let least = row.not_less_than.and_then(|other| at(options, other)?.as_u64());
        if let Some(least) = least.filter(|least| value.as_u64() < Some(*least)) {
            return Err(invalid(format!("at least {least}")));
        }
        if row.rule == Rule::Group {
            refuse_unknown(rows, value, &format!("{}.", row.path))?;
        }
    }
    Ok(())
}

fn at<'a>(options: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(options, |value, key| value.get(key))
}

fn refuse_unknown(rows: &[Row], object: &Value, prefix: &str) -> Result<(), Invalid> {
    let nothing = Map::new();
    for (key, value) in object.as_object().unwrap_or(&nothing) {
        let path = format!("{prefix}{key}");
        if !rows.iter().any(|row| row.path == path) {
            return Err(Invalid { path, expected: "left out".into(), received: value.to_string() });
        }
    }
    Ok(())
}

impl Rule {
    /// A description of the allowed values, if the value is not one of them.
    fn objection(&self, value: &Value) -> Option<String> {
        let whole = |min, max| value.as_u64().is_some_and(|number| (min..=max).contains(&number));
        let (fits, expected) = match self {
            Self::Whole { min, max } | Self::WholeOrAuto { min, max } => {
                (whole(*min, *max), format!("an integer from {min} to {max}"))
            }
            Self::OffOrWhole { least, max, .. } => {
                (whole(0, 0) || whole(*least, *max), format!("0 (off) or an integer from {least} to {max}"))
            }
            Self::Memory { max } => {
                let fits = whole(0, *max) || value.as_str().is_some_and(|text| percent(text).is_some());
                (fits, format!("an integer from 0 to {max}, or '1%' to '100%'"))
            }
            Self::Fraction { min, max } => {
                let range = f64::from(*min)..=f64::from(*max);
                let fits = value.as_f64().is_some_and(|number| range.contains(&number));
                (fits, format!("from {min} to {max}"))
            }
            Self::ListOfWhole { min, max } => {
                let item = |item: &Value| item.as_u64().is_some_and(|number| (*min..=*max).contains(&number));
                let fits = value.as_array().is_some_and(|list| list.iter().all(item));
                (fits, format!("a list of integers from {min} to {max}"))
            }
            Self::Words { words } => {
                let fits = value.as_str().is_some_and(|word| words.contains(&word));
                (fits, format!("one of {}", words.join(", ")))
            }
            Self::Flag => (value.is_boolean(), "true or false".into()),
            Self::Variable => {
                let fits = value.as_str().map_or(*value == Value::Bool(false), is_free_variable);
                (fits, "the name of a variable that neither Node nor rcluster needs, or false".into())
            }
            Self::Place { words } => {
                let fits = value.as_str().is_some_and(|place| !place.is_empty() && !place.contains('\0'));
                (fits, format!("{}, a path, or @name", words.join(", ")))
            }
            Self::Address { words } => {
                let fits =
                    value.as_str().is_some_and(|it| words.contains(&it) || Address::parse(it).is_some());
                (fits, format!("{}, a port, address:port or unix:path", words.join(", ")))
            }
            Self::Log { .. } => (true, String::new()),
            Self::Group => (value.is_object(), "an object".into()),
        };
        (!fits).then_some(expected)
    }
}

/// Parses `80%`: an integer from 1 to 100.
pub(super) fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|percent| (1..=100).contains(percent))
}

/// Whether it is a valid variable name that neither Node nor rcluster reads.
fn is_free_variable(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = name.bytes().all(is_word) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let is_ours = ["RCLUSTER_", "NODE_UNIQUE_ID", "NODE_CHANNEL_"].iter().any(|ours| name.starts_with(ours));
    is_name && !is_ours && name != "NODE_OPTIONS"
}

/// Times in whole ms.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::frames::milliseconds;

    pub(in super::super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(milliseconds(*time))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Times in whole ms, with 0 for `None`.
pub(super) mod off_or_millis {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::millis;

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        millis::serialize(&time.unwrap_or_default(), to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Some(millis::deserialize(from)?).filter(|time| !time.is_zero()))
    }
}

/// Limits, with 0 for `None`.
pub(super) mod off_or_count {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(in super::super) fn serialize<S: Serializer>(limit: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(limit.unwrap_or_default())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(Some(u64::deserialize(from)?).filter(|limit| *limit > 0))
    }
}

/// A name, or `false` for `None`.
pub(super) mod name_or_false {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(in super::super) fn serialize<S: Serializer>(
        name: &Option<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match name {
            Some(name) => to.serialize_str(name),
            None => to.serialize_bool(false),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<String>, D::Error> {
        match Value::deserialize(from)? {
            Value::String(name) => Ok(Some(name)),
            Value::Bool(false) => Ok(None),
            _ => Err(D::Error::custom("a name or false")),
        }
    }
}
