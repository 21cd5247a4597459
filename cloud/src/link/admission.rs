//! Who may stay connected, and who may ask to enrol: decisions without I/O.
//!
//! A peer is a stranger until it is known as an active relay. Strangers get a
//! short time and few places; every connection remembers its deadline, and
//! [`Admission::due`] names those to close.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::LinkLimits;

#[derive(Debug)]
struct Connection {
    peer: PeerId,
    address: Option<IpAddr>,
    /// For strangers.
    until: Option<Instant>,
    /// Rises from connection to connection.
    number: u64,
    since: Instant,
}

/// A dial goes on for about as long beside the one that succeeded, by another way of
/// transport: such a twin is no line that was left.
const TWIN: Duration = Duration::from_secs(15);

/// The gateway's memory of its connections.
pub(super) struct Admission {
    known: HashSet<PeerId>,
    connections: HashMap<ConnectionId, Connection>,
    numbers: u64,
    strangers: usize,
    most_strangers: usize,
    stranger_time: Duration,
    enrolments: DefaultKeyedRateLimiter<IpAddr>,
}

impl Admission {
    pub(super) fn new(limits: &LinkLimits) -> Self {
        let rate = NonZeroU32::new(limits.enrolments_a_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            known: HashSet::new(),
            connections: HashMap::new(),
            numbers: 0,
            strangers: 0,
            most_strangers: limits.strangers,
            stranger_time: limits.stranger_time,
            enrolments: RateLimiter::keyed(Quota::per_minute(rate)),
        }
    }

    /// Takes note of a connection. Whether it may stay.
    pub(super) fn connected(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        from: &Multiaddr,
        now: Instant,
    ) -> bool {
        let until = if self.known.contains(&peer) {
            None
        } else if self.strangers >= self.most_strangers {
            return false;
        } else {
            self.strangers += 1;
            Some(now + self.stranger_time)
        };
        self.numbers += 1;
        let (address, number) = (address_of(from), self.numbers);
        self.connections.insert(id, Connection { peer, address, until, number, since: now });
        true
    }

    /// Forgets a connection.
    pub(super) fn closed(&mut self, id: ConnectionId) {
        if self.connections.remove(&id).is_some_and(|c| c.until.is_some()) {
            self.strangers -= 1;
        }
    }

    /// The peer is an active relay: its connections stay.
    pub(super) fn admit(&mut self, peer: PeerId) {
        self.known.insert(peer);
        for connection in self.connections.values_mut().filter(|c| c.peer == peer) {
            if connection.until.take().is_some() {
                self.strangers -= 1;
            }
        }
    }

    /// The connections of a peer from well before its newest. A relay dials another
    /// only when it left these; whatever is opened to it must not go there.
    pub(super) fn left(&self, peer: &PeerId) -> Vec<ConnectionId> {
        let of_peer = || self.connections.iter().filter(|(_, c)| c.peer == *peer);
        let Some((_, newest)) = of_peer().max_by_key(|(_, c)| c.number) else {
            return Vec::new();
        };
        let left = |c: &Connection| newest.since.saturating_duration_since(c.since) > TWIN;
        of_peer().filter(|(_, c)| left(c)).map(|(id, _)| *id).collect()
    }

    /// The addresses of a peer's connections.
    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<IpAddr> {
        self.connections.values().filter(|c| c.peer == *peer).filter_map(|c| c.address).collect()
    }

    /// The peer is no relay any more: a stranger from its next connection on.
    pub(super) fn expel(&mut self, peer: &PeerId) {
        self.known.remove(peer);
    }

    /// Whether the peer is known as an active relay.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.known.contains(peer)
    }

    /// Connections of strangers whose time is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<ConnectionId> {
        self.enrolments.retain_recent();
        let over = |c: &Connection| c.until.is_some_and(|until| until <= now);
        self.connections.iter().filter(|(_, c)| over(c)).map(|(id, _)| *id).collect()
    }

    /// Whether the connection's address may ask to enrol at this moment.
    pub(super) fn may_enroll(&self, id: ConnectionId) -> bool {
        let address = self.connections.get(&id).and_then(|c| c.address);
        // Without an address there is nothing to count by; the connection limits hold.
        address.is_none_or(|address| self.enrolments.check_key(&network(address)).is_ok())
    }

    /// Connections: all, and those of strangers.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.strangers)
    }
}

