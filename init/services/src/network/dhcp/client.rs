//! The client's state machine (RFC 2131, section 4.4): time and answers in, messages and changes out. No I/O.
//!
//! The caller sends what it is told, applies and withdraws leases, and calls again at [`Client::deadline`].

use super::Millis;
use super::lease::{Lease, Term};
use super::message::{Ask, Kind, Query, Reply};
use std::net::Ipv4Addr;

/// First pauses between repeated broadcasts; they double up to the last. A lost first packet must not cost much at boot.
const FIRST_PAUSE: Millis = 1_000;
const LONGEST_PAUSE: Millis = 64_000;
/// Requests for one offer, or for the address of before, until the client starts over.
const REQUESTS: u32 = 4;
/// Renewals are not repeated more often.
const RENEWAL_PAUSE: Millis = 60_000;
/// Broadcasts without an answer until that is worth a line in the log.
const SILENT_AFTER: u32 = 4;

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::network) enum Action {
    /// Send to everybody on the link, from no address.
    Broadcast(Vec<u8>),
    /// Send from the leased address, to one server or to 255.255.255.255.
    Send(Ipv4Addr, Vec<u8>),
    /// This lease holds, newly or for longer.
    Bind(Held),
    /// No lease holds any more.
    Unbind,
    /// Worth a line in the log.
    Note(String),
}

/// A lease with its moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::network) struct Held {
    pub(in crate::network) lease: Lease,
    /// `None`: it has no end.
    pub(in crate::network) end: Option<Millis>,
    renew: Option<Millis>,
    rebind: Option<Millis>,
}

impl Held {
    /// A lease runs from the moment at which it was asked for.
    fn since(lease: Lease, asked: Millis) -> Self {
        let at = |seconds: u32| Some(asked.saturating_add(Millis::from(seconds) * 1000));
        let (renew, rebind, end) = match lease.term {
            Term::Endless => (None, None, None),
            Term::Ends { renew, rebind, end } => (at(renew), at(rebind), at(end)),
        };
        Self { lease, end, renew, rebind }
    }

    /// Whole seconds until the end, `u32::MAX` if there is none.
    pub(in crate::network) fn seconds_left(&self, now: Millis) -> u32 {
        self.end.map_or(u32::MAX, |end| u32::try_from(end.saturating_sub(now) / 1000).unwrap_or(u32::MAX - 1))
    }

    fn is_over(&self, now: Millis) -> bool {
        self.end.is_some_and(|end| now >= end)
    }
}

/// Whether an address is held, and what is being done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No carrier.
    Off,
    /// Asking who has an address.
    Selecting { sent: u32 },
    /// Asking for the one that was offered.
    Requesting { offer: Lease, sent: u32 },
    /// Asking for the one of before.
    Rebooting { held: Held, sent: u32 },
    /// Nothing to do until renewal.
    Bound(Held),
    /// Asking the server for more time.
    Renewing(Held),
    /// Asking any server for more time.
    Rebinding(Held),
}

/// Which socket a client listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Listen {
    /// None.
    Nowhere,
    /// Frames: there is no address yet.
    Frames,
    /// UDP at the leased address.
    Address,
}

/// The client of one link.
#[derive(Clone, Debug)]
pub(in crate::network) struct Client {
    mac: [u8; 6],
    hostname: String,
    state: State,
    /// The lease of before the carrier was lost.
    remembered: Option<Held>,
    /// When there is something to do without an answer.
    next: Option<Millis>,
    transaction: u32,
    /// When the transaction began, and when its last message was sent.
    began: Millis,
    asked: Millis,
    /// Refusals in a row; each doubles the pause before the next try.
    refusals: u32,
    random: Random,
}

impl Client {
    /// A client for the link with this hardware address. The seed makes its pauses and transactions its own.
    pub(in crate::network) fn new(mac: [u8; 6], hostname: String, seed: u64) -> Self {
        Self {
            mac,
            hostname,
            state: State::Off,
            remembered: None,
            next: None,
            transaction: 0,
            began: 0,
            asked: 0,
            refusals: 0,
            random: Random(seed | 1),
        }
    }

    /// When [`Client::wake`] has something to do.
    pub(in crate::network) const fn deadline(&self) -> Option<Millis> {
        self.next
    }

