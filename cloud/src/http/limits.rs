//! How often somebody may: sign-in attempts by address and by account, requests
//! by actor. Keys that have rested are forgotten, so the tables stay bounded.

use super::Problem;
use crate::config::Config;
use governor::{
    DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock, QuantaInstant},
};
use std::{net::IpAddr, num::NonZeroU32, sync::Arc};
use uuid::Uuid;

/// All limits of the process. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    address: DefaultKeyedRateLimiter<IpAddr>,
    account: DefaultKeyedRateLimiter<[u8; 32]>,
    actor: DefaultKeyedRateLimiter<Uuid>,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits")
            .field("addresses", &self.0.address.len())
            .field("accounts", &self.0.account.len())
            .field("actors", &self.0.actor.len())
            .finish()
    }
}

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let logins = Quota::per_minute(at_least_one(config.logins_per_minute));
        let requests = at_least_one(config.requests_per_second);
        let burst = at_least_one(config.requests_per_second.saturating_mul(10));
        Self(Arc::new(Inner {
            address: RateLimiter::keyed(logins),
            account: RateLimiter::keyed(logins),
            actor: RateLimiter::keyed(Quota::per_second(requests).allow_burst(burst)),
        }))
    }

    /// Counts a sign-in attempt.
    ///
    /// # Errors
    /// 429 when the address or the account had too many.
    pub fn login(&self, address: IpAddr, email: &str) -> Result<(), Problem> {
        self.0.address.check_key(&address).map_err(|until| wait(&until))?;
        self.account(email)
    }

    /// Counts an attempt at an account's password.
    ///
    /// # Errors
    /// 429 when the account had too many.
    pub fn account(&self, email: &str) -> Result<(), Problem> {
        // Hashed, so that a hostile, long address costs no memory.
        let account = *blake3::hash(email.trim().to_lowercase().as_bytes()).as_bytes();
        self.0.account.check_key(&account).map_err(|until| wait(&until))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 when the actor had too many.
    pub fn request(&self, actor: Uuid) -> Result<(), Problem> {
        self.0.actor.check_key(&actor).map_err(|_| {
            Problem::slow_down("Too many requests from this account. Slow down and try again.")
        })
    }

    /// Forgets keys that have rested.
    pub fn sweep(&self) {
        self.0.address.retain_recent();
        self.0.account.retain_recent();
        self.0.actor.retain_recent();
    }
}

fn wait(until: &NotUntil<QuantaInstant>) -> Problem {
    let seconds = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
    Problem::slow_down(format!("Too many attempts. Wait {seconds} seconds and try again."))
}
