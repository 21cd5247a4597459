//! `POST /auth/logout`

use super::super::store;
use crate::{
    auth::session_cookie,
    authz::{ActorKind, Can},
    context::Ctx,
    http::Problem,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar};

/// Sign out
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn logout(ctx: Ctx, jar: CookieJar) -> Result<Response, Problem> {
    if let ActorKind::User { session } = ctx.actor.kind {
        let mut tx = ctx.begin(Can::VIEW).await?;
        store::end_session(&mut tx, session).await?;
        tx.commit().await?;
        ctx.state.rights.look();
    }
    let config = &ctx.state.config;
    let gone = Cookie::build((session_cookie(config), "")).path("/").secure(config.is_https());
    Ok((StatusCode::NO_CONTENT, jar.remove(gone)).into_response())
}
