//! A server that implements the scripts, as far as the simulation needs them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rcluster_core::store::remote::failure::Failure;
use rcluster_core::store::remote::messages::{Greeting, Input, Loaded, Output};

const NUMBER: u8 = 1;
const LEAP: u64 = 1_000_000;

#[derive(Clone, Default)]
struct Writer {
    connection: String,
    last: Option<(u64, Vec<u8>)>,
}

#[derive(Clone, Default)]
pub(crate) struct Server {
    epoch: Option<Vec<u8>>,
    pub(crate) revision: u64,
    /// Revision and number by key.
    pub(crate) values: BTreeMap<Vec<u8>, (u64, f64)>,
    stream: VecDeque<(u64, Vec<u8>)>,
    last_id: u64,
    writers: HashMap<String, Writer>,
}

fn number(bytes: &mut Vec<u8>, number: f64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn id(number: u64) -> String {
    if number == 0 { String::new() } else { format!("{number}-0") }
}

fn read_id(text: &str) -> u64 {
    text.split('-').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn writer_of(connection: &str) -> String {
    connection.rsplit_once('-').expect("a connection has a number").0.to_owned()
}

impl Server {
    pub(crate) fn flush(&mut self) {
        *self = Self { last_id: self.last_id, ..Self::default() };
    }

    pub(crate) fn trim(&mut self) {
        self.stream.clear();
    }

    #[allow(clippy::cast_precision_loss, reason = "they are small")]
    pub(crate) fn greet(&mut self, open: &Output, time: u64) -> Greeting {
        let Output::Open { connection, new_epoch, epoch, revision, place } = open else {
            panic!("it greets")
        };
        let writer = self.writers.entry(writer_of(connection)).or_default();
        writer.connection.clone_from(connection);
        let last = writer.last.clone();
        let same = self.epoch.as_ref() == Some(epoch);
        let place = read_id(place);
        let goes_on = same
            && if place == 0 {
                self.revision == *revision
            } else {
                self.revision >= *revision && self.stream.iter().any(|(id, _)| *id == place)
            };
        let before = self.revision;
        if self.epoch.is_none() || (same && !goes_on && before <= *revision) {
            self.epoch = Some(new_epoch.clone());
        }
        let goes_on = goes_on && self.epoch.as_ref() == Some(epoch);
        self.revision = (before.max(*revision) + LEAP).max(time * 1000);
        let epoch = self.epoch.clone().unwrap();
        let mut leap = epoch.clone();
        number(&mut leap, self.revision as f64);
        leap.extend_from_slice(&0_u32.to_le_bytes());
        number(&mut leap, before as f64);
        self.add(leap, time);
        Greeting { epoch, revision: before, time, goes_on, last }
    }

    fn add(&mut self, payload: Vec<u8>, time: u64) {
        // As on a real server: after a reset to an earlier state, entry names are not used again.
        self.last_id = (self.last_id + 1).max(time * 100);
        self.stream.push_back((self.last_id, payload));
    }

    pub(crate) fn load(&self) -> Input {
        let values = self.values.iter().map(|(key, (revision, value))| {
            let mut raw = Vec::new();
            #[allow(clippy::cast_precision_loss, reason = "they are small")]
            number(&mut raw, *revision as f64);
            number(&mut raw, 0.0);
            raw.push(NUMBER);
            number(&mut raw, *value);
            (key.clone(), raw)
        });
        Input::Loaded(Loaded {
            epoch: self.epoch.clone().unwrap_or_default(),
            revision: self.revision,
            place: id(self.stream.back().map_or(0, |(id, _)| *id)),
            values: values.collect(),
        })
    }

    /// `None` if there is nothing to report yet.
    pub(crate) fn follow(&self, place: &str, entries: usize) -> Option<Input> {
        let place = read_id(place);
        let entries: Vec<_> = self
            .stream
            .iter()
            .filter(|(id, _)| *id > place)
            .take(entries)
            .map(|(it, payload)| (id(*it), payload.clone()))
            .collect();
        (!entries.is_empty()).then_some(Input::Entries(entries))
    }

    pub(crate) fn beat(&self, time: u64, asked_at: u64) -> Input {
        Input::Beat { epoch: self.epoch.clone(), revision: self.revision, time, asked_at }
    }

    #[allow(clippy::cast_precision_loss, reason = "they are small")]
    pub(crate) fn write(&mut self, write: &Output, time: u64) -> Input {
        let Output::Write { connection, number: batch, arguments, .. } = write else { panic!("it writes") };
        let writer = writer_of(connection);
        let known = self.writers.get(&writer).is_some_and(|it| it.connection == *connection);
        let (true, Some(epoch)) = (known, self.epoch.clone()) else {
            return Input::WriteFailed(Failure::Unknown);
        };
        let (mut results, mut payload) = (Vec::new(), epoch);
        let before = payload.len();
        for operation in arguments.chunks(3) {
            let [head, key, _] = operation else { panic!("three for each") };
            assert_eq!(head[..2], [4, 0], "only increments, one by one");
            let by = f64::from_le_bytes(head[21..29].try_into().unwrap());
            self.revision += 1;
            let value = self.values.get(key).map_or(0.0, |(_, value)| *value) + by;
            self.values.insert(key.clone(), (self.revision, value));
            results.push(0);
            number(&mut results, self.revision as f64);
            number(&mut results, value);
            number(&mut payload, self.revision as f64);
            payload.extend_from_slice(&1_u32.to_le_bytes());
            payload.extend_from_slice(&[1, NUMBER]);
            payload.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
            payload.extend_from_slice(&8_u32.to_le_bytes());
            number(&mut payload, 0.0);
            payload.extend_from_slice(key);
            number(&mut payload, value);
        }
        let mut answer = Vec::new();
        number(&mut answer, self.revision as f64);
        number(&mut answer, 0.0);
        answer.extend_from_slice(&results);
        if payload.len() > before {
            self.add(payload, time);
            self.writers.get_mut(&writer).unwrap().last = Some((*batch, answer.clone()));
        }
        Input::Answered(answer)
    }
}
