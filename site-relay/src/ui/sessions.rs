//! Sign-in by PIN, offline: the PIN's Argon2id hash stands at the site.
//!
//! A PIN is short, so guessing is what has to be expensive: a few tries a
//! minute for each address, a few more for all of them together, and one check
//! at a time. Sessions live in memory; a restart signs everybody out.

use super::Ui;
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, StatusCode, header};
use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long a session lasts without use.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once; the least recently used one ends when there are more.
const MAX_SESSIONS: usize = 64;
/// Cookie that carries the session. `__Host-` binds it to this host and HTTPS.
const COOKIE: &str = "__Host-unifyit_site";
const fn per_minute(n: u32) -> Quota {
    Quota::per_minute(match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    })
}

/// Open sessions and the limits of signing in.
pub struct Sessions {
    open: Mutex<HashMap<blake3::Hash, Instant>>,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    overall: DefaultDirectRateLimiter,
    checking: Semaphore,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            by_address: RateLimiter::keyed(per_minute(5)),
            overall: RateLimiter::direct(per_minute(30)),
            checking: Semaphore::new(1),
        }
    }
}

/// Why somebody may not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Too many tries.
    #[error("Too many tries. Wait a minute, then try again.")]
    TooMany,
    /// Another PIN.
    #[error("That is not this site's PIN.")]
    Wrong,
    /// None was ever set.
    #[error(
        "No PIN is set for this site. Set one in the console: Sites > (this site) > Settings > Local UI."
    )]
    NoPin,
}

impl Sessions {
    /// Checks a PIN and opens a session; the text goes into the cookie.
    ///
    /// # Errors
    /// [`SignInError`], fit to be shown.
    pub async fn sign_in(
        &self,
        address: IpAddr,
        pin: String,
        hash: &str,
    ) -> Result<String, SignInError> {
        if hash.is_empty() {
            return Err(SignInError::NoPin);
        }
        if self.by_address.check_key(&address).is_err() || self.overall.check().is_err() {
            return Err(SignInError::TooMany);
        }
        self.by_address.retain_recent();
        let _one_at_a_time = self.checking.acquire().await.map_err(|_| SignInError::TooMany)?;
        let hash = hash.to_owned();
        let right = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(pin.as_bytes(), &hash).is_ok())
        })
        .await
        .unwrap_or(false);
        if !right {
            return Err(SignInError::Wrong);
        }
        let secret: [u8; 32] = rand::random();
        let text = crate::cache::content::hex(&secret);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, used| used.elapsed() < IDLE);
        if open.len() >= MAX_SESSIONS
            && let Some(oldest) = open.iter().min_by_key(|(_, used)| **used).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(blake3::hash(text.as_bytes()), Instant::now());
        Ok(text)
    }

    /// Ends the session of a request.
    pub fn sign_out(&self, headers: &HeaderMap) {
        if let Some(text) = cookie(headers) {
            let key = blake3::hash(text.as_bytes());
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    /// Whether a request carries a live session. Looked up by the hash of the
    /// secret, so that no comparison leaks how much of it was right.
    #[must_use]
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let Some(text) = cookie(headers) else { return false };
        let key = blake3::hash(text.as_bytes());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&key) {
            Some(used) if used.elapsed() < IDLE => {
                *used = Instant::now();
                true
            }
            _ => false,
        }
    }
}

/// The `Set-Cookie` value of a new session, or of its end.
#[must_use]
pub(super) fn set_cookie(session: Option<&str>) -> String {
    let (value, age) = match session {
        Some(text) => (text, IDLE.as_secs()),
        None => ("", 0),
    };
    format!("{COOKIE}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a request comes from a page of this very host. Browsers send `Origin`
/// with every POST and WebSocket; one that sends another host's is refused.
#[must_use]
pub(super) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        _ => false,
    }
}

/// Lets only signed-in requests through.
pub(super) async fn require(State(ui): State<Arc<Ui>>, request: Request, next: Next) -> Response {
    if ui.sessions.holds(request.headers()) {
        return next.run(request).await;
    }
    problem(StatusCode::UNAUTHORIZED, "Sign in with this site's PIN.")
}

/// An error as JSON, with a sentence for whoever reads it.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({ "status": status.as_u16(), "detail": detail });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("other=1; {}", cookie.split(';').next().unwrap_or_default());
        headers.extend(value.parse().map(|value| (header::COOKIE, value)));
        headers
    }

    fn hash(pin: &str) -> String {
        use argon2::PasswordHasher;
        Argon2::default().hash_password(pin.as_bytes()).map(|h| h.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_right_pin_opens_a_session_that_ends_on_sign_out() {
        let sessions = Sessions::default();
        let hash = hash("482913");
        let opened = sessions.sign_in(HERE, "482913".into(), &hash).await;
        let carried = headers(&set_cookie(opened.as_deref().ok()));
        assert!(opened.is_ok() && sessions.holds(&carried));
        assert!(!sessions.holds(&HeaderMap::new()));
        sessions.sign_out(&carried);
        assert!(!sessions.holds(&carried));
    }

    #[tokio::test]
    async fn wrong_pins_are_refused_and_guessing_is_slowed_down() {
        let sessions = Sessions::default();
        let hash = hash("482913");
        assert_eq!(sessions.sign_in(HERE, "1".into(), "").await, Err(SignInError::NoPin));
        for _ in 0..5 {
            assert_eq!(sessions.sign_in(HERE, "1".into(), &hash).await, Err(SignInError::Wrong));
        }
        let sixth = sessions.sign_in(HERE, "482913".into(), &hash).await;
        assert_eq!(sixth, Err(SignInError::TooMany));
    }

    #[test]
    fn only_pages_of_this_host_may_act() {
        let with = |origin: &str| {
            let mut headers = headers("");
            headers.insert(header::HOST, http::HeaderValue::from_static("relay.lan:9443"));
            headers.extend(origin.parse().map(|value| (header::ORIGIN, value)));
            headers
        };
        assert!(same_origin(&with("https://relay.lan:9443")));
        assert!(!same_origin(&with("https://evil.example")));
        assert!(!same_origin(&with("http://relay.lan:9443")));
        assert!(!same_origin(&HeaderMap::new()));
    }
}
