//! How often a PIN may be tried, and by whom.
//!
//! A PIN is short, so guessing has to be slow for years, not for days; and the
//! brake must not be a way to keep staff out. So each address (each /64 of IPv6,
//! which one machine owns whole) has a few tries and then one a minute, and wrong
//! tries of strangers share a budget an hour. A browser that signed in before is no
//! stranger: it carries a mark made from the PIN's hash, has tries of its own, and
//! stays outside of that budget. With the PIN the marks end.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use http::{HeaderMap, header};
use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Tries in a row of one who signs in, then one a minute.
const TRIES: u32 = 5;
/// Wrong tries of all strangers together in an hour: six digits then take a year.
const STRANGERS_AN_HOUR: f64 = 100.0;
/// Cookie that marks a browser as known; it proves nothing else.
const COOKIE: &str = "__Host-unifyit_known";
const CONTEXT: &str = "UnifyIT site relay 2026 browser that signed in before";

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Person {
    /// An IPv4 address, or a /64 of IPv6.
    Stranger(IpAddr),
    /// A browser that signed in before.
    Known([u8; 16]),
}

impl Person {
    /// Who sends a request.
    pub(super) fn of(address: IpAddr, headers: &HeaderMap, pin_hash: &str) -> Self {
        known(headers, pin_hash).map_or_else(|| Self::Stranger(network(address)), Self::Known)
    }
}

/// One machine's part of the address space.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// The brakes.
pub(super) struct Guesses {
    each: DefaultKeyedRateLimiter<Person>,
    /// Wrong tries that strangers have left, and when that was reckoned.
    strangers: Mutex<(f64, Instant)>,
}

impl Default for Guesses {
    fn default() -> Self {
        let burst = NonZeroU32::new(TRIES).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_minute(NonZeroU32::MIN).allow_burst(burst);
        Self {
            each: RateLimiter::keyed(quota),
            strangers: Mutex::new((STRANGERS_AN_HOUR, Instant::now())),
        }
    }
}

impl Guesses {
    /// Whether somebody may try; else how long to wait. A stranger's try is spent
    /// here already: while one PIN is checked, others come in.
    pub(super) fn may_try(&self, who: Person) -> Result<(), Duration> {
        if let Err(until) = self.each.check_key(&who) {
            return Err(until.wait_time_from(governor::clock::DefaultClock::default().now()));
        }
        self.each.retain_recent();
        if matches!(who, Person::Known(_)) {
            return Ok(());
        }
        let mut left = self.strangers_left(Instant::now());
        if left.0 < 1.0 {
            let hours = (1.0 - left.0) / STRANGERS_AN_HOUR;
            return Err(Duration::from_secs_f64(hours * 3600.0));
        }
        left.0 -= 1.0;
        Ok(())
    }

    /// Somebody tried the right PIN, which costs strangers nothing.
    pub(super) fn right(&self, who: Person) {
        if matches!(who, Person::Stranger(_)) {
            let mut left = self.strangers_left(Instant::now());
            left.0 = (left.0 + 1.0).min(STRANGERS_AN_HOUR);
        }
    }

    fn strangers_left(&self, now: Instant) -> MutexGuard<'_, (f64, Instant)> {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let hours = now.saturating_duration_since(strangers.1).as_secs_f64() / 3600.0;
        let left = (strangers.0 + hours * STRANGERS_AN_HOUR).min(STRANGERS_AN_HOUR);
        *strangers = (left, now);
        strangers
    }
}

fn mark(id: [u8; 16], pin_hash: &str) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(CONTEXT, pin_hash.as_bytes()), &id)
}

/// The `Set-Cookie` value that makes a browser known.
pub(super) fn set_known(pin_hash: &str) -> String {
    let id: [u8; 16] = rand::random();
    let text = crate::cache::content::hex(&id);
    let proof = mark(id, pin_hash).to_hex();
    format!("{COOKIE}={text}.{proof}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict")
}

fn known(headers: &HeaderMap, pin_hash: &str) -> Option<[u8; 16]> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value = texts
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
    let (id, proof) = value.split_once('.')?;
    let id: [u8; 16] = uuid::Uuid::try_parse(id).ok()?.into_bytes();
    // Compared in constant time.
    (blake3::Hash::from_hex(proof).ok()? == mark(id, pin_hash)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(address: &str) -> Person {
        Person::of(address.parse().unwrap(), &HeaderMap::new(), "hash")
    }

    fn known(pin_hash: &str) -> Person {
        let cookie = set_known("hash");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.split(';').next().unwrap().parse().unwrap());
        Person::of("192.0.2.9".parse().unwrap(), &headers, pin_hash)
    }

    #[test]
    fn the_addresses_of_one_network_are_one_person() {
        assert_eq!(stranger("2001:db8:1:2::3"), stranger("2001:db8:1:2:ffff::9"));
        assert_ne!(stranger("2001:db8:1:2::3"), stranger("2001:db8:1:3::3"));
        assert_eq!(stranger("::ffff:192.0.2.1"), stranger("192.0.2.1"));
    }

    #[test]
    fn strangers_who_guess_from_everywhere_do_not_keep_staff_out() {
        let guesses = Guesses::default();
        let mut taken = 0;
        for n in 0..=255u8 {
            let who = stranger(&format!("10.0.0.{n}"));
            // None of them is found wrong before the last has come.
            taken += u32::from(guesses.may_try(who).is_ok());
        }
        assert!((100..=102).contains(&taken), "{taken}");
        let wait = guesses.may_try(stranger("10.0.1.1")).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(40), "{wait:?}");
        assert_eq!(guesses.may_try(known("hash")), Ok(()));
        guesses.right(stranger("10.0.0.1"));
        assert_eq!(guesses.may_try(stranger("10.0.1.2")), Ok(()), "a right one costs nothing");
    }

    #[test]
    fn one_has_a_few_tries_and_learns_how_long_to_wait() {
        let guesses = Guesses::default();
        for who in [stranger("192.0.2.1"), known("hash")] {
            assert!((0..TRIES).all(|_| guesses.may_try(who).is_ok()));
            let wait = guesses.may_try(who).unwrap_err();
            assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        }
    }

    #[test]
    fn a_browser_is_known_only_under_the_pin_it_signed_in_with() {
        assert!(matches!(known("hash"), Person::Known(_)));
        assert!(matches!(known("another hash"), Person::Stranger(_)));
    }
}
