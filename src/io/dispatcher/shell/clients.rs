//! Clients: what they are recognised by, and how they are turned away.

use super::{Shell, Token};
use crate::io::dispatcher::channel::Unreceived;
use crate::io::dispatcher::connection::{AwaitingHook, Conn, address_of};
use crate::io::dispatcher::preread::{Recognised, recognise};
use rcluster_core::channel::Kept;
use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, Slot};
use rcluster_core::schedule::{Home, Key, Policy, PrereadRule, Verdict};
use rcluster_sys::client::{peer, reset};
use rcluster_sys::closer::Descriptor;

impl Shell {
    /// What the client of a connection is recognised by, where that matters; with what it has sent by now.
    pub(super) fn recognise(&self, listener: ListenerId, fd: &Descriptor) -> Option<Key> {
        let what = self.preread_rule(listener)?;
        let peer = peer(fd).map(address_of);
        if !what.is_needed() {
            return peer.map(Key::from);
        }
        match recognise(what, fd, peer, true) {
            Verdict::Decided(key) => key,
            Verdict::Undecided => None,
        }
    }

    /// A connection that a worker returns, or has not received, is only a descriptor: its client is recognised anew. A
    /// hook is not called again.
    pub(super) fn with_key(&self, listener: ListenerId, fd: Descriptor) -> Conn {
        let key = self.recognise(listener, &fd);
        recognised(fd, key)
    }

    /// One that a worker has served goes by what its client has said last, as the worker tells; where that is nothing,
    /// by its address, but with the slot of that worker first: it may have given the client something to be recognised by.
    pub(super) fn handed_over(
        &self,
        listener: ListenerId,
        fd: Descriptor,
        kept: Kept,
        from: Option<Slot>,
    ) -> Conn {
        let by_content = self.preread_rule(listener).is_some_and(|what| what.by.is_content());
        let key = match kept.key.filter(|_| by_content) {
            Some(key) => Some(key),
            None if by_content && kept.served => {
                let address = peer(&fd).map(|peer| Key::from(address_of(peer)));
                address.map(|key| Key { slot: from, ..key })
            }
            None => self.recognise(listener, &fd),
        };
        Conn { kept: Some(kept), ..recognised(fd, key) }
    }

    /// So are those that a worker has not received, except where it is known whom the app has chosen.
    pub(super) fn recognise_all(&self, conns: Vec<Unreceived>) -> Vec<(ListenerId, Conn)> {
        let recognise = |Unreceived { listener, fd, chosen, kept }| match (chosen, kept) {
            (Some(worker), kept) => (listener, Conn { kept, ..Conn::new(fd, Some(Home::Worker(worker))) }),
            (None, Some(kept)) => (listener, self.handed_over(listener, fd, kept, None)),
            (None, None) => (listener, self.with_key(listener, fd)),
        };
        conns.into_iter().map(recognise).collect()
    }

    /// What to look for; nothing if it does not matter who the client is.
    pub(super) fn preread_rule(&self, listener: ListenerId) -> Option<&PrereadRule> {
        let plan = &self.listeners.get(&listener)?.plan;
        (plan.policy == Policy::Sticky).then_some(&plan.preread)
    }

    pub(super) fn on_client(&mut self, listener: ListenerId, fd: Descriptor) {
        match self.listeners.get(&listener).map(|listening| &listening.plan) {
            Some(plan) if plan.policy == Policy::Hook => {
                let until = self.now + plan.hook_timeout;
                self.wait_for_hook(listener, AwaitingHook { fd, kept: None }, until);
            }
            Some(plan) if plan.policy == Policy::Sticky && plan.preread.is_needed() => {
                let peer = peer(&fd).map(address_of);
                match recognise(&plan.preread, &fd, peer, false) {
                    Verdict::Decided(key) => {
                        self.input(Input::Accepted { listener, conn: recognised(fd, key) });
                    }
                    Verdict::Undecided => {
                        let until = self.now + plan.preread_timeout;
                        let token = |number| Token::Preread(number).pack();
                        let at_once = self.preread.enter(listener, fd, peer, until, &self.poller, token);
                        if let Some(number) = at_once {
                            self.preread_again(number, true);
                        }
                    }
                }
            }
            Some(plan) if plan.policy == Policy::Sticky => {
                let key = peer(&fd).map(|peer| Key::from(address_of(peer)));
                self.input(Input::Accepted { listener, conn: recognised(fd, key) });
            }
            Some(_) | None => self.input(Input::Accepted { listener, conn: Conn::new(fd, None) }),
        }
    }

    /// A client has sent more, or need not be waited for any longer.
    pub(super) fn preread_again(&mut self, number: u32, last: bool) {
        let Self { preread, listeners, poller, .. } = self;
        let what = |listener| listeners.get(&listener).map(|listening| listening.plan.preread.clone());
        if let Some(Recognised { listener, fd, key }) = preread.look(number, what, last, poller) {
            self.input(Input::Accepted { listener, conn: recognised(fd, key) });
        }
    }

    /// Turns a client away, as its listener's plan wants it.
    pub(super) fn shed(&mut self, listener: ListenerId, connection: Descriptor) {
        let answer = self.listeners.get(&listener).and_then(|listening| listening.answer.as_deref());
        match answer {
            Some(answer) => {
                let token = |number| Token::Lingering(number).pack();
                self.lingering.answer(connection, answer, self.now, &self.poller, token);
            }
            // A client that has gone cannot be told, and nothing is lost.
            None => {
                let _gone = reset(connection);
            }
        }
    }
}

fn recognised(fd: Descriptor, key: Option<Key>) -> Conn {
    Conn::new(fd, key.map(Home::Client))
}
