//! Who this agent is: what enrolment gave it, kept in the state folder.
//!
//! `identity.cbor` holds what is public, `device.key` the private key, sealed
//! under the machine's secret so that a copied folder is worth nothing on another
//! computer. Both are written whole and readable by the agent only.

use crate::platform;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use thiserror::Error;
use unifyit_protocol::{
    codec,
    ids::{DeviceId, OrganizationId, SiteId},
    seal,
    signing::PublicKey,
};
use uuid::Uuid;
use zeroize::Zeroizing;

const IDENTITY: &str = "identity.cbor";
const KEY: &str = "device.key";
const MACHINE_SECRET: &str = "machine.secret";
const WELCOMED_AS: &str = "welcomed-as";
const SEALED_AS: &str = "device key";

/// What enrolment gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
    /// The organization's authority: the only key whose word makes anything run.
    pub authority: PublicKey,
    /// Client certificate in DER.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// The site CA's certificate in DER.
    #[serde(with = "serde_bytes")]
    pub ca: Vec<u8>,
    /// `host:port` of the relay's MQTT front, in order of preference.
    pub mqtt: Vec<String>,
    /// `host:port` of the relay's HTTPS, in order of preference.
    pub https: Vec<String>,
    /// When the device enrolled, Unix milliseconds.
    pub enrolled_ms: u64,
}

/// Why the identity cannot be read or kept.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Never enrolled.
    #[error(
        "This computer is not enrolled. Run: unifyit-agent enroll --token TOKEN, with an install \
         token from the console (Sites > Install)."
    )]
    Absent,
    /// The files are damaged.
    #[error("The agent's identity in {0} is damaged: {1}. Enrol again with --force and a token.")]
    Damaged(PathBuf, String),
    /// The key was sealed on another computer.
    #[error(
        "The agent's key in {0} does not open on this computer: the state folder was copied from \
         another one, or /etc/machine-id changed. Enrol again with --force and a token."
    )]
    OtherMachine(PathBuf),
    /// What the key is sealed under cannot be read at the moment.
    #[error(
        "The identity of this computer's system cannot be read: {0}. Until it can, the agent \
         cannot tell whether its key was sealed here; it tries again."
    )]
    Machine(io::Error),
    /// The folder cannot be used.
    #[error("The state folder {0} cannot be used: {1}. Run as root, or name another with --state.")]
    Io(PathBuf, io::Error),
}

/// The private key in PKCS#8 DER, wiped when dropped.
pub type PrivateKey = Zeroizing<Vec<u8>>;

/// What a file is sealed under.
type Secret = Zeroizing<Vec<u8>>;

impl Identity {
    /// Whether a folder holds an identity.
    #[must_use]
    pub fn exists(state: &Path) -> bool {
        state.join(IDENTITY).exists()
    }

    /// Reads the identity and opens its key.
    ///
    /// # Errors
    /// [`IdentityError`] with what to do about it.
    pub fn load(state: &Path) -> Result<(Self, PrivateKey), IdentityError> {
        let path = state.join(IDENTITY);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(IdentityError::Absent),
            Err(e) => return Err(IdentityError::Io(state.into(), e)),
        };
        let identity: Self =
            codec::decode(&bytes).map_err(|e| IdentityError::Damaged(path, e.to_string()))?;
        let key_path = state.join(KEY);
        let sealed = fs::read(&key_path).map_err(|e| IdentityError::Io(key_path.clone(), e))?;
        let key =
            opened(state, &sealed, of_machine())?.ok_or(IdentityError::OtherMachine(key_path))?;
        Ok((identity, key))
    }

    /// Keeps the identity and its key.
    ///
    /// # Errors
    /// [`IdentityError::Io`] when the folder cannot be written.
    pub fn save(&self, state: &Path, key: &PrivateKey) -> Result<(), IdentityError> {
        let failed = |e| IdentityError::Io(state.into(), e);
        let other = |e: unifyit_protocol::ProtocolError| failed(io::Error::other(e.to_string()));
        platform::create_private_dir(state).map_err(failed)?;
        let secret = secret_to_seal(state)?;
        let sealed = seal::seal(&secret, SEALED_AS, key).map_err(other)?;
        platform::write_private(&state.join(KEY), &sealed).map_err(failed)?;
        self.save_public(state)
    }

    /// Keeps what is public, after a renewal with the same key.
    ///
    /// # Errors
    /// [`IdentityError::Io`] when the folder cannot be written.
    pub fn save_public(&self, state: &Path) -> Result<(), IdentityError> {
        let failed = |e| IdentityError::Io(state.into(), e);
        let bytes = codec::encode(self).map_err(|e| failed(io::Error::other(e.to_string())))?;
        platform::write_private(&state.join(IDENTITY), &bytes).map_err(failed)
    }
}

