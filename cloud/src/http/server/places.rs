//! Places of connections: so many in all, and so many for one address.
//!
//! One address cannot take all places. A proxy that stands before everybody may
//! take most of them: who comes through it is the proxy's to bound. When all are
//! taken, a connection on which no whole request has come gives way to a newcomer: the
//! oldest of the address that has most of these, or the oldest of all where no address
//! has more than one. Where nobody waits, a long request gives way: the oldest of the
//! address that has most under way. So somebody with many addresses who opens
//! connections and asks nothing keeps nobody out, nor does whoever never ends what they
//! ask, unless they do so from as many addresses as there are places.

use crate::http::{Network, Networks};
use std::{
    collections::{BTreeMap, HashMap},
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

/// Who holds how many places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    each: usize,
    proxy: usize,
    proxies: Networks,
}

#[derive(Debug, Default)]
struct State {
    turns: u64,
    /// At most as many entries as there are places.
    held: HashMap<Network, Holder>,
}

#[derive(Debug, Default)]
struct Holder {
    places: usize,
    /// Connections on which no whole request has come, the oldest first.
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
    /// There will be a place when somebody's request is done.
    None,
    /// Its address has what it can have.
    Refused,
}

impl Addresses {
    /// Of `all` places, `each` for one address.
    pub(super) fn new(all: usize, each: usize, proxies: Networks) -> Self {
        let proxy = (all - all / 4).max(1);
        Self(Arc::new(Inner { state: Mutex::default(), each: each.max(1), proxy, proxies }))
    }

