//! The relay's enrolment against a stand-in for the cloud on real libp2p, and
//! what the relay refuses to believe.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{
    cloud::{EnrollError, Request, check, enroll, reach},
    *,
};
use crate::{
    config::Config,
    identity::{self, Keys, folder::StateFolder},
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, SwarmBuilder,
    identity::Keypair,
    noise,
    request_response::{self, ProtocolSupport, cbor},
    swarm::SwarmEvent,
    tcp, yamux,
};
use std::{path::Path, time::Duration};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RELAY_PROTOCOL},
    grant::{Grant, Scope, SiteCertificate},
    ids::{GrantId, RelayId},
    signing::Signer25519,
};

fn authority() -> Signer25519 {
    Signer25519::from_seed(&[3; 32])
}

/// Answers each enrolment with what `answer` makes of the peer's key and request.
async fn cloud<F>(transport: &str, answer: F) -> (PeerId, Multiaddr)
where
    F: Fn(PublicKey, &EnrollRelay) -> EnrollRelayAnswer + Send + 'static,
{
    let mut swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| {
            cbor::Behaviour::<EnrollRelay, EnrollRelayAnswer>::new(
                [(StreamProtocol::new(RELAY_PROTOCOL), ProtocolSupport::Inbound)],
                request_response::Config::default(),
            )
        })
        .unwrap()
        .build();
    let peer = *swarm.local_peer_id();
    swarm.listen_on(transport.parse().unwrap()).unwrap();
    let (told, address) = oneshot::channel();
    let mut told = Some(told);
    tokio::spawn(async move {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => {
                    if let Some(told) = told.take() {
                        told.send(address).unwrap();
                    }
                }
                SwarmEvent::Behaviour(request_response::Event::Message {
                    peer,
                    message: request_response::Message::Request { request, channel, .. },
                    ..
                }) => {
                    // An Ed25519 peer id ends with the key itself.
                    let bytes = peer.to_bytes();
                    let key = PublicKey(bytes[bytes.len() - 32..].try_into().unwrap());
                    let answer = answer(key, &request);
                    swarm.behaviour_mut().send_response(channel, answer).unwrap();
                }
                _ => {}
            }
        }
    });
    (peer, address.await.unwrap())
}

fn claims(peer: PeerId, addresses: &[Multiaddr]) -> InstallToken {
    InstallToken {
        id: TokenId::generate(),
        organization: OrganizationId::generate(),
        site: SiteId::generate(),
        authority: authority().public(),
        kind: TokenKind::Relay {
            cloud_addresses: addresses.iter().map(ToString::to_string).collect(),
            cloud_peer: peer.to_base58(),
        },
        expires_ms: u64::MAX,
        uses: 1,
    }
}

fn enrolment(
    place: (OrganizationId, SiteId),
    key: PublicKey,
    ca_fingerprint: [u8; 32],
) -> RelayEnrolment {
    let (organization, site) = place;
    let grant = Grant {
        id: GrantId::generate(),
        organization,
        relay_key: key,
        site,
        scopes: vec![Scope::Execute],
        not_before_ms: 0,
        expires_ms: u64::MAX,
    };
    let certificate = SiteCertificate { organization, site, ca_fingerprint, issued_ms: 0 };
    RelayEnrolment {
        relay: RelayId::generate(),
        organization,
        site,
        authority: authority().public(),
        grant: authority().sign(&grant, None).unwrap(),
        site_certificate: authority().sign(&certificate, None).unwrap(),
    }
}

/// A cloud that enrols whom the token lets in, as the real one does.
fn honest(key: PublicKey, request: &EnrollRelay) -> EnrollRelayAnswer {
    let token = TokenText::parse(&request.token).unwrap().claims().unwrap();
    let place = (token.organization, token.site);
    EnrollRelayAnswer::Accepted(Box::new(enrolment(place, key, request.ca_fingerprint)))
}

fn text(token: &InstallToken) -> String {
    TokenText::new(authority().sign(token, None).unwrap()).to_string()
}

async fn try_enroll(
    state: &Path,
    token: &str,
    pin: Option<&str>,
    force: bool,
) -> Result<RelayRecord, EnrollError> {
    let config = Config { state: state.into(), ..Config::default() };
    enroll(&config, &Request { token, pin, force }).await
}

