//! Each illness is found, and the healthy are left alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{
    enroll::RelayRecord,
    identity::{Identity, write_record},
    run::{RUNTIME_FILE, Runtime},
};
use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};
use time::Duration;
use unifyit_protocol::{
    doctor::Health,
    enroll::RelayEnrolment,
    grant::{Grant, SiteCertificate},
    ids::{GrantId, OrganizationId, RelayId, SiteId},
    signing::Signer25519,
};

fn now_ms() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap()
}

fn config(state: &Path) -> Config {
    let mut config = Config { state: state.into(), ..Config::default() };
    let anywhere = "127.0.0.1:0".parse().unwrap();
    config.listen = crate::config::Listen {
        mqtt: anywhere,
        https: anywhere,
        ui: anywhere,
        admin: anywhere,
        cache: anywhere,
        sisters: anywhere,
    };
    config.store.keep_free_bytes = 1;
    config
}

fn enroll(state: &Path, cloud: &str) -> Identity {
    let folder = StateFolder::open(state).unwrap();
    let keys = Keys::load_or_make(&folder, OffsetDateTime::now_utc()).unwrap();
    let authority = Signer25519::from_seed(&[7; 32]);
    let (organization, site) = (OrganizationId::generate(), SiteId::generate());
    let grant = Grant {
        id: GrantId::generate(),
        organization,
        relay_key: keys.signer().public(),
        site,
        scopes: Vec::new(),
        not_before_ms: 0,
        expires_ms: now_ms() + 365 * 86_400_000,
    };
    let certificate = SiteCertificate {
        organization,
        site,
        ca_fingerprint: keys.ca.fingerprint(),
        issued_ms: now_ms(),
    };
    let enrolment = RelayEnrolment {
        relay: RelayId::generate(),
        organization,
        site,
        authority: authority.public(),
        grant: authority.sign(&grant, None).unwrap(),
        site_certificate: authority.sign(&certificate, None).unwrap(),
    };
    let record = RelayRecord {
        enrolment,
        cloud_addresses: vec![cloud.to_owned()],
        cloud_peer: keys.peer_id().to_base58(),
        ui_pin_hash: String::new(),
        enrolled_ms: now_ms(),
    };
    write_record(&folder, &record).unwrap();
    Identity { keys, record }
}

fn health(report: &Report, check: &str) -> Health {
    let of = |f: &&Finding| f.check == check;
    report
        .findings
        .iter()
        .filter(of)
        .map(|f| f.health)
        .max_by_key(|h| *h as u8)
        .unwrap_or_else(|| panic!("no finding for {check}: {}", report.text()))
}

async fn examined(config: &Config) -> Report {
    examine(config, OffsetDateTime::now_utc()).await
}

#[tokio::test]
async fn an_enrolled_relay_is_well_but_for_the_unreachable_cloud() {
    let root = tempfile::tempdir().unwrap();
    // Nothing listens on the discard port of the loopback.
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    let report = examined(&config(root.path())).await;
    let ill: Vec<_> = report.findings.iter().filter(|f| f.health == Health::Ill).collect();
    assert!(matches!(ill.as_slice(), [one] if one.check == "cloud by TCP"), "{}", report.text());
    assert!(ill.iter().all(|f| f.remedy.is_some()));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["well"], false);
}

#[tokio::test]
async fn a_relay_without_enrolment_is_told_to_enrol() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("none");
    let report = examined(&config(&state)).await;
    assert_eq!(health(&report, "enrolment"), Health::Ill);
    assert!(!state.exists(), "doctor only looks");
}

#[tokio::test]
async fn a_wrong_clock_is_found() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    let config = config(root.path());
    let now = OffsetDateTime::now_utc();
    for (at, expected) in [
        (OffsetDateTime::UNIX_EPOCH, Health::Ill),
        (now - Duration::hours(3), Health::Ill),
        (now + Duration::days(365 * 200), Health::Ill),
    ] {
        assert_eq!(health(&examine(&config, at).await, "clock"), expected, "{at}");
    }
}