/// The secret under which a file is sealed: the machine's own, or one made once
/// where the machine has none.
fn secret_to_seal(state: &Path) -> Result<Secret, IdentityError> {
    if let Some(secret) = of_machine()? {
        return Ok(secret);
    }
    if let Some(secret) = of_folder(state)? {
        return Ok(secret);
    }
    let path = state.join(MACHINE_SECRET);
    let failed = |e| IdentityError::Io(path.clone(), e);
    let mut secret = Zeroizing::new(vec![0; 32]);
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| failed(io::Error::other("the system gives no randomness")))?;
    platform::write_private(&path, &secret).map_err(failed)?;
    Ok(secret)
}

/// Opens what was sealed under the machine's secret, or under the folder's own before
/// the machine had one.
fn opened(
    state: &Path,
    sealed: &[u8],
    machine: Result<Option<Secret>, IdentityError>,
) -> Result<Option<PrivateKey>, IdentityError> {
    let opens = |secret: Secret| seal::open(&secret, SEALED_AS, sealed).ok();
    let machine = machine.map(|secret| secret.and_then(opens));
    if let Ok(Some(key)) = machine {
        return Ok(Some(key));
    }
    match of_folder(state)?.and_then(opens) {
        Some(key) => Ok(Some(key)),
        None => machine,
    }
}

fn of_machine() -> Result<Option<Secret>, IdentityError> {
    platform::machine_secret().map_err(IdentityError::Machine)
}

