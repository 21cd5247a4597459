//! The state folder: private (0700), its secrets sealed to the machine (0600),
//! every file replaced as a whole so that a crash leaves the old or the new.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use unifyit_protocol::seal;
use zeroize::Zeroizing;

/// Where Linux keeps the machine's identity, best first.
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// The folder's own secret.
const OWN_SECRET: &str = "machine-secret";

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
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(|e| refused("close to other users", path, e))?;
        }
        let own = match known_own(path) {
            Some(own) => own,
            None => own_secret(path)?,
        };
        let machine = machine_id().unwrap_or_else(|| {
            tracing::warn!(
                "this machine has no /etc/machine-id, so keys are not bound to it; systemd-machine-id-setup makes one"
            );
            own.clone()
        });
        Ok(Self { path: path.into(), seal: both(&machine, &own), machine, own: true })
    }

    /// Opens the folder to look at it: nothing is made and nothing changed.
    /// `None` when it is not there, or never was a state folder.
    #[must_use]
    pub fn look(path: &Path) -> Option<Self> {
        let own = known_own(path);
        let machine = machine_id().or_else(|| own.clone())?;
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
        if self.own {
            self.write_sealed(name, &secret)?;
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
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// The machine's identity, where the system has one.
fn machine_id() -> Option<Zeroizing<Vec<u8>>> {
    MACHINE_ID.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        (text.trim().len() >= 16).then(|| Zeroizing::new(text.trim().as_bytes().to_vec()))
    })
}

/// The folder's own secret, where it has one.
fn known_own(folder: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = fs::read(folder.join(OWN_SECRET)).ok().map(Zeroizing::new)?;
    (bytes.len() == 32).then_some(bytes)
}

/// Makes the folder's own secret.
fn own_secret(folder: &Path) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    let secret = Zeroizing::new(rand::random::<[u8; 32]>().to_vec());
    replace(folder, OWN_SECRET, &secret)
        .map_err(|e| refused("write", &folder.join(OWN_SECRET), e))?;
    Ok(secret)
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
}
