//! The settings of a store. All processes that open it must agree on them.

use super::refusal::Refusal;
use rcluster_core::frames::{EvictionName, StoreOptions};
use rcluster_core::store::geometry::{Geometry, MAX_SIZE, MIN_SIZE};
use rcluster_core::store::ops::Eviction;
use rcluster_core::store::remote::backend::Backend;

/// The default size of a store, in bytes.
const DEFAULT_SIZE: u64 = 64 << 20;

/// The maximum length of a store's name, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// The settings of a store.
#[derive(Debug)]
pub(super) struct Settings {
    /// The memory that it may use, in bytes.
    pub(super) size: u64,
    pub(super) geometry: Geometry,
    pub(super) eviction: Eviction,
    /// The name of its source, once a process has given it.
    source: Option<String>,
    /// The path of the file in which the store is kept; empty for none.
    persist: String,
    /// The server that stores its values.
    pub(super) backend: Option<Backend>,
}

impl Settings {
    /// The settings of a new store, or why it cannot be created. `is_restored` says whether the content of
    /// its file was read.
    pub(super) fn new(name: &str, options: &StoreOptions, is_restored: bool) -> Result<Self, Refusal> {
        if !is_restored && has_file(options) {
            // A worker may have fewer permissions than the primary, which would write to any file that the
            // worker names.
            let message =
                format!("The primary has to open the store {name:?} first: it is to be kept in a file");
            return Err(Refusal { code: "ERR_RCLUSTER_PERSIST", message });
        }
        if name.len() > MAX_NAME {
            let message =
                format!("The name of a store has at most {MAX_NAME} bytes. Received one of {}", name.len());
            return Err(Refusal { code: "ERR_INVALID_ARG_VALUE", message });
        }
        if let Some(backend) = &options.backend {
            check(backend, options)?;
        }
        let size = options.size.unwrap_or(DEFAULT_SIZE);
        let Some(geometry) = Geometry::of_size(size) else {
            let message = format!(
                "The value of \"options.size\" is out of range. It must be from {MIN_SIZE} to {MAX_SIZE} bytes. Received {size}"
            );
            return Err(Refusal { code: "ERR_OUT_OF_RANGE", message });
        };
        Ok(Self {
            size,
            geometry,
            eviction: options.eviction.map_or(Eviction::None, Eviction::from),
            source: options.source.clone(),
            persist: options.persist.clone().filter(|_| is_restored).unwrap_or_default(),
            backend: options.backend.as_deref().cloned(),
        })
    }

    /// Checks that the options of a further opener agree with these.
    pub(super) fn agree(&mut self, name: &str, options: &StoreOptions) -> Result<(), Refusal> {
        let size = options.size.filter(|size| *size != self.size);
        let eviction = options.eviction.map(Eviction::from).filter(|it| *it != self.eviction);
        let source = match (&self.source, &options.source) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                Some(format!("source is {ours:?} and not {theirs:?}"))
            }
            _ => None,
        };
        let persist = options.persist.as_deref().filter(|it| *it != self.persist);
        let backend = options.backend.as_deref().filter(|it| Some(*it) != self.backend.as_ref());
        let file = |path: &str| if path.is_empty() { "false".into() } else { format!("{path:?}") };
        let differs = [
            size.map(|size| format!("size is {} and not {size}", self.size)),
            eviction.map(|it| format!("eviction is {:?} and not {it:?}", self.eviction).to_lowercase()),
            source,
            persist.map(|it| format!("persist is {} and not {}", file(&self.persist), file(it))),
            backend.map(|it| match &self.backend {
                None => format!("it has no backend, and not {it}"),
                Some(ours) if ours.to_string() == it.to_string() => {
                    format!("the user, the certificates, the prefix or the wait of {it}")
                }
                Some(ours) => format!("backend is {ours} and not {it}"),
            }),
        ];
        let differs: Vec<String> = differs.into_iter().flatten().collect();
        if differs.is_empty() {
            // The source may be given later: a process that only reads does not know it.
            if self.source.is_none() {
                self.source.clone_from(&options.source);
            }
            return Ok(());
        }
        let differs = differs.join(", ");
        let message = format!("The store {name:?} was opened before with other options: {differs}");
        Err(Refusal { code: "ERR_RCLUSTER_SHARED_OPTIONS", message })
    }
}

fn has_file(options: &StoreOptions) -> bool {
    options.persist.as_ref().is_some_and(|path| !path.is_empty())
}

