//! `POST /auth/login`
//!
//! Limited by address and by account before anything costs. An unknown address
//! takes as long as a wrong password and gets the same answer: a refusal waits
//! for nothing that only one of them has, so its audit row is written behind it.

use super::super::{SessionBody, store};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    auth::{self, Account, SessionSecret},
    context::AppState,
    http::{Body, Problem, RequestId, client_address},
};
use axum::{
    Extension, Json,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// Refusals whose audit rows are being written. Beyond that they are only logged.
static WRITING: Semaphore = Semaphore::const_new(32);

/// Who wants in.
#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    /// E-mail address.
    email: String,
    /// Password.
    password: String,
}

/// Sign in
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = SessionBody), (status = "4XX", body = Problem)))]
pub(super) async fn login(
    State(state): State<AppState>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    jar: CookieJar,
    Body(input): Body<Login>,
) -> Result<Response, Problem> {
    let password = Zeroizing::new(input.password);
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer);
    let address = client_address(&state.config, peer, &headers);
    state.limits.address(address)?;
    let account = auth::account_by_email(&state, &input.email).await?;
    let browser = account
        .as_ref()
        .and_then(|a| auth::knows_browser(&state.config, &state.trust, &jar, a.user_id));
    state.limits.login(&input.email, browser, address)?;
    let known = account.as_ref().map(|a| a.password_hash.clone());
    let right = state.passwords.verify(password, known).await?;
    let account = match account {
        Some(account) if right => account,
        Some(account) => {
            note_refusal(&state, account, request.0, address);
            return Err(refused());
        }
        None => return Err(refused()),
    };
    let (actor, target) = (actor(&account, request.0), target(&account));
    let mut tx = state.db.tenant(&account.scope).await?;
    let secret = SessionSecret::generate().ok_or_else(Problem::internal)?;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let agent: String = agent.chars().take(200).collect();
    store::create_session(&mut tx, &account, &secret, &state.config, &address.to_string(), &agent)
        .await?;
    audit::record(&mut tx, &actor, "user.login", &target, &format!("From {address}")).await?;
    tx.commit().await?;
    let mut jar = jar;
    if browser.is_none()
        && let Some(proof) = auth::browser_cookie(&state.config, &state.trust, account.user_id)
    {
        jar = jar.add(proof);
    }
    let cookie = Cookie::build((auth::session_cookie(&state.config), secret.text()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(state.config.is_https())
        .max_age(time::Duration::hours(i64::from(state.config.session_hours)));
    Ok((jar.add(cookie), Json(SessionBody::new(state.features, &account, &secret))).into_response())
}

fn actor(account: &Account, request_id: String) -> AuditActor {
    AuditActor { name: account.email.clone(), id: Some(account.user_id), request_id }
}

fn target(account: &Account) -> AuditTarget {
    AuditTarget::at(account.scope.place(), format!("user {}", account.email))
}

/// Writes that somebody gave a wrong password, without making the answer wait.
fn note_refusal(state: &AppState, account: Account, request_id: String, address: IpAddr) {
    let Ok(place) = WRITING.try_acquire() else {
        tracing::warn!(%address, "A refused sign-in is not in the audit log: too many at a time.");
        return;
    };
    let db = state.db.clone();
    tokio::spawn(async move {
        let written = async {
            let (actor, target) = (actor(&account, request_id), target(&account));
            let detail = format!("Wrong password, from {address}");
            let mut tx = db.tenant(&account.scope).await?;
            audit::record(&mut tx, &actor, "user.login_failed", &target, &detail).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "a refused sign-in is not in the audit log");
        }
        drop(place);
    });
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "urn:unifyit:login",
        "Sign-in failed",
        "The e-mail address or the password is wrong.",
    )
}
