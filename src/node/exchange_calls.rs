//! The functions of a link with the exchange that every message needs, with minimal overhead.

use std::cell::RefCell;
use std::rc::Rc;

use napi::bindgen_prelude::{BufferSlice, Float64Array, FromNapiValue, Object, Unknown};
use napi::{Env, Result};

use super::exchange::{scope, whole};
use super::shared::{failure, unknown};
use super::shared_value;
use crate::io::exchange::ExchangeClient;
use rcluster_core::exchange::endpoint::{Incoming, SendError};
use rcluster_core::exchange::frame::{Frame, Status, TEXT};
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{CallId, MAX_DATA, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_js::function::function;
use rcluster_js::uv::UvPoll;
use rcluster_js::value;

/// The first byte of a message is the type of the rest: [`TEXT`], or this.
const BYTES: u8 = 1;

const SENT: u32 = 0;
const BUSY: u32 = 1;
const TOO_LONG: u32 = 2;

/// Kinds of frames that only JavaScript knows.
const END: f64 = 0.0;
const NOTHING: f64 = -1.0;

/// The capacity that is kept for the next value, in bytes.
const KEPT: usize = 64 << 10;

/// The texts of a message that is being sent. The buffers are reused.
#[derive(Default)]
struct Texts {
    leader: Vec<u8>,
    name: Vec<u8>,
    /// The type, and the value.
    data: Vec<u8>,
}

impl Texts {
    /// Reads a message to a target, of which [`Texts::target`] needs the leader.
    fn read_message(&mut self, env: Env, [leader, name, value]: [&Unknown<'_>; 3]) -> Result<()> {
        read_text(env, leader, &mut self.leader)?;
        self.read_name(env, name)?;
        self.read_value(env, value)
    }

    fn target(&self, env: Env, kind: &Unknown<'_>, number: &Unknown<'_>) -> Result<Target<'_>> {
        target(number_of(env, kind)?, number_of(env, number)?, &self.leader)
    }

    fn read_name(&mut self, env: Env, text: &Unknown<'_>) -> Result<()> {
        read_text(env, text, &mut self.name)
    }

    /// Reads a value: a string, or a Buffer.
    fn read_value(&mut self, env: Env, value: &Unknown<'_>) -> Result<()> {
        self.data.clear();
        self.data.shrink_to(KEPT);
        self.data.push(TEXT);
        if !append(env, value, &mut self.data)? {
            self.data[0] = BYTES;
            self.data.extend_from_slice(&BufferSlice::from_unknown(*value)?);
        }
        Ok(())
    }
}

fn append(env: Env, text: &Unknown<'_>, bytes: &mut Vec<u8>) -> Result<bool> {
    value::append_utf8(env, text, bytes).map_err(failure)
}

fn read_text(env: Env, text: &Unknown<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    if append(env, text, bytes)? { Ok(()) } else { Err(failure("a name is not a string")) }
}

/// Creates the functions: see [`super::exchange::ExchangeLink::calls`].
pub(super) fn calls(
    env: Env,
    client: &Rc<ExchangeClient>,
    poll: &Rc<UvPoll>,
    told: Float64Array,
) -> Result<Object<'static>> {
    let mut calls = Object::new(&env)?;
    let texts = Rc::new(RefCell::new(Texts::default()));
    let sender = || (Rc::clone(client), Rc::clone(&texts));

    let (link, buffers) = sender();
    let request = function(env, c"request", move |env, [id, kind, number, leader, name, value]| {
        let texts = &mut *buffers.borrow_mut();
        texts.read_message(env, [&leader, &name, &value])?;
        let target = texts.target(env, &kind, &number)?;
        let id = RequestId(whole(shared_value::read_number(env, &id)?));
        sent(env, &link, texts, &Ask::Request { id, target, name: &texts.name, data: &texts.data })
    });
    calls.set("request", request.map_err(failure)?)?;

    let (link, buffers) = sender();
    let notify = function(env, c"notify", move |env, [kind, number, leader, name, value]| {
        let texts = &mut *buffers.borrow_mut();
        texts.read_message(env, [&leader, &name, &value])?;
        let target = texts.target(env, &kind, &number)?;
        sent(env, &link, texts, &Ask::Notify { target, name: &texts.name, data: &texts.data })
    });
    calls.set("notify", notify.map_err(failure)?)?;

    let (link, buffers) = sender();
    let reply = function(env, c"reply", move |env, [call, ok, value]| {
        let texts = &mut *buffers.borrow_mut();
        texts.read_value(env, &value)?;
        let status = if bool::from_unknown(ok)? { Status::Value } else { Status::Error };
        let call = CallId(whole(shared_value::read_number(env, &call)?));
        sent(env, &link, texts, &Ask::Reply { call, status, data: &texts.data })
    });
    calls.set("reply", reply.map_err(failure)?)?;

    let (link, buffers) = sender();
    let post = function(env, c"post", move |env, [all, channel, origin, echo, value]| {
        let texts = &mut *buffers.borrow_mut();
        texts.read_name(env, &channel)?;
        texts.read_value(env, &value)?;
        let ask = Ask::Post {
            scope: scope(bool::from_unknown(all)?),
            channel: &texts.name,
            origin: number_of(env, &origin)?.into(),
            echo: bool::from_unknown(echo)?,
            data: &texts.data,
        };
        sent(env, &link, texts, &ask)
    });
    calls.set("post", post.map_err(failure)?)?;

    let name = Rc::new(RefCell::new(Vec::new()));
    let (link, kept, told) = (Rc::clone(client), Rc::clone(&name), RefCell::new(told));
    let take = function(env, c"take", move |env, []| {
        let told = &mut *told.borrow_mut();
        let numbers = shared_value::numbers(told).first_chunk_mut();
        let numbers: &mut [f64; 6] = numbers.ok_or_else(|| failure("there is no room for a frame"))?;
        let mut name = kept.borrow_mut();
        match link.next(|frame| take(env, &frame, numbers, &mut name)) {
            Ok(Incoming::Frame(value)) => return value,
            Ok(Incoming::Nothing) => numbers[0] = NOTHING,
            // An invalid frame is reported as the end, because the link cannot be used any more.
            Ok(Incoming::End) | Err(_) => numbers[0] = END,
        }
        shared_value::undefined(env)
    });
    calls.set("take", take.map_err(failure)?)?;

    let name = function(env, c"name", move |env, []| value::utf8(env, &name.borrow()).map_err(failure));
    calls.set("name", name.map_err(failure)?)?;

    let poll = Rc::clone(poll);
    let hold = function(env, c"hold", move |env, [hold]| {
        poll.hold_loop(bool::from_unknown(hold)?);
        shared_value::undefined(env)
    });
    calls.set("hold", hold.map_err(failure)?)?;
    Ok(calls)
}

