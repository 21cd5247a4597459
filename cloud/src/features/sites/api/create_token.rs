//! `POST /sites/{id}/install-tokens`

use super::super::{
    INSTALL,
    model::NewInstallToken,
    rules, store,
    tokens::{self, RelayDoor},
};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    downloads,
    features::tenants,
    http::{Body, Idempotency, Path, Problem},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    ids::{OrganizationId, SiteId, TokenId},
    signing::PublicKey,
    token::{InstallToken, TokenKind},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest validity: 30 days.
const MAX_SECONDS: u32 = 30 * 24 * 3600;
/// Validity when nothing is asked: a day.
const DEFAULT_SECONDS: u32 = 24 * 3600;

/// Said to a repeat under the same key: the token's text is kept nowhere.
const TOLD_ONCE: &str = "This request has made its install token already, and a token's text is told only once. \
    Revoke that token in the site's list, then ask again with a fresh Idempotency-Key.";

/// Who a token lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenKind)]
pub(in super::super) enum Kind {
    /// A relay.
    Relay,
    /// Agents.
    Agent,
}

/// A token to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TokenInput {
    /// Who it lets in.
    kind: Kind,
    /// Seconds until it expires, 60 to 2592000; a day when absent.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 2_592_000)]
    expires_in_s: Option<u32>,
    /// How many may join with it, 1 to 10000; 1 when absent. A relay's: 1.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10_000)]
    uses: Option<u32>,
}

/// Make the one line that brings a relay or agents in
#[utoipa::path(post, path = "/sites/{id}/install-tokens", tag = "install",
    params(("id" = Uuid, Path)), request_body = TokenInput,
    responses((status = 201, body = NewInstallToken), (status = "4XX", body = Problem)))]
pub(super) async fn create_install_token(
    ctx: Ctx,
    key: Idempotency,
    Path(id): Path<Uuid>,
    input: Result<Body<TokenInput>, Problem>,
) -> Result<Response, Problem> {
    let site_id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (site, place) = store::get(&mut tx, site_id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(INSTALL)?;
    let Body(input) = input?;
    if let Some(replay) = key.claim(&ctx, &mut tx, &input).await? {
        return Ok(replay.into_response());
    }
    let seconds = input.expires_in_s.unwrap_or(DEFAULT_SECONDS);
    let uses = input.uses.unwrap_or(1);
    if !(60..=MAX_SECONDS).contains(&seconds) || !(1..=10_000).contains(&uses) {
        return Err(Problem::invalid(
            "expires_in_s must be 60 to 2592000 (30 days) and uses 1 to 10000.",
        ));
    }
    if input.kind == Kind::Relay && uses != 1 {
        return Err(Problem::invalid("A relay's token brings in one relay: uses must be 1."));
    }
    let public_url = &ctx.state.config.public_url;
    let (kind, doors) = match input.kind {
        Kind::Relay => {
            let cloud_addresses = rules::dialable(ctx.state.link.announced(), public_url);
            let cloud_peer = ctx.state.link.peer_id();
            (TokenKind::Relay { cloud_addresses, cloud_peer }, vec![public_url.clone()])
        }
        Kind::Agent => agent_kind(tokens::relay_door(&mut tx, site_id).await?)?,
    };
    let organization = OrganizationId(site.organization_id);
    let authority =
        tenants::store::authority(&mut tx, organization).await?.ok_or_else(Problem::internal)?;
    let public: [u8; 32] =
        authority.public_key.as_slice().try_into().map_err(|_| Problem::internal())?;
    let token_id = TokenId::generate();
    let expires_at = ctx.now() + time::Duration::seconds(i64::from(seconds));
    let claims = InstallToken {
        id: token_id,
        organization,
        site: site_id,
        authority: PublicKey(public),
        kind,
        expires_ms: ctx.state.clock.now_ms() + u64::from(seconds) * 1000,
        uses,
    };
    let text = ctx.state.trust.sign_token(&authority.sealed_seed, &claims)?.to_string();
    let (word, uses) = (
        if input.kind == Kind::Relay { "relay" } else { "agent" },
        i32::try_from(uses).unwrap_or(i32::MAX),
    );
    let by = ctx.audit_actor().name;
    tokens::create(&mut tx, token_id, &place, word, uses, expires_at, &by).await?;
    let target = AuditTarget::at(place, format!("site {}", site.name));
    let times = if uses == 1 { "use" } else { "uses" };
    let detail = format!("{word} token {token_id}, {uses} {times}, for {seconds} s");
    ctx.audit(&mut tx, "install_token.create", &target, &detail).await?;
    let body = NewInstallToken {
        id: token_id.0,
        kind: word.to_owned(),
        command: command(&ctx, word, &doors, &text),
        fetches: ctx.state.downloads.script().is_some(),
        token: text,
        expires_at,
        uses,
        used: 0,
    };
    key.withhold(&ctx, &mut tx, TOLD_ONCE)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The line that brings a computer in. Where this cloud has no packages, the
/// program must be there already.
fn command(ctx: &Ctx, word: &str, doors: &[String], token: &str) -> String {
    let Some(script) = ctx.state.downloads.script() else {
        return format!(
            "sudo unifyit-{word} enroll --token {token} && sudo systemctl enable --now unifyit-{word}"
        );
    };
    let bases: Vec<String> =
        doors.iter().map(|door| format!("{door}/{}", downloads::FOLDER)).collect();
    downloads::line(script, word, &bases, token)
}

/// The relay through which agents come in, and where they fetch the program: from
/// it, since they need not reach anything else.
fn agent_kind(door: Option<RelayDoor>) -> Result<(TokenKind, Vec<String>), Problem> {
    let door = door.ok_or_else(|| {
        Problem::conflict(
            "The site has no relay yet, and agents enrol at their site's relay. Install the relay first.",
        )
    })?;
    match <[u8; 32]>::try_from(door.ca_fingerprint.as_slice()) {
        Ok(ca_fingerprint) if !door.lan_https.is_empty() => {
            let doors = door.lan_https.iter().map(|at| format!("https://{at}")).collect();
            Ok((TokenKind::Agent { relay_https: door.lan_https, ca_fingerprint }, doors))
        }
        _ => Err(Problem::conflict(
            "The site's relay has not told its address yet. Wait until it has connected, then try again.",
        )),
    }
}
