//! Who holds places, and which connection gives way to a newcomer.

use crate::http::Network;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Age below which a connection does not give way to another of its address, nor to
/// anybody one that has just been answered or sent a head: the rest may be on its way.
pub(super) const YOUNG: Duration = Duration::from_millis(500);
/// Age from which one that waits gives way, where no address has more than one of these.
pub(super) const SILENT: Duration = Duration::from_secs(1);
/// Age from which a request under way gives way, where nobody waits for one.
pub(super) const LONG: Duration = Duration::from_secs(10);
/// Age from which it does to an address that has nothing, where no address has more
/// than others.
pub(super) const VERY_LONG: Duration = Duration::from_secs(60);
/// Connections that a browser opens to one host: an address with fewer that wait does
/// not give away its own while those of others are silent.
pub(super) const BROWSER: usize = 6;

/// Places by who holds them: networks, or addresses. At most as many entries as places.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<Network, Holder>);

/// What one of these holds.
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

/// A connection that may give way.
#[derive(Debug, Clone)]
pub(super) struct Since {
    pub(super) since: Instant,
    /// Below this age it gives way to nobody.
    pub(super) spared: Duration,
    pub(super) evicted: CancellationToken,
    /// Whose it is, within the holder.
    pub(super) address: Network,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for a request or for its body.
    Waits,
    /// A request is under way.
    Asks,
}

/// Which of a holder's connections.
type Among = fn(&Holder) -> &Standings;

impl Holders {
    /// How many places somebody has.
    pub(super) fn places(&self, holder: Network) -> usize {
        self.0.get(&holder).map_or(0, |holder| holder.places)
    }

    pub(super) fn take(&mut self, holder: Network) {
        self.0.entry(holder).or_default().places += 1;
    }

    /// Gives back a place, and what stood there.
    pub(super) fn give_back(&mut self, holder: Network, turn: u64) {
        let Some(held) = self.0.get_mut(&holder) else { return };
        held.places -= 1;
        held.remove(turn);
        if held.places == 0 {
            self.0.remove(&holder);
        }
    }

    pub(super) fn stand(&mut self, holder: Network, doing: Doing, turn: u64, one: Since) {
        let Some(held) = self.0.get_mut(&holder) else { return };
        let among = match doing {
            Doing::Waits => &mut held.waiting,
            Doing::Asks => &mut held.asking,
        };
        among.insert(turn, one);
    }

    pub(super) fn remove(&mut self, holder: Network, turn: u64) -> Option<Since> {
        self.0.get_mut(&holder)?.remove(turn)
    }

    /// How many somebody has that wait, and how many requests under way.
    pub(super) fn has(&self, holder: Network) -> (usize, usize) {
        let holder = self.0.get(&holder);
        holder.map_or((0, 0), |holder| (holder.waiting.len(), holder.asking.len()))
    }

    /// Whether nobody holds any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which connection gives way to a newcomer of this holder, of those who are asked.
    pub(super) fn victim(
        &self,
        own: Network,
        asked: impl Fn(&Network) -> bool,
        now: Instant,
    ) -> Option<(Network, u64)> {
        let (own_waiting, own_asking) = self.has(own);
        let its_own = || Some((own, oldest(&self.0.get(&own)?.waiting, now, YOUNG)?));
        let asked = Asked(self.0.iter().filter(|(holder, _)| asked(holder)).collect());
        asked.victim((own_waiting, own_asking), its_own, now)
    }
}

/// Those of whom one may have to give way.
struct Asked<'a>(Vec<(&'a Network, &'a Holder)>);

impl Asked<'_> {
    /// At each step all that may not go are left out first, so that none of these shields
    /// the others.
    fn victim(
        &self,
        (own_waiting, own_asking): (usize, usize),
        its_own: impl Fn() -> Option<(Network, u64)>,
        now: Instant,
    ) -> Option<(Network, u64)> {
        let waiting: Among = |holder| &holder.waiting;
        let asking: Among = |holder| &holder.asking;
        let silent = || self.oldest_of_all(waiting, now, SILENT);
        let long = || self.of_most(asking, own_asking + 1, now, LONG);
        let very_long = || self.oldest_of_all(asking, now, VERY_LONG);
        // One of who has more that wait than the newcomer would have gives way at once.
        self.of_most(waiting, own_waiting + 1, now, Duration::ZERO)
            .or_else(|| (own_waiting < BROWSER).then(silent).flatten())
            .or_else(its_own)
            .or_else(|| (own_waiting == 0).then(long).flatten())
            .or_else(|| (own_waiting + own_asking == 0).then(very_long).flatten())
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
        let more = self.0.iter().filter(|(_, holder)| among(holder).len() > more_than);
        more.filter_map(|(network, holder)| {
            let standings = among(holder);
            Some((standings.len(), (**network, oldest(standings, now, age)?)))
        })
        .max_by_key(|(count, _)| *count)
        .map(|(_, victim)| victim)
    }

    /// The oldest of all of this age that may give way.
    fn oldest_of_all(&self, among: Among, now: Instant, age: Duration) -> Option<(Network, u64)> {
        let all = self.0.iter();
        all.filter_map(|(network, holder)| Some((**network, oldest(among(holder), now, age)?)))
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