/// The target: 1 a worker, 2 a slot, 3 any worker, 4 all workers, 5 the primary, 6 the leader of a name on this machine, 7 all
/// workers of all machines, 8 the leader of a name on any machine.
fn target(kind: u32, number: u32, leader: &[u8]) -> Result<Target<'_>> {
    Ok(match kind {
        1 => Target::Worker(WorkerId(number)),
        2 => Target::Slot(Slot(number)),
        3 => Target::Any,
        4 => Target::All,
        5 => Target::Primary,
        6 => Target::Leader(Scope::Machine, leader),
        7 => Target::Everywhere,
        8 => Target::Leader(Scope::All, leader),
        other => return Err(unknown("target", other)),
    })
}

/// A whole number that JavaScript has checked.
fn number_of(env: Env, number: &Unknown<'_>) -> Result<u32> {
    u32::try_from(whole(shared_value::read_number(env, number)?))
        .map_err(|_| failure("a number is too large"))
}

/// Sends a message with the value that has been read.
fn sent(env: Env, client: &ExchangeClient, texts: &Texts, ask: &Ask<'_>) -> Result<Unknown<'static>> {
    let sent = if texts.data.len() > MAX_DATA { Err(SendError::TooLong) } else { client.send(ask) };
    let outcome = match sent {
        Ok(()) => SENT,
        Err(SendError::Busy) => BUSY,
        Err(SendError::TooLong) => TOO_LONG,
    };
    shared_value::number(env, outcome.into())
}

/// Writes a frame into `numbers` and `name`, and returns its value.
fn take(env: Env, frame: &Frame<'_>, numbers: &mut [f64; 6], name: &mut Vec<u8>) -> Result<Unknown<'static>> {
    name.clear();
    name.extend_from_slice(frame.name);
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which is far away")]
    let (number, length) = (frame.number as f64, name.len() as f64);
    *numbers = [
        f64::from(frame.kind as u32),
        frame.flag.into(),
        frame.worker.into(),
        frame.rest.into(),
        number,
        length,
    ];
    let value = match frame.data.split_first() {
        Some((&TEXT, text)) if text.is_ascii() => value::latin1(env, text),
        Some((&TEXT, text)) => value::utf8(env, text),
        Some((_, bytes)) => value::buffer(env, bytes),
        None => value::undefined(env),
    };
    value.map_err(failure)
}
