//! The state folder: private (0700), its secrets sealed to the machine (0600),
//! every file replaced as a whole so that a crash leaves the old or the new.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use unifyit_protocol::{ProtocolError, seal};
use zeroize::Zeroizing;

/// Where Linux keeps the machine's identity, best first.
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// The folder's own secret.
const OWN_SECRET: &str = "machine-secret";
/// No sealed file is longer, in bytes.
const MAX_SEALED: u64 = 1024 * 1024;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}. {hint}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        hint: &'static str,
    },
    /// What the folder's files are sealed under is gone.
    #[error(
        "the sealed files in {path} do not open on this machine: its machine-secret is missing or damaged, or the folder comes from another machine. Restore the whole folder from a backup of this machine, or delete it and enrol anew."
    )]
    Secret {
        /// The folder.
        path: PathBuf,
    },
    /// A sealed file does not open.
    #[error(
        "{path} cannot be opened on this machine: {reason}. State folders cannot be moved between machines; enrol this one anew."
    )]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// An open state folder.
pub struct StateFolder {
    path: PathBuf,
    /// Seals: the machine's identity, which everybody on it may read, together with
    /// a secret that only this folder's owner may.
    seal: Zeroizing<Vec<u8>>,
    /// What older files are sealed under: the machine's identity alone.
    machine: Zeroizing<Vec<u8>>,
    /// Whether it is ours to change.
    own: bool,
}

impl fmt::Debug for StateFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StateFolder {
    /// Opens the folder, making it (0700) when it is not there, and closing it
    /// to others when it is open to them.
    ///
    /// # Errors
    /// [`FolderError`] when this user may not use it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| refused("create", path, e))?;
        let mode = fs::metadata(path).map_err(|e| refused("read", path, e))?.mode();
        if mode & 0o077 != 0 {
            match fs::set_permissions(path, fs::Permissions::from_mode(0o700)) {
                // The secrets in it are closed to others each by itself.
                Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    tracing::warn!(path = %path.display(), "the state folder is open to other users and cannot be closed");
                }
                closed => closed.map_err(|e| refused("close to other users", path, e))?,
            }
        }
        let machine = machine_id()?;
        let own = match known_own(path)? {
            Some(own) => Some(own),
            None => made_own(path, machine.as_ref())?,
        };
        let (seal, machine) = match (machine, own) {
            (Some(machine), Some(own)) => (both(&machine, &own), machine),
            (Some(machine), None) => (machine.clone(), machine),
            (None, Some(own)) => {
                tracing::warn!(
                    "this machine has no /etc/machine-id, so keys are not bound to it; systemd-machine-id-setup makes one"
                );
                (both(&own, &own), own)
            }
            (None, None) => return Err(FolderError::Secret { path: path.into() }),
        };
        Ok(Self { path: path.into(), seal, machine, own: true })
    }

    /// Opens the folder to look at it: nothing is made and nothing changed.
    /// `None` when it is not there, or never was a state folder.
    #[must_use]
    pub fn look(path: &Path) -> Option<Self> {
        let own = known_own(path).ok().flatten();
        let machine = machine_id().ok().flatten().or_else(|| own.clone())?;
        let seal = own.map_or_else(|| machine.clone(), |own| both(&machine, &own));
        path.is_dir().then(|| Self { path: path.into(), seal, machine, own: false })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and opens a sealed file; `None` when there is none.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn read_sealed(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        if let Ok(secret) = seal::open(&self.seal, name, &bytes) {
            return Ok(Some(secret));
        }
        let secret = seal::open(&self.machine, name, &bytes).map_err(|e| FolderError::Sealed {
            path: self.path.join(name),
            reason: e.to_string(),
        })?;
        // What opened goes on being used: a full disk is no reason to stop (G9).
        if self.own
            && *self.seal != *self.machine
            && let Err(error) = self.write_sealed(name, &secret)
        {
            tracing::warn!(%error, name, "an older file could not be sealed better; the next start tries again");
        }
        Ok(Some(secret))
    }

    /// Seals and writes a file, durable when this returns.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn write_sealed(&self, name: &str, secret: &[u8]) -> Result<(), FolderError> {
        let sealed = seal::seal(&self.seal, name, secret).map_err(|e| FolderError::Sealed {
            path: self.path.join(name),
            reason: e.to_string(),
        })?;
        self.write(name, &sealed)
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(refused("read", &path, e)),
        }
    }

    /// Replaces a file (0600), durable when this returns.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        replace(&self.path, name, bytes).map_err(|e| refused("write", &self.path.join(name), e))
    }
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!(".{name}.draft"));
    let written = draft_of(&draft, bytes).and_then(|()| fs::rename(&draft, folder.join(name)));
    if written.is_err() {
        // What a full disk left of it would only take room.
        drop(fs::remove_file(&draft));
    }
    written?;
    File::open(folder)?.sync_all()
}

fn draft_of(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The machine's identity, where the system has one. One that cannot be read at the
/// moment is not taken for none: what is sealed with it would seem foreign.
fn machine_id() -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
    for path in MACHINE_ID.map(Path::new) {
        match fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) if text.trim().len() >= 16 => {
                return Ok(Some(Zeroizing::new(text.trim().as_bytes().to_vec())));
            }
            Ok(_) => {}
            Err(e) if is_none(&e) || e.kind() == io::ErrorKind::PermissionDenied => {}
            Err(e) => return Err(refused("read", path, e)),
        }
    }
    Ok(None)
}

