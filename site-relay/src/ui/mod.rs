//! The local UI: what on-site staff see when something is wrong.
//!
//! HTTPS with the site's own certificate, reached on the LAN, and complete while
//! the WAN is down (G9): sign-in checks the PIN's hash that the site already
//! holds ([`sessions`]), every answer is read from this machine's memory and
//! store ([`view`]), and the pages are embedded in the binary ([`assets`]).
//! [`live`] tells open pages that something changed.

mod api;
mod assets;
mod columns;
mod guesses;
mod live;
mod sessions;
mod view;

pub use sessions::Sessions;
pub use view::Tables;

use crate::{
    broker::BrokerHandle, cache::Cache, clock::SiteClock, shadow::Shadows, store::StoreHandle,
    uplink::UplinkState,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use http::{HeaderValue, header};
use std::{sync::Arc, time::Instant};
use tokio::sync::watch;

/// Bytes of a request's body at most.
const MAX_BODY: usize = 16 * 1024;

/// What the local UI reads from.
#[derive(Clone)]
pub struct UiParts {
    /// Durable state.
    pub store: StoreHandle,
    /// The site's time.
    pub clock: SiteClock,
    /// Newest values.
    pub shadows: Shadows,
    /// Connected devices.
    pub broker: BrokerHandle,
    /// Connection to the cloud.
    pub uplink: watch::Receiver<UplinkState>,
    /// Package cache, when it runs.
    pub cache: Option<Arc<Cache>>,
    /// The PIN's hash set at enrolment; one set in the console comes before it.
    pub enrolment_pin_hash: String,
    /// Start of the relay.
    pub started: Instant,
}

struct Ui {
    parts: UiParts,
    sessions: Sessions,
    newest: live::Newest,
}

impl Ui {
    /// The hash of the PIN that holds: the console's, else the one of enrolment.
    fn pin_hash(&self) -> String {
        let site = self.parts.store.site_config();
        let site = site.borrow();
        match site.ui_pin_hash.is_empty() {
            true => self.parts.enrolment_pin_hash.clone(),
            false => site.ui_pin_hash.clone(),
        }
    }
}

/// The routes of the local UI.
pub fn router(parts: UiParts) -> Router {
    let ui = Arc::new(Ui { parts, sessions: Sessions::default(), newest: live::Newest::default() });
    let signed_in = Router::new()
        .route("/api/overview", get(api::overview::handle))
        .route("/api/devices", get(api::devices::handle))
        .route("/api/work", get(api::work::handle))
        .route("/api/cache", get(api::cache::handle))
        .route("/api/session", get(api::session::handle))
        .route("/api/events", get(live::handle))
        .route_layer(from_fn_with_state(Arc::clone(&ui), sessions::require));
    Router::new()
        .route("/api/sign-in", post(api::sign_in::handle))
        .route("/api/sign-out", post(api::sign_out::handle))
        .merge(signed_in)
        .fallback(assets::serve)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(harden))
        .layer(from_fn_with_state(Arc::clone(&ui), tell_time))
        .with_state(ui)
}

/// The site's time with each answer: pages reckon by it, whatever the clock of the
/// computer in front of them shows.
async fn tell_time(State(ui): State<Arc<Ui>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-site-time", ui.parts.clock.now_ms().into());
    response
}

/// Headers that keep the pages from being framed, sniffed or scripted by others.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut put = |name, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    put(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    );
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    put(header::REFERRER_POLICY, "no-referrer");
    put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    response
}