/// The address a connection comes from.
pub(super) fn address_of(from: &Multiaddr) -> Option<IpAddr> {
    from.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// What one subscriber has: an IPv4 address, or an IPv6 /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn admission() -> Admission {
        Admission::new(&LinkLimits {
            strangers: 2,
            enrolments_a_minute: 2,
            ..LinkLimits::default()
        })
    }

    fn from(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_is_due_when_its_time_is_over_and_a_relay_never() {
        let (mut admission, now) = (admission(), Instant::now());
        let (stranger, relay) = (PeerId::random(), PeerId::random());
        let (a, b) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        assert!(admission.connected(a, stranger, &from("/ip4/10.0.0.1/tcp/1"), now));
        assert!(admission.connected(b, relay, &from("/ip4/10.0.0.2/tcp/1"), now));
        admission.admit(relay);
        assert!(admission.due(now + Duration::from_secs(14)).is_empty());
        assert_eq!(admission.due(now + Duration::from_secs(15)), [a]);
        admission.closed(a);
        assert_eq!(admission.counts(), (1, 0));
    }

    #[test]
    fn strangers_beyond_the_bound_are_turned_away_and_relays_are_not() {
        let (mut admission, now) = (admission(), Instant::now());
        let at = from("/ip4/10.0.0.1/tcp/1");
        let relay = PeerId::random();
        admission.admit(relay);
        for id in 0..2 {
            let id = ConnectionId::new_unchecked(id);
            assert!(admission.connected(id, PeerId::random(), &at, now));
        }
        let (c, d) = (ConnectionId::new_unchecked(3), ConnectionId::new_unchecked(4));
        assert!(!admission.connected(c, PeerId::random(), &at, now));
        assert!(admission.connected(d, relay, &at, now));
        admission.closed(ConnectionId::new_unchecked(0));
        assert!(admission.connected(c, PeerId::random(), &at, now));
    }

    #[test]
    fn connections_from_well_before_a_relays_newest_are_left() {
        let (mut admission, now) = (admission(), Instant::now());
        let at = from("/ip4/10.0.0.1/tcp/1");
        let (relay, other) = (PeerId::random(), PeerId::random());
        for peer in [relay, other] {
            admission.admit(peer);
        }
        // Numbers of connections say nothing of their order.
        let [old, silent, twin, newest, others] = [7, 3, 4, 5, 9].map(ConnectionId::new_unchecked);
        let later = now + 2 * TWIN;
        for (id, peer, since) in [
            (old, relay, now),
            (silent, relay, now),
            (twin, relay, later - TWIN),
            (newest, relay, later),
            (others, other, later),
        ] {
            assert!(admission.connected(id, peer, &at, since));
        }
        let mut left = admission.left(&relay);
        left.sort();
        assert_eq!(left, [silent, old]);
        assert!(admission.left(&other).is_empty());
        left.into_iter().for_each(|id| admission.closed(id));
        assert!(admission.left(&relay).is_empty());
    }

    #[test]
    fn enrolments_are_counted_by_network() {
        let (mut admission, now) = (admission(), Instant::now());
        let ids: Vec<_> = (0..3).map(ConnectionId::new_unchecked).collect();
        let peer = PeerId::random();
        admission.admit(peer);
        for (id, at) in ids.iter().zip(["/ip6/2001:db8::1", "/ip6/2001:db8::2", "/ip6/2001:db9::1"])
        {
            admission.connected(*id, peer, &from(&format!("{at}/udp/1/quic-v1")), now);
        }
        assert!(admission.may_enroll(ids[0]));
        assert!(admission.may_enroll(ids[1]));
        assert!(!admission.may_enroll(ids[0]));
        assert!(admission.may_enroll(ids[2]));
    }
}
