//! Places of connections: so many in all, and so many for one address.
//!
//! One address (an IPv6 /64 is one) has a share. An IPv6 network as wide as a customer may
//! have has several, and never most of all places where an address may not have these
//! itself. It may as well be many customers': when its shares are taken, one of its
//! addresses that has more than the newcomer gives way, as below, so that nobody in it shuts
//! out all others there. A proxy that stands before everybody may
//! take most of them: who comes through it is the proxy's to bound. When all are
//! taken, a connection that waits for a request or for its body gives way to a newcomer: the
//! oldest that may of the address that has most of these, or, to an address that has
//! fewer than a browser opens, the oldest of all that are silent. Where none of these may,
//! a long request gives way: the oldest of the address that has most under way, and to an
//! address that has nothing the oldest of all once it has lasted very long. An address that has requests under
//! way, and nobody has more, gets no place rather than have others wait behind it. So
//! neither who opens connections and asks nothing nor who never ends what they ask
//! keeps anybody out for longer than that, from however many addresses.

mod choosing;

use crate::http::{Network, Networks, network::WIDE_BITS};
use choosing::{Doing, Holders, Since, YOUNG};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shares of an IPv6 /48: all of it may be one stranger's, and it may be many subscribers'.
const WIDE: usize = 4;

/// Who holds how many places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    each: usize,
    wide: usize,
    proxy: usize,
    proxies: Networks,
}

#[derive(Debug, Default)]
struct State {
    turns: u64,
    /// By network.
    held: Holders,
    /// By address.
    own: Holders,
}

/// What becomes of a newcomer when all places are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A connection of this network gives its place away.
    Made(Network),
    /// There will be a place when somebody's request is done, or has lasted very long.
    None,
    /// Its address has what it can have.
    Refused,
}

impl Addresses {
    /// Of `all` places, `each` for one address.
    pub(super) fn new(all: usize, each: usize, proxies: Networks) -> Self {
        let (each, proxy) = (each.max(1), (all - all / 4).max(1));
        let wide = each.saturating_mul(WIDE).min(all / 2).max(each);
        Self(Arc::new(Inner { state: Mutex::default(), each, wide, proxy, proxies }))
    }

    /// A place for an address, or none when it or its network holds its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        self.take_if(address, |_, _| false)
    }

    /// A place that another address of a network which holds its share gives away, or none
    /// when the address itself holds its own, or nobody there has to give way to it.
    pub(super) fn take_over(&self, address: IpAddr) -> Option<Place> {
        let network = self.holder(address);
        let near = |other: &Network| other.widened(WIDE_BITS) == network;
        self.take_if(address, |state, own| {
            let victim = state.own.victim(own, near, Instant::now());
            victim.is_some_and(|(_, turn)| state.leave(network, turn))
        })
    }

    /// A place for an address; where only its network has no more, if somebody there goes.
    fn take_if(
        &self,
        address: IpAddr,
        somebody_goes: impl FnOnce(&mut State, Network) -> bool,
    ) -> Option<Place> {
        let proxy = self.0.proxies.contain(address);
        let Inner { each, wide, proxy: most, .. } = *self.0;
        let (each, wide) = if proxy { (most, most) } else { (each, wide) };
        let network = self.holder(address);
        let address = if proxy { network } else { Network::of(address) };
        let mut state = self.state();
        let full = state.held.places(network) >= wide;
        if state.own.places(address) >= each || (full && !somebody_goes(&mut state, address)) {
            return None;
        }
        state.held.take(network);
        state.own.take(address);
        drop(state);
        let (turn, leaving) = (AtomicU64::new(0), AtomicBool::new(false));
        let evicted = CancellationToken::new();
        let addresses = self.clone();
        let standing = Standing { network, address, addresses, proxy, turn, leaving, evicted };
        Some(Place(Arc::new(standing)))
    }

    /// Has a connection give way to a newcomer.
    pub(super) fn make_room(&self, newcomer: IpAddr) -> Room {
        let own = self.holder(newcomer);
        let mut state = self.state();
        let Some((network, turn)) = state.held.victim(own, |_| true, Instant::now()) else {
            // Nobody else is served while a newcomer waits.
            return if state.held.has(own) == (0, 0) { Room::None } else { Room::Refused };
        };
        state.leave(network, turn);
        Room::Made(network)
    }

    /// Whose places are counted together: who comes from one IPv6 network may have all of
    /// it. A proxy's are not its neighbours'.
    fn holder(&self, address: IpAddr) -> Network {
        let bits = if self.0.proxies.contain(address) { 128 } else { WIDE_BITS };
        Network::wide(address, bits)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells a connection of a network to go, if it is there.
    fn leave(&mut self, network: Network, turn: u64) -> bool {
        let Some(gone) = self.held.remove(network, turn) else { return false };
        self.own.remove(gone.address, turn);
        gone.evicted.cancel();
        true
    }
}