fn of_folder(state: &Path) -> Result<Option<Secret>, IdentityError> {
    let path = state.join(MACHINE_SECRET);
    match fs::read(&path) {
        Ok(secret) if secret.len() == 32 => Ok(Some(Zeroizing::new(secret))),
        Ok(_) => Err(IdentityError::Damaged(path, "it is not 32 bytes long".into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(IdentityError::Io(path, e)),
    }
}

/// The name of this process: made at random, so that two computers with one
/// identity are told apart.
#[must_use]
pub fn instance() -> Uuid {
    static INSTANCE: OnceLock<Uuid> = OnceLock::new();
    *INSTANCE.get_or_init(Uuid::now_v7)
}

/// Where the name is kept under which this computer was welcomed last, and that name.
static WELCOMED: OnceLock<(PathBuf, Option<Uuid>)> = OnceLock::new();

/// Reads under which name this computer was welcomed last. Copies of a computer have
/// that in common only until each was welcomed; a relay tells them apart by it.
pub fn recall(state: &Path) {
    let path = state.join(WELCOMED_AS);
    let name = fs::read_to_string(&path).ok().and_then(|name| name.trim().parse().ok());
    let _first_word_holds = WELCOMED.set((path, name));
}

/// The name under which this computer was welcomed last, before this start.
#[must_use]
pub fn welcomed_before() -> Option<Uuid> {
    WELCOMED.get().and_then(|(_, name)| *name)
}

/// The relay welcomed this computer under its present name.
pub fn welcomed() {
    static KEPT: OnceLock<()> = OnceLock::new();
    let Some((path, _)) = WELCOMED.get() else { return };
    KEPT.get_or_init(|| {
        if let Err(error) = platform::write_private(path, instance().to_string().as_bytes()) {
            tracing::warn!(%error, "the name of this start could not be kept");
        }
    });
}

/// Identifies this installation to the relay, so that a reinstalled computer is
/// recognised: a hash, so that the machine's secret does not leave it. The state
/// folder is mixed in, so that agents side by side are told apart. Empty where the
/// system has no identity.
///
/// # Errors
/// [`IdentityError::Machine`] when that cannot be read at the moment: without a name
/// the computer would get another device.
pub fn machine_name(state: &Path) -> Result<String, IdentityError> {
    let Some(secret) = of_machine()? else { return Ok(String::new()) };
    let folder = fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    let material =
        Zeroizing::new([secret.as_slice(), b"\0", folder.as_os_str().as_encoded_bytes()].concat());
    let name = blake3::derive_key("unifyit machine name v1", &material);
    Ok(blake3::Hash::from_bytes(name).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn identity() -> Identity {
        Identity {
            device: DeviceId::generate(),
            organization: OrganizationId::generate(),
            site: SiteId::generate(),
            authority: PublicKey([7; 32]),
            certificate: vec![1],
            ca: vec![2],
            mqtt: vec!["relay:8883".into()],
            https: vec!["relay:8443".into()],
            enrolled_ms: 5,
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_the_agent_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let saved = identity();
        saved.save(&state, &Zeroizing::new(b"secret".to_vec())).unwrap();
        let (loaded, key) = Identity::load(&state).unwrap();
        assert_eq!(loaded, saved);
        assert_eq!(key.as_slice(), b"secret");
        for file in [IDENTITY, KEY] {
            assert_eq!(platform::exposed(&state.join(file)).unwrap(), None);
        }
        let sealed = fs::read(state.join(KEY)).unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn an_absent_identity_says_how_to_enrol() {
        let dir = tempfile::tempdir().unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("unifyit-agent enroll --token"));
    }

    #[test]
    fn a_key_sealed_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        identity().save(dir.path(), &Zeroizing::new(b"secret".to_vec())).unwrap();
        let foreign = seal::seal(b"another machine", SEALED_AS, b"secret").unwrap();
        fs::write(dir.path().join(KEY), foreign).unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::OtherMachine(_))));
    }

    #[test]
    fn a_key_that_was_sealed_before_the_machine_had_an_identity_opens() {
        let dir = tempfile::tempdir().unwrap();
        identity().save(dir.path(), &Zeroizing::new(b"secret".to_vec())).unwrap();
        let own = [9; 32];
        fs::write(dir.path().join(KEY), seal::seal(&own, SEALED_AS, b"early").unwrap()).unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::OtherMachine(_))));
        fs::write(dir.path().join(MACHINE_SECRET), own).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap().1.as_slice(), b"early");
    }

    #[test]
    fn a_machine_that_cannot_be_read_is_not_called_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (of_machine, own) = ([1; 32], [9; 32]);
        let sealed = |under: &[u8]| seal::seal(under, SEALED_AS, b"key").unwrap();
        let open = |sealed: &[u8]| {
            let unreadable = Err(IdentityError::Machine(io::ErrorKind::Other.into()));
            opened(dir.path(), sealed, unreadable)
        };
        fs::write(dir.path().join(MACHINE_SECRET), own).unwrap();
        assert!(matches!(open(&sealed(&of_machine)), Err(IdentityError::Machine(_))));
        let key = open(&sealed(&own)).unwrap().unwrap();
        assert_eq!(key.as_slice(), b"key", "what the folder's own secret opens needs no machine");
    }

    #[test]
    fn two_state_folders_on_one_computer_have_two_names() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if of_machine().unwrap().is_some() {
            assert_ne!(machine_name(a.path()).unwrap(), machine_name(b.path()).unwrap());
        }
    }
}
