//! A worker that wants to use a shared store.

use serde::{Deserialize, Serialize};

use crate::store::ops::Eviction;

/// Which store. The socket for the answer comes with the frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// How it is made, if there is none of the name.
    #[serde(default)]
    pub options: StoreOptions,
}

/// How a store is made. Whoever opens one that there is says nothing, or the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreOptions {
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// What happens when it is full.
    #[serde(default)]
    pub eviction: Option<EvictionName>,
}

/// The names of [`Eviction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictionName {
    /// See [`Eviction::None`].
    None,
    /// See [`Eviction::Lru`].
    Lru,
}

impl From<EvictionName> for Eviction {
    fn from(name: EvictionName) -> Self {
        match name {
            EvictionName::None => Self::None,
            EvictionName::Lru => Self::Lru,
        }
    }
}
