//! Sign-in by PIN, offline: the PIN's Argon2id hash stands at the site.
//!
//! [`guesses`](super::guesses) slows guessing, and one PIN is checked at a time, in
//! memory that is kept for the next one.
//! Sessions live in memory: a restart signs everybody out, and so do a new PIN, an
//! hour without a request, and half a day in all.

use super::{
    Ui,
    guesses::{Guesses, Person},
};
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash},
};
use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;

/// How long a session lasts without somebody who uses it: an open page is nobody.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a session lasts in all.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once; the least recently used one ends when there are more.
const MAX_SESSIONS: usize = 64;
/// Most memory in KiB that a PIN's hash may ask for.
const MAX_MEMORY: u32 = 64 * 1024;
/// Cookie that carries the session. `__Host-` binds it to this host and HTTPS.
const COOKIE: &str = "__Host-unifyit_site";

#[derive(Debug, Clone, Copy)]
struct Session {
    opened: Instant,
    used: Instant,
    /// Of the PIN that opened it.
    pin: blake3::Hash,
}

impl Session {
    fn lasts(&self, now: Instant, pin: blake3::Hash) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.pin == pin && since(self.used) < IDLE && since(self.opened) < LONGEST
    }
}

/// Open sessions and the limits of signing in.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<blake3::Hash, Session>>,
    guesses: Guesses,
    /// Held by whoever checks a PIN. Allocators keep blocks of that size for each thread
    /// that ever freed one, which came to hundreds of megabytes.
    checking: Arc<tokio::sync::Mutex<Vec<Block>>>,
}

/// Why somebody may not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Too many tries.
    #[error("Too many tries. Try again in {0} s, or from a browser that was signed in before.")]
    TooMany(u64),
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
    /// Checks a PIN and opens a session; the text goes into the cookie. `hash` is
    /// the PIN's.
    ///
    /// # Errors
    /// [`SignInError`], fit to be shown.
    pub async fn sign_in(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        pin: String,
        hash: &str,
    ) -> Result<String, SignInError> {
        if hash.is_empty() {
            return Err(SignInError::NoPin);
        }
        let who = Person::of(address, headers, hash);
        self.guesses
            .may_try(who)
            .map_err(|wait| SignInError::TooMany(wait.as_secs().saturating_add(1)))?;
        // One at a time, also when whoever asked is gone before it is done.
        let mut memory = Arc::clone(&self.checking).lock_owned().await;
        let kept = hash.to_owned();
        let check = move || matches(pin.as_bytes(), &kept, &mut memory).unwrap_or(false);
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if !right {
            return Err(SignInError::Wrong);
        }
        self.guesses.right(who);
        let secret: [u8; 32] = rand::random();
        let text = crate::cache::content::hex(&secret);
        let (now, pin) = (Instant::now(), blake3::hash(hash.as_bytes()));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.lasts(now, pin));
        if open.len() >= MAX_SESSIONS
            && let Some(oldest) = open.iter().min_by_key(|(_, s)| s.used).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        let session = Session { opened: now, used: now, pin };
        open.insert(blake3::hash(text.as_bytes()), session);
        Ok(text)
    }

    /// Ends the session of a request.
    pub fn sign_out(&self, headers: &HeaderMap) {
        if let Some(text) = cookie(headers) {
            let key = blake3::hash(text.as_bytes());
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }

    /// Whether a request carries a live session, which it then prolongs. Looked up
    /// by the hash of the secret, so that no comparison leaks how much of it was
    /// right. `hash` is the PIN's: with the PIN its sessions end.
    #[must_use]
    pub fn holds(&self, headers: &HeaderMap, hash: &str) -> bool {
        self.look(headers, hash, true)
    }

    /// As [`Self::holds`], and prolongs nothing: nobody asked.
    #[must_use]
    pub fn still_holds(&self, headers: &HeaderMap, hash: &str) -> bool {
        self.look(headers, hash, false)
    }

    fn look(&self, headers: &HeaderMap, hash: &str, used: bool) -> bool {
        let Some(text) = cookie(headers) else { return false };
        let key = blake3::hash(text.as_bytes());
        let (now, pin) = (Instant::now(), blake3::hash(hash.as_bytes()));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&key) {
            Some(session) if session.lasts(now, pin) => {
                if used {
                    session.used = now;
                }
                true
            }
            _ => false,
        }
    }
}

