//! Each illness is found, and the healthy are left alone.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{database, examine, machine, network};
use crate::config::Config;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use tokio::net::TcpListener;
use unifyit_protocol::doctor::{Finding, Health};

fn config(state: &Path) -> Config {
    let mut config = Config { state: state.into(), ..Config::default() };
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.admin_listen = "127.0.0.1:0".parse().unwrap();
    config.libp2p_listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
    // Nobody listens on the discard port.
    config.database_url = "postgres://nobody@127.0.0.1:9/none".into();
    config
}

#[tokio::test]
async fn a_database_that_is_away_is_found_and_said_how_to_mend() {
    let state = tempfile::tempdir().unwrap();
    let report = examine(&config(state.path())).await;
    assert!(!report.is_well());
    let ill: Vec<&Finding> = report.findings.iter().filter(|f| f.health == Health::Ill).collect();
    assert!(matches!(ill.as_slice(), [one] if one.check == "database"), "{}", report.text());
    assert!(ill[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("PostgreSQL")));
}

#[test]
fn a_wrong_clock_is_found() {
    assert_eq!(database::clock(1.0).health, Health::Well);
    assert_eq!(database::clock(-61.0).health, Health::Ill);
    assert!(database::clock(-61.0).detail.contains("61 s behind"));
    assert!(database::clock(90.0).detail.contains("90 s ahead"));
}

#[test]
fn a_full_disk_is_found() {
    assert_eq!(machine::room(511 << 20, "/x").health, Health::Ill);
    assert_eq!(machine::room(513 << 20, "/x").health, Health::Well);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_found() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(machine::state_folder(state.path()).health, Health::Well);
    let file = state.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert_eq!(machine::state_folder(&file).health, Health::Ill);
}

#[test]
fn a_master_key_that_others_read_or_that_is_none_is_found() {
    let state = tempfile::tempdir().unwrap();
    let config = config(state.path());
    assert_eq!(machine::master_key(&config).health, Health::Warning);
    let file = config.master_key_file();
    std::fs::write(&file, "no key").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(machine::master_key(&config).detail.contains("read by others"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(machine::master_key(&config).health, Health::Ill);
}

#[tokio::test]
async fn a_port_held_by_another_program_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stranger = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let running = network::alive(address).await;
    assert_eq!(network::http_port(address, running).health, Health::Ill);
    let relays = format!("/ip4/127.0.0.1/tcp/{}", address.port());
    assert_eq!(network::libp2p_port(&relays, running).health, Health::Ill);
    assert_eq!(network::libp2p_port(&relays, true).health, Health::Well);
    stranger.abort();
}

#[tokio::test]
async fn a_cloud_that_answers_holds_its_port_rightly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pages = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok" }));
    let cloud = tokio::spawn(async move { axum::serve(listener, pages).await });
    let running = network::alive(address).await;
    assert!(running);
    assert_eq!(network::http_port(address, running).health, Health::Well);
    cloud.abort();
}

#[tokio::test]
async fn a_bad_certificate_is_told_from_a_closed_port() {
    let state = tempfile::tempdir().unwrap();
    let mut config = config(state.path());
    config.public_url = format!("https://{}", self_signed().await);
    let found = network::public_url(&config).await;
    assert_eq!(found.health, Health::Ill);
    assert!(found.detail.contains("valid certificate"), "{}", found.detail);

    config.public_url = "https://127.0.0.1:9".into();
    let found = network::public_url(&config).await;
    assert_eq!(found.health, Health::Ill);
    assert!(found.detail.contains("cannot be reached"), "{}", found.detail);
}

#[test]
fn files_that_tls_cannot_be_spoken_with_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    assert!(machine::certificate(&config).is_none(), "a proxy has the certificate");
    let made = rcgen::generate_simple_self_signed(vec!["rmm.example".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    config.tls_certificate_file.clone_from(&chain);
    assert!(machine::certificate(&config).unwrap().detail.contains("both"));
    config.tls_key_file.clone_from(&key);
    assert!(machine::certificate(&config).unwrap().detail.contains("key.pem cannot be read"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert_eq!(machine::certificate(&config).unwrap().health, Health::Well);
    std::fs::write(&chain, "no certificate").unwrap();
    assert!(machine::certificate(&config).unwrap().detail.contains("holds no certificate"));
}

/// An HTTPS server whose certificate nobody vouches for.
async fn self_signed() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    });
    address
}
