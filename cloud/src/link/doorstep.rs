//! Connections that have not said who they are: bounded for each address.
//!
//! A handshake costs a place among the few for some seconds, and silence costs the
//! one who keeps it nothing. So an address has a small share of the places, and a
//! part of them is kept for addresses from which an enrolled relay came before: a
//! flood of silent connections, from however many addresses, does not keep them out.

use super::admission::network;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use lru::LruCache;
use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    num::NonZeroUsize,
    task::{Context, Poll},
};

/// Addresses of relays that are remembered.
const REMEMBERED: usize = 32_768;

/// Why a connection is refused before its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The address has its share.
    #[error("too many connections of one address are in their handshake")]
    Address,
    /// What is left is kept for relays.
    #[error("too many connections are in their handshake; the rest is kept for known addresses")]
    Strangers,
}

/// The decisions, without I/O.
pub(super) struct Doorstep {
    an_address: usize,
    strangers: usize,
    pending: HashMap<ConnectionId, IpAddr>,
    by_address: HashMap<IpAddr, usize>,
    known: LruCache<IpAddr, ()>,
}

impl Doorstep {
    pub(super) fn new(pending: u32, an_address: u32) -> Self {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            an_address: size(an_address),
            strangers: size(pending) / 4 * 3,
            pending: HashMap::new(),
            by_address: HashMap::new(),
            known: LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN)),
        }
    }

    /// An enrolled relay is connected from this address.
    pub(super) fn know(&mut self, address: IpAddr) {
        self.known.put(network(address), ());
    }

    fn begin(&mut self, id: ConnectionId, address: IpAddr) -> Result<(), Refused> {
        let address = network(address);
        if self.by_address.get(&address).is_some_and(|n| *n >= self.an_address) {
            return Err(Refused::Address);
        }
        if self.pending.len() >= self.strangers && !self.known.contains(&address) {
            return Err(Refused::Strangers);
        }
        self.pending.insert(id, address);
        *self.by_address.entry(address).or_default() += 1;
        Ok(())
    }

    fn end(&mut self, id: ConnectionId) {
        let Some(address) = self.pending.remove(&id) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl NetworkBehaviour for Doorstep {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match super::admission::address_of(from) {
            Some(address) => self.begin(id, address).map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.end(id);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event {
            self.end(connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn v4(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn one_address_has_its_share_and_gives_it_back() {
        let mut door = Doorstep::new(100, 2);
        assert_eq!(door.begin(id(1), v4(1)), Ok(()));
        assert_eq!(door.begin(id(2), v4(1)), Ok(()));
        assert_eq!(door.begin(id(3), v4(1)), Err(Refused::Address));
        assert_eq!(door.begin(id(4), v4(2)), Ok(()));
        door.end(id(1));
        door.end(id(1));
        assert_eq!(door.begin(id(5), v4(1)), Ok(()));
        for n in [2, 4, 5] {
            door.end(id(n));
        }
        assert!(door.by_address.is_empty());
    }

    #[test]
    fn a_flood_from_many_addresses_leaves_room_for_known_ones() {
        let mut door = Doorstep::new(8, 2);
        door.know(v4(200));
        for n in 0..6 {
            assert_eq!(door.begin(id(n.into()), v4(n)), Ok(()));
        }
        assert_eq!(door.begin(id(7), v4(7)), Err(Refused::Strangers));
        assert_eq!(door.begin(id(8), v4(200)), Ok(()));
    }
}
