//! How often somebody may: sign-in attempts, wrong credentials, requests.
//!
//! Each limit is a fixed table of cells that a key falls into by a hash of this
//! process's own. So no flood of addresses, accounts or keys makes it grow; two
//! keys that share a cell share their allowance, which is rare and lasts until a
//! restart at most.
//!
//! Guessing is bounded three ways: by address (an IPv6 /64 is one, a /48 gets
//! eight times as much), by account over all addresses, and over all accounts
//! and addresses. The last two hold for browsers that have never signed in to
//! the account. One that has proves it by a cookie and has an allowance of its
//! own, so that a stranger who guesses at somebody's account locks nobody out
//! of it.

use super::{Network, Problem};
use crate::config::Config;
use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Cells of a table: half a megabyte each.
const CELLS: usize = 64 * 1024;
/// Wrong keys and cookies that an address may send in a minute.
const WRONG_PER_MINUTE: u32 = 600;
/// Attempts at an account by browsers that it does not know, for one of an
/// address: a single stranger never uses them up.
const ACCOUNT: u32 = 5;
/// Attempts over all accounts by such browsers, for one of an address.
const EVERYBODY: u32 = 30;
/// What an IPv6 /48 may, for one of a /64 in it.
const WIDE: u32 = 8;
/// Bits of the IPv6 prefix that one customer of a provider commonly has.
const WIDE_BITS: u32 = 48;

