//! Places of connections: so many in all, and so many for one address.
//!
//! One address (an IPv6 /64 is one) has a share. An IPv6 network as wide as a customer may
//! have has several, so that nobody in it shuts out all others there, and never most of all
//! places. A proxy that stands before everybody may
//! take most of them: who comes through it is the proxy's to bound. When all are
//! taken, a connection that waits for a request or for its body gives way to a newcomer: the
//! oldest that may of the address that has most of these, or, to an address that has
//! fewer than a browser opens, the oldest of all that are silent. Where none of these may,
//! a long request gives way: the oldest of the address that has most under way, and to an
//! address that has nothing the oldest of all once it has lasted very long. An address that has requests under
//! way, and nobody has more, gets no place rather than have others wait behind it. So
//! neither who opens connections and asks nothing nor who never ends what they ask
//! keeps anybody out for longer than that, from however many addresses.

use crate::http::{Network, Networks, network::WIDE_BITS};
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Age below which a connection does not give way to another of its address, nor to
/// anybody one that has just been answered or sent a head: the rest may be on its way.
const YOUNG: Duration = Duration::from_millis(500);
/// Age from which one that waits gives way, where no address has more than one of these.
const SILENT: Duration = Duration::from_secs(1);
/// Age from which a request under way gives way, where nobody waits for one.
const LONG: Duration = Duration::from_secs(10);
/// Age from which it does to an address that has nothing, where no address has more
/// than others.
const VERY_LONG: Duration = Duration::from_secs(60);
/// Connections that a browser opens to one host: an address with fewer that wait does
/// not give away its own while those of others are silent.
const BROWSER: usize = 6;
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
    /// At most as many entries as there are places.
    held: HashMap<Network, Holder>,
    /// How many places each address has of its holder's.
    own: HashMap<Network, usize>,
}

#[derive(Debug, Default)]
struct Holder {
    places: usize,
    /// Connections that wait for a request or for its body, the oldest first.
    waiting: Standings,
    /// Those on which one is under way, the oldest first; sockets are not among them.
    asking: Standings,
}

/// By their turns. A proxy's are not among them.
type Standings = BTreeMap<u64, Since>;

#[derive(Debug)]
struct Since {
    since: Instant,
    /// Below this age it gives way to nobody.
    spared: Duration,
    evicted: CancellationToken,
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
        let proxy = self.0.proxies.contain(address);
        let Inner { each, wide, proxy: most, .. } = *self.0;
        let (each, wide) = if proxy { (most, most) } else { (each, wide) };
        let network = self.holder(address);
        let address = if proxy { network } else { Network::of(address) };
        let mut state = self.state();
        if state.places(network, address).is_some_and(|(all, own)| all >= wide || own >= each) {
            return None;
        }
        state.held.entry(network).or_default().places += 1;
        *state.own.entry(address).or_default() += 1;
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
        let Some((network, turn)) = state.victim(own, Instant::now()) else {
            // Nobody else is served while a newcomer waits.
            return if state.has(own) == (0, 0) { Room::None } else { Room::Refused };
        };
        if let Some(gone) = state.held.get_mut(&network).and_then(|holder| holder.remove(turn)) {
            gone.evicted.cancel();
        }
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

/// Which of a holder's connections.
type Among = fn(&Holder) -> &Standings;

impl State {
    /// Which connection gives way to a newcomer of this network. At each step all that
    /// may not go are left out first, so that none of these shields the others.
    fn victim(&self, own: Network, now: Instant) -> Option<(Network, u64)> {
        let waiting: Among = |holder| &holder.waiting;
        let asking: Among = |holder| &holder.asking;
        let (own_waiting, own_asking) = self.has(own);
        let silent = || self.oldest_of_all(waiting, now, SILENT);
        let its_own = || Some((own, oldest(&self.held.get(&own)?.waiting, now, YOUNG)?));
        let long = || self.of_most(asking, own_asking + 1, now, LONG);
        let very_long = || self.oldest_of_all(asking, now, VERY_LONG);
        // One of who has more that wait than the newcomer would have gives way at once.
        self.of_most(waiting, own_waiting + 1, now, Duration::ZERO)
            .or_else(|| (own_waiting < BROWSER).then(silent).flatten())
            .or_else(its_own)
            .or_else(|| (own_waiting == 0).then(long).flatten())
            .or_else(|| (own_waiting + own_asking == 0).then(very_long).flatten())
    }

    /// How many places a network has, and an address in it; none where it has none.
    fn places(&self, network: Network, address: Network) -> Option<(usize, usize)> {
        let own = self.own.get(&address).copied().unwrap_or_default();
        self.held.get(&network).map(|holder| (holder.places, own))
    }

