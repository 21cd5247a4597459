//! Places of connections: so many in all, and so many for one address.
//!
//! One address cannot take all places. A proxy that stands before everybody may
//! take most of them: who comes through it is the proxy's to bound. When all are
//! taken, a connection that waits for a request gives way to a newcomer: the oldest of
//! the address that has most of these. So somebody with many addresses who opens
//! connections and asks nothing keeps nobody out.

use crate::http::{Network, Networks};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Age below which a connection does not give way to another of its address, nor one
/// that has just been answered to anybody: the answer may still be on its way.
const YOUNG: Duration = Duration::from_millis(500);

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
    /// Connections on which no request is under way, the oldest first. A proxy's are
    /// not among them.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    answered: bool,
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
        let (turn, evicted) = (AtomicU64::new(0), CancellationToken::new());
        let addresses = self.clone();
        Some(Place(Arc::new(Standing { network, addresses, proxy, turn, evicted })))
    }

    /// Has a connection give way to a newcomer.
    pub(super) fn make_room(&self, newcomer: IpAddr) -> Room {
        let now = Instant::now();
        let own = Network::of(newcomer);
        let mut state = self.state();
        let own_waiting = state.held.get(&own).map_or(0, |holder| holder.waiting.len());
        let busiest = state.held.iter().max_by_key(|(_, holder)| holder.waiting.len());
        let victim = match busiest {
            // One that holds more than the newcomer would gives way at once.
            Some((network, holder)) if holder.waiting.len() > own_waiting + 1 => {
                Some((*network, holder.oldest(now, Duration::ZERO)))
            }
            _ if own_waiting > 0 => {
                Some((own, state.held.get(&own).and_then(|holder| holder.oldest(now, YOUNG))))
            }
            _ => None,
        };
        match victim {
            None => Room::None,
            Some((network, None)) if network == own => Room::Refused,
            Some((_, None)) => Room::None,
            Some((network, Some(turn))) => {
                let holder = state.held.get_mut(&network);
                if let Some(waiting) = holder.and_then(|holder| holder.waiting.remove(&turn)) {
                    waiting.evicted.cancel();
                }
                Room::Made(network)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// The oldest that may give way.
    fn oldest(&self, now: Instant, age: Duration) -> Option<u64> {
        let may = |waiting: &Waiting| {
            now.duration_since(waiting.since) >= if waiting.answered { YOUNG } else { age }
        };
        self.waiting.iter().find(|(_, waiting)| may(waiting)).map(|(turn, _)| *turn)
    }
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
    /// Under which it waits for a request; 0 while one is under way.
    turn: AtomicU64,
    evicted: CancellationToken,
}

impl Place {
    /// The connection waits for its first request, or the next one.
    pub(super) fn waits(&self, answered: bool) {
        if self.0.proxy {
            return;
        }
        let mut state = self.0.addresses.state();
        state.turns += 1;
        let turn = state.turns;
        self.0.turn.store(turn, Ordering::Relaxed);
        if let Some(holder) = state.held.get_mut(&self.0.network) {
            let evicted = self.0.evicted.clone();
            holder.waiting.insert(turn, Waiting { since: Instant::now(), answered, evicted });
        }
    }

    /// A whole head has come.
    pub(super) fn asked(&self) {
        let mut state = self.0.addresses.state();
        let turn = self.0.turn.swap(0, Ordering::Relaxed);
        if let Some(holder) = state.held.get_mut(&self.0.network) {
            holder.waiting.remove(&turn);
        }
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
        holder.waiting.remove(&self.turn.load(Ordering::Relaxed));
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
        place.waits(false);
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
        // Where nobody has more than one, nobody gives way.
        drop(left.pop());
        assert_eq!(addresses.make_room(ip(9)), Room::None);
        assert!(!is_evicted(&quiet) && !asking.iter().any(is_evicted));
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
            place.waits(true);
        }
        assert_eq!(addresses.make_room(ip(2)), Room::None);
        tokio::time::advance(YOUNG).await;
        assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
        drop(kept);
        assert!(addresses.state().held.is_empty(), "all is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn those_behind_a_proxy_do_not_give_way() {
        let addresses = Addresses::new(100, 50, [ip(1)].into_iter().collect());
        let _proxied: Vec<Place> = (0..60).map(|_| waiting(&addresses, 1)).collect();
        assert_eq!(addresses.make_room(ip(2)), Room::None);
    }
}
