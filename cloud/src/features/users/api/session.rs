//! `GET /auth/session`

use super::super::SessionBody;
use crate::{auth::CookieSession, context::Ctx, http::Problem};
use axum::{Extension, Json};

/// Who is signed in
#[utoipa::path(get, path = "/auth/session", tag = "auth",
    responses((status = 200, body = SessionBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_session(
    ctx: Ctx,
    session: Option<Extension<CookieSession>>,
) -> Result<Json<SessionBody>, Problem> {
    // An API key has no session.
    let Extension(session) = session.ok_or_else(Problem::not_found)?;
    Ok(Json(SessionBody::new(ctx.state.features, &session.account, &session.secret)))
}
