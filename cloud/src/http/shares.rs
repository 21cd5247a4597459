//! A fair share of the service for each who asks: so many requests of one person, by
//! whichever keys, are worked on at once, and the rest of theirs wait behind these. Somebody who
//! asks many things at once waits for themselves, and others find the database free.
//!
//! A request that takes long stops counting among these, so that it holds up nothing
//! else that its sender does; how many such there may be is bounded too. So is how many
//! bodies of requests come at once, which hold no share while they do.
//!
//! All keys of a person together have half of each, and wait for that before they stand in
//! the person's own line: a person at the console waits for few of their keys' requests.

use super::{Problem, seldom::Seldom};
use crate::authz::Sender;
use prometheus::{IntCounter, IntGauge, Registry};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::available_parallelism,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// A request that takes longer lets the next of its sender's begin.
const LONG: Duration = Duration::from_millis(100);
/// Requests of one sender that take longer, at once.
const LONG_ONES: usize = 3;
/// Bodies of one sender's requests that come, or have come and wait, at once.
const BODIES: usize = 8;
/// Longest wait for one's own requests to end.
const PATIENCE: Duration = Duration::from_secs(8);
/// Actors remembered before those who rest are forgotten.
const REMEMBERED: usize = 1024;

/// The shares of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shares {
    each: usize,
    actors: Arc<Mutex<HashMap<Uuid, Weak<Own>>>>,
    waiting: IntGauge,
    refused: IntCounter,
    said: Arc<Seldom>,
}

/// What one person has.
#[derive(Debug)]
struct Own {
    whole: Lanes,
    /// What their keys together have of it.
    keys: Lanes,
}

#[derive(Debug)]
struct Lanes {
    /// For requests that have just begun.
    turns: Arc<Semaphore>,
    /// For all that are worked on.
    all: Arc<Semaphore>,
    /// For bodies.
    bodies: Arc<Semaphore>,
}

impl Lanes {
    fn new(turns: usize, all: usize, bodies: usize) -> Self {
        let places = |n: usize| Arc::new(Semaphore::new(n.max(1)));
        Self { turns: places(turns), all: places(all), bodies: places(bodies) }
    }

    async fn begin(&self) -> Option<Held> {
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        let all = self.all.clone().acquire_owned().await.ok()?;
        Some(Held { turn, all })
    }

    async fn receive(&self) -> Option<OwnedSemaphorePermit> {
        self.bodies.clone().acquire_owned().await.ok()
    }
}

#[derive(Debug)]
struct Held {
    turn: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

/// Leave for the body of a request to come; it ends when this is dropped.
#[derive(Debug)]
pub struct Place {
    _whole: OwnedSemaphorePermit,
    _keys: Option<OwnedSemaphorePermit>,
    /// Remembered for as long as it comes.
    _own: Arc<Own>,
}

/// Leave to work on one request; it ends when this is dropped.
#[derive(Debug)]
pub struct Share {
    whole: Held,
    keys: Option<Held>,
    /// Remembered for as long as it works.
    _own: Arc<Own>,
}

impl Share {
    /// Works on the request. If that takes long, the next may begin meanwhile.
    pub async fn over<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout(LONG, &mut work).await {
            return done;
        }
        let (whole, keys) = (self.whole, self.keys);
        drop(whole.turn);
        let (turn, _keys) = keys.map(|held| (held.turn, held.all)).unzip();
        drop(turn);
        let done = work.await;
        drop(whole.all);
        done
    }
}

/// Counts somebody who waits for as long as they do, also where they give up.
struct Waiting<'a>(&'a IntGauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Shares {
    /// Shares of so many requests at once; 0 means half of the machine's processors.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a figure's name is not acceptable: a fault of the
    /// program.
    pub fn new(each: usize) -> Result<Self, prometheus::Error> {
        let by_machine = available_parallelism().map_or(1, |n| (n.get() / 2).max(1));
        Ok(Self {
            each: if each == 0 { by_machine } else { each },
            actors: Arc::default(),
            waiting: IntGauge::new(
                "unifyit_http_waiting",
                "Requests that wait for others of the same account.",
            )?,
            refused: IntCounter::new(
                "unifyit_http_waited_too_long_total",
                "Requests refused because others of the same account took too long.",
            )?,
            said: Arc::default(),
        })
    }