    /// A place for an address, or none when it holds its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let proxy = self.0.proxies.contain(address);
        let share = if proxy { self.0.proxy } else { self.0.each };
        let network = Network::of(address);
        let mut state = self.state();
        let holder = state.held.entry(network).or_default();
        if holder.places >= share {
            return None;
        }
        holder.places += 1;
        drop(state);
        let (turn, leaving) = (AtomicU64::new(0), AtomicBool::new(false));
        let evicted = CancellationToken::new();
        let addresses = self.clone();
        Some(Place(Arc::new(Standing { network, addresses, proxy, turn, leaving, evicted })))
    }

    /// Has a connection give way to a newcomer.
    pub(super) fn make_room(&self, newcomer: IpAddr) -> Room {
        let now = Instant::now();
        let own = Network::of(newcomer);
        let mut state = self.state();
        let held = &state.held;
        let own_waiting = held.get(&own).map_or(0, |holder| holder.waiting.len());
        let own_asking = held.get(&own).map_or(0, |holder| holder.asking.len());
        let busiest = held.iter().max_by_key(|(_, holder)| holder.waiting.len());
        let victim = match busiest {
            // One that holds more than the newcomer would gives way at once.
            Some((network, holder)) if holder.waiting.len() > own_waiting + 1 => {
                oldest(&holder.waiting, now, Duration::ZERO).map(|turn| (*network, turn))
            }
            _ if own_waiting > 0 => {
                let own_oldest = held.get(&own).and_then(|own| oldest(&own.waiting, now, YOUNG));
                let Some(turn) = own_oldest else { return Room::Refused };
                Some((own, turn))
            }
            _ => state.silent(now).or_else(|| state.long(now, own_asking + 1)),
        };
        let Some((network, turn)) = victim else { return Room::None };
        if let Some(gone) = state.held.get_mut(&network).and_then(|holder| holder.remove(turn)) {
            gone.evicted.cancel();
        }
        Room::Made(network)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest of all that wait.
    fn silent(&self, now: Instant) -> Option<(Network, u64)> {
        let all = self.held.iter();
        all.filter_map(|(network, holder)| Some((*network, oldest(&holder.waiting, now, SILENT)?)))
            .min_by_key(|(_, turn)| *turn)
    }

    /// The oldest long request of who has most under way, if these are more than so many.
    fn long(&self, now: Instant, more_than: usize) -> Option<(Network, u64)> {
        let (network, holder) = self.held.iter().max_by_key(|(_, holder)| holder.asking.len())?;
        let turn = oldest(&holder.asking, now, LONG)?;
        (holder.asking.len() > more_than).then_some((*network, turn))
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

    /// A head has come, and it waits for the request's body; with the turn of this wait.
    pub(super) fn headed(&self) -> u64 {
        self.stands(|holder| &mut holder.waiting, YOUNG)
    }

    /// A whole request has come.
    pub(super) fn asked(&self) {
        self.stands(|holder| &mut holder.asking, Duration::ZERO);
    }

    /// The body that it waited for in this turn has come whole, or nobody reads it.
    pub(super) fn embodied(&self, turn: u64) {
        if self.0.turn.load(Ordering::Relaxed) == turn {
            self.asked();
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
        self.0.leaving.store(false, Ordering::Relaxed);
        let mut state = self.0.addresses.state();
        state.turns += 1;
        let turn = state.turns;
        let before = self.0.turn.swap(turn, Ordering::Relaxed);
        if let Some(holder) = state.held.get_mut(&self.0.network) {
            holder.remove(before);
            let (since, evicted) = (Instant::now(), self.0.evicted.clone());
            among(holder).insert(turn, Since { since, spared, evicted });
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
        let Some(holder) = state.held.get_mut(&self.network) else { return };
        holder.places -= 1;
        holder.remove(self.turn.load(Ordering::Relaxed));
        if holder.places == 0 {
            state.held.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use futures::FutureExt;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn waiting(addresses: &Addresses, last: u8) -> Place {
        let place = addresses.take(ip(last)).unwrap();
        place.opened();
        place
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_gives_way_and_the_busiest_address_first() {
        let addresses = Addresses::new(100, 50, Networks::default());
        let quiet = waiting(&addresses, 1);
        let asking: Vec<Place> = (0..9).map(|_| waiting(&addresses, 2)).collect();
        asking.iter().for_each(Place::asked);
        let idle: Vec<Place> = (0..5).map(|_| waiting(&addresses, 3)).collect();
        for n in 0..3 {
            assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(3))));
            assert!(is_evicted(&idle[n]) && !is_evicted(&idle[n + 1]), "the oldest first");
        }
        let mut left = idle;
        left.drain(..3).for_each(drop);
        // Where nobody has more than one, the oldest of all that has had its time.
        drop(left.pop());
        assert_eq!(addresses.make_room(ip(9)), Room::None);
        tokio::time::advance(SILENT).await;
        assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(1))));
        assert!(is_evicted(&quiet) && !is_evicted(&left[0]) && !asking.iter().any(is_evicted));
    }

    #[tokio::test(start_paused = true)]
    async fn the_busiest_address_gains_nothing_by_coming_again() {
        let addresses = Addresses::new(100, 50, Networks::default());
        let own = [waiting(&addresses, 1), waiting(&addresses, 1)];
        assert_eq!(addresses.make_room(ip(1)), Room::Refused);
        tokio::time::advance(YOUNG).await;
        assert_eq!(addresses.make_room(ip(1)), Room::Made(Network::of(ip(1))));
        assert!(is_evicted(&own[0]) && !is_evicted(&own[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_reach_its_reader_before_the_connection_gives_way() {
        let addresses = Addresses::new(100, 50, Networks::default());
        let kept: Vec<Place> = (0..3).map(|_| waiting(&addresses, 1)).collect();
        for place in &kept {
            place.asked();
            place.answered();
            place.written();
        }
        assert_eq!(addresses.make_room(ip(2)), Room::None);
        tokio::time::advance(YOUNG).await;
        assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
        drop(kept);
        assert!(addresses.state().held.is_empty(), "all is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_waits_a_long_request_of_the_busiest_gives_way_but_no_socket() {
        let addresses = Addresses::new(100, 50, Networks::default());
        let busy: Vec<Place> = (0..5).map(|_| waiting(&addresses, 1)).collect();
        busy.iter().for_each(Place::asked);
        busy[0].upgraded();
        assert_eq!(addresses.make_room(ip(2)), Room::None);
        tokio::time::advance(LONG).await;
        assert_eq!(addresses.make_room(ip(1)), Room::None, "not to one of its own");
        assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
        assert!(!is_evicted(&busy[0]) && is_evicted(&busy[1]) && !is_evicted(&busy[2]));
        drop(busy);
        assert!(addresses.state().held.is_empty(), "all is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_without_its_body_gives_way_soon() {
        let addresses = Addresses::new(100, 50, Networks::default());
        let heads: Vec<Place> = (0..4).map(|_| waiting(&addresses, 1)).collect();
        let turns: Vec<u64> = heads.iter().map(Place::headed).collect();
        heads[0].embodied(turns[0]);
        assert_eq!(addresses.make_room(ip(2)), Room::None);
        tokio::time::advance(YOUNG).await;
        assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
        assert!(!is_evicted(&heads[0]) && is_evicted(&heads[1]));
        // A body that ends after its answer was sent changes nothing.
        heads[2].answered();
        heads[2].written();
        heads[2].embodied(turns[2]);
        assert_eq!(addresses.state().held[&Network::of(ip(1))].asking.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_behind_a_proxy_do_not_give_way() {
        let addresses = Addresses::new(100, 50, [ip(1)].into_iter().collect());
        let _proxied: Vec<Place> = (0..60).map(|_| waiting(&addresses, 1)).collect();
        assert_eq!(addresses.make_room(ip(2)), Room::None);
    }
}
