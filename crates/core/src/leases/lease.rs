//! One lease, from its first request to its last.

use super::{Answer as Said, Ask, LeaseId, MAX_TTL, MIN_TTL, Operation, Output, Want, margin};
use crate::locks::Otherwise;
use crate::store::remote::failure::INVALID_ANSWER;

/// The shortest wait before a request is repeated, in ms.
const MIN_WAIT: u64 = 10;

/// The largest random delay of a repeated request, in ms, so that machines do not all send at once.
const JITTER: f64 = 20.0;

/// The wait before a request is repeated to a server that could not execute it, in ms.
const RETRY: u64 = 1000;

/// A message to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Granted { token: u64, until: u64 },
    Renewed { until: u64 },
    Unavailable,
    Lost,
    Disconnected(String),
}

impl Tell {
    pub(super) fn of(self, id: LeaseId) -> Output {
        match self {
            Self::Granted { token, until } => Output::Granted { id, token, until },
            Self::Renewed { until } => Output::Renewed { id, until },
            Self::Unavailable => Output::Unavailable(id),
            Self::Lost => Output::Lost(id),
            Self::Disconnected(why) => Output::Disconnected(id, why),
        }
    }
}

/// The decision after an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ask: Option<Operation>,
    pub(super) tell: Option<Tell>,
    pub(super) is_over: bool,
}

impl Answer {
    fn nothing() -> Self {
        Self::default()
    }

    fn over() -> Self {
        Self { is_over: true, ..Self::default() }
    }

    fn ask(operation: Operation) -> Self {
        Self { ask: Some(operation), ..Self::default() }
    }

