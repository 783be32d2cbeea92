//! The tallies of a store, for JavaScript.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use napi::bindgen_prelude::Unknown;
use napi::{Env, Result};
use napi_derive::napi;

use super::shared::{failure, refusal};
use super::shared_value;
use crate::io::store::{Open, Resource, TallyClient, open};
use rcluster_core::frames::StoreOptions;
use rcluster_js::function::function;
use rcluster_sys::passing::message_pair;

/// The link of a process with the tallies of a store.
#[napi]
pub struct SharedTallies {
    client: Rc<TallyClient>,
}

/// The options of a request to use the tallies of a store.
pub(super) fn options() -> StoreOptions {
    StoreOptions { tallies: true, ..StoreOptions::default() }
}

/// Opens the tallies of a store of this process and its workers. The store must be open.
///
/// Throws with a message that begins with the code of the error.
#[napi(catch_unwind)]
pub fn open_tallies(name: String) -> Result<SharedTallies> {
    let (ours, theirs) = message_pair().map_err(failure)?;
    let resource = Resource::Store { name, options: options() };
    open(Open::new(resource, theirs, None)).map_err(failure)?;
    SharedTallies::connect(ours)
}

#[napi]
impl SharedTallies {
    pub(super) fn connect(socket: OwnedFd) -> Result<Self> {
        let client = TallyClient::connect(socket).map_err(|error| refusal(&error))?;
        Ok(Self { client: Rc::new(client) })
    }

    /// The number of a name; -1 if there are too many names.
    #[napi]
    #[allow(clippy::needless_pass_by_value, reason = "napi hands strings over by value")]
    pub fn index(&self, name: String) -> Result<i32> {
        let index = self.client.index(&name).map_err(|error| refusal(&error))?;
        Ok(index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1))
    }

    /// Creates a function that adds to a tally.
    #[napi(ts_return_type = "(tally: number, by: number) => void")]
    pub fn adder(&self, env: Env) -> Result<Unknown<'static>> {
        let client = Rc::clone(&self.client);
        let add = function(env, c"add", move |env, [tally, by]| {
            client
                .add(index_of(shared_value::read_number(env, &tally)?), shared_value::read_number(env, &by)?);
            shared_value::undefined(env)
        });
        add.map_err(failure)
    }

    /// The amount that all processes have added to a tally.
    #[napi]
    #[must_use]
    pub fn sum(&self, tally: u32) -> f64 {
        self.client.sum(tally as usize)
    }

    /// The amount that this process has added to a tally.
    #[napi]
    #[must_use]
    pub fn own(&self, tally: u32) -> f64 {
        self.client.own(tally as usize)
    }
}

fn index_of(number: f64) -> usize {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is one that index() returned"
    )]
    let index = number as usize;
    index
}
