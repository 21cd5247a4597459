//! What surrounds every request: its id, its log line and figures, a limit in
//! time, a net under panics, and the headers that browsers protect us by.

use super::Problem;
use crate::context::AppState;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};
use tracing::Instrument;
use uuid::Uuid;

/// Longest a request may take until its head is answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing from elsewhere, no inline script. Styles may be inline, because the
/// terminal, the editor and the charts set theirs from code.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The id of a request, in its extensions.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Wraps the whole router.
pub async fn frame(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().simple().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", id = %id, method, %route);
    let started = Instant::now();

    let answer = tokio::time::timeout(PATIENCE, AssertUnwindSafe(next.run(request)).catch_unwind());
    let mut response = match answer.instrument(span.clone()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let what = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            span.in_scope(|| tracing::error!(what, "a request handler panicked"));
            Problem::internal().into_response()
        }
        Err(_) => Problem::new(
            axum::http::StatusCode::GATEWAY_TIMEOUT,
            "urn:unifyit:timeout",
            "Took too long",
            "The server gave up after 30 seconds. Ask for less at once, or try again.",
        )
        .into_response(),
    };

    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id.clone_from(&id);
        let headers = std::mem::take(response.headers_mut());
        response = problem.into_response();
        for (name, value) in headers {
            if let Some(name) = name.filter(|n| n != header::CONTENT_LENGTH) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    protect(response.headers_mut(), &id, state.config.is_https());
    let (status, took) = (response.status().as_u16(), started.elapsed());
    state.metrics.answered(method, &route, status, took);
    span.in_scope(|| {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if status >= 500 {
            tracing::warn!(status, ms, "answered");
        } else {
            tracing::debug!(status, ms, "answered");
        }
    });
    response
}

/// The method as figures and log lines name it. A client may send any word, of
/// any length; a label made of it would stay for good.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn protect(headers: &mut HeaderMap, id: &str, https: bool) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if https {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
}

/// Answers of the API are of the moment and of one person.
pub async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
