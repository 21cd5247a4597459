//! Sealing of secrets at rest under a key that is bound to the machine.
//!
//! A copied disk image or backup of the state folder alone does not yield the
//! keys: the sealing key is derived (BLAKE3 `derive_key`) from a machine secret
//! and a random salt that stands in the file. AEAD: AES-256-GCM. Text layout:
//! `UITS1` ‖ salt (16) ‖ nonce (12) ‖ ciphertext and tag.

use crate::ProtocolError;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 5] = b"UITS1";
const SALT: usize = 16;

/// Seals `secret`. `machine` is the machine's secret (its id on Linux), `what`
/// names the content, so that two sealed files cannot be exchanged.
///
/// # Errors
/// [`ProtocolError::Invalid`] when the system gives no randomness.
pub fn seal(machine: &[u8], what: &str, secret: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut salt = [0u8; SALT];
    let mut nonce = [0u8; NONCE_LEN];
    let no_randomness = |_| ProtocolError::Invalid("the system gives no randomness");
    rand::fill(&mut salt).map_err(no_randomness)?;
    rand::fill(&mut nonce).map_err(no_randomness)?;
    let mut bytes = secret.to_vec();
    key(machine, &salt)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(what.as_bytes()),
            &mut bytes,
        )
        .map_err(|_| ProtocolError::Invalid("the secret cannot be sealed"))?;
    Ok([MAGIC.as_slice(), &salt, &nonce, &bytes].concat())
}

/// Opens what [`seal`] made on the same machine for the same `what`.
///
/// # Errors
/// [`ProtocolError::Malformed`] for another layout, [`ProtocolError::Signature`]
/// when it was sealed on another machine, for something else, or changed.
pub fn open(
    machine: &[u8],
    what: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    let short = || ProtocolError::Malformed("it is no sealed file".into());
    let rest = sealed.strip_prefix(MAGIC.as_slice()).ok_or_else(short)?;
    let (salt, rest) = rest.split_at_checked(SALT).ok_or_else(short)?;
    let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or_else(short)?;
    let mut bytes = Zeroizing::new(body.to_vec());
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| short())?;
    let plain = key(machine, salt)?
        .open_in_place(nonce, Aad::from(what.as_bytes()), &mut bytes)
        .map_err(|_| ProtocolError::Signature("it was sealed on another machine or changed"))?
        .len();
    bytes.truncate(plain);
    Ok(bytes)
}

fn key(machine: &[u8], salt: &[u8]) -> Result<LessSafeKey, ProtocolError> {
    let material = Zeroizing::new([machine, salt].concat());
    let derived = Zeroizing::new(blake3::derive_key("unifyit sealed file v1", &material));
    UnboundKey::new(&AES_256_GCM, derived.as_slice())
        .map(LessSafeKey::new)
        .map_err(|_| ProtocolError::Invalid("the sealing key cannot be made"))
}
