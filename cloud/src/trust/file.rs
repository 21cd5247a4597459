//! The master key's file: made once, readable by its owner alone.
//!
//! A key appears under its name complete and synced or not at all, and the
//! first of two processes that start at once wins, so that no secret is ever
//! sealed under a key that is then overwritten.

use super::{MasterKey, TrustError};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use zeroize::Zeroizing;

/// Name of the file in the state folder, unless configured otherwise.
pub const MASTER_KEY_FILE: &str = "master.key";

/// Reads the key, making it first where there is none and none was `in_use`.
pub(super) fn load_or_create(path: &Path, in_use: bool) -> Result<MasterKey, TrustError> {
    match read(path) {
        Err(TrustError::File { source, .. }) if source.kind() == ErrorKind::NotFound && in_use => {
            Err(TrustError::MasterKeyGone(path.display().to_string()))
        }
        Err(TrustError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            create(path)?;
            read(path)
        }
        other => other,
    }
}

fn read(path: &Path) -> Result<MasterKey, TrustError> {
    let failed = |source| TrustError::File { path: path.display().to_string(), source };
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(TrustError::Exposed(path.display().to_string()));
    }
    MasterKey::from_text(&text)
}

fn create(path: &Path) -> Result<(), TrustError> {
    let failed = |source| TrustError::File { path: path.display().to_string(), source };
    let (_, text) = MasterKey::generate()?;
    create_private(path, text.as_bytes()).map_err(failed)?;
    tracing::info!(
        file = %path.display(),
        "Made the master key. Back it up: without it no sealed key opens."
    );
    Ok(())
}

/// Puts a secret into a file that its owner alone can read, synced and whole. A
/// file that is there already stays as it is.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = write_new(&draft, bytes).and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // The draft is a second name of the same file; a leftover is harmless.
    let _ = fs::remove_file(&draft);
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
