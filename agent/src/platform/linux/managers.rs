//! The package managers' own settings on this computer: which files the agent
//! writes for the site's package cache, and takes away again.
//!
//! A file is the agent's when its first lines say so; any other of the same name
//! is somebody's and stays.

use super::files::replace_public;
use crate::package_cache::{hosts, repos};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use unifyit_protocol::config::PackageCache;

const APT_PARTS: &str = "etc/apt/apt.conf.d";
const APT_CONF: &str = "etc/apt/apt.conf.d/30unifyit-agent";
const LIBRARY: &str = "usr/local/lib/unifyit-agent";
const HELPER: &str = "usr/local/lib/unifyit-agent/apt-proxy";
const OFFER: &str = "usr/local/lib/unifyit-agent/package-cache";
/// What each file of ours holds.
const MARK: &str = "Written by unifyit-agent";

/// Repository folders, and the files that may set a proxy for all of them.
const REPOS: [(&str, &[&str]); 2] =
    [("etc/yum.repos.d", &["etc/dnf/dnf.conf", "etc/yum.conf"]), ("etc/zypp/repos.d", &[])];

/// The package managers below a root folder, which is `/` but in tests.
#[derive(Debug, Clone)]
pub struct PackageManagers {
    root: PathBuf,
    program: PathBuf,
}

impl PackageManagers {
    /// Those below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let own = fs::read_link(super::agent_program()).unwrap_or_default();
        // So the system names a program that was replaced while it runs.
        let own = own.to_str().map(|p| p.trim_end_matches(" (deleted)").to_owned());
        Self { root: root.to_owned(), program: own.unwrap_or_default().into() }
    }

    /// As [`Self::new`], for another program than this one.
    #[must_use]
    pub fn with_program(root: &Path, program: &Path) -> Self {
        Self { root: root.to_owned(), program: program.to_owned() }
    }

    /// Sets up what is here: apt for good, since it asks each time; dnf, yum and
    /// zypper only while the cache answers at `reachable`. Returns what changed.
    ///
    /// # Errors
    /// What the system answers.
    pub fn use_cache(
        &self,
        offer: &PackageCache,
        reachable: Option<&str>,
    ) -> io::Result<Vec<PathBuf>> {
        let mut changed = self.apt(offer)?;
        for (folder, main) in REPOS {
            let own_proxy = main
                .iter()
                .any(|file| text(&self.at(file)).is_ok_and(|text| repos::sets_proxy(&text)));
            let address = reachable.filter(|_| !own_proxy);
            self.repos(folder, address, &offer.hosts, &mut changed)?;
        }
        Ok(changed)
    }

    /// Whether there are repositories whose settings follow the cache.
    #[must_use]
    pub fn have_repos(&self) -> bool {
        let files = |folder: &str| fs::read_dir(self.at(folder)).into_iter().flatten().flatten();
        let is_repo = |name: &Path| name.extension().is_some_and(|e| e == "repo");
        REPOS.iter().any(|(f, _)| files(f).any(|e| is_repo(Path::new(&e.file_name()))))
    }

    /// Takes everything away. Returns what changed.
    ///
    /// # Errors
    /// What the system answers.
    pub fn leave(&self) -> io::Result<Vec<PathBuf>> {
        let mut changed = self.leave_apt()?;
        self.leave_repos(&mut changed)?;
        Ok(changed)
    }

    /// Takes away what would fail without a cache that answers.
    ///
    /// # Errors
    /// What the system answers.
    pub fn pause(&self) -> io::Result<Vec<PathBuf>> {
        let mut changed = Vec::new();
        self.leave_repos(&mut changed)?;
        Ok(changed)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn apt(&self, offer: &PackageCache) -> io::Result<Vec<PathBuf>> {
        if !self.at(APT_PARTS).is_dir() || self.program.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        if self.apt_has_a_proxy() {
            return self.leave_apt();
        }
        let (helper, settings) = (self.at(HELPER), self.at(OFFER));
        let script = format!(
            "#!/bin/sh\n# {MARK}; changes are overwritten. apt asks it for a proxy.\n\
             agent={}\nif [ -x \"$agent\" ]; then\n    \
             exec \"$agent\" proxy-for-apt --settings {} \"$1\"\nfi\necho DIRECT\n",
            quoted(&self.program),
            quoted(&settings),
        );
        let conf = format!(
            "// {MARK}; changes are overwritten. To do without the site's package\n\
             // cache, set package_cache = false in /etc/unifyit/agent.toml.\n\
             Acquire::http::Proxy-Auto-Detect \"{}\";\n",
            helper.display()
        );
        let mut changed = Vec::new();
        // In this order, so that apt never finds the name of a program that is not there.
        for (path, text, mode) in [
            (settings, hosts::write(offer), 0o644),
            (helper.clone(), script, 0o755),
            (self.at(APT_CONF), conf, 0o644),
        ] {
            match fs::read_to_string(&path) {
                Ok(present) if present == text => continue,
                Ok(present) if !present.contains(MARK) => {
                    return Err(io::Error::other(format!(
                        "{} is somebody else's file; it is left as it is",
                        path.display()
                    )));
                }
                _ => {}
            }
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            replace_public(&path, text.as_bytes(), mode, None)?;
            changed.push(path);
        }
        Ok(changed)
    }

    /// Whether somebody configured a proxy, or how to find one, by hand.
    fn apt_has_a_proxy(&self) -> bool {
        let parts = fs::read_dir(self.at(APT_PARTS)).into_iter().flatten().flatten();
        let files = parts.map(|entry| entry.path()).chain([self.at("etc/apt/apt.conf")]);
        files.filter(|file| *file != self.at(APT_CONF)).any(|file| {
            text(&file).is_ok_and(|text| {
                let said = |line: &str| {
                    let line = line.trim().to_ascii_lowercase();
                    !line.starts_with("//") && !line.starts_with('#') && line.contains("proxy")
                };
                text.lines().any(said)
            })
        })
    }

    fn leave_apt(&self) -> io::Result<Vec<PathBuf>> {
        let mut changed = Vec::new();
        for path in [APT_CONF, HELPER, OFFER].map(|path| self.at(path)) {
            match fs::read_to_string(&path) {
                Ok(text) if text.contains(MARK) => {
                    fs::remove_file(&path)?;
                    changed.push(path);
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        // Only when it is empty.
        drop(fs::remove_dir(self.at(LIBRARY)));
        Ok(changed)
    }

    fn leave_repos(&self, changed: &mut Vec<PathBuf>) -> io::Result<()> {
        REPOS.iter().try_for_each(|(folder, _)| self.repos(folder, None, &[], changed))
    }

    fn repos(
        &self,
        folder: &str,
        address: Option<&str>,
        allowed: &[String],
        changed: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(self.at(folder)) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            // One that went away meanwhile is no reason to leave out the others.
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if path.extension().is_none_or(|e| e != "repo") || !meta.is_file() {
                continue;
            }
            // What is not text is none of ours.
            let Ok(present) = fs::read_to_string(&path) else { continue };
            let wanted = match address {
                Some(address) => repos::with_cache(&present, address, allowed),
                None => repos::without_cache(&present),
            };
            if wanted != present {
                let owner = Some((meta.uid(), meta.gid()));
                let mode = meta.permissions().mode() & 0o7777;
                replace_public(&path, wanted.as_bytes(), mode, owner)?;
                changed.push(path);
            }
        }
        Ok(())
    }
}

/// A file's text; a comment in an old encoding hides nothing of the rest.
fn text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// A path as the shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
