//! This relay joins the cloud: dials the addresses of its install token, takes
//! only the peer that the token names, asks, and believes nothing that the
//! token's authority has not signed.

use super::RelayRecord;
use crate::{
    config::Config,
    identity::{self, IdentityError, Keys, folder::StateFolder, names},
    resolver::{self, Names},
};
use argon2::{Argon2, PasswordHasher};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    quic,
    request_response::{self, ProtocolSupport, cbor},
    swarm::{DialError, SwarmEvent, dial_opts::DialOpts},
};
use std::time::Duration;
use time::OffsetDateTime;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RELAY_PROTOCOL, RelayEnrolment},
    grant::Grant,
    signing::PublicKey,
    token::{InstallToken, TokenKind, TokenRefusal, TokenText},
};

/// Longest time for the whole conversation.
const PATIENCE: Duration = Duration::from_secs(30);
/// Digits of a PIN for the local UI.
const PIN_DIGITS: std::ops::RangeInclusive<usize> = 6..=12;
const MAX_ANSWER: u64 = 256 * 1024;

/// Why the relay did not enrol; each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token itself.
    #[error("{0}")]
    Token(#[from] TokenRefusal),
    /// There is an enrolment already.
    #[error(
        "This relay is already enrolled (site {0}). Use --force to enrol it again, with a token of the site it shall serve."
    )]
    AlreadyEnrolled(String),
    /// The PIN is not one.
    #[error("The PIN must be 6 to 12 digits, not all the same.")]
    BadPin,
    /// No address answered.
    #[error(
        "The cloud cannot be reached at {addresses}: {reason}. Check the internet connection, and that the firewall lets out TCP and UDP to these ports."
    )]
    Unreachable {
        /// All that were tried.
        addresses: String,
        /// What the last ones said.
        reason: String,
    },
    /// Somebody else answered.
    #[error(
        "Another machine answers in the cloud's place. Nothing was sent to it. If the cloud was installed anew, make a new token in the console; else something on the network intercepts the connection."
    )]
    WrongPeer,
    /// The cloud said no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The connection ended before the answer.
    #[error("The cloud ended the conversation without an answer ({0}). Try again in a minute.")]
    NoAnswer(String),
    /// What the cloud answered is not signed as it must be.
    #[error(
        "The cloud's answer does not hold: {0}. Nothing was stored. Make a new token in the console and try again."
    )]
    BadAnswer(&'static str),
    /// Keys or files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This machine.
    #[error("{0}")]
    Local(String),
}

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Text of the install token.
    pub token: &'a str,
    /// PIN of the local UI.
    pub pin: Option<&'a str>,
    /// Enrol although there is an enrolment.
    pub force: bool,
}

/// Enrols and keeps the enrolment.
///
/// # Errors
/// [`EnrollError`]; nothing is stored then.
pub async fn enroll(config: &Config, request: &Request<'_>) -> Result<RelayRecord, EnrollError> {
    let folder = StateFolder::open(&config.state).map_err(IdentityError::from)?;
    if let Some(present) = identity::read_record(&folder)?
        && !request.force
    {
        return Err(EnrollError::AlreadyEnrolled(present.enrolment.site.to_string()));
    }
    let now = OffsetDateTime::now_utc();
    let claims = TokenText::parse(request.token)?.claims()?;
    let TokenKind::Relay { cloud_addresses, cloud_peer } = &claims.kind else {
        return Err(TokenRefusal::WrongKind.into());
    };
    // Whether the token is still good is for the cloud to say, and so is how long
    // the grant holds: this machine's clock may be wrong at its first start.
    let peer: PeerId = cloud_peer.parse().map_err(|_| TokenRefusal::Tampered)?;
    let ui_pin_hash = request.pin.map(hash_pin).transpose()?.unwrap_or_default();
    let keys = Keys::load_or_make(&folder, now)?;
    let question = EnrollRelay {
        token: request.token.trim().to_owned(),
        hostname: names::hostname(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ca_fingerprint: keys.ca.fingerprint(),
        lan_https: names::told(names::reachable_at(&config.names, config.listen.https)),
        ui_pin_hash: ui_pin_hash.clone(),
    };
    let swarm = swarm(keys.keypair())?;
    let asking = ask(swarm, peer, cloud_addresses, question);
    let answer =
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| EnrollError::Unreachable {
            addresses: cloud_addresses.join(", "),
            reason: "no answer within 30 seconds".into(),
        })??;
    let enrolment = match answer {
        EnrollRelayAnswer::Accepted(enrolment) => *enrolment,
        EnrollRelayAnswer::Refused(refusal) => return Err(refusal.into()),
        EnrollRelayAnswer::Failed(words) => return Err(EnrollError::Refused(printable(&words))),
    };
    let key = keys.signer().public();
    check(&enrolment, &claims, &key, &keys.ca.fingerprint())?;
    let record = RelayRecord {
        enrolment,
        cloud_addresses: cloud_addresses.clone(),
        cloud_peer: cloud_peer.clone(),
        ui_pin_hash,
        enrolled_ms: now_ms(now),
    };
    identity::write_record(&folder, &record)?;
    Ok(record)
}