    pub(in crate::network) const fn listens(&self) -> Listen {
        match self.state {
            State::Off => Listen::Nowhere,
            State::Selecting { .. } | State::Requesting { .. } | State::Rebooting { .. } => Listen::Frames,
            State::Bound(_) | State::Renewing(_) | State::Rebinding(_) => Listen::Address,
        }
    }

    /// There is a carrier: ask for the lease of before, or for any.
    pub(in crate::network) fn start(&mut self, now: Millis) -> Vec<Action> {
        if self.state != State::Off {
            return Vec::new();
        }
        self.refusals = 0;
        match self.remembered.take() {
            Some(held) if !held.is_over(now) => {
                self.begin(now);
                self.state = State::Rebooting { held, sent: 0 };
                self.wake(now)
            }
            Some(_) | None => self.select(now),
        }
    }

    /// The carrier is gone. The lease is remembered; whether its address stays for a moment is up to the caller.
    pub(in crate::network) fn stop(&mut self) {
        self.next = None;
        self.remembered = match std::mem::replace(&mut self.state, State::Off) {
            State::Off => self.remembered.take(),
            State::Selecting { .. } | State::Requesting { .. } => None,
            State::Rebooting { held, .. }
            | State::Bound(held)
            | State::Renewing(held)
            | State::Rebinding(held) => Some(held),
        };
    }

