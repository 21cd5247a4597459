//! Keys survive a restart and only on their machine; certificates say what they must.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{ca::*, folder::*, *};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::os::unix::fs::MetadataExt;
use unifyit_protocol::ids::DeviceId;

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    change(&mut params);
    params.serialize_request(&key).unwrap().der().to_vec()
}

#[test]
fn keys_are_the_same_after_a_restart_and_private_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    let folder = StateFolder::open(&path).unwrap();
    let first = Keys::load_or_make(&folder, now()).unwrap();
    let second = Keys::load_or_make(&StateFolder::open(&path).unwrap(), now()).unwrap();
    assert_eq!(first.peer_id(), second.peer_id());
    assert_eq!(first.ca.fingerprint(), second.ca.fingerprint());
    assert_eq!(first.signer().public(), second.signer().public());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn sealed_files_do_not_open_under_another_name() {
    let root = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(root.path()).unwrap();
    folder.write_sealed("one", b"secret").unwrap();
    std::fs::copy(root.path().join("one"), root.path().join("two")).unwrap();
    assert_eq!(folder.read_sealed("one").unwrap().unwrap().as_slice(), b"secret");
    assert!(matches!(folder.read_sealed("two"), Err(FolderError::Sealed { .. })));
}

#[test]
fn only_the_key_of_a_request_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_make(&StateFolder::open(root.path()).unwrap(), now()).unwrap();
    let device = DeviceId::generate();
    let other = DeviceId::generate();
    let greedy = request(|p| {
        p.distinguished_name.push(rcgen::DnType::CommonName, other.to_string());
        p.subject_alt_names =
            vec![SanType::URI(format!("unifyit:device:{other}").try_into().unwrap())];
    });
    let certificate = keys.ca.issue_agent(&greedy, device, 90, now()).unwrap();
    assert_eq!(device_of(&certificate), Some(device));
    let (from, to) = validity(&certificate).unwrap();
    assert_eq!(to - from, 91 * 86_400);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
}

#[test]
fn a_request_with_a_flipped_bit_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_make(&StateFolder::open(root.path()).unwrap(), now()).unwrap();
    let good = request(|_| {});
    for at in [good.len() - 1, good.len() / 2, 40] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(keys.ca.issue_agent(&bad, DeviceId::generate(), 90, now()).is_err(), "byte {at}");
    }
    assert!(keys.ca.issue_agent(&good, DeviceId::generate(), 90, now()).is_ok());
}

#[test]
fn the_server_certificate_is_replaced_when_little_of_its_life_is_left() {
    let root = tempfile::tempdir().unwrap();
    let keys = Keys::load_or_make(&StateFolder::open(root.path()).unwrap(), now()).unwrap();
    let config = crate::config::Config::default();
    let clock = crate::clock::SiteClock::default();
    let certificate = server::ServerCertificate::new(&keys.ca, &config, clock).unwrap();
    assert!(!certificate.renew_if_due(&keys.ca, &config, now()).unwrap());
    let later = now() + time::Duration::days(300);
    assert!(certificate.renew_if_due(&keys.ca, &config, later).unwrap());
    assert!(certificate.renew_if_due(&keys.ca, &config, now()).unwrap(), "the time was set back");
    assert!(certificate.renew_if_due(&keys.ca, &config, later).unwrap(), "and forward again");
    let renamed = crate::config::Config { names: vec!["relay.lan".into()], ..config };
    assert!(certificate.renew_if_due(&keys.ca, &renamed, later).unwrap());
}
