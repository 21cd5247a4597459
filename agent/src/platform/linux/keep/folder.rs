//! The private folder of a script: the script itself, and a folder to work in.
//!
//! For another user it lies where that user can pass, and there everything is
//! made without following a name that the user could have put in the way: the
//! folder stays root's for good, what lies in it is made through its handle, and
//! ownership is handed over by handle, never by path.

use crate::platform::Account;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{Gid, Uid, fchown},
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Where a script was put.
#[derive(Debug)]
pub(in super::super) struct ScriptFolder {
    /// The folder of both.
    pub(in super::super) all: PathBuf,
    /// The script.
    pub(in super::super) script: PathBuf,
    /// The folder to work in.
    pub(in super::super) work: PathBuf,
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

impl ScriptFolder {
    /// Makes it: below `parent`, a folder of the agent's own, or for `other` in the
    /// folder for temporary files.
    ///
    /// # Errors
    /// What the system answers.
    pub(in super::super) fn create(
        parent: &Path,
        command: &str,
        suffix: &str,
        body: &[u8],
        other: Option<&Account>,
    ) -> io::Result<Self> {
        let all = match other {
            None => parent.join(command),
            // The name cannot be foreseen; should it exist all the same, this fails.
            Some(_) => std::env::temp_dir().join(name(command)),
        };
        nix::unistd::mkdir(&all, Mode::S_IRWXU)?;
        let made =
            Self { script: all.join(format!("script.{suffix}")), work: all.join("work"), all };
        match made.fill(suffix, body, other) {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove();
                Err(error)
            }
        }
    }

    fn fill(&self, suffix: &str, body: &[u8], other: Option<&Account>) -> io::Result<()> {
        let all = open(&self.all, FOLDER, Mode::empty())?;
        mkdirat(&all, "work", Mode::S_IRWXU)?;
        let work: OwnedFd = openat(&all, "work", FOLDER, Mode::empty())?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut script = File::from(openat(&all, &*format!("script.{suffix}"), flags, mode)?);
        script.write_all(body)?;
        if let Some(account) = other {
            let (uid, gid) = (Uid::from_raw(account.id.uid), Gid::from_raw(account.id.gid));
            fchown(&script, Some(uid), Some(gid))?;
            fchown(&work, Some(uid), Some(gid))?;
            // To pass through is all that others may.
            let pass = Mode::S_IRWXU | Mode::S_IXGRP | Mode::S_IXOTH;
            fchmod(&all, pass)?;
        }
        Ok(())
    }

    /// Removes it, following no link.
    pub(in super::super) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.all) {
            tracing::debug!(%error, "a script's folder could not be removed");
        }
    }
}

fn name(command: &str) -> String {
    format!("unifyit-{command}-{}", uuid::Uuid::new_v4().simple())
}

/// Removes the folders that a command left in the folder for temporary files.
pub(in super::super) fn remove_left(command: &str) {
    let prefix = format!("unifyit-{command}-");
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
            && ours(&entry.path())
        {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn ours(path: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let owner = open(path, FOLDER, Mode::empty())
        .and_then(|fd| nix::sys::stat::fstat(&fd))
        .map_or_else(|_: Errno| None, |stat| Some(stat.st_uid));
    owner == Some(own)
}