    /// Adds the figures of the shares to the metrics page.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a name is used twice: a fault of the program.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.waiting.clone()))?;
        registry.register(Box::new(self.refused.clone()))
    }

    /// Waits until so many others of the sender's bodies have come and been worked on
    /// that this one may come.
    ///
    /// # Errors
    /// 429 when they take too long.
    pub async fn receive(&self, sender: Sender) -> Result<Place, Problem> {
        let own = self.own(sender.person);
        let begin = async {
            let keys = if sender.by_key { Some(own.keys.receive().await?) } else { None };
            Some(Place { _whole: own.whole.receive().await?, _keys: keys, _own: Arc::clone(&own) })
        };
        self.in_time(sender, begin).await
    }

    /// Waits until so many others of the sender's requests have ended that this one may
    /// begin. First come, first served.
    ///
    /// # Errors
    /// 429 when they take too long.
    pub async fn take(&self, sender: Sender) -> Result<Share, Problem> {
        let own = self.own(sender.person);
        let begin = async {
            let keys = if sender.by_key { Some(own.keys.begin().await?) } else { None };
            Some(Share { whole: own.whole.begin().await?, keys, _own: Arc::clone(&own) })
        };
        self.in_time(sender, begin).await
    }

    async fn in_time<T>(
        &self,
        sender: Sender,
        begin: impl Future<Output = Option<T>>,
    ) -> Result<T, Problem> {
        self.waiting.inc();
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(PATIENCE, begin).await {
            Ok(Some(leave)) => Ok(leave),
            _ => {
                self.refused.inc();
                if let Some(times) = self.said.due() {
                    tracing::warn!(last = %sender.person, by_key = sender.by_key, at_once = self.each, times,
                        "A request waited too long for others of the same account; it was told to come back.");
                }
                Err(Problem::slow_down(
                    "Too many requests from this account are being worked on. Ask fewer things at once and try again.",
                ))
            }
        }
    }

    /// Requests that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> i64 {
        self.waiting.get()
    }

    fn own(&self, actor: Uuid) -> Arc<Own> {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = actors.get(&actor).and_then(Weak::upgrade) {
            return known;
        }
        if actors.len() >= REMEMBERED {
            actors.retain(|_, own| own.strong_count() > 0);
        }
        let all = self.each + LONG_ONES;
        let fresh = Arc::new(Own {
            whole: Lanes::new(self.each, all, BODIES),
            keys: Lanes::new(self.each / 2, all / 2, BODIES / 2),
        });
        actors.insert(actor, Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use futures::{FutureExt, poll};
    use std::future::pending;

    fn person() -> Sender {
        Sender { person: Uuid::now_v7(), by_key: false }
    }

    #[tokio::test]
    async fn who_asks_many_things_at_once_waits_for_themselves() {
        let shares = Shares::new(2).unwrap();
        let (busy, other) = (person(), person());
        let first = shares.take(busy).await.unwrap();
        let _second = shares.take(busy).await.unwrap();
        let mut third = pin!(shares.take(busy));
        assert!(poll!(&mut third).is_pending());
        assert_eq!(shares.waiting.get(), 1);
        assert!(shares.take(other).now_or_never().unwrap().is_ok());
        drop(first);
        assert!(third.await.is_ok());
        assert_eq!(shares.waiting.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn long_requests_hold_up_nothing_else_and_are_bounded() {
        let shares = Shares::new(1).unwrap();
        let busy = person();
        let mut long = Vec::new();
        for _ in 0..=LONG_ONES {
            let share = shares.take(busy).await.unwrap();
            long.push(tokio::spawn(share.over(pending::<()>())));
        }
        assert_eq!(shares.take(busy).await.unwrap_err().status, 429);
        for one in long {
            one.abort();
            assert!(one.await.unwrap_err().is_cancelled());
        }
        assert!(shares.take(busy).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back_and_is_forgotten() {
        let shares = Shares::new(1).unwrap();
        let busy = person();
        let first = shares.take(busy).await.unwrap();
        assert_eq!(shares.take(busy).await.unwrap_err().status, 429);
        assert_eq!((shares.waiting.get(), shares.refused.get()), (0, 1));
        assert_eq!(shares.said.due(), None, "a line was written that stands for the next, too");
        drop(first);
        for _ in 0..3 * REMEMBERED {
            drop(shares.take(person()).await.unwrap());
        }
        assert!(shares.actors.lock().unwrap().len() <= REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_never_shut_out_the_person_whose_they_are() {
        let shares = Shares::new(1).unwrap();
        let owner = person();
        let key = Sender { by_key: true, ..owner };
        let (mut work, mut bodies) = (Vec::new(), Vec::new());
        while let Ok(share) = shares.take(key).await {
            work.push(tokio::spawn(share.over(pending::<()>())));
        }
        while let Ok(place) = shares.receive(key).await {
            bodies.push(place);
        }
        assert_eq!((work.len(), bodies.len()), (LONG_ONES.div_ceil(2), BODIES / 2));
        let _queue: Vec<_> = (0..50)
            .map(|_| {
                let mut next = Box::pin(shares.take(key));
                assert!(next.as_mut().now_or_never().is_none());
                next
            })
            .collect();
        assert!(shares.take(owner).now_or_never().unwrap().is_ok());
        assert!(shares.receive(owner).now_or_never().unwrap().is_ok());
        assert!(shares.take(person()).now_or_never().unwrap().is_ok());
    }
}