/// Whether the authority of the token stands behind every part of the answer,
/// and means this relay by it.
pub(super) fn check(
    enrolment: &RelayEnrolment,
    claims: &InstallToken,
    own_key: &PublicKey,
    ca_fingerprint: &[u8; 32],
) -> Result<(), EnrollError> {
    let wrong = |what| Err(EnrollError::BadAnswer(what));
    if enrolment.authority != claims.authority {
        return wrong("it names another authority than the token");
    }
    if enrolment.organization != claims.organization || enrolment.site != claims.site {
        return wrong("it is for another site than the token");
    }
    let unsigned = |_| EnrollError::BadAnswer("a part of it is not signed by the authority");
    let grant: Grant = enrolment.grant.verify(&claims.authority).map_err(unsigned)?;
    if grant.relay_key != *own_key {
        return wrong("the grant is for another relay");
    }
    if grant.organization != claims.organization || grant.site != claims.site {
        return wrong("the grant is for another site");
    }
    let site = enrolment.site_certificate.verify(&claims.authority).map_err(unsigned)?;
    if site.issued_ms >= grant.expires_ms {
        return wrong("the grant had expired when it was made");
    }
    if site.ca_fingerprint != *ca_fingerprint {
        return wrong("it certifies another certificate authority");
    }
    if site.organization != claims.organization || site.site != claims.site {
        return wrong("the site certificate is for another site");
    }
    Ok(())
}

type Behaviour = cbor::Behaviour<EnrollRelay, EnrollRelayAnswer>;

fn swarm(keypair: &Keypair) -> Result<Swarm<Behaviour>, EnrollError> {
    let local = |e: &dyn std::fmt::Display| {
        EnrollError::Local(format!("The connection to the cloud cannot be set up: {e}."))
    };
    let quic = quic::Config::new(keypair);
    let transport = resolver::transport(keypair, Some(quic), Names::of_machine());
    let transport = transport.map_err(|e| local(&e))?;
    Ok(SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_other_transport(|_| transport)
        .map_err(|e| local(&e))?
        .with_behaviour(|_| {
            Behaviour::with_codec(
                cbor::codec::Codec::default().set_response_size_maximum(MAX_ANSWER),
                [(StreamProtocol::new(RELAY_PROTOCOL), ProtocolSupport::Outbound)],
                request_response::Config::default().with_request_timeout(PATIENCE),
            )
        })
        .map_err(|e| local(&e))?
        .build())
}

