//! Custom data that a server shares with the same server of other workers, kept as text.
//!
//! The primary does not parse it: parsed, `[[],[],…]` takes a dozen times the memory of its text, and the
//! worker decides how much it sends.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Custom data, or none. Copies share the text.
#[derive(Clone, Debug, Default)]
pub struct Data(Option<Arc<RawValue>>);

impl Data {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The JSON text; `null` if there is no data.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.as_ref().map_or("null", |data| data.get())
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |data| data.get().len())
    }

    /// Whether it takes no memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let data: Box<RawValue> = Deserialize::deserialize(deserializer)?;
        Ok(Self((data.get() != "null").then(|| data.into())))
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(data) => data.serialize(serializer),
            None => serializer.serialize_none(),
        }
    }
}