/// Whether a PIN is the one behind a hash; `None` when the hash is none.
fn matches(pin: &[u8], known: &str, memory: &mut Vec<Block>) -> Option<bool> {
    let parsed = PasswordHash::new(known).ok()?;
    let (salt, hash) = (parsed.salt.as_ref()?, parsed.hash.as_ref()?);
    let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).ok()?;
    let version = parsed.version.map(Version::try_from).transpose().ok()?;
    let params = Params::try_from(&parsed).ok().filter(|p| p.m_cost() <= MAX_MEMORY)?;
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..hash.len())?;
    Argon2::new(algorithm, version.unwrap_or_default(), params)
        .hash_password_into_with_memory(pin, salt.as_ref(), output, memory.get_mut(..blocks)?)
        .ok()?;
    Some(output.ct_eq(hash.as_bytes()).into())
}

/// The `Set-Cookie` value of a new session, or of its end.
#[must_use]
pub(super) fn set_cookie(session: Option<&str>) -> String {
    let (value, age) = match session {
        Some(text) => (text, LONGEST.as_secs()),
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

/// Asked by a page when somebody uses it; what a page asks by itself prolongs nothing.
const USED: &str = "/api/session";

/// Lets only signed-in requests through.
pub(super) async fn require(State(ui): State<Arc<Ui>>, request: Request, next: Next) -> Response {
    let (headers, hash) = (request.headers(), ui.pin_hash());
    let signed_in = match request.uri().path() {
        USED => ui.sessions.holds(headers, &hash),
        _ => ui.sessions.still_holds(headers, &hash),
    };
    if signed_in {
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

    #[tokio::test]
    async fn pins_are_checked_in_one_memory() {
        let sessions = Sessions::default();
        let (hash, none) = (hash("482913"), HeaderMap::new());
        let mut kept = None;
        for n in 0..3u8 {
            let address = IpAddr::from([192, 0, 2, n]);
            let tried = sessions.sign_in(address, &none, "1".into(), &hash).await;
            assert_eq!(tried, Err(SignInError::Wrong));
            let memory = sessions.checking.lock().await;
            let at = (memory.as_ptr(), memory.len());
            assert!(at.1 > 0 && kept.is_none_or(|before| before == at), "it is kept");
            kept = Some(at);
        }
        assert_eq!(matches(b"1", "no hash", &mut Vec::new()), None);
    }

    fn hash(pin: &str) -> String {
        use argon2::PasswordHasher;
        Argon2::default().hash_password(pin.as_bytes()).map(|h| h.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_right_pin_opens_a_session_that_ends_on_sign_out_or_with_the_pin() {
        let sessions = Sessions::default();
        let (hash, none) = (hash("482913"), HeaderMap::new());
        let opened = sessions.sign_in(HERE, &none, "482913".into(), &hash).await;
        let carried = headers(&set_cookie(opened.as_deref().ok()));
        assert!(opened.is_ok() && sessions.holds(&carried, &hash));
        assert!(!sessions.holds(&none, &hash));
        assert!(!sessions.holds(&carried, "the hash of a new PIN"));
        sessions.sign_out(&carried);
        assert!(!sessions.holds(&carried, &hash));
    }

    #[tokio::test]
    async fn wrong_pins_are_refused_and_guessing_is_slowed_down() {
        let sessions = Sessions::default();
        let (hash, none) = (hash("482913"), HeaderMap::new());
        let try_pin =
            async |pin: &str, hash: &str| sessions.sign_in(HERE, &none, pin.into(), hash).await;
        assert_eq!(try_pin("1", "").await, Err(SignInError::NoPin));
        for _ in 0..5 {
            assert_eq!(try_pin("1", &hash).await, Err(SignInError::Wrong));
        }
        let sixth = try_pin("482913", &hash).await;
        assert!(matches!(sixth, Err(SignInError::TooMany(50..=61))), "{sixth:?}");
    }

    #[test]
    fn a_session_ends_without_use_and_after_half_a_day_of_it() {
        let (at, pin) = (Instant::now(), blake3::hash(b"hash"));
        let session = |opened, used| Session { opened: at + opened, used: at + used, pin };
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let now = at + hours(13);
        assert!(session(hours(2), hours(13)).lasts(now, pin));
        assert!(!session(hours(2), hours(12)).lasts(now, pin), "an hour unused");
        assert!(!session(hours(1), hours(13)).lasts(now, pin), "half a day");
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
