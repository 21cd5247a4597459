//! `POST /auth/password`

use super::super::store;
use crate::{
    audit::AuditTarget,
    auth::CookieSession,
    authz::{ActorKind, Can},
    context::Ctx,
    http::{Body, Problem},
};
use axum::{Extension, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChangePassword {
    /// The present one.
    current: String,
    /// The one to be: 10 to 1024 characters, not easy to guess, another than the
    /// present one.
    #[schema(min_length = 10, max_length = 1024)]
    new: String,
}

/// Change one's own password; ends all other sessions
///
/// API keys are credentials of their own and go on, so that no program stops because a
/// person changed a password. Whoever changes it because somebody else may know it
/// looks through the keys, too (`GET /api-keys`), and revokes those that are not known.
#[utoipa::path(post, path = "/auth/password", tag = "auth", request_body = ChangePassword,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn change_password(
    ctx: Ctx,
    session: Option<Extension<CookieSession>>,
    Body(input): Body<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let (current, new) = (Zeroizing::new(input.current), Zeroizing::new(input.new));
    let (Some(Extension(own)), ActorKind::User { session }) = (session, ctx.actor.kind) else {
        return Err(Problem::forbidden());
    };
    ctx.state.limits.own_password(own.account.user_id)?;
    let known = Some(own.account.password_hash.clone());
    if !ctx.state.passwords.verify(current.clone(), known).await? {
        return Err(Problem::invalid("The current password is wrong."));
    }
    if new == current {
        return Err(Problem::invalid("The new password is the present one. Choose another."));
    }
    let about = [own.account.email.as_str(), own.account.name.as_str()];
    let hash = ctx.state.passwords.hash(new, &about).await?;
    let mut tx = ctx.begin(Can::VIEW).await?;
    store::set_password(&mut tx, ctx.actor.id, &hash, session).await?;
    let target = AuditTarget::at(ctx.actor.scope.place(), format!("user {}", ctx.actor.name));
    ctx.audit(&mut tx, "user.password", &target, "Other sessions were ended").await?;
    tx.commit().await?;
    ctx.state.rights.look();
    Ok(StatusCode::NO_CONTENT)
}
