//! Keys open where they belong and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use std::os::unix::fs::PermissionsExt;
use unifyit_protocol::{
    ids::{SiteId, TokenId},
    token::TokenKind,
};

fn trust() -> Trust {
    Trust::new(MasterKey::from_bytes(&[7; 32]).unwrap())
}

fn certificate(organization: OrganizationId) -> SiteCertificate {
    SiteCertificate {
        organization,
        site: SiteId::generate(),
        ca_fingerprint: [1; 32],
        issued_ms: 1,
    }
}

#[test]
fn what_an_authority_signs_verifies_under_its_public_key() {
    let (trust, organization) = (trust(), OrganizationId::generate());
    let authority = trust.new_authority(organization).unwrap();
    let certificate = certificate(organization);
    let signed = trust.certify_site(&authority.sealed, &certificate).unwrap();
    assert_eq!(signed.verify(&authority.public).unwrap(), certificate);
}

#[test]
fn a_token_survives_its_text_form() {
    let (trust, organization) = (trust(), OrganizationId::generate());
    let authority = trust.new_authority(organization).unwrap();
    let token = InstallToken {
        id: TokenId::generate(),
        organization,
        site: SiteId::generate(),
        authority: authority.public,
        kind: TokenKind::Relay { cloud_addresses: vec![], cloud_peer: "p".into() },
        expires_ms: 10,
        uses: 1,
    };
    let text = trust.sign_token(&authority.sealed, &token).unwrap().to_string();
    let parsed = TokenText::parse(&text).unwrap();
    assert_eq!(parsed.verify(&authority.public, 9).unwrap(), token);
}

#[test]
fn an_authority_moved_to_another_organization_does_not_sign() {
    let trust = trust();
    let authority = trust.new_authority(OrganizationId::generate()).unwrap();
    let other = certificate(OrganizationId::generate());
    assert!(matches!(trust.certify_site(&authority.sealed, &other), Err(TrustError::Sealed)));
}

#[test]
fn a_changed_seal_or_another_master_key_does_not_open() {
    let (trust, organization) = (trust(), OrganizationId::generate());
    let sealed = trust.new_authority(organization).unwrap().sealed;
    let wanted = certificate(organization);
    let stranger = Trust::new(MasterKey::from_bytes(&[8; 32]).unwrap());
    assert!(matches!(stranger.certify_site(&sealed, &wanted), Err(TrustError::Sealed)));
    for at in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        assert!(matches!(trust.certify_site(&bent, &wanted), Err(TrustError::Sealed)), "{at}");
    }
    assert!(matches!(trust.certify_site(&sealed[..5], &wanted), Err(TrustError::Sealed)));
}

#[test]
fn the_master_key_file_is_made_once_private_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/master.key");
    let first = Trust::load(None, &path, false).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let organization = OrganizationId::generate();
    let authority = first.new_authority(organization).unwrap();
    let second = Trust::load(Some("  "), &path, true).unwrap();
    assert!(second.certify_site(&authority.sealed, &certificate(organization)).is_ok());
}

#[test]
fn no_master_key_is_made_where_organizations_need_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let error = Trust::load(None, &path, true).unwrap_err();
    assert!(error.to_string().contains("put that file back from the backup"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_master_key_that_others_can_read_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    Trust::load(None, &path, false).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Trust::load(None, &path, false).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_master_key_of_wrong_length_is_refused() {
    for text in ["AAAA", "not base64!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let folder = tempfile::tempdir().unwrap();
        let loaded = Trust::load(Some(text), &folder.path().join("k"), false);
        assert!(matches!(loaded, Err(TrustError::MasterKeyFormat)), "{text}");
    }
}