    /// Does what is due.
    pub(in crate::network) fn wake(&mut self, now: Millis) -> Vec<Action> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        match self.state.clone() {
            State::Off => Vec::new(),
            State::Selecting { sent } => self.discover(now, sent),
            State::Requesting { sent, .. } if sent >= REQUESTS => self.select(now),
            State::Requesting { offer, sent } => {
                self.state = State::Requesting { offer: offer.clone(), sent: sent + 1 };
                self.next = Some(now + self.pause(sent));
                let ask = Ask::Select { address: offer.address, server: offer.server };
                vec![Action::Broadcast(self.message(now, ask))]
            }
            State::Rebooting { held, sent } => self.reboot(now, held, sent),
            State::Bound(held) | State::Renewing(held) | State::Rebinding(held) => self.extend(now, held),
        }
    }

    /// Takes an answer. What is not for this client's open question is ignored.
    pub(in crate::network) fn receive(&mut self, now: Millis, reply: &Reply) -> Vec<Action> {
        if reply.mac != self.mac || reply.transaction != self.transaction {
            return Vec::new();
        }
        match (self.state.clone(), reply.kind) {
            (State::Selecting { sent }, Kind::Offer) if sent > 0 => match Lease::judge(reply) {
                Ok(offer) => {
                    self.state = State::Requesting { offer, sent: 0 };
                    self.next = Some(now);
                    self.wake(now)
                }
                Err(why) => vec![Action::Note(format!("an offer is refused: {why}"))],
            },
            (State::Requesting { offer, .. }, Kind::Ack) => {
                self.acknowledged(now, reply, offer.address, Some(offer.server))
            }
            (State::Rebooting { held, .. } | State::Rebinding(held), Kind::Ack) => {
                self.acknowledged(now, reply, held.lease.address, None)
            }
            (State::Renewing(held), Kind::Ack) => {
                self.acknowledged(now, reply, held.lease.address, Some(held.lease.server))
            }
            (State::Requesting { offer, .. }, Kind::Nak) => self.denied(now, reply, Some(offer.server)),
            (State::Renewing(held), Kind::Nak) => self.denied(now, reply, Some(held.lease.server)),
            (State::Rebooting { .. } | State::Rebinding(_), Kind::Nak) => self.denied(now, reply, None),
            (State::Off | State::Bound(_) | State::Selecting { .. }, _) | (_, Kind::Offer) => Vec::new(),
        }
    }

    fn acknowledged(
        &mut self,
        now: Millis,
        reply: &Reply,
        address: Ipv4Addr,
        server: Option<Ipv4Addr>,
    ) -> Vec<Action> {
        if reply.address != address || server.is_some_and(|server| reply.server != Some(server)) {
            return Vec::new();
        }
        let lease = match Lease::judge(reply) {
            Ok(lease) => lease,
            Err(why) => {
                return vec![Action::Note(format!("an acknowledgement is refused: {why}"))];
            }
        };
        let held = Held::since(lease, self.asked);
        if held.is_over(now) {
            return vec![Action::Note("an acknowledgement came after the end of its lease".to_owned())];
        }
        self.refusals = 0;
        // Devices started together must not renew together.
        let early = held.renew.map(|renew| renew.saturating_sub(self.asked) / 16);
        let early = early.map(|most| self.random.below(most));
        self.next = held.renew.zip(early).map(|(renew, early)| (renew - early).max(now));
        self.state = State::Bound(held.clone());
        vec![Action::Bind(held)]
    }

    fn denied(&mut self, now: Millis, reply: &Reply, server: Option<Ipv4Addr>) -> Vec<Action> {
        if reply.server.is_none() || server.is_some_and(|server| reply.server != Some(server)) {
            return Vec::new();
        }
        let pause = self.pause(self.refusals);
        self.refusals = self.refusals.saturating_add(1);
        self.begin(now);
        self.state = State::Selecting { sent: 0 };
        self.next = Some(now + pause);
        let note = "the server denies the address".to_owned();
        vec![Action::Unbind, Action::Note(note)]
    }

    /// Starts over.
    fn select(&mut self, now: Millis) -> Vec<Action> {
        self.begin(now);
        self.discover(now, 0)
    }

    fn discover(&mut self, now: Millis, sent: u32) -> Vec<Action> {
        self.state = State::Selecting { sent: sent.saturating_add(1) };
        self.next = Some(now + self.pause(sent));
        let mut actions = vec![Action::Broadcast(self.message(now, Ask::Discover))];
        if sent == SILENT_AFTER {
            let note = "no DHCP server has answered so far; still asking".to_owned();
            actions.push(Action::Note(note));
        }
        actions
    }

    fn reboot(&mut self, now: Millis, held: Held, sent: u32) -> Vec<Action> {
        if sent >= REQUESTS || held.is_over(now) {
            let mut actions = vec![Action::Unbind];
            actions.extend(self.select(now));
            return actions;
        }
        let address = held.lease.address;
        self.state = State::Rebooting { held, sent: sent + 1 };
        self.next = Some(now + self.pause(sent));
        vec![Action::Broadcast(self.message(now, Ask::Reboot { address }))]
    }

    /// Renews, rebinds or gives up, as the hour has it.
    fn extend(&mut self, now: Millis, held: Held) -> Vec<Action> {
        let (Some(rebind), Some(end)) = (held.rebind, held.end) else {
            self.next = None;
            return Vec::new();
        };
        if now >= end {
            let note = "the lease has run out".to_owned();
            let mut actions = vec![Action::Unbind, Action::Note(note)];
            actions.extend(self.select(now));
            return actions;
        }
        if matches!(self.state, State::Bound(_)) {
            self.begin(now);
        }
        let address = held.lease.address;
        let (to, until) = if now < rebind { (held.lease.server, rebind) } else { (Ipv4Addr::BROADCAST, end) };
        let half = until.saturating_sub(now) / 2;
        self.next = Some(until.min(now + half.max(RENEWAL_PAUSE)));
        self.state = if now < rebind { State::Renewing(held) } else { State::Rebinding(held) };
        vec![Action::Send(to, self.message(now, Ask::Extend { address }))]
    }

    /// A new transaction.
    fn begin(&mut self, now: Millis) {
        self.transaction = self.random.word();
        self.began = now;
        self.next = Some(now);
    }

    fn message(&mut self, now: Millis, ask: Ask) -> Vec<u8> {
        self.asked = now;
        let seconds = now.saturating_sub(self.began) / 1000;
        Query {
            ask,
            transaction: self.transaction,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            mac: self.mac,
            hostname: &self.hostname,
        }
        .encode()
    }

    /// The pause after so many messages: doubling, and up to a quarter more or less.
    fn pause(&mut self, sent: u32) -> Millis {
        let pause = (FIRST_PAUSE << sent.min(16)).min(LONGEST_PAUSE);
        pause - pause / 4 + self.random.below(pause / 2)
    }
}

/// xorshift64*: enough to keep clients apart. It is no secret: every broadcast shows it.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn word(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let product = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        u32::try_from(product >> 32).unwrap_or(0)
    }

    /// A number from 0 to `most`.
    fn below(&mut self, most: u64) -> u64 {
        u64::from(self.word()) % (most + 1)
    }
}

#[cfg(test)]
mod tests;