#[tokio::test]
async fn a_relay_enrols_over_either_transport_and_keeps_what_it_got() {
    for transport in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let root = tempfile::tempdir().unwrap();
        let (peer, address) = cloud(transport, honest).await;
        let token = claims(peer, std::slice::from_ref(&address));
        let record = try_enroll(root.path(), &text(&token), Some("123456"), false).await.unwrap();
        assert_eq!(record.enrolment.site, token.site);
        assert!(record.ui_pin_hash.starts_with("$argon2id$"));
        let folder = StateFolder::open(root.path()).unwrap();
        assert_eq!(identity::read_record(&folder).unwrap().as_ref(), Some(&record));
        let again = try_enroll(root.path(), &text(&token), None, false).await;
        assert!(matches!(again, Err(EnrollError::AlreadyEnrolled(_))), "{again:?}");
        assert!(try_enroll(root.path(), &text(&token), None, true).await.is_ok());
        let stranger = Keypair::generate_ed25519();
        let time = Duration::from_secs(10);
        let name = address.to_string();
        assert!(reach(&stranger, &peer.to_base58(), &name, time).await.is_ok());
    }
}

#[tokio::test]
async fn each_refusal_is_passed_on_and_nothing_is_kept() {
    for refusal in [TokenRefusal::UsedUp, TokenRefusal::Revoked, TokenRefusal::WrongSite] {
        let root = tempfile::tempdir().unwrap();
        let (peer, address) =
            cloud("/ip4/127.0.0.1/tcp/0", move |_, _| EnrollRelayAnswer::Refused(refusal)).await;
        let token = claims(peer, &[address]);
        let error = try_enroll(root.path(), &text(&token), None, false).await.unwrap_err();
        assert_eq!(error.to_string(), refusal.to_string());
        let folder = StateFolder::open(root.path()).unwrap();
        assert!(identity::read_record(&folder).unwrap().is_none());
    }
}

#[tokio::test]
async fn a_peer_that_is_not_the_tokens_gets_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (_, address) = cloud("/ip4/127.0.0.1/tcp/0", |_, _| panic!("it was asked")).await;
    let other = Keypair::generate_ed25519().public().to_peer_id();
    let error = try_enroll(root.path(), &text(&claims(other, &[address])), None, false).await;
    assert!(matches!(error, Err(EnrollError::WrongPeer)), "{error:?}");
}

#[tokio::test]
async fn an_unreachable_cloud_is_named_with_its_address() {
    let root = tempfile::tempdir().unwrap();
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let token = claims(peer, &["/ip4/127.0.0.1/tcp/9".parse().unwrap()]);
    let error = try_enroll(root.path(), &text(&token), None, false).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("/ip4/127.0.0.1/tcp/9") && words.contains("refused"), "{words}");
}

#[tokio::test]
async fn a_bad_token_or_pin_is_refused_before_anybody_is_asked() {
    let root = tempfile::tempdir().unwrap();
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let good = claims(peer, &[]);
    let agent = TokenKind::Agent { relay_https: Vec::new(), ca_fingerprint: [0; 32] };
    for (token, pin, words) in [
        ("UIT1.nonsense".to_owned(), None, "changed or cut off"),
        (text(&InstallToken { kind: agent, ..good.clone() }), None, "other kind"),
        (text(&good), Some("12a456"), "6 to 12 digits"),
        (text(&good), Some("12345"), "6 to 12 digits"),
        (text(&good), Some("777777"), "not all the same"),
    ] {
        let error = try_enroll(root.path(), &token, pin, false).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn only_what_the_tokens_authority_signed_for_this_relay_is_believed() {
    let root = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(root.path()).unwrap();
    let keys = Keys::load_or_make(&folder, OffsetDateTime::now_utc()).unwrap();
    let (key, ca) = (keys.signer().public(), keys.ca.fingerprint());
    let token = claims(keys.peer_id(), &[]);
    let place = (token.organization, token.site);
    let good = enrolment(place, key, ca);
    assert!(check(&good, &token, &key, &ca).is_ok());
    let elsewhere = (token.organization, SiteId::generate());
    let other_key = Signer25519::from_seed(&[9; 32]);
    let mut other_site = enrolment(elsewhere, key, ca);
    other_site.site = token.site;
    let mut other_authority = good.clone();
    other_authority.authority = other_key.public();
    let mut forged = good.clone();
    forged.grant = other_key.sign(&forged.grant.peek().unwrap(), None).unwrap();
    let mut swapped = good.clone();
    swapped.site_certificate = enrolment(elsewhere, key, ca).site_certificate;
    for (what, bad) in [
        ("another relay's key", enrolment(place, other_key.public(), ca)),
        ("another authority's fingerprint", enrolment(place, key, [1; 32])),
        ("another site", enrolment(elsewhere, key, ca)),
        ("another site's papers", other_site),
        ("another authority", other_authority),
        ("a grant signed by somebody else", forged),
        ("another site's certificate", swapped),
    ] {
        assert!(check(&bad, &token, &key, &ca).is_err(), "{what} was believed");
    }
}
