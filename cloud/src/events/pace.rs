//! How often something may happen: a few times at once, then at a steady pace.
//!
//! A page that gives way to another takes back what it watched just before the other
//! says what it wants: neither has to wait. Whoever goes on and on does.

use std::time::Duration;
use tokio::time::Instant;

/// So many may come at once.
const AT_ONCE: u32 = 4;

/// A pace.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    /// When all that happened is paid for.
    paid: Instant,
}

impl Pace {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, paid: Instant::now() }
    }

    /// It happened.
    pub(super) fn took(&mut self) {
        self.paid = self.paid.max(Instant::now()) + self.every;
    }

    /// When it may happen next.
    pub(super) fn next(&self) -> Instant {
        let ahead = self.every * (AT_ONCE - 1);
        self.paid.checked_sub(ahead).unwrap_or_else(Instant::now)
    }
}

/// Does something no sooner than at a moment.
pub(super) async fn at<T>(moment: Instant, done: impl Future<Output = T>) -> T {
    tokio::time::sleep_until(moment).await;
    done.await
}

/// Waits until a wish may be looked up; for ever without one.
pub(super) async fn due(wanted: bool, looks: &Pace) {
    match wanted {
        true => tokio::time::sleep_until(looks.next()).await,
        false => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn a_browser_that_changes_its_mind_all_the_time_is_looked_up_once_in_a_while() {
        let began = Instant::now();
        let (mut pace, mut looks) = (Pace::new(EVERY), 0);
        while began.elapsed() < Duration::from_secs(10) && looks < 100 {
            tokio::select! {
                biased;
                () = due(true, &pace) => {
                    looks += 1;
                    pace.took();
                }
                // A message every millisecond.
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        assert!((43..=44).contains(&looks), "{looks} looks in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_gives_way_to_another_holds_up_neither() {
        let mut pace = Pace::new(EVERY);
        // After a while, as at first.
        for _ in 0..2 {
            let began = Instant::now();
            for _ in 0..AT_ONCE {
                due(true, &pace).await;
                pace.took();
            }
            assert!(began.elapsed() < Duration::from_millis(2), "{:?}", began.elapsed());
            due(true, &pace).await;
            assert!(began.elapsed() >= EVERY, "the next waits");
            tokio::time::sleep(EVERY * AT_ONCE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_browser_that_talks_without_end_is_heard_at_its_pace() {
        let began = Instant::now();
        let (mut pace, mut heard) = (Pace::new(Duration::from_millis(50)), 0);
        let mut looks = tokio::time::interval(Duration::from_millis(7));
        while began.elapsed() < Duration::from_secs(1) {
            tokio::select! {
                // There is always one more to be read.
                () = at(pace.next(), std::future::ready(())) => {
                    heard += 1;
                    pace.took();
                }
                // What else goes on cuts the waiting short, and lets nothing through.
                _ = looks.tick() => {}
            }
        }
        assert!((20..=24).contains(&heard), "{heard} messages in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_wish_nothing_is_due() {
        let pace = Pace::new(EVERY);
        assert!(tokio::time::timeout(EVERY * 10, due(false, &pace)).await.is_err());
    }
}
