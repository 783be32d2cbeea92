//! Clients: what they are recognised by, and how they are turned away.

use std::os::fd::OwnedFd;

use super::{Shell, Token};
use crate::core::dispatch::Input;
use crate::core::ids::ListenerId;
use crate::core::schedule::{Key, Peek, Policy, Verdict};
use crate::io::dispatcher::connection::{Conn, address_of};
use crate::io::dispatcher::doorway::{Recognised, recognise};
use crate::sys::client::{peer, reset};
use crate::sys::error::SysError;

impl Shell {
    /// What the client of a connection is recognised by, where that matters; with what it has sent by now.
    pub(super) fn recognise(&self, listener: ListenerId, fd: &OwnedFd) -> Option<Key> {
        let what = self.peek(listener)?;
        let peer = peer(fd).map(address_of);
        if !what.is_needed() {
            return peer.map(Key::from);
        }
        match recognise(what, fd, peer, true) {
            Verdict::Decided(key) => key,
            Verdict::Undecided => None,
        }
    }

    /// Connections come back as descriptors, and are recognised anew.
    pub(super) fn recognise_all(&self, fds: Vec<(ListenerId, OwnedFd)>) -> Vec<(ListenerId, Conn)> {
        let with_key = |(listener, fd)| (listener, Conn { key: self.recognise(listener, &fd), fd });
        fds.into_iter().map(with_key).collect()
    }

    /// What to look for; nothing if it does not matter who the client is.
    pub(super) fn peek(&self, listener: ListenerId) -> Option<&Peek> {
        let plan = &self.listeners.get(&listener)?.plan;
        (plan.policy == Policy::Sticky).then_some(&plan.peek)
    }

    pub(super) fn welcome(&mut self, listener: ListenerId, fd: OwnedFd) -> Result<(), SysError> {
        if let Some(what) = self.peek(listener).filter(|what| what.is_needed()) {
            let peer = peer(&fd).map(address_of);
            return match recognise(what, &fd, peer, false) {
                Verdict::Decided(key) => self.input(Input::Accepted { listener, conn: Conn { fd, key } }),
                Verdict::Undecided => {
                    let patience = self.listeners.get(&listener).map(|it| it.plan.peek_timeout);
                    let until = self.now + patience.unwrap_or_default();
                    let token = |number| Token::Arrival(number).pack();
                    let crowded = self.doorway.enter(listener, fd, peer, until, &self.poller, token)?;
                    crowded.map_or(Ok(()), |number| self.look_again(number, true))
                }
            };
        }
        let conn = Conn { key: self.recognise(listener, &fd), fd };
        self.input(Input::Accepted { listener, conn })
    }

    /// A client has sent more, or need not be waited for any longer.
    pub(super) fn look_again(&mut self, number: u32, last: bool) -> Result<(), SysError> {
        let Self { doorway, listeners, poller, .. } = self;
        let what = |listener| listeners.get(&listener).map(|listening| listening.plan.peek.clone());
        match doorway.look(number, what, last, poller)? {
            Some(Recognised { listener, fd, key }) => {
                self.input(Input::Accepted { listener, conn: Conn { fd, key } })
            }
            None => Ok(()),
        }
    }

    /// Turns a client away, as its listener's plan wants it.
    pub(super) fn shed(&mut self, listener: ListenerId, connection: OwnedFd) -> Result<(), SysError> {
        let answer = self.listeners.get(&listener).and_then(|listening| listening.answer.as_deref());
        match answer {
            Some(answer) => {
                let token = |number| Token::Farewell(number).pack();
                self.farewells.say(connection, answer, self.now, &self.poller, token)
            }
            // A client that has gone cannot be told, and nothing is lost.
            None => reset(connection).or(Ok(())),
        }
    }
}
