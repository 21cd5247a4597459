//! `unifyit-agent uninstall`: leaves the computer as if the agent had never been
//! there, but for the program itself.
//!
//! In this order: the settings of package managers, so that nothing depends on
//! what goes; the service; the state with the device's key; the configuration.
//! Each step may be repeated, so an uninstallation that broke off is run again.

use crate::{
    config::Settings,
    identity::Identity,
    platform::{self, PackageManagers},
    store::{self, Store, StoreError},
};
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why the agent could not be uninstalled.
#[derive(Debug, Error)]
pub enum UninstallError {
    /// A file or folder resists.
    #[error(
        "{0} could not be removed: {1}. What came before it is removed; mend that and run the command again."
    )]
    Resists(PathBuf, io::Error),
    /// The service does not stop.
    #[error("The service could not be stopped: {0}. Stop it, then run the command again.")]
    Service(String),
    /// An agent runs beside the service.
    #[error("{0}")]
    Running(#[from] StoreError),
    /// The folder is none of an agent's.
    #[error(
        "{0} does not look like an agent's state folder, so it is left as it is. Name the right one with --state."
    )]
    NotState(PathBuf),
}

/// What would go, for who has not confirmed yet.
#[must_use]
pub fn plan(settings: &Settings) -> String {
    let mut text = String::from(
        "This removes from this computer:\n\
         - the settings that let apt, dnf and zypper use the site's package cache\n\
         - the service unifyit-agent\n",
    );
    let _infallible = writeln!(
        text,
        "- the state in {}, with the device's key and what it has not reported yet\n\
         - its configuration in {}\n\
         Nothing was removed. To go ahead: unifyit-agent uninstall --yes",
        settings.state.display(),
        settings.root.join("etc/unifyit").display(),
    );
    text
}

/// Removes it. Returns what was removed.
///
/// # Errors
/// [`UninstallError`], a sentence each.
pub fn uninstall(settings: &Settings) -> Result<Vec<PathBuf>, UninstallError> {
    let resists = |path: &Path| {
        let path = path.to_owned();
        move |e| UninstallError::Resists(path, e)
    };
    let state = &settings.state;
    let is_state = Identity::exists(state) || state.join(store::FILE).exists();
    if state.is_dir() && !is_state && fs::read_dir(state).is_ok_and(|mut all| all.next().is_some())
    {
        return Err(UninstallError::NotState(state.clone()));
    }
    // Before the files that say who keeps settings in order.
    let mut removed = platform::remove_service(&settings.root).map_err(UninstallError::Service)?;
    if state.is_dir() {
        // Fails when an agent holds it that no service manager knows of.
        Store::unused(state)?;
    }
    let managers = PackageManagers::new(&settings.root);
    removed.extend(managers.leave().map_err(resists(&settings.root.join("etc")))?);
    if state.is_dir() {
        fs::remove_dir_all(state).map_err(resists(state))?;
        removed.push(state.clone());
    }
    for name in ["agent.toml", "agent.env"] {
        let path = settings.root.join("etc/unifyit").join(name);
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(resists(&path)(e)),
        }
    }
    // Only when nothing else of UnifyIT is here.
    drop(fs::remove_dir(settings.root.join("etc/unifyit")));
    Ok(removed)
}