/// A place; given back when its connection and the last answer on it are gone. Cheap
/// to clone.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Standing>);

#[derive(Debug)]
struct Standing {
    network: Network,
    address: Network,
    addresses: Addresses,
    proxy: bool,
    /// Under which it waits or asks; 0 for a socket.
    turn: AtomicU64,
    /// All of an answer is queued, and not yet written out.
    leaving: AtomicBool,
    evicted: CancellationToken,
}

impl Place {
    /// The connection has been opened; it waits for its first request.
    pub(super) fn opened(&self) {
        self.stands(Doing::Waits, Duration::ZERO);
    }

    /// All of an answer is queued for the connection.
    pub(super) fn answered(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// All that was queued is with the system; if that ended an answer, the connection
    /// waits for the next request.
    pub(super) fn written(&self) {
        if self.0.leaving.swap(false, Ordering::Relaxed) {
            self.stands(Doing::Waits, YOUNG);
        }
    }

    /// Somebody reads the request's body and finds nothing: it waits for that; with the
    /// turn of this wait. Asked once of a request, so that a body in pieces renews nothing.
    pub(super) fn headed(&self) -> u64 {
        self.stands(Doing::Waits, YOUNG)
    }

    /// A request has come, whole as far as anybody has looked.
    pub(super) fn asked(&self) {
        self.stands(Doing::Asks, Duration::ZERO);
    }

    /// The body that it waited for in this turn has come whole, or nobody reads it.
    pub(super) fn embodied(&self, turn: u64) {
        if self.0.proxy {
            return;
        }
        // Compared under the lock: its answer may go out at the same time.
        let mut state = self.0.addresses.state();
        if self.0.turn.load(Ordering::Relaxed) == turn {
            self.stands_in(&mut state, Doing::Asks, Duration::ZERO);
        }
    }

    /// It has become a socket, which does not give way.
    pub(super) fn upgraded(&self) {
        let mut state = self.0.addresses.state();
        let turn = self.0.turn.swap(0, Ordering::Relaxed);
        state.held.remove(self.0.network, turn);
        state.own.remove(self.0.address, turn);
    }

    /// Stands among those of its address from here on; with its turn.
    fn stands(&self, doing: Doing, spared: Duration) -> u64 {
        if self.0.proxy {
            return 0;
        }
        self.stands_in(&mut self.0.addresses.state(), doing, spared)
    }

    fn stands_in(&self, state: &mut State, doing: Doing, spared: Duration) -> u64 {
        let Standing { network, address, .. } = *self.0;
        self.0.leaving.store(false, Ordering::Relaxed);
        state.turns += 1;
        let turn = state.turns;
        let before = self.0.turn.swap(turn, Ordering::Relaxed);
        state.held.remove(network, before);
        state.own.remove(address, before);
        // One that was told to go, and has not seen it, is nobody's to choose again.
        if !self.0.evicted.is_cancelled() {
            let (since, evicted) = (Instant::now(), self.0.evicted.clone());
            let one = Since { since, spared, evicted, address };
            state.held.stand(network, doing, turn, one.clone());
            state.own.stand(address, doing, turn, one);
        }
        turn
    }

    /// Waits until it is given to somebody else.
    pub(super) async fn evicted(&self) {
        self.0.evicted.cancelled().await;
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let (mut state, turn) = (self.addresses.state(), self.turn.load(Ordering::Relaxed));
        state.held.give_back(self.network, turn);
        state.own.give_back(self.address, turn);
    }
}

#[cfg(test)]
mod tests;