/// Checks the options of a store with a server.
fn check(backend: &Backend, options: &StoreOptions) -> Result<(), Refusal> {
    let refusal = |message: String| Err(Refusal { code: "ERR_INVALID_ARG_VALUE", message });
    if let Some(mistake) = backend.mistake() {
        return refusal(format!("The option backend is wrong: {mistake}"));
    }
    let is_lru = options.eviction.is_some_and(|it| it == EvictionName::Lru);
    if is_lru || has_file(options) {
        return refusal("A store with a backend has neither eviction nor a file: its server has it".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn options(options: Value) -> StoreOptions {
        from_value(options).unwrap()
    }

    fn backend(host: &str, wait: u64) -> Value {
        json!({ "servers": { "single": { "host": host, "port": 6379 } }, "wait": wait })
    }

    fn refused(name: &str, given: Value, is_restored: bool) -> &'static str {
        Settings::new(name, &options(given), is_restored).unwrap_err().code
    }

    /// How the options of a further opener differ; empty if they agree.
    fn differences(settings: &mut Settings, given: Value) -> String {
        let Err(Refusal { code, message }) = settings.agree("a", &options(given)) else {
            return String::new();
        };
        assert_eq!(code, "ERR_RCLUSTER_SHARED_OPTIONS");
        message.strip_prefix("The store \"a\" was opened before with other options: ").unwrap().to_owned()
    }

    #[test]
    fn a_new_store_needs_a_possible_size_and_name() {
        assert_eq!(Settings::new("a", &options(json!({})), false).unwrap().size, DEFAULT_SIZE);
        assert_eq!(refused("a", json!({ "size": 1 }), false), "ERR_OUT_OF_RANGE");
        assert_eq!(refused(&"x".repeat(MAX_NAME + 1), json!({}), false), "ERR_INVALID_ARG_VALUE");
        assert!(Settings::new(&"x".repeat(MAX_NAME), &options(json!({})), false).is_ok());
    }

    #[test]
    fn only_the_primary_names_a_file() {
        assert_eq!(refused("a", json!({ "persist": "/f" }), false), "ERR_RCLUSTER_PERSIST");
        assert!(Settings::new("a", &options(json!({ "persist": "/f" })), true).is_ok());
        assert!(Settings::new("a", &options(json!({ "persist": "" })), false).is_ok());
    }

    #[test]
    fn a_store_with_a_server_has_no_eviction_and_no_file() {
        let with = |key: &str, value: &str| json!({ "backend": backend("h", 5), key: value });
        assert_eq!(refused("a", with("eviction", "lru"), false), "ERR_INVALID_ARG_VALUE");
        assert_eq!(refused("a", with("persist", "/f"), true), "ERR_INVALID_ARG_VALUE");
        assert!(Settings::new("a", &options(with("eviction", "none")), false).is_ok());
    }

    #[test]
    fn further_openers_must_agree_or_give_no_options() {
        let given = json!({ "size": 1 << 20, "eviction": "lru", "source": "s", "persist": "/f" });
        let mut settings = Settings::new("a", &options(given.clone()), true).unwrap();
        assert_eq!(differences(&mut settings, json!({})), "");
        assert_eq!(differences(&mut settings, given), "");
        let other = json!({ "size": 2 << 20, "eviction": "none", "source": "t", "persist": "" });
        assert_eq!(
            differences(&mut settings, other),
            "size is 1048576 and not 2097152, eviction is lru and not none, source is \"s\" and not \"t\", \
             persist is \"/f\" and not false"
        );
    }

    #[test]
    fn the_source_may_be_given_later_and_then_only_once() {
        let mut settings = Settings::new("a", &options(json!({})), false).unwrap();
        assert_eq!(
            differences(&mut settings, json!({ "source": "s", "size": 1 })),
            "size is 67108864 and not 1"
        );
        assert_eq!(
            differences(&mut settings, json!({ "source": "t" })),
            "",
            "what was refused has set nothing"
        );
        assert_eq!(differences(&mut settings, json!({ "source": "s" })), "source is \"t\" and not \"s\"");
    }

    #[test]
    fn the_backend_must_be_identical() {
        let mut without = Settings::new("a", &options(json!({})), false).unwrap();
        assert!(
            differences(&mut without, json!({ "backend": backend("h", 5) })).starts_with("it has no backend")
        );
        let mut with = Settings::new("a", &options(json!({ "backend": backend("h", 5) })), false).unwrap();
        assert_eq!(differences(&mut with, json!({ "backend": backend("h", 5) })), "");
        assert!(differences(&mut with, json!({ "backend": backend("i", 5) })).starts_with("backend is "));
        assert!(differences(&mut with, json!({ "backend": backend("h", 6) })).contains("the wait of "));
    }
}
