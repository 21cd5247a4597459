//! Who is trusted: signatures, grants, tokens, sealed files.

use super::examples::{authority, command, grant, relay, token};
use crate::{
    ProtocolError, codec,
    command::Command,
    grant::{Grant, Scope, Trust, authorize},
    ids::{OrganizationId, SiteId},
    seal,
    signing::{PublicKey, Signable, Signed, Signer25519},
    token::{TokenRefusal, TokenText},
};
use uuid::Uuid;

fn at(now_ms: u64, authority: &PublicKey) -> Trust<'_> {
    let (organization, site) = (grant().organization, grant().site);
    Trust { authority, organization, site, now_ms }
}

fn granted(grant: &Grant) -> Signed<Grant> {
    authority().sign(grant, None).unwrap()
}

fn refusal<T>(result: Result<T, ProtocolError>) -> &'static str {
    match result.err() {
        Some(ProtocolError::Signature(why)) => why,
        other => panic!("expected a broken signature, got {other:?}"),
    }
}

#[test]
fn the_authority_and_a_granted_relay_may_command() {
    let key = authority().public();
    let direct = authority().sign(&command(), None).unwrap();
    assert_eq!(authorize(&direct, at(5000, &key), Scope::Execute), Ok(command()));
    let by_relay = relay().sign(&command(), Some(granted(&grant()))).unwrap();
    assert_eq!(authorize(&by_relay, at(5000, &key), Scope::Execute), Ok(command()));
}

#[test]
fn a_grant_holds_only_for_its_relay_site_time_and_scope() {
    let key = authority().public();
    let signed = relay().sign(&command(), Some(granted(&grant()))).unwrap();
    let check = |trust, scope| refusal(authorize(&signed, trust, scope));
    assert!(check(at(999, &key), Scope::Execute).contains("time"), "not yet");
    assert!(check(at(9000, &key), Scope::Execute).contains("time"), "expired");
    assert!(check(at(5000, &key), Scope::Patch).contains("action"));
    assert!(check(at(5000, &key), Scope::Unknown).contains("action"));
    let elsewhere = Trust { site: SiteId(Uuid::from_u128(99)), ..at(5000, &key) };
    assert!(check(elsewhere, Scope::Execute).contains("site"));
    let stranger = Trust { organization: OrganizationId(Uuid::from_u128(99)), ..at(5000, &key) };
    assert!(check(stranger, Scope::Execute).contains("site"));
    let other = Signer25519::from_seed(&[77; 32]);
    let stolen = other.sign(&command(), Some(granted(&grant()))).unwrap();
    assert!(refusal(authorize(&stolen, at(5000, &key), Scope::Execute)).contains("another relay"));
    let homemade = relay().sign(&grant(), None).unwrap();
    let homemade = relay().sign(&command(), Some(homemade)).unwrap();
    refusal(authorize(&homemade, at(5000, &key), Scope::Execute));
    let bare = relay().sign(&command(), None).unwrap();
    assert!(refusal(authorize(&bare, at(5000, &key), Scope::Execute)).contains("no signer"));
}

#[test]
fn one_broken_or_missing_signature_spoils_the_command() {
    let key = authority().public();
    let good = authority().sign(&command(), None).unwrap();
    let mut none = good.clone();
    none.signatures.clear();
    refusal(authorize(&none, at(5000, &key), Scope::Execute));
    let mut many = good.clone();
    many.signatures = vec![good.signatures[0].clone(); 9];
    refusal(authorize(&many, at(5000, &key), Scope::Execute));
    assert!(codec::decode::<Signed<Command>>(&codec::encode(&many).unwrap()).is_err());
    let mut second = relay().sign(&command(), None).unwrap().signatures.remove(0);
    second.signature[0] ^= 1;
    let mut spoiled = good;
    spoiled.signatures.push(second);
    refusal(authorize(&spoiled, at(5000, &key), Scope::Execute));
}

