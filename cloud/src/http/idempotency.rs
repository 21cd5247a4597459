//! `Idempotency-Key`: a POST that acts, repeated under the same key, answers
//! what it answered and acts once.
//!
//! An answer that holds a secret is not stored; a repeat is told that the act
//! has happened, and gets 409 in place of the secret.
//!
//! The key is claimed in the acting transaction. Of two racing repeats one
//! waits for the other's commit at the primary key and then replays its answer;
//! if the first rolls back, the second acts.

use super::Problem;
use crate::{context::Ctx, db::TenantTx};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;

/// Longest key accepted.
const MAX_KEY: usize = 200;

/// The key of a request, if it has one.
#[derive(Debug, Clone)]
pub struct Idempotency {
    key: Option<String>,
    route: String,
}

/// An answer given before.
#[derive(Debug, Clone)]
pub struct Replay {
    status: StatusCode,
    body: Value,
}

impl IntoResponse for Replay {
    fn into_response(self) -> Response {
        (self.status, [("idempotency-replayed", "true")], Json(self.body)).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let key = parts.headers.get("idempotency-key").and_then(|v| v.to_str().ok());
        Ok(Self {
            key: key.map(str::to_owned),
            route: format!("{} {}", parts.method, parts.uri.path()),
        })
    }
}

impl Idempotency {
    /// Claims the key for this request, or returns what was answered before.
    ///
    /// # Errors
    /// 422 for an unusable key or one that was used for another request, 409 when
    /// the answer held a secret that is told once.
    pub async fn claim(
        &self,
        ctx: &Ctx,
        tx: &mut TenantTx,
        input: &impl Serialize,
    ) -> Result<Option<Replay>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Problem::invalid("The Idempotency-Key must have 1 to 200 characters."));
        }
        let input = serde_json::to_vec(input).map_err(|_| Problem::internal())?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.route.as_bytes()).update(b"\0").update(&input);
        let fingerprint = hasher.finalize().as_bytes().to_vec();
        let place = ctx.actor.scope.place();
        let claimed = sqlx::query(
            "INSERT INTO idempotency_keys (actor_id, key, partner_id, organization_id, site_id, fingerprint) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(ctx.actor.id)
        .bind(key)
        .bind(place.partner)
        .bind(place.organization)
        .bind(place.site)
        .bind(&fingerprint)
        .execute(&mut **tx)
        .await?
        .rows_affected();
        if claimed == 1 {
            return Ok(None);
        }
        let (known, status, body): (Vec<u8>, Option<i16>, Option<Value>) = sqlx::query_as(
            "SELECT fingerprint, status, body FROM idempotency_keys WHERE actor_id = $1 AND key = $2",
        )
        .bind(ctx.actor.id)
        .bind(key)
        .fetch_one(&mut **tx)
        .await?;
        if known != fingerprint {
            return Err(Problem::invalid(
                "This Idempotency-Key was used for another request. Use a fresh key.",
            ));
        }
        let status = status.and_then(|s| u16::try_from(s).ok()).map(StatusCode::from_u16);
        match (status, body) {
            // An answer that held a secret was stored as the reason why it is not told again.
            (Some(Ok(StatusCode::CONFLICT)), Some(Value::String(why))) => {
                Err(Problem::conflict(why))
            }
            (Some(Ok(status)), Some(body)) => Ok(Some(Replay { status, body })),
            _ => Err(Problem::internal()),
        }
    }

    /// Stores, in place of an answer that holds a secret, why a repeat is not
    /// told it again. The act still happens once.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be stored; the act must not be committed then.
    pub async fn withhold(&self, ctx: &Ctx, tx: &mut TenantTx, why: &str) -> Result<(), Problem> {
        self.answer(ctx, tx, StatusCode::CONFLICT, &why).await
    }

    /// Stores the answer with the act.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be stored; the act must not be committed then.
    pub async fn answer(
        &self,
        ctx: &Ctx,
        tx: &mut TenantTx,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Result<(), Problem> {
        let Some(key) = &self.key else { return Ok(()) };
        let body = serde_json::to_value(body).map_err(|_| Problem::internal())?;
        sqlx::query(
            "UPDATE idempotency_keys SET status = $3, body = $4 WHERE actor_id = $1 AND key = $2",
        )
        .bind(ctx.actor.id)
        .bind(key)
        .bind(i16::try_from(status.as_u16()).unwrap_or(500))
        .bind(body)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}