fn is_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The folder's own secret; `None` where there is none, or something that never was
/// one. That it cannot be read is an error: it may be there.
fn known_own(folder: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
    let path = folder.join(OWN_SECRET);
    match fs::read(&path).map(Zeroizing::new) {
        Ok(bytes) => Ok((bytes.len() == 32).then_some(bytes)),
        Err(e) if is_none(&e) => Ok(None),
        Err(e) => Err(refused("read", &path, e)),
    }
}

/// Makes the folder's own secret, unless files in it are sealed with another. `None`
/// where it cannot be written at present: the machine's identity does until then.
fn made_own(
    folder: &Path,
    machine: Option<&Zeroizing<Vec<u8>>>,
) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
    if sealed_with_another(folder, machine).map_err(|e| refused("read", folder, e))? {
        return Err(FolderError::Secret { path: folder.into() });
    }
    let secret = Zeroizing::new(rand::random::<[u8; 32]>().to_vec());
    match replace(folder, OWN_SECRET, &secret) {
        Ok(()) => Ok(Some(secret)),
        Err(error) if machine.is_some() => {
            tracing::warn!(%error, "the state folder's own secret could not be written; keys stay sealed to the machine alone until the next start");
            Ok(None)
        }
        Err(error) => Err(refused("write", &folder.join(OWN_SECRET), error)),
    }
}

/// Whether a file in the folder is sealed and does not open with the machine's
/// identity alone, as files from before the folder had a secret do.
fn sealed_with_another(folder: &Path, machine: Option<&Zeroizing<Vec<u8>>>) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if !meta.is_file() || meta.len() > MAX_SEALED {
            continue;
        }
        let bytes = fs::read(entry.path())?;
        let machine = machine.map(|m| m.as_slice()).unwrap_or_default();
        if let Err(ProtocolError::Signature(_)) = seal::open(machine, name, &bytes) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn both(machine: &[u8], own: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([machine, b"\0", own].concat())
}

fn refused(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    let hint = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "Run as the service's user or as root, or choose another folder with --state."
        }
        io::ErrorKind::StorageFull => "The disk is full; free some space.",
        io::ErrorKind::ReadOnlyFilesystem => "The file system is mounted read-only.",
        _ => "Check the path and the disk.",
    };
    FolderError::Io { action, path: path.into(), source, hint }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_machines_identity_alone_opens_nothing_and_older_files_are_sealed_anew() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        folder.write_sealed("new", b"secret").unwrap();
        let sealed = |name: &str| fs::read(root.path().join(name)).unwrap();
        assert!(seal::open(&folder.machine, "new", &sealed("new")).is_err());
        fs::write(root.path().join("old"), seal::seal(&folder.machine, "old", b"s").unwrap())
            .unwrap();
        assert_eq!(folder.read_sealed("old").unwrap().unwrap().as_slice(), b"s");
        assert!(seal::open(&folder.machine, "old", &sealed("old")).is_err());
        assert_eq!(folder.read_sealed("old").unwrap().unwrap().as_slice(), b"s");
    }

    /// In the way of a file that is to be written, also by root.
    fn block(root: &Path, name: &str) {
        fs::create_dir_all(root.join(format!(".{name}.draft/x"))).unwrap();
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        folder.write_sealed("key", b"secret").unwrap();
        let (own, aside) = (root.path().join(OWN_SECRET), root.path().join("aside"));
        // It is there and cannot be read: reading a folder fails.
        fs::rename(&own, &aside).unwrap();
        fs::create_dir(&own).unwrap();
        assert!(matches!(StateFolder::open(root.path()), Err(FolderError::Io { .. })));
        fs::remove_dir(&own).unwrap();
        // It is gone, or damaged, and what is sealed with it is there.
        for damaged in [None, Some(&[0; 5])] {
            if let Some(bytes) = damaged {
                fs::write(&own, bytes).unwrap();
            }
            let error = StateFolder::open(root.path()).unwrap_err();
            assert!(error.to_string().contains("machine-secret"), "{error}");
        }
        fs::rename(&aside, &own).unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        assert_eq!(folder.read_sealed("key").unwrap().unwrap().as_slice(), b"secret");
    }

    #[test]
    fn a_disk_that_takes_nothing_more_does_not_lock_a_relay_out() {
        let root = tempfile::tempdir().unwrap();
        let machine = machine_id().unwrap().unwrap_or_else(|| Zeroizing::new(vec![1; 32]));
        let old = seal::seal(&machine, "old", b"s").unwrap();
        fs::write(root.path().join("old"), &old).unwrap();
        block(root.path(), OWN_SECRET);
        block(root.path(), "old");
        // Nothing can be written: all is as in the version before.
        let folder = StateFolder::open(root.path()).unwrap();
        assert_eq!(folder.read_sealed("old").unwrap().unwrap().as_slice(), b"s");
        // The secret can, the older file cannot.
        fs::remove_dir_all(root.path().join(format!(".{OWN_SECRET}.draft"))).unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        assert_eq!(folder.read_sealed("old").unwrap().unwrap().as_slice(), b"s");
        assert_eq!(fs::read(root.path().join("old")).unwrap(), old);
        fs::remove_dir_all(root.path().join(".old.draft")).unwrap();
        assert_eq!(folder.read_sealed("old").unwrap().unwrap().as_slice(), b"s");
        assert_ne!(fs::read(root.path().join("old")).unwrap(), old, "sealed better in the end");
    }
}
