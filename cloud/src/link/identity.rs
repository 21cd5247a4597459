//! The cloud's own libp2p identity: the peer id that relay tokens pin.
//!
//! The key rests in the state folder, readable by its owner alone and sealed
//! under the master key, so that a copied folder cannot answer relays.

use crate::trust::{Trust, TrustError, create_private};
use libp2p::identity::Keypair;
use std::{io::ErrorKind, path::Path};
use zeroize::Zeroizing;

/// Name of the file in the state folder.
const FILE: &str = "identity.key";
/// Made by an operator whose identity is lost for good: another may be made.
const LOST: &str = "identity.key.lost";
/// What the seal is for.
const WHAT: &str = "unifyit cloud identity v1";

/// Whether a start would make an identity: there is none, and nobody said that it
/// is lost for good.
pub(super) fn is_gone(state: &Path) -> bool {
    !state.join(FILE).exists() && !state.join(LOST).exists()
}

/// What a start is told that may not make an identity.
pub(super) fn gone(state: &Path) -> TrustError {
    TrustError::IdentityGone(state.join(FILE).display().to_string())
}

/// Reads the identity, making it at the first start.
///
/// # Errors
/// [`TrustError`] when the file cannot be read, made or opened.
pub(super) fn load_or_create(trust: &Trust, state: &Path) -> Result<Keypair, TrustError> {
    let path = state.join(FILE);
    let failed = |source| TrustError::File { path: path.display().to_string(), source };
    let sealed = match std::fs::read(&path) {
        Ok(sealed) => sealed,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0u8; 32]);
            aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| TrustError::Randomness)?;
            let sealed = trust.master().seal(WHAT, &[], seed.as_slice())?;
            create_private(&path, &sealed).map_err(failed)?;
            // The word counts once.
            let _ = std::fs::remove_file(state.join(LOST));
            std::fs::read(&path).map_err(failed)?
        }
        Err(e) => return Err(failed(e)),
    };
    let mut seed = trust.master().open(WHAT, &[], &sealed)?;
    Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|_| TrustError::Sealed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::trust::MasterKey;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_identity_is_made_once_private_and_bound_to_the_master_key() {
        let folder = tempfile::tempdir().unwrap();
        let trust = Trust::new(MasterKey::from_bytes(&[1; 32]).unwrap());
        let first = load_or_create(&trust, folder.path()).unwrap();
        let second = load_or_create(&trust, folder.path()).unwrap();
        assert_eq!(first.public(), second.public());
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stranger = Trust::new(MasterKey::from_bytes(&[2; 32]).unwrap());
        assert!(matches!(load_or_create(&stranger, folder.path()), Err(TrustError::Sealed)));
    }
}