    fn tell(tell: Tell) -> Self {
        Self { tell: Some(tell), ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is requested at this time, or when the connection opens.
    Waiting { next: u64 },
    /// It was requested at this time. A release may have been published since.
    Asking { sent_at: u64, was_released: bool },
    /// It may be used until `valid`, and is renewed at `renew`. `None`: a renewal is under way since
    /// `sent_at`.
    Held { token: u64, valid: u64, renew: Option<u64>, sent_at: u64 },
    /// It is no longer wanted, and the server is asked to release it.
    Leaving,
}

/// One lease: see the module.
#[derive(Debug)]
pub(super) struct Lease {
    name: Vec<u8>,
    ttl: u32,
    otherwise: Otherwise,
    phase: Phase,
    /// The number of the last request.
    number: u64,
    /// Until when the server may keep it for this owner, as far as that is known; 0 if it does not.
    kept: u64,
    /// Its timer in the list of all leases.
    pub(super) scheduled: Option<u64>,
}

impl Lease {
    pub(super) fn new(want: Want, now: u64) -> Self {
        let Want { name, ttl, otherwise } = want;
        Self {
            name,
            ttl: ttl.clamp(MIN_TTL, MAX_TTL),
            otherwise,
            phase: Phase::Waiting { next: now },
            number: 0,
            kept: 0,
            scheduled: None,
        }
    }

    /// When it needs to act.
    pub(super) fn due(&self, is_open: bool) -> Option<u64> {
        match self.phase {
            Phase::Waiting { next } => is_open.then_some(next),
            Phase::Asking { .. } => None,
            Phase::Held { valid, renew, .. } => {
                renew.filter(|_| is_open).into_iter().chain(std::iter::once(valid)).min()
            }
            Phase::Leaving => Some(self.kept),
        }
    }

    /// Creates a request to the server.
    pub(super) fn question(&mut self, id: LeaseId, operation: Operation) -> Ask {
        self.number += 1;
        let token = if let Phase::Held { token, .. } = self.phase { token } else { 0 };
        Ask { id, number: self.number, operation, name: self.name.clone(), ttl: self.ttl, token }
    }

    pub(super) fn concerns(&self, name: &[u8]) -> bool {
        self.name == name
    }

    fn waits(&self) -> bool {
        self.otherwise == Otherwise::Wait
    }

    fn valid_from(&self, sent_at: u64) -> u64 {
        sent_at + u64::from(self.ttl) - margin(self.ttl)
    }

    fn acquire(&mut self, now: u64) -> Answer {
        self.phase = Phase::Asking { sent_at: now, was_released: false };
        self.kept = now + u64::from(self.ttl);
        Answer::ask(if self.otherwise == Otherwise::Steal { Operation::Steal } else { Operation::Acquire })
    }

    fn renew(&mut self, token: u64, valid: u64, now: u64) -> Answer {
        self.phase = Phase::Held { token, valid, renew: None, sent_at: now };
        self.kept = now + u64::from(self.ttl);
        Answer::ask(Operation::Renew)
    }

    /// It is no longer wanted. If the server may keep it, a release is sent now, or when the connection
    /// opens.
    fn leave(&mut self, now: u64, is_open: bool) -> Answer {
        if self.kept <= now {
            return Answer::over();
        }
        self.phase = Phase::Leaving;
        if is_open { Answer::ask(Operation::Release) } else { Answer::nothing() }
    }

    /// The holder has ended its request.
    pub(super) fn end(&mut self, now: u64, is_open: bool) -> Answer {
        match self.phase {
            // The request was already notified of its end.
            Phase::Leaving => Answer::nothing(),
            _ => self.leave(now, is_open),
        }
    }

    /// Its timer is due.
    pub(super) fn on_time(&mut self, now: u64, is_open: bool) -> Answer {
        match self.phase {
            Phase::Waiting { next } if is_open && next <= now => self.acquire(now),
            Phase::Held { valid, .. } if valid <= now => {
                Answer { tell: Some(Tell::Lost), ..self.leave(now, is_open) }
            }
            Phase::Held { token, valid, renew: Some(renew), .. } if is_open && renew <= now => {
                self.renew(token, valid, now)
            }
            Phase::Leaving if self.kept <= now => Answer::over(),
            _ => Answer::nothing(),
        }
    }

    /// The server has answered.
    pub(super) fn on_answer(&mut self, number: u64, said: Said, now: u64, jitter: f64) -> Answer {
        if number != self.number {
            return Answer::nothing();
        }
        match (self.phase, said) {
            (Phase::Asking { sent_at, was_released }, said) => {
                self.on_asked(said, sent_at, was_released, now, jitter)
            }
            (Phase::Held { token, valid, renew: None, sent_at }, said) => {
                self.on_renewed(&said, Held { token, valid, sent_at }, now)
            }
            // Whatever the answer is, all that is left is that the lease ends by its time.
            (Phase::Leaving, _) => Answer::over(),
            (Phase::Waiting { .. } | Phase::Held { .. }, _) => Answer::nothing(),
        }
    }

    fn on_asked(&mut self, said: Said, sent_at: u64, was_released: bool, now: u64, jitter: f64) -> Answer {
        match said {
            Said::Held { token } => {
                let valid = self.valid_from(sent_at);
                if valid <= now {
                    // The answer took too long. The server keeps the lease for this owner, and extends it.
                    return self.acquire(now);
                }
                let renew = Some(sent_at + u64::from(self.ttl) / 3);
                self.phase = Phase::Held { token, valid, renew, sent_at };
                Answer::tell(Tell::Granted { token, until: valid })
            }
            Said::Busy { wait } => {
                self.kept = 0;
                if self.otherwise == Otherwise::GiveUp {
                    return Answer { tell: Some(Tell::Unavailable), ..Answer::over() };
                }
                if was_released {
                    return self.acquire(now);
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few ms")]
                let jitter = (jitter * JITTER) as u64;
                let wait = wait.clamp(MIN_WAIT, u64::from(MAX_TTL));
                self.phase = Phase::Waiting { next: now + wait + jitter };
                Answer::nothing()
            }
            Said::Unable(_) if self.waits() => {
                self.kept = 0;
                self.phase = Phase::Waiting { next: now + RETRY };
                Answer::nothing()
            }
            Said::Refused(why) | Said::Unable(why) => {
                self.kept = 0;
                Answer { tell: Some(Tell::Disconnected(why)), ..Answer::over() }
            }
            Said::Renewed | Said::Lost | Said::Released => {
                Answer { tell: Some(Tell::Disconnected(INVALID_ANSWER.into())), ..Answer::over() }
            }
        }
    }

    fn on_renewed(&mut self, said: &Said, held: Held, now: u64) -> Answer {
        let Held { token, valid, sent_at } = held;
        match said {
            Said::Renewed => {
                let renew = Some((sent_at + u64::from(self.ttl) / 3).max(now + 1));
                let until = self.valid_from(sent_at);
                self.phase = Phase::Held { token, valid: until, renew, sent_at };
                Answer::tell(Tell::Renewed { until })
            }
            Said::Lost => Answer { tell: Some(Tell::Lost), ..Answer::over() },
            // It is still valid for some time, and the renewal is retried.
            _ => {
                let renew = Some(now + (u64::from(self.ttl) / 10).max(MIN_WAIT));
                self.phase = Phase::Held { token, valid, renew, sent_at };
                Answer::nothing()
            }
        }
    }

    /// It was released, or stolen from its holder.
    pub(super) fn on_released(&mut self, now: u64, is_open: bool) -> Answer {
        match &mut self.phase {
            Phase::Waiting { next } => *next = now,
            // The answer may have been sent before the release.
            Phase::Asking { was_released, .. } => *was_released = true,
            Phase::Held { token, valid, renew: Some(_), .. } if is_open => {
                let (token, valid) = (*token, *valid);
                return self.renew(token, valid, now);
            }
            Phase::Held { .. } | Phase::Leaving => {}
        }
        Answer::nothing()
    }

    /// The connection has opened.
    pub(super) fn on_opened(&mut self, now: u64) -> Answer {
        match self.phase {
            Phase::Waiting { .. } | Phase::Asking { .. } => self.acquire(now),
            Phase::Held { token, valid, .. } => self.renew(token, valid, now),
            Phase::Leaving => Answer::ask(Operation::Release),
        }
    }

    /// The connection failed or was lost.
    pub(super) fn on_closed(&mut self, now: u64, why: &str) -> Answer {
        // Pending requests will not be answered.
        self.number += 1;
        match self.phase {
            Phase::Waiting { .. } | Phase::Asking { .. } if !self.waits() => {
                let tell = Some(Tell::Disconnected(why.to_owned()));
                Answer { tell, ..self.leave(now, false) }
            }
            Phase::Waiting { .. } | Phase::Asking { .. } => {
                self.phase = Phase::Waiting { next: now };
                Answer::nothing()
            }
            Phase::Held { token, valid, sent_at, .. } => {
                self.phase = Phase::Held { token, valid, renew: Some(now), sent_at };
                Answer::nothing()
            }
            Phase::Leaving => Answer::nothing(),
        }
    }
}

/// The state of a lease that is being renewed.
#[derive(Clone, Copy)]
struct Held {
    token: u64,
    valid: u64,
    sent_at: u64,
}