/// All limits of the process. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    began: Instant,
    address: Cells,
    wide: Cells,
    account: Cells,
    browser: Cells,
    everybody: Cells,
    actor: Cells,
    wrong: Cells,
    /// Credentials that were right lately, by half of their hash.
    right: Box<[AtomicU64]>,
    seed: RandomState,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let logins = config.logins_per_minute.max(1);
        let minute = |n: u32| Cells::new(n, Duration::from_secs(60), n, CELLS);
        let requests = config.requests_per_second.max(1);
        let burst = requests.saturating_mul(10);
        Self(Arc::new(Inner {
            began: Instant::now(),
            address: minute(logins),
            wide: minute(logins.saturating_mul(WIDE)),
            account: minute(logins.saturating_mul(ACCOUNT)),
            browser: minute(logins),
            everybody: Cells::new(
                logins.saturating_mul(EVERYBODY),
                Duration::from_secs(60),
                logins.saturating_mul(EVERYBODY),
                1,
            ),
            actor: Cells::new(requests, Duration::from_secs(1), burst, CELLS),
            wrong: minute(WRONG_PER_MINUTE),
            right: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new(),
        }))
    }

    /// Counts a sign-in attempt at an account. `browser` is the proof of one that
    /// it signed in to this very account before.
    ///
    /// # Errors
    /// 429 when the account or the browser had too many.
    pub fn login(&self, email: &str, browser: Option<[u8; 32]>) -> Result<(), Problem> {
        let now = self.now();
        match browser {
            Some(browser) => self.0.browser.take(&browser, now).map_err(wait),
            None => {
                self.0.account.take(&account(email), now).map_err(wait)?;
                self.0.everybody.take(&(), now).map_err(wait)
            }
        }
    }

    /// Counts an attempt at one's own password by who is signed in already.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn own_password(&self, user: Uuid) -> Result<(), Problem> {
        self.0.browser.take(&user, self.now()).map_err(wait)
    }

    /// Counts a sign-in attempt of an address.
    ///
    /// # Errors
    /// 429 when the address had too many.
    pub fn address(&self, address: IpAddr) -> Result<(), Problem> {
        let now = self.now();
        if address.to_canonical().is_ipv6() {
            self.0.wide.take(&Network::wide(address, WIDE_BITS), now).map_err(wait)?;
        }
        self.0.address.take(&Network::of(address), now).map_err(wait)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 when the actor had too many.
    pub fn request(&self, actor: Uuid) -> Result<(), Problem> {
        self.0.actor.take(&actor, self.now()).map_err(|rest| {
            Problem::slow_down("Too many requests from this account. Slow down and try again.")
                .after(rest)
        })
    }

    /// Whether a credential is worth a look into the database: it was right
    /// lately, or its address has not sent too many wrong ones.
    ///
    /// # Errors
    /// 429 when it is not.
    pub fn credential(&self, address: IpAddr, hash: &[u8]) -> Result<(), Problem> {
        let (cell, print) = self.print(hash);
        if cell.load(Ordering::Relaxed) == print {
            return Ok(());
        }
        self.0.wrong.look(&Network::of(address), self.now()).map_err(|rest| {
            Problem::slow_down(
                "Too many wrong keys or sessions came from this address. Wait and try again.",
            )
            .after(rest)
        })
    }

    /// Notes whether a credential was right.
    pub fn judged(&self, address: IpAddr, hash: &[u8], right: bool) {
        let (cell, print) = self.print(hash);
        if right {
            cell.store(print, Ordering::Relaxed);
            return;
        }
        if cell.load(Ordering::Relaxed) == print {
            cell.store(0, Ordering::Relaxed);
        }
        // What is beyond the allowance is refused at the next look.
        let _ = self.0.wrong.take(&Network::of(address), self.now());
    }

    fn print(&self, hash: &[u8]) -> (&AtomicU64, u64) {
        let print = self.0.seed.hash_one(hash);
        (&self.0.right[index(print, self.0.right.len())], print | 1)
    }

    /// Nanoseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Hashed, so that a hostile, long address costs nothing further.
fn account(email: &str) -> [u8; 32] {
    *blake3::hash(email.trim().to_lowercase().as_bytes()).as_bytes()
}

fn wait(rest: Duration) -> Problem {
    let seconds = rest.as_secs() + 1;
    Problem::slow_down(format!("Too many attempts. Wait {seconds} seconds and try again."))
        .after(rest)
}

fn index(hash: u64, cells: usize) -> usize {
    usize::try_from(hash >> 16).unwrap_or_default() % cells
}

/// A table of allowances that refill evenly (GCRA): each cell is the moment at
/// which it will be full again.
struct Cells {
    cells: Box<[AtomicU64]>,
    seed: RandomState,
    /// Nanoseconds in which one comes back.
    each: u64,
    /// Nanoseconds in which all come back.
    all: u64,
}

impl Cells {
    fn new(n: u32, per: Duration, burst: u32, cells: usize) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let each = (per / u64::from(n.max(1))).max(1);
        Self {
            cells: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new(),
            each,
            all: each.saturating_mul(u64::from(burst.max(1))),
        }
    }

    /// Takes one, or says how long until there is one.
    fn take(&self, key: &impl Hash, now: u64) -> Result<(), Duration> {
        let mut rest = Duration::ZERO;
        let taken = self.cell(key).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            let full = full.max(now) + self.each;
            rest = Duration::from_nanos(full.saturating_sub(now + self.all));
            rest.is_zero().then_some(full)
        });
        if taken.is_ok() { Ok(()) } else { Err(rest) }
    }

    /// Whether there is one to take, and else how long until there is.
    fn look(&self, key: &impl Hash, now: u64) -> Result<(), Duration> {
        let full = self.cell(key).load(Ordering::Relaxed).max(now) + self.each;
        let rest = Duration::from_nanos(full.saturating_sub(now + self.all));
        if rest.is_zero() { Ok(()) } else { Err(rest) }
    }

    fn cell(&self, key: &impl Hash) -> &AtomicU64 {
        &self.cells[index(self.seed.hash_one(key), self.cells.len())]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_allowance_is_used_up_says_how_long_and_comes_back() {
        let cells = Cells::new(6, Duration::from_secs(60), 3, 64);
        for _ in 0..3 {
            assert_eq!(cells.look(&"a", 0), Ok(()));
            assert_eq!(cells.take(&"a", 0), Ok(()));
        }
        assert_eq!(cells.take(&"a", 0), Err(Duration::from_secs(10)));
        assert_eq!(cells.look(&"a", 4 * SECOND), Err(Duration::from_secs(6)));
        assert_eq!(cells.take(&"a", 10 * SECOND), Ok(()));
        assert!(cells.take(&"a", 10 * SECOND).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_and_its_neighbours_are_bounded_together() {
        let limits = Limits::new(&Config { logins_per_minute: 3, ..Config::default() });
        let ip = |text: String| text.parse::<IpAddr>().unwrap();
        let tried = |from: String| limits.address(ip(from)).is_ok();
        let same = (0..8).filter(|n| tried(format!("2001:db8::{n:x}"))).count();
        assert_eq!(same, 3);
        let wide = (1..100).filter(|n| tried(format!("2001:db8:0:{n:x}::1"))).count();
        assert!(wide <= 24, "{wide} of a /48 were let through");
        assert!(tried("2001:db9::1".into()));
    }

    #[test]
    fn wrong_credentials_stop_their_address_and_not_those_that_were_right() {
        let limits = Limits::new(&Config::default());
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        limits.judged(here, b"good", true);
        for n in 0..WRONG_PER_MINUTE {
            limits.credential(here, &n.to_le_bytes()).unwrap();
            limits.judged(here, &n.to_le_bytes(), false);
        }
        let refused = limits.credential(here, b"another").unwrap_err();
        assert_eq!(refused.status, 429);
        limits.credential(here, b"good").unwrap();
        limits.credential(there, b"another").unwrap();
        limits.judged(here, b"good", false);
        assert!(limits.credential(here, b"good").is_err(), "it was revoked");
    }
}
