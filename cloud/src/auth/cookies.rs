//! Names of our cookies, and the one by which a browser proves that it signed in
//! to an account before.
//!
//! Behind HTTPS the names begin with `__Host-`: browsers then take them only from
//! this very host, so that a page of a sibling host can plant none.

use crate::{config::Config, trust::Trust};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// How long a browser is remembered, in days.
const REMEMBERED: i64 = 180;
/// What the proof is sealed for.
const SEALED_FOR: &str = "unifyit known browser v1";

/// Name of the session cookie.
#[must_use]
pub fn session_cookie(config: &Config) -> &'static str {
    if config.is_https() { "__Host-unifyit_session" } else { "unifyit_session" }
}

fn browser_name(config: &Config) -> &'static str {
    if config.is_https() { "__Host-unifyit_browser" } else { "unifyit_browser" }
}

/// The proof for a browser that has just signed in to an account. It opens
/// nothing: it only keeps strangers' guesses at the account from locking this
/// browser out. None when the system gives no randomness.
#[must_use]
pub fn browser_cookie(config: &Config, trust: &Trust, user: Uuid) -> Option<Cookie<'static>> {
    let mut browser = [0u8; 16];
    aws_lc_rs::rand::fill(&mut browser).ok()?;
    let sealed = trust.master().seal(SEALED_FOR, user.as_bytes(), &browser).ok()?;
    let cookie = Cookie::build((browser_name(config), URL_SAFE_NO_PAD.encode(sealed)))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(config.is_https())
        .max_age(time::Duration::days(REMEMBERED));
    Some(cookie.build())
}

/// The browser's identity for the account's limits, when it proves to have
/// signed in to it.
#[must_use]
pub fn knows_browser(
    config: &Config,
    trust: &Trust,
    jar: &CookieJar,
    user: Uuid,
) -> Option<[u8; 32]> {
    let text = jar.get(browser_name(config))?.value();
    let sealed = (text.len() <= 200).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()?;
    let browser = trust.master().open(SEALED_FOR, user.as_bytes(), &sealed).ok()?;
    Some(*blake3::hash(&[user.as_bytes().as_slice(), &browser].concat()).as_bytes())
}
