//! Agents enrol here, and renew their certificates, also while the WAN is down.
//!
//! The token decides (signature, expiry, kind, site), the store counts its uses
//! durably, the site's authority issues the certificate. Every refusal is a
//! sentence for whoever runs the installer and an entry in the audit trail.

use super::{Place, judge, rate::RatePerAddress};
use crate::{
    broker::Admission,
    devices::{EnrollDecision, NewDevice},
    http::agents::Peer,
    identity::{Identity, ca::proof_of},
    seldom::Seldom,
    store::{StoreError, StoreHandle},
    telemetry::Telemetry,
};
use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header};
use prometheus::IntCounterVec;
use serde::de::DeserializeOwned;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    enroll::{
        AGENT_PATH, AgentEnrolment, EnrollAgent, EnrollAgentAnswer, IDENTITY_PATH, OwnIdentity,
        RENEW_PATH, RenewAgent,
    },
    ids::{DeviceId, TokenId},
    link::SiteAudit,
    token::TokenRefusal,
};

/// Bytes of the largest request.
const MAX_BODY: usize = 32 * 1024;
/// Longest time for a request, its body included.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// Characters kept of names that agents give themselves.
const MAX_NAME: usize = 255;
/// Refusals a minute that go into the audit trail; beyond, they are counted only.
const AUDITS_PER_MINUTE: u32 = 60;

/// What enrolment of agents works with.
pub struct AgentEnroller {
    identity: Arc<Identity>,
    store: StoreHandle,
    admission: Arc<dyn Admission>,
    mqtt: Vec<String>,
    certificate_life: time::Duration,
    rate: RatePerAddress,
    audits: RatePerAddress,
    said: Seldom<IpAddr>,
    outcomes: IntCounterVec,
}

impl std::fmt::Debug for AgentEnroller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentEnroller").field("mqtt", &self.mqtt).finish_non_exhaustive()
    }
}

