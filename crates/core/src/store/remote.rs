//! A store whose values live in Redis or Valkey, shared by any number of machines.
//!
//! # Design
//! The server decides the order of writes and assigns their revisions: a script checks the conditions of each
//! request, writes the values with their revisions and expiry times to a hash, and appends the changes to a
//! capped stream, all atomically. Each machine follows the stream and applies it to its own memory. So
//! reading and watching work as in any other store.
//!
//! - **One batch of requests is in flight at a time**, and requests that arrive meanwhile go into the next
//!   one. So nothing is executed out of order, even if the connection is lost.
//! - **A batch is executed once.** Only the newest connection of a machine may write for it, and the server
//!   keeps the answer to its last batch. A machine that does not know the result of a batch learns it when it
//!   reconnects.
//! - **A request is answered when its revision has been applied here**, so that a process can read what it
//!   wrote as soon as it has the answer.
//! - **Revisions have no gaps.** If there is a gap, if the last entry read is no longer in the stream, or if
//!   the epoch of the store has changed, everything is loaded again.
//! - **A revision is given once**, even if the server loses the write that had it, of which a server cannot know. So each
//!   greeting leaps beyond all that may have been given, and an entry of the stream says so.
//!
//! [`link`] is the state machine, with its [`messages`], its public [`status`] and the [`failure`]s of the server.
//! Its parts are the [`connection`], the [`clock`] of the server, the [`position`] up to which changes are applied,
//! and the [`queue`] of requests. [`portion`] says how many changes are requested at once, and [`stall`] whether one is
//! missing. [`batch`] encodes requests for the script; [`payload`] decodes what the server sends;
//! [`backend`] holds the app's settings, and [`unanswered`] counts the requests of each process.

pub mod backend;
mod batch;
mod clock;
mod connection;
mod expiry;
pub mod failure;
pub mod link;
pub mod messages;
pub mod outage;
pub mod payload;
mod portion;
mod position;
mod queue;
mod stall;
pub mod status;
pub mod unanswered;

/// The script that greets the server: see its comments.
pub const GREET: &str = concat!(include_str!("remote/facts.lua"), include_str!("remote/greet.lua"));

/// The script that executes a batch of requests: see its comments.
pub const WRITE: &str = concat!(include_str!("remote/facts.lua"), include_str!("remote/write.lua"));

/// The keys of a store on the server, in the order in which the scripts take them. All have the same hash
/// tag, so that they are in one slot of a Redis Cluster.
#[must_use]
pub fn keys(prefix: &str, store: &str, writer: &str) -> [String; 5] {
    let mut tag = String::with_capacity(store.len());
    for c in store.chars() {
        // A brace would end the tag.
        match c {
            '{' => tag.push_str("%7B"),
            '}' => tag.push_str("%7D"),
            '%' => tag.push_str("%25"),
            c => tag.push(c),
        }
    }
    if tag.is_empty() {
        // Redis ignores an empty tag. No other name has this one.
        tag.push('%');
    }
    let key = |what: &str| format!("{prefix}{{{tag}}}:{what}");
    [key("values"), key("facts"), key("ends"), key("changes"), format!("{}:{writer}", key("writer"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_store_have_one_hash_tag() {
        assert_eq!(keys("rcluster:", "a", "w")[0], "rcluster:{a}:values");
        assert_eq!(keys("rcluster:", "a", "w")[4], "rcluster:{a}:writer:w");
        assert_eq!(keys("", "}{%", "w")[1], "{%7D%7B%25}:facts");
        assert_eq!(keys("", "", "w")[1], "{%}:facts", "an empty tag would be none");
    }
}