async fn ask(
    mut swarm: Swarm<Behaviour>,
    peer: PeerId,
    addresses: &[String],
    question: EnrollRelay,
) -> Result<EnrollRelayAnswer, EnrollError> {
    let dial: Vec<Multiaddr> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
    if dial.is_empty() {
        return Err(TokenRefusal::Tampered.into());
    }
    let unreachable = |error: &DialError| match error {
        DialError::WrongPeerId { .. } => EnrollError::WrongPeer,
        other => {
            EnrollError::Unreachable { addresses: addresses.join(", "), reason: dial_reason(other) }
        }
    };
    let options = DialOpts::peer_id(peer).addresses(dial).build();
    swarm.dial(options).map_err(|e| unreachable(&e))?;
    let mut question = Some(question);
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer => {
                if let Some(question) = question.take() {
                    swarm.behaviour_mut().send_request(&peer, question);
                }
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(unreachable(&error)),
            SwarmEvent::Behaviour(request_response::Event::Message {
                message: request_response::Message::Response { response, .. },
                ..
            }) => return Ok(response),
            SwarmEvent::Behaviour(request_response::Event::OutboundFailure { error, .. }) => {
                return Err(EnrollError::NoAnswer(error.to_string()));
            }
            _ => {}
        }
    }
}

/// The reasons of a failed dial, without libp2p's nesting.
fn dial_reason(error: &DialError) -> String {
    let DialError::Transport(each) = error else { return error.to_string() };
    let mut reasons: Vec<String> = each
        .iter()
        .map(|(address, error)| {
            let mut cause: &dyn std::error::Error = error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            format!("{}: {cause}", short(address))
        })
        .collect();
    reasons.dedup();
    reasons.join("; ")
}

fn short(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

/// TCP addresses of the cloud, for a plain look at whether they answer.
#[must_use]
pub fn tcp_addresses(addresses: &[String]) -> Vec<(String, u16)> {
    addresses
        .iter()
        .filter_map(|text| {
            let address: Multiaddr = text.parse().ok()?;
            let (mut host, mut port) = (None, None);
            for part in &address {
                match part {
                    Protocol::Ip4(ip) => host = Some(ip.to_string()),
                    Protocol::Ip6(ip) => host = Some(ip.to_string()),
                    Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
                        host = Some(name.into_owned());
                    }
                    Protocol::Tcp(number) => port = Some(number),
                    _ => {}
                }
            }
            Some((host?, port?))
        })
        .collect()
}

/// Tries to reach the cloud's pinned peer over libp2p, TCP and QUIC alike,
/// without asking it for anything. Used by `doctor`.
///
/// # Errors
/// [`EnrollError`] with the reason.
pub async fn reach(
    keypair: &Keypair,
    peer: &str,
    address: &str,
    patience: Duration,
) -> Result<(), EnrollError> {
    let peer: PeerId =
        peer.parse().map_err(|_| EnrollError::Local("The enrolment names no peer.".into()))?;
    let unreachable =
        |reason: String| EnrollError::Unreachable { addresses: address.to_owned(), reason };
    let dial: Multiaddr = address.parse().map_err(|_| unreachable("it is no address".into()))?;
    let mut swarm = swarm(keypair)?;
    swarm
        .dial(DialOpts::peer_id(peer).addresses(vec![dial]).build())
        .map_err(|e| unreachable(e.to_string()))?;
    let connected = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    return Err(match error {
                        DialError::WrongPeerId { .. } => EnrollError::WrongPeer,
                        other => unreachable(dial_reason(&other)),
                    });
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(patience, connected)
        .await
        .unwrap_or_else(|_| Err(unreachable("no answer in time".into())))
}

fn hash_pin(pin: &str) -> Result<String, EnrollError> {
    let digits = PIN_DIGITS.contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
    if !digits || pin.bytes().all(|b| Some(b) == pin.bytes().next()) {
        return Err(EnrollError::BadPin);
    }
    Argon2::default()
        .hash_password(pin.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| EnrollError::Local("The PIN could not be hashed.".into()))
}

/// The cloud's words go to a terminal.
fn printable(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn now_ms(now: OffsetDateTime) -> u64 {
    u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}
