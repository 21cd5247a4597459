//! `POST /auth/login`
//!
//! Limited by address and by account before anything costs. An unknown address
//! takes as long as a wrong password and gets the same answer.

use super::super::{SessionBody, store};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    auth::{self, SessionSecret},
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
use std::net::SocketAddr;
use utoipa::ToSchema;
use zeroize::Zeroizing;

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
    state.limits.login(address, &input.email)?;
    let account = auth::account_by_email(&state, &input.email).await?;
    let known = account.as_ref().map(|a| a.password_hash.clone());
    let right = state.passwords.verify(password, known).await?;
    let Some(account) = account else { return Err(refused()) };
    let actor = AuditActor {
        name: account.email.clone(),
        id: Some(account.user_id),
        request_id: request.0,
    };
    let target = AuditTarget::at(account.scope().place(), format!("user {}", account.email));
    let mut tx = state.db.tenant(&account.scope()).await?;
    if !right {
        let detail = format!("Wrong password, from {address}");
        audit::record(&mut tx, &actor, "user.login_failed", &target, &detail).await?;
        tx.commit().await?;
        return Err(refused());
    }
    let secret = SessionSecret::generate().ok_or_else(Problem::internal)?;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let agent: String = agent.chars().take(200).collect();
    store::create_session(&mut tx, &account, &secret, &state.config, &address.to_string(), &agent)
        .await?;
    audit::record(&mut tx, &actor, "user.login", &target, &format!("From {address}")).await?;
    tx.commit().await?;
    let cookie = Cookie::build((auth::COOKIE, secret.text()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(state.config.is_https())
        .max_age(time::Duration::hours(i64::from(state.config.session_hours)));
    Ok((jar.add(cookie), Json(SessionBody::new(&account, &secret))).into_response())
}

fn refused() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "urn:unifyit:login",
        "Sign-in failed",
        "The e-mail address or the password is wrong.",
    )
}