#[tokio::test]
async fn a_clock_that_differs_from_the_clouds_is_found() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    for (metrics, expected) in [
        (
            "unifyit_relay_uplink_up 1\nunifyit_relay_uplink_clock_apart_seconds 3\n",
            Some(Health::Well),
        ),
        (
            "unifyit_relay_uplink_up 1\nunifyit_relay_uplink_clock_apart_seconds 90\n",
            Some(Health::Warning),
        ),
        (
            "unifyit_relay_uplink_up 1\nunifyit_relay_uplink_clock_apart_seconds -4000\n",
            Some(Health::Ill),
        ),
        // Not connected: the figure is of another day.
        ("unifyit_relay_uplink_up 0\nunifyit_relay_uplink_clock_apart_seconds -4000\n", None),
    ] {
        let admin = running_relay(metrics).await;
        let runtime = Runtime { admin: Some(admin), ..Runtime::default() };
        std::fs::write(root.path().join(RUNTIME_FILE), serde_json::to_vec(&runtime).unwrap())
            .unwrap();
        let report = examined(&config(root.path())).await;
        let found = report.findings.iter().find(|f| f.check == "clock against the cloud");
        assert_eq!(found.map(|f| f.health), expected, "{metrics}");
    }
}

/// What answers on a relay's admin port.
async fn running_relay(metrics: &'static str) -> SocketAddr {
    let pages = axum::Router::new()
        .route("/healthz", axum::routing::get(|| async { "ok" }))
        .route("/metrics", axum::routing::get(move || async move { metrics }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, pages).await });
    address
}

#[tokio::test]
async fn a_taken_port_is_found() {
    let root = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(root.path());
    config.listen.mqtt = taken.local_addr().unwrap();
    let report = examined(&config).await;
    assert_eq!(health(&report, "port MQTT"), Health::Ill);
    assert_eq!(health(&report, "port agents' HTTPS"), Health::Well);
}

#[tokio::test]
async fn an_ending_and_an_ended_certificate_are_found() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    let config = config(root.path());
    for (days, grant, authority) in [
        (0, Health::Well, Health::Well),
        (350, Health::Warning, Health::Well),
        (400, Health::Ill, Health::Well),
        (3640, Health::Ill, Health::Warning),
        (3700, Health::Ill, Health::Ill),
    ] {
        let report = examine(&config, OffsetDateTime::now_utc() + Duration::days(days)).await;
        assert_eq!(health(&report, "grant"), grant, "day {days}");
        assert_eq!(health(&report, "site authority"), authority, "day {days}");
    }
}

#[tokio::test]
async fn a_foreign_authority_in_the_folder_is_found() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    let other = tempfile::tempdir().unwrap();
    // One who knows the folder's own secret: the seal opens, the papers do not fit.
    let own = "machine-secret";
    std::fs::copy(root.path().join(own), other.path().join(own)).unwrap();
    enroll(other.path(), "/ip4/127.0.0.1/tcp/9");
    for file in ["ca.key", "ca.der"] {
        std::fs::copy(other.path().join(file), root.path().join(file)).unwrap();
    }
    let report = examined(&config(root.path())).await;
    assert_eq!(health(&report, "site authority"), Health::Ill);
}

#[tokio::test]
async fn missing_keys_are_found_and_not_made() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    std::fs::remove_file(root.path().join("ca.key")).unwrap();
    assert_eq!(health(&examined(&config(root.path())).await, "keys"), Health::Ill);
    assert!(!root.path().join("ca.key").exists(), "doctor only looks");
}

#[tokio::test]
async fn a_full_disk_is_found() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.store.keep_free_bytes = u64::MAX;
    assert_eq!(health(&examined(&config).await, "disk"), Health::Ill);
}

#[tokio::test]
async fn the_package_caches_settings_and_disk_are_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.cache.reserve_bytes = 1;
    let report = examined(&config).await;
    assert_eq!(health(&report, "package cache disk"), Health::Well);
    assert_eq!(health(&report, "package cache upstreams"), Health::Well);
    config.cache.reserve_bytes = u64::MAX;
    config.cache.remaps.push("a b=https://x.org".into());
    let report = examined(&config).await;
    assert_eq!(health(&report, "package cache disk"), Health::Warning);
    assert_eq!(health(&report, "package cache upstreams"), Health::Warning);
    assert!(report.text().contains("a b=https://x.org"), "the entry is named");
    config.cache.enabled = false;
    assert_eq!(health(&examined(&config).await, "package cache"), Health::Well);
}

#[tokio::test]
async fn open_permissions_are_found() {
    let root = tempfile::tempdir().unwrap();
    enroll(root.path(), "/ip4/127.0.0.1/tcp/9");
    let key = root.path().join("relay.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(health(&examined(&config(root.path())).await, "state folder"), Health::Ill);
}

#[tokio::test]
async fn a_store_held_by_another_process_is_found() {
    let root = tempfile::tempdir().unwrap();
    let held = redb::Database::create(root.path().join("relay.redb")).unwrap();
    assert_eq!(health(&examined(&config(root.path())).await, "store"), Health::Ill);
    drop(held);
    assert_eq!(health(&examined(&config(root.path())).await, "store"), Health::Well);
}
