//! Files and folders that only the agent may read. That takes access control lists,
//! which the agent does not write yet, so no secret goes to the disk.

use super::Unsupported;
use std::{io, path::Path};

const PRIVATE: Unsupported = Unsupported("keeping a file or folder from other users");

/// Creates a folder, and those above it, for the agent's eyes only.
///
/// # Errors
/// [`Unsupported`].
pub fn create_private_dir(_path: &Path) -> io::Result<()> {
    Err(PRIVATE.into())
}

/// Takes the rights of all others from a file or folder.
///
/// # Errors
/// [`Unsupported`].
pub fn make_private(_path: &Path) -> io::Result<()> {
    Err(PRIVATE.into())
}

/// Replaces a file as a whole, readable by the agent only.
///
/// # Errors
/// [`Unsupported`].
pub fn write_private(_path: &Path, _bytes: &[u8]) -> io::Result<()> {
    Err(PRIVATE.into())
}

/// Why others than the agent could read a path, if they could.
///
/// # Errors
/// [`Unsupported`].
pub fn exposed(_path: &Path) -> io::Result<Option<String>> {
    Err(Unsupported("telling who can read a folder").into())
}
