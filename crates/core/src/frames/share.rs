//! A worker's request to open a shared store.

use serde::{Deserialize, Serialize};

use crate::store::ops::Eviction;
use crate::store::remote::backend::Backend;

/// The store to open. The socket for the answer comes with the frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// How the store is created if it does not exist.
    #[serde(default)]
    pub options: StoreOptions,
}

/// How a store is created. To open an existing store, they must be empty or the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreOptions {
    /// The memory that it may use, in bytes; `None` for the default.
    #[serde(default)]
    pub size: Option<u64>,
    /// What happens when it is full.
    #[serde(default)]
    pub eviction: Option<EvictionName>,
    /// The source of its values, as text: JavaScript implements it, and here it is only compared. It may be
    /// set later.
    #[serde(default)]
    pub source: Option<String>,
    /// The absolute path of the file in which it is kept; empty for none.
    #[serde(default)]
    pub persist: Option<String>,
    /// The server that holds its values; `None` if only this machine has them.
    #[serde(default)]
    pub backend: Option<Box<Backend>>,
    /// Whether its tallies are wanted, and not its values. Then the store must exist.
    #[serde(default)]
    pub tallies: bool,
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