impl AgentEnroller {
    /// `mqtt` is where agents are told to connect.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        store: StoreHandle,
        admission: Arc<dyn Admission>,
        mqtt: Vec<String>,
        config: &crate::config::Config,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            identity,
            store,
            admission,
            mqtt,
            certificate_life: config.certificates.agent_life(),
            rate: RatePerAddress::new(config.https.enrolments_per_minute),
            audits: RatePerAddress::new(AUDITS_PER_MINUTE),
            said: Seldom::default(),
            outcomes: telemetry.counters(
                "agent_enrolments",
                "Enrolments and renewals of agents, by outcome",
                "outcome",
            ),
        }
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route(AGENT_PATH, post(enroll))
            .route(RENEW_PATH, post(renew))
            .route(IDENTITY_PATH, post(separate))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn(in_time))
            .with_state(self)
    }

    async fn enroll(&self, peer: &Peer, request: EnrollAgent) -> Result<AgentEnrolment, Refused> {
        let proven = peer.device.filter(|(device, proof)| self.admission.admit(*device, proof));
        let proven = proven.map(|(device, _)| device);
        let enrolment = &self.identity.record.enrolment;
        let fingerprint = self.identity.ca_fingerprint();
        let place = Place {
            authority: &enrolment.authority,
            organization: enrolment.organization,
            site: enrolment.site,
            ca_fingerprint: &fingerprint,
        };
        let token = judge(&request.token, place, self.store.now_ms())
            .map_err(|(token, why)| Refused::Token(token, why))?;
        if self.store.token_revoked(token.id) {
            return Err(Refused::Token(Some(token.id), TokenRefusal::Revoked));
        }
        let proposed = DeviceId::generate();
        // Issued once on trial, so that a bad request does not spend a use.
        let trial = self.issue(&request.csr, proposed)?;
        let device = NewDevice {
            proposed,
            hostname: bounded(&request.hostname),
            version: bounded(&request.version),
            machine: bounded(&request.machine),
            key: key_of(&trial)?,
            proven,
            at_ms: self.store.now_ms(),
        };
        let decision = self.store.enroll_agent(token.id, token.uses, device).await;
        let device = match decision {
            Ok(EnrollDecision::Accepted { device }) => device,
            Ok(EnrollDecision::UsedUp) => {
                return Err(Refused::Token(Some(token.id), TokenRefusal::UsedUp));
            }
            Ok(EnrollDecision::Revoked) => {
                return Err(Refused::Token(Some(token.id), TokenRefusal::Revoked));
            }
            Err(error) => return Err(not_stored(&error)),
        };
        let certificate =
            if device == proposed { trial } else { self.issue(&request.csr, device)? };
        tracing::info!(%device, hostname = %bounded(&request.hostname), "a device enrolled");
        Ok(self.answer(device, certificate))
    }

    /// The device that a peer has proven to be.
    fn proven(&self, peer: &Peer) -> Result<DeviceId, Refused> {
        let Some((device, proof)) = &peer.device else {
            return Err(Refused::Said(
                "This needs the device's present certificate. Enrol anew with a token.".into(),
            ));
        };
        if !self.admission.admit(*device, proof) {
            return Err(Refused::Said(
                "This device is not enrolled at this site, was removed from it, or has a newer key. Allow its re-enrolment in the console, then enrol it anew with a token.".into(),
            ));
        }
        Ok(*device)
    }

    async fn renew(&self, peer: &Peer, request: &RenewAgent) -> Result<AgentEnrolment, Refused> {
        let device = self.proven(peer)?;
        let certificate = self.issue(&request.csr, device)?;
        let key = key_of(&certificate)?;
        if peer.device.is_none_or(|(_, proof)| proof.key != key) {
            if self.store.device(device).is_some_and(|record| record.sharing.is_some()) {
                return Err(Refused::Said(
                    "Several computers use this device's identity; none of them gets another key. Separate them in the console first.".into(),
                ));
            }
            // The present one stays good until this one is used: the answer may be lost.
            self.store.offered(device, key).await.map_err(|e| not_stored(&e))?;
        }
        tracing::info!(%device, "a certificate was renewed");
        Ok(self.answer(device, certificate))
    }

    /// Gives one of the computers that share an identity its own.
    async fn separate(&self, peer: &Peer, request: OwnIdentity) -> Result<AgentEnrolment, Refused> {
        let shared = self.proven(peer)?;
        let proposed = DeviceId::generate();
        let certificate = self.issue(&request.csr, proposed)?;
        let new = NewDevice {
            proposed,
            hostname: bounded(&request.hostname),
            version: bounded(&request.version),
            machine: bounded(&request.machine),
            key: key_of(&certificate)?,
            proven: None,
            at_ms: self.store.now_ms(),
        };
        let given = self.store.separate(shared, request.instance, new).await;
        let Some(device) = given.map_err(|e| not_stored(&e))? else {
            return Err(Refused::Said(
                "Nobody asked for a new identity of this computer. Choose it on the device's page in the console.".into(),
            ));
        };
        let certificate =
            if device == proposed { certificate } else { self.issue(&request.csr, device)? };
        tracing::info!(%device, %shared, "a computer that shared its identity got its own");
        Ok(self.answer(device, certificate))
    }

    fn issue(&self, csr: &[u8], device: DeviceId) -> Result<Vec<u8>, Refused> {
        let seconds = i64::try_from(self.store.now_ms() / 1000).unwrap_or(0);
        let now =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.identity
            .keys
            .ca
            .issue_agent_for(csr, device, self.certificate_life, now)
            .map(|certificate| certificate.to_vec())
            .map_err(|error| Refused::Said(format!("The relay refused the request: {error}.")))
    }

    fn answer(&self, device: DeviceId, certificate: Vec<u8>) -> AgentEnrolment {
        let enrolment = &self.identity.record.enrolment;
        AgentEnrolment {
            device,
            organization: enrolment.organization,
            site: enrolment.site,
            certificate,
            ca: self.identity.keys.ca.certificate().to_vec(),
            site_certificate: enrolment.site_certificate.clone(),
            mqtt: self.mqtt.clone(),
            config: self.store.device_config(),
        }
    }

    async fn refused(&self, peer: &Peer, refused: Refused) -> EnrollAgentAnswer {
        let (actor, detail, answer) = match refused {
            Refused::Token(token, why) => (
                token.map_or_else(|| "unknown".to_owned(), |token| token.to_string()),
                why.to_string(),
                EnrollAgentAnswer::Refused(why),
            ),
            Refused::Said(words) => {
                return EnrollAgentAnswer::Failed(words);
            }
        };
        if let Some(times) = self.said.due(peer.address) {
            tracing::info!(address = %peer.address, token = %actor, %detail, times, "an enrolment was refused");
        }
        if self.audits.allow(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Instant::now()) {
            let entry = SiteAudit {
                at_ms: self.store.now_ms(),
                action: "token.refused".into(),
                actor,
                detail: format!("Enrolment from {} was refused. {detail}", peer.address),
            };
            self.store.audit(entry).await;
        }
        answer
    }

    async fn finish(
        &self,
        peer: &Peer,
        what: &str,
        outcome: Result<AgentEnrolment, Refused>,
    ) -> Response {
        let (label, answer) = match outcome {
            Ok(enrolment) => ("accepted", EnrollAgentAnswer::Accepted(Box::new(enrolment))),
            Err(refused) => ("refused", self.refused(peer, refused).await),
        };
        self.outcomes.with_label_values(&[&format!("{what}_{label}")]).inc();
        match codec::encode(&answer) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response(),
            Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be written."),
        }
    }

    /// What an address asks for, unless it asks too often.
    fn read<T: DeserializeOwned>(
        &self,
        peer: &Peer,
        body: &[u8],
    ) -> Result<T, (StatusCode, &'static str)> {
        if !self.rate.allow(peer.address, Instant::now()) {
            self.outcomes.with_label_values(&["too_often"]).inc();
            return Err((
                StatusCode::TOO_MANY_REQUESTS,
                "Too many enrolments from this address. Wait a minute, then try again.",
            ));
        }
        codec::decode_within(body, MAX_BODY).map_err(|_| {
            (
                StatusCode::BAD_REQUEST,
                "The request cannot be read. The agent and the relay may be of very different versions.",
            )
        })
    }
}

