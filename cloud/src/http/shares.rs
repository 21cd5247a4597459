//! A fair share of the service for each who asks: so many requests of one person, by
//! whichever keys, are worked on at once, and the rest of theirs wait behind these. Somebody who
//! asks many things at once waits for themselves, and others find the database free.
//!
//! A request that takes long stops counting among these, so that it holds up nothing
//! else that its sender does; how many such there may be is bounded too.

use super::Problem;
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
}

/// What one sender has.
#[derive(Debug)]
struct Own {
    /// For requests that have just begun.
    turns: Arc<Semaphore>,
    /// For all that are worked on.
    all: Arc<Semaphore>,
}

/// Leave to work on one request; it ends when this is dropped.
#[derive(Debug)]
pub struct Share {
    turn: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
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
        drop(self.turn);
        work.await
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

    /// Waits until so many others of the actor's requests have ended that this one may
    /// begin. First come, first served.
    ///
    /// # Errors
    /// 429 when they take too long.
    pub async fn take(&self, actor: Uuid) -> Result<Share, Problem> {
        let own = self.own(actor);
        let begin = async {
            let turn = own.turns.clone().acquire_owned().await.ok()?;
            let all = own.all.clone().acquire_owned().await.ok()?;
            Some(Share { turn, _all: all, _own: Arc::clone(&own) })
        };
        self.waiting.inc();
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(PATIENCE, begin).await {
            Ok(Some(share)) => Ok(share),
            _ => {
                self.refused.inc();
                tracing::warn!(%actor, at_once = self.each,
                    "A request waited too long for others of the same account; it was told to come back.");
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
        let fresh = Arc::new(Own {
            turns: Arc::new(Semaphore::new(self.each)),
            all: Arc::new(Semaphore::new(self.each + LONG_ONES)),
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

    #[tokio::test]
    async fn who_asks_many_things_at_once_waits_for_themselves() {
        let shares = Shares::new(2).unwrap();
        let (busy, other) = (Uuid::now_v7(), Uuid::now_v7());
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
        let busy = Uuid::now_v7();
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
        let busy = Uuid::now_v7();
        let first = shares.take(busy).await.unwrap();
        assert_eq!(shares.take(busy).await.unwrap_err().status, 429);
        assert_eq!((shares.waiting.get(), shares.refused.get()), (0, 1));
        drop(first);
        for _ in 0..3 * REMEMBERED {
            drop(shares.take(Uuid::now_v7()).await.unwrap());
        }
        assert!(shares.actors.lock().unwrap().len() <= REMEMBERED);
    }
}
