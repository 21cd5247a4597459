//! How often somebody may: sign-in attempts, wrong credentials, requests.
//!
//! Each limit is a fixed table of cells that a key falls into by a hash of this
//! process's own. So no flood of addresses, accounts or keys makes it grow; two
//! keys that share a cell share their allowance, which is rare and lasts until a
//! restart at most.
//!
//! Guessing is bounded three ways: by address (an IPv6 /64 is one, a /48 gets
//! four times as much), by account over all addresses, and over all accounts
//! and addresses. The last two hold for browsers that have never signed in to
//! the account. One that has proves it by a cookie and has an allowance of its
//! own, so that a stranger who guesses at somebody's account locks nobody out
//! of it.
//!
//! Whoever reaches a limit is counted by it, and named in the log once a minute.

use super::{Network, Problem, network::WIDE_BITS, seldom::Seldom};
use crate::{authz::Sender, config::Config};
use prometheus::{IntCounterVec, Opts, Registry};
use std::{
    fmt,
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
/// What an IPv6 /48 may, for one of a /64 in it: less than [`ACCOUNT`], since all of it
/// is one stranger's.
const WIDE: u32 = 4;

/// All limits of the process. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    began: Instant,
    address: Limit,
    wide: Limit,
    account: Limit,
    browser: Limit,
    everybody: Limit,
    requests: Limit,
    keys: Limit,
    wrong: Limit,
    reached: IntCounterVec,
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
    ///
    /// # Errors
    /// [`prometheus::Error`] when a figure's name is not acceptable: a fault of
    /// the program.
    pub fn new(config: &Config) -> Result<Self, prometheus::Error> {
        let logins = config.logins_per_minute.max(1);
        let minute = |n: u32| Cells::new(n, Duration::from_secs(60), n, CELLS);
        let requests = config.requests_per_second.max(1);
        let burst = requests.saturating_mul(10);
        let all = logins.saturating_mul(EVERYBODY);
        let everybody = Cells::new(all, Duration::from_secs(60), all, 1);
        let second = Cells::new(requests, Duration::from_secs(1), burst, CELLS);
        let half = Cells::new(requests, Duration::from_secs(2), burst / 2, CELLS);
        let reached = Opts::new("unifyit_limit_reached_total", "Times that somebody had to wait.");
        Ok(Self(Arc::new(Inner {
            began: Instant::now(),
            address: Limit::new("address", minute(logins)),
            wide: Limit::new("network", minute(logins.saturating_mul(WIDE))),
            account: Limit::new("account", minute(logins.saturating_mul(ACCOUNT))),
            browser: Limit::new("browser", minute(logins)),
            everybody: Limit::new("everybody", everybody),
            requests: Limit::new("requests", second),
            keys: Limit::new("requests_by_keys", half),
            wrong: Limit::new("wrong_credentials", minute(WRONG_PER_MINUTE)),
            reached: IntCounterVec::new(reached, &["limit"])?,
            right: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new(),
        })))
    }

    /// Adds the figures of the limits to the metrics page.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a name is used twice: a fault of the program.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.0.reached.clone()))
    }

    /// Counts a sign-in attempt at an account, from an address. `browser` is the
    /// proof of one that it signed in to this very account before.
    ///
    /// # Errors
    /// 429 when the account or the browser had too many.
    pub fn login(
        &self,
        email: &str,
        browser: Option<[u8; 32]>,
        from: IpAddr,
    ) -> Result<(), Problem> {
        match browser {
            Some(browser) => self.take(&self.0.browser, &browser, from).map_err(wait),
            None => {
                self.take(&self.0.account, &account(email), from).map_err(wait)?;
                self.take(&self.0.everybody, &(), from).map_err(wait)
            }
        }
    }

    /// Counts an attempt at one's own password by who is signed in already.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn own_password(&self, user: Uuid) -> Result<(), Problem> {
        self.take(&self.0.browser, &user, user).map_err(wait)
    }

    /// Counts a sign-in attempt of an address: only what its own network and the wide one,
    /// which others may share, both let through counts for either.
    ///
    /// # Errors
    /// 429 when the address had too many.
    pub fn address(&self, address: IpAddr) -> Result<(), Problem> {
        let wide = address.to_canonical().is_ipv6().then(|| Network::wide(address, WIDE_BITS));
        if let Some(network) = &wide {
            // What the wide one refuses is not counted for the address either.
            let left = self.0.wide.cells.look(network, self.now());
            left.inspect_err(|_| self.reached(&self.0.wide, address)).map_err(wait)?;
        }
        self.take(&self.0.address, &Network::of(address), address).map_err(wait)?;
        match &wide {
            Some(network) => self.take(&self.0.wide, network, address).map_err(wait),
            None => Ok(()),
        }
    }

    /// Counts a request of a person, by whichever session or key. Their keys together
    /// get half, and what that refuses is not counted for the person.
    ///
    /// # Errors
    /// 429 when the person, or all of their keys, had too many.
    pub fn request(&self, sender: Sender) -> Result<(), Problem> {
        let person = sender.person;
        let keys = if sender.by_key { self.take(&self.0.keys, &person, person) } else { Ok(()) };
        keys.map_err(|rest| {
            Problem::slow_down(
                "Too many requests by API keys of this account. All of them together have half of what the account may. Slow down and try again.",
            )
            .after(rest)
        })?;
        self.take(&self.0.requests, &person, person).map_err(|rest| {
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
        let wrong = &self.0.wrong;
        wrong.cells.look(&Network::of(address), self.now()).map_err(|rest| {
            self.reached(wrong, address);
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
        let _ = self.0.wrong.cells.take(&Network::of(address), self.now());
    }

    fn take(&self, limit: &Limit, key: &impl Hash, who: impl fmt::Display) -> Result<(), Duration> {
        limit.cells.take(key, self.now()).inspect_err(|_| self.reached(limit, who))
    }

    fn reached(&self, limit: &Limit, who: impl fmt::Display) {
        self.0.reached.with_label_values(&[limit.name]).inc();
        if let Some(times) = limit.said.due() {
            tracing::warn!(limit = limit.name, last = %who, times,
                "Somebody reached a limit and has to wait.");
        }
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

/// What somebody may, and when it was said last that there is no more.
struct Limit {
    name: &'static str,
    cells: Cells,
    said: Seldom,
}

impl Limit {
    fn new(name: &'static str, cells: Cells) -> Self {
        Self { name, cells, said: Seldom::default() }
    }
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
        let limits = Limits::new(&Config { logins_per_minute: 3, ..Config::default() }).unwrap();
        let ip = |text: String| text.parse::<IpAddr>().unwrap();
        let tried = |from: String| limits.address(ip(from)).is_ok();
        let same = (0..8).filter(|n| tried(format!("2001:db8::{n:x}"))).count();
        assert_eq!(same, 3);
        let wide = (1..100).filter(|n| tried(format!("2001:db8:0:{n:x}::1"))).count();
        assert!(wide <= 12, "{wide} of a /48 were let through");
        assert!(tried("2001:db9::1".into()));
        let counted = |name| limits.0.reached.with_label_values(&[name]).get();
        assert_eq!(counted("address"), 5);
        assert_eq!(counted("network"), 99 - u64::try_from(wide).unwrap());
    }

    #[test]
    fn keys_get_half_of_what_their_person_may() {
        let limits = Limits::new(&Config { requests_per_second: 2, ..Config::default() }).unwrap();
        let owner = Sender { person: Uuid::now_v7(), by_key: false };
        let key = Sender { by_key: true, ..owner };
        let asked = |sender| (0..100).filter(|_| limits.request(sender).is_ok()).count();
        assert_eq!(asked(key), 10);
        let why = limits.request(key).unwrap_err().detail;
        assert!(why.contains("All of them together have half"), "{why}");
        assert_eq!(asked(owner), 10);
    }

    #[test]
    fn what_a_host_is_refused_is_not_counted_for_its_neighbours() {
        let limits = Limits::new(&Config { logins_per_minute: 3, ..Config::default() }).unwrap();
        let noisy: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!((0..400).filter(|_| limits.address(noisy).is_ok()).count(), 3);
        limits.address("2001:db8:0:2::1".parse().unwrap()).unwrap();
        // Nor the other way round: neighbours use the wide one up, and a host that was
        // refused for that has all of its own left once there is room.
        let late: IpAddr = "2001:db8:0:ff::1".parse().unwrap();
        (3..40).for_each(|n| drop(limits.address(format!("2001:db8:0:{n:x}::1").parse().unwrap())));
        assert!((0..9).all(|_| limits.address(late).is_err()));
        let own = limits.0.address.cells.cell(&Network::of(late)).load(Ordering::Relaxed);
        assert!(own <= limits.now(), "nothing of its own is used up");
    }

    #[test]
    fn one_stranger_with_a_whole_ipv6_network_does_not_use_an_account_up() {
        let limits = Limits::new(&Config { logins_per_minute: 3, ..Config::default() }).unwrap();
        for n in 0..400 {
            let from = format!("2001:db8:0:{n:x}::1").parse().unwrap();
            if limits.address(from).is_ok() {
                limits.login("ann@acme.example", None, from).unwrap();
            }
        }
        limits.login("ann@acme.example", None, IpAddr::from([10, 0, 0, 1])).unwrap();
    }

    #[test]
    fn wrong_credentials_stop_their_address_and_not_those_that_were_right() {
        let limits = Limits::new(&Config::default()).unwrap();
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