/// A request is a few kilobytes and its answer one commit: who trickles it takes a
/// place that others need.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => said(StatusCode::REQUEST_TIMEOUT, "The request took too long. Try again."),
    }
}

/// Why an agent was not let in.
enum Refused {
    Token(Option<TokenId>, TokenRefusal),
    Said(String),
}

async fn enroll(
    State(enroller): State<Arc<AgentEnroller>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Response {
    match enroller.read::<EnrollAgent>(&peer, &body) {
        Ok(request) => {
            let outcome = enroller.enroll(&peer, request).await;
            enroller.finish(&peer, "enrol", outcome).await
        }
        Err((status, words)) => said(status, words),
    }
}

async fn renew(
    State(enroller): State<Arc<AgentEnroller>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Response {
    match enroller.read::<RenewAgent>(&peer, &body) {
        Ok(request) => {
            let outcome = enroller.renew(&peer, &request).await;
            enroller.finish(&peer, "renew", outcome).await
        }
        Err((status, words)) => said(status, words),
    }
}

async fn separate(
    State(enroller): State<Arc<AgentEnroller>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Response {
    match enroller.read::<OwnIdentity>(&peer, &body) {
        Ok(request) => {
            let outcome = enroller.separate(&peer, request).await;
            enroller.finish(&peer, "separate", outcome).await
        }
        Err((status, words)) => said(status, words),
    }
}

/// The public key that a certificate of this relay is for.
fn key_of(certificate: &[u8]) -> Result<[u8; 32], Refused> {
    let unreadable = || Refused::Said("The relay could not read what it issued.".into());
    proof_of(certificate).map(|(_, proof)| proof.key).ok_or_else(unreadable)
}

fn not_stored(error: &StoreError) -> Refused {
    tracing::error!(%error, "an enrolment could not be stored");
    Refused::Said(
        "The relay could not store the enrolment; its disk may be full or failing. Run `unifyit-relay doctor` there, then try again.".into(),
    )
}

fn said(status: StatusCode, words: &'static str) -> Response {
    (status, words).into_response()
}

/// Names come from the device and are hostile until shown to be harmless.
fn bounded(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}