    /// How many a network has that wait, and how many requests under way.
    fn has(&self, network: Network) -> (usize, usize) {
        let holder = self.held.get(&network);
        holder.map_or((0, 0), |holder| (holder.waiting.len(), holder.asking.len()))
    }

    /// Of those who have more than so many and one of this age that may give way, the
    /// oldest such one of who has most.
    fn of_most(
        &self,
        among: Among,
        more_than: usize,
        now: Instant,
        age: Duration,
    ) -> Option<(Network, u64)> {
        let more = self.held.iter().filter(|(_, holder)| among(holder).len() > more_than);
        more.filter_map(|(network, holder)| {
            let standings = among(holder);
            Some((standings.len(), (*network, oldest(standings, now, age)?)))
        })
        .max_by_key(|(count, _)| *count)
        .map(|(_, victim)| victim)
    }

    /// The oldest of all of this age that may give way.
    fn oldest_of_all(&self, among: Among, now: Instant, age: Duration) -> Option<(Network, u64)> {
        let all = self.held.iter();
        all.filter_map(|(network, holder)| Some((*network, oldest(among(holder), now, age)?)))
            .min_by_key(|(_, turn)| *turn)
    }
}

impl Holder {
    fn remove(&mut self, turn: u64) -> Option<Since> {
        self.waiting.remove(&turn).or_else(|| self.asking.remove(&turn))
    }
}

/// The oldest that may give way.
fn oldest(standings: &Standings, now: Instant, age: Duration) -> Option<u64> {
    let may = |one: &Since| now.duration_since(one.since) >= age.max(one.spared);
    standings.iter().find(|(_, one)| may(one)).map(|(turn, _)| *turn)
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
        self.stands(|holder| &mut holder.waiting, Duration::ZERO);
    }

    /// All of an answer is queued for the connection.
    pub(super) fn answered(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// All that was queued is with the system; if that ended an answer, the connection
    /// waits for the next request.
    pub(super) fn written(&self) {
        if self.0.leaving.swap(false, Ordering::Relaxed) {
            self.stands(|holder| &mut holder.waiting, YOUNG);
        }
    }

    /// Somebody reads the request's body and finds nothing: it waits for that; with the
    /// turn of this wait. Asked once of a request, so that a body in pieces renews nothing.
    pub(super) fn headed(&self) -> u64 {
        self.stands(|holder| &mut holder.waiting, YOUNG)
    }

    /// A request has come, whole as far as anybody has looked.
    pub(super) fn asked(&self) {
        self.stands(|holder| &mut holder.asking, Duration::ZERO);
    }

    /// The body that it waited for in this turn has come whole, or nobody reads it.
    pub(super) fn embodied(&self, turn: u64) {
        if self.0.proxy {
            return;
        }
        // Compared under the lock: its answer may go out at the same time.
        let mut state = self.0.addresses.state();
        if self.0.turn.load(Ordering::Relaxed) == turn {
            self.stands_in(&mut state, |holder| &mut holder.asking, Duration::ZERO);
        }
    }

    /// It has become a socket, which does not give way.
    pub(super) fn upgraded(&self) {
        let mut state = self.0.addresses.state();
        let turn = self.0.turn.swap(0, Ordering::Relaxed);
        state.held.get_mut(&self.0.network).and_then(|holder| holder.remove(turn));
    }

    /// Stands among those of its address from here on; with its turn.
    fn stands(&self, among: fn(&mut Holder) -> &mut Standings, spared: Duration) -> u64 {
        if self.0.proxy {
            return 0;
        }
        self.stands_in(&mut self.0.addresses.state(), among, spared)
    }

    fn stands_in(
        &self,
        state: &mut State,
        among: fn(&mut Holder) -> &mut Standings,
        spared: Duration,
    ) -> u64 {
        self.0.leaving.store(false, Ordering::Relaxed);
        state.turns += 1;
        let turn = state.turns;
        let before = self.0.turn.swap(turn, Ordering::Relaxed);
        if let Some(holder) = state.held.get_mut(&self.0.network) {
            holder.remove(before);
            // One that was told to go, and has not seen it, is nobody's to choose again.
            if !self.0.evicted.is_cancelled() {
                let (since, evicted) = (Instant::now(), self.0.evicted.clone());
                among(holder).insert(turn, Since { since, spared, evicted });
            }
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
        let mut state = self.addresses.state();
        if let Entry::Occupied(mut own) = state.own.entry(self.address) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        let Some(holder) = state.held.get_mut(&self.network) else { return };
        holder.places -= 1;
        holder.remove(self.turn.load(Ordering::Relaxed));
        if holder.places == 0 {
            state.held.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests;