#[test]
fn no_changed_byte_of_a_signed_command_passes_as_something_else() {
    let key = authority().public();
    let bytes = codec::encode(&relay().sign(&command(), Some(granted(&grant()))).unwrap()).unwrap();
    for at_byte in 0..bytes.len() {
        for flip in [1, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at_byte] ^= flip;
            let Ok(signed) = codec::decode::<Signed<Command>>(&changed) else { continue };
            // Some bytes only choose among equal spellings of CBOR.
            if let Ok(passed) = authorize(&signed, at(5000, &key), Scope::Execute) {
                assert_eq!(passed, command(), "byte {at_byte} xor {flip:#x}");
            }
        }
    }
    let signed = authority().sign(&command(), None).unwrap();
    for at_byte in 0..signed.payload.len() {
        let mut changed = signed.clone();
        changed.payload[at_byte] ^= 1;
        assert!(authorize(&changed, at(5000, &key), Scope::Execute).is_err(), "byte {at_byte}");
    }
    for at_byte in 0..64 {
        let mut changed = signed.clone();
        changed.signatures[0].signature[at_byte] ^= 1;
        assert!(authorize(&changed, at(5000, &key), Scope::Execute).is_err(), "byte {at_byte}");
    }
}

#[test]
fn a_signature_does_not_pass_for_another_purpose() {
    fn as_command<T: Signable>(signed: &Signed<T>) -> Signed<Command> {
        codec::decode(&codec::encode(signed).unwrap()).unwrap()
    }
    let key = authority().public();
    let cross = as_command(&granted(&grant()));
    refusal(cross.verify(&key));
    refusal(authorize(&cross, at(5000, &key), Scope::Execute));
    refusal(as_command(&authority().sign(&token(), None).unwrap()).verify(&key));
}

#[test]
fn a_weak_key_signs_nothing() {
    // The identity point: with it, an all-zero scalar "signs" any message when
    // verification is lax.
    let mut point = [0u8; 32];
    point[0] = 1;
    let mut forged = authority().sign(&command(), None).unwrap();
    forged.signatures[0].key = PublicKey(point);
    forged.signatures[0].signature = [point, [0; 32]].concat();
    refusal(authorize(&forged, at(5000, &PublicKey(point)), Scope::Execute));
}

#[test]
fn a_token_survives_its_text_and_is_refused_by_the_right_name() {
    let text = TokenText::new(authority().sign(&token(), None).unwrap()).to_string();
    let read = TokenText::parse(&format!("  {text}\n")).unwrap();
    assert_eq!(read.claims(), Ok(token()));
    assert_eq!(read.verify(&authority().public(), 8999), Ok(token()));
    assert_eq!(read.verify(&authority().public(), 9000), Err(TokenRefusal::Expired));
    assert_eq!(read.verify(&relay().public(), 5000), Err(TokenRefusal::Tampered));
    assert!(!format!("{read:?}").contains(&text[10..20]), "a token is not printed by accident");
    let forged = TokenText::new(relay().sign(&token(), None).unwrap());
    assert_eq!(forged.claims(), Err(TokenRefusal::Tampered), "not signed by whom it names");
    for bad in ["", "UIT1.", "UIT2.AAAA", "UIT1.!!!", &"UIT1.A".repeat(4096)] {
        assert!(TokenText::parse(bad).is_err(), "{bad:.20}");
    }
}

#[test]
fn no_changed_character_of_a_token_changes_what_it_grants() {
    let text = TokenText::new(authority().sign(&token(), None).unwrap()).to_string();
    for at in 0..text.len() {
        assert!(TokenText::parse(&text[..at]).is_err(), "cut at {at}");
        for flip in [1, 2, 0x20] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= flip;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let Ok(read) = TokenText::parse(&changed) else { continue };
            if let Ok(passed) = read.verify(&authority().public(), 0) {
                assert_eq!(passed, token(), "character {at}");
            }
        }
    }
}

#[test]
fn a_sealed_file_opens_only_unchanged_on_its_machine_and_for_its_purpose() {
    let sealed = seal::seal(b"machine", "key", b"secret").unwrap();
    assert_eq!(seal::open(b"machine", "key", &sealed).unwrap().as_slice(), b"secret");
    assert_ne!(sealed, seal::seal(b"machine", "key", b"secret").unwrap(), "fresh salt and nonce");
    assert!(seal::open(b"another", "key", &sealed).is_err());
    assert!(seal::open(b"machine", "other", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(seal::open(b"machine", "key", &changed).is_err(), "byte {at}");
        assert!(seal::open(b"machine", "key", &sealed[..at]).is_err(), "cut at {at}");
    }
}
