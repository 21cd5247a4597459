//! A relay's enrolment: token in, grant and site certificate out.
//!
//! Everything is decided and written in one transaction under the site that the
//! token is for, with the token's row locked, so that two relays cannot spend
//! the same use. A relay that is enrolled already and asks again, with the same
//! key and the same certificate authority, gets its papers anew and spends no
//! use: that is how an answer lost on the way is repeated, and how a grant is
//! renewed before it ends.

mod rules;
mod store;

use super::{ApplyError, LinkMetrics, RelayChange, RelayIdentity, records::Records, relay};
use crate::{
    db::{Db, DbError, Scope, TenantTx},
    http::seldom::Seldom,
    trust::{Trust, TrustError},
};
use libp2p::PeerId;
use std::sync::Arc;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RelayEnrolment},
    grant::{Grant, SiteCertificate},
    ids::{GrantId, RelayId},
    signing::PublicKey,
    token::{InstallToken, TokenRefusal, TokenText},
};

/// How long a grant holds, in milliseconds; relays renew it long before.
const GRANT_MS: u64 = 180 * 24 * 3600 * 1000;
/// Clocks of relays may be behind by this much, in milliseconds.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;

/// Lets relays in.
pub(super) struct Enroller {
    pub(super) db: Db,
    pub(super) trust: Trust,
    pub(super) records: Arc<dyn Records>,
    pub(super) metrics: LinkMetrics,
}

/// Strangers may be refused as often as they ask.
static REFUSED: Seldom = Seldom::new();

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    #[error("{0}")]
    Said(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl Enroller {
    /// Answers a request. The peer id is proven by the connection.
    pub(super) async fn answer(&self, peer: PeerId, request: EnrollRelay) -> EnrollRelayAnswer {
        let (outcome, answer) = match self.enroll(peer, request).await {
            Ok(enrolment) => {
                tracing::info!(relay = %enrolment.relay, site = %enrolment.site, "A relay enrolled.");
                ("accepted", EnrollRelayAnswer::Accepted(Box::new(enrolment)))
            }
            Err(Refusal::Token(why)) => {
                if let Some(times) = REFUSED.due() {
                    tracing::info!(%peer, ?why, times, "An install token was refused.");
                }
                ("refused", EnrollRelayAnswer::Refused(why))
            }
            Err(Refusal::Said(why)) => {
                if let Some(times) = REFUSED.due() {
                    tracing::info!(%peer, why, times, "An enrolment was refused.");
                }
                ("refused", EnrollRelayAnswer::Failed(why))
            }
            Err(fault) => {
                tracing::error!(%peer, error = %fault, "An enrolment failed.");
                let said = "The cloud could not finish the enrolment. Try again in a minute; if it \
                            persists, tell whoever runs the cloud.";
                ("failed", EnrollRelayAnswer::Failed(said.into()))
            }
        };
        self.metrics.enrolments.with_label_values(&[outcome]).inc();
        answer
    }

    async fn enroll(&self, peer: PeerId, request: EnrollRelay) -> Result<RelayEnrolment, Refusal> {
        let request = rules::bounded(request)?;
        let key = rules::key_of(&peer)?;
        match relay::by_peer(&self.db, &peer).await? {
            Some(known) if known.revoked => Err(Refusal::Said(rules::REVOKED.into())),
            Some(known) => self.again(known.relay, key, request).await,
            None => self.first(peer, key, request).await,
        }
    }

    /// A peer that is not enrolled.
    async fn first(
        &self,
        peer: PeerId,
        key: PublicKey,
        request: EnrollRelay,
    ) -> Result<RelayEnrolment, Refusal> {
        let text = TokenText::parse(&request.token)?;
        let claims = text.claims()?;
        let place = store::place_of_token(&self.db, claims.id).await?;
        let (partner, organization, site) = place.ok_or(TokenRefusal::Tampered)?;
        let scope = Scope::Site(partner, organization, site);
        let mut tx = self.db.tenant(&scope).await?;
        let authority = store::authority(&mut tx, organization).await?;
        let now_ms = relay::now_ms();
        let row = store::lock_token(&mut tx, claims.id).await?.ok_or(TokenRefusal::Tampered)?;
        let token = rules::judge(&text, &authority.public, &row, now_ms)?;
        if token.organization != organization || token.site != site {
            return Err(TokenRefusal::Tampered.into());
        }
        store::check_site(&mut tx, site).await?;
        let relay = RelayIdentity { id: RelayId::generate(), partner, organization, site };
        store::insert_relay(&mut tx, &relay, &peer, &request, now_ms).await?;
        store::spend(&mut tx, &token).await?;
        self.finish(tx, relay, key, &request, authority, now_ms).await
    }

    /// A relay that is enrolled: its papers again.
    async fn again(
        &self,
        relay: RelayIdentity,
        key: PublicKey,
        request: EnrollRelay,
    ) -> Result<RelayEnrolment, Refusal> {
        let token = match request.token.is_empty() {
            true => None,
            false => Some(TokenText::parse(&request.token)?.claims()?),
        };
        if token.as_ref().is_some_and(|t: &InstallToken| t.site != relay.site) {
            return Err(TokenRefusal::WrongSite.into());
        }
        let mut tx = self.db.tenant(&relay.scope()).await?;
        let authority = store::authority(&mut tx, relay.organization).await?;
        if !store::renew_relay(&mut tx, &relay, &request).await? {
            return Err(Refusal::Said(rules::OTHER_CA.into()));
        }
        self.finish(tx, relay, key, &request, authority, relay::now_ms()).await
    }

    async fn finish(
        &self,
        mut tx: TenantTx,
        relay: RelayIdentity,
        relay_key: PublicKey,
        request: &EnrollRelay,
        authority: store::Authority,
        now_ms: u64,
    ) -> Result<RelayEnrolment, Refusal> {
        let grant = Grant {
            id: GrantId::generate(),
            organization: relay.organization,
            relay_key,
            site: relay.site,
            // A relay signs no work of its own: the grant names it and allows nothing.
            scopes: Vec::new(),
            not_before_ms: now_ms.saturating_sub(CLOCK_SLACK_MS),
            expires_ms: now_ms + GRANT_MS,
        };
        let certificate = SiteCertificate {
            organization: relay.organization,
            site: relay.site,
            ca_fingerprint: request.ca_fingerprint,
            issued_ms: now_ms,
        };
        let grant = self.trust.sign_grant(&authority.sealed, &grant)?;
        let site_certificate = self.trust.certify_site(&authority.sealed, &certificate)?;
        self.records.joins(&mut tx, &relay, request).await?;
        self.records.relay_changed(&mut tx, &relay, RelayChange::Enrolled).await?;
        tx.commit().await?;
        Ok(RelayEnrolment {
            relay: relay.id,
            organization: relay.organization,
            site: relay.site,
            authority: authority.public,
            grant,
            site_certificate,
        })
    }
}
