//! Package managers and the site's cache: none of Windows' uses it yet.

use super::Unsupported;
use std::{
    io,
    path::{Path, PathBuf},
};
use unifyit_protocol::config::PackageCache;

/// The package managers of this computer.
#[derive(Debug, Clone)]
pub struct PackageManagers;

impl PackageManagers {
    /// Those of the system at `root`.
    #[must_use]
    pub fn new(_root: &Path) -> Self {
        Self
    }

    /// As [`Self::new`], with another program to ask for the way.
    #[must_use]
    pub fn with_program(_root: &Path, _program: &Path) -> Self {
        Self
    }

    /// Lets them use the cache.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn use_cache(
        &self,
        _offer: &PackageCache,
        _reachable: Option<&str>,
    ) -> io::Result<Vec<PathBuf>> {
        Err(Unsupported("the site's package cache").into())
    }

    /// Whether there are repositories that need to know if the cache answers.
    #[must_use]
    pub fn have_repos(&self) -> bool {
        false
    }

    /// Takes back what was set: nothing was, since [`Self::use_cache`] sets nothing.
    ///
    /// # Errors
    /// None.
    pub fn leave(&self) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Takes back what cannot do without the cache: as [`Self::leave`].
    ///
    /// # Errors
    /// None.
    pub fn pause(&self) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}
