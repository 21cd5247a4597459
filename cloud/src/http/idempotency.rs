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
use crate::{
    context::Ctx,
    db::{Answer, Place, TenantTx},
};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Postgres, QueryBuilder};
use std::convert::Infallible;
use uuid::Uuid;

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

/// A key that a request lays claim to.
#[derive(Debug)]
pub struct Claim<'a> {
    actor: Uuid,
    place: Place,
    key: &'a str,
    fingerprint: Vec<u8>,
}

impl Claim<'_> {
    /// Adds the claim to a statement, as one that returns a row if it succeeds. It may
    /// wait for whoever claimed the key before, so whatever else the statement locks must
    /// come after it.
    pub fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(
            "INSERT INTO idempotency_keys (actor_id, key, partner_id, organization_id, site_id, fingerprint) \
             VALUES (",
        );
        let mut values = query.separated(", ");
        values.push_bind(self.actor).push_bind(self.key.to_owned());
        values.push_bind(self.place.partner).push_bind(self.place.organization);
        values.push_bind(self.place.site).push_bind(self.fingerprint.clone());
        query.push(") ON CONFLICT DO NOTHING RETURNING true AS claimed");
    }

    /// What was answered before to a request whose key this one could not claim.
    ///
    /// # Errors
    /// 422 for a key that was used for another request, 409 when the answer held a secret
    /// that is told once.
    pub async fn replay(&self, tx: &mut TenantTx) -> Result<Replay, Problem> {
        let (known, status, body): (Vec<u8>, Option<i16>, Option<Value>) = sqlx::query_as(
            "SELECT fingerprint, status, body FROM idempotency_keys WHERE actor_id = $1 AND key = $2",
        )
        .bind(self.actor)
        .bind(self.key)
        .fetch_one(&mut **tx)
        .await?;
        if known != self.fingerprint {
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
            (Some(Ok(status)), Some(body)) => Ok(Replay { status, body }),
            _ => Err(Problem::internal()),
        }
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
        let Some(claim) = self.claiming(ctx, input)? else { return Ok(None) };
        let mut query = QueryBuilder::new("");
        claim.push_to(&mut query);
        let claimed = query.build().fetch_optional(&mut **tx).await?.is_some();
        if claimed { Ok(None) } else { claim.replay(tx).await.map(Some) }
    }

    /// The claim for a statement of the caller's, which spares it a round trip.
    ///
    /// # Errors
    /// 422 for an unusable key.
    pub fn claiming(
        &self,
        ctx: &Ctx,
        input: &impl Serialize,
    ) -> Result<Option<Claim<'_>>, Problem> {
        let Some(key) = self.key.as_deref() else { return Ok(None) };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Problem::invalid("The Idempotency-Key must have 1 to 200 characters."));
        }
        let input = serde_json::to_vec(input).map_err(|_| Problem::internal())?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.route.as_bytes()).update(b"\0").update(&input);
        let fingerprint = hasher.finalize().as_bytes().to_vec();
        Ok(Some(Claim { actor: ctx.actor.id, place: ctx.actor.scope.place(), key, fingerprint }))
    }

    /// Stores, in place of an answer that holds a secret, why a repeat is not
    /// told it again. The act still happens once.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be stored; the act must not be committed then.
    pub fn withhold(&self, ctx: &Ctx, tx: &mut TenantTx, why: &str) -> Result<(), Problem> {
        self.answer(ctx, tx, StatusCode::CONFLICT, &why)
    }

    /// Stores the answer with the act, at its commit.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be; the act must not be committed then.
    pub fn answer(
        &self,
        ctx: &Ctx,
        tx: &mut TenantTx,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Result<(), Problem> {
        let Some(key) = &self.key else { return Ok(()) };
        tx.answer(Answer {
            actor: ctx.actor.id,
            key: key.clone(),
            status: i16::try_from(status.as_u16()).unwrap_or(500),
            body: serde_json::to_value(body).map_err(|_| Problem::internal())?,
        });
        Ok(())
    }
}
