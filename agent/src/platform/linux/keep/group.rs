//! A control group of its own for each command, where the system has version 2.
//!
//! Whatever a process does (a session of its own, another user, an empty
//! environment, a parent that ended), it stays in the group, and the kernel ends
//! a group as a whole. The group bears the command's id, so it is found again
//! after a crash. Controllers stay off, which is why the agent may stay above.
//!
//! A group is empty until its command's process is made in it, which takes as long
//! as its user's look-up. Meanwhile other keepers clear away empty groups, so each
//! keeper holds a lock on its own, and nobody removes a group that is locked.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

const PREFIX: &str = "unifyit-";
/// How often a keeper makes its group again that another one has just removed.
const CLAIMS: usize = 8;

/// The control group of one command.
#[derive(Debug)]
pub(in super::super) struct Group {
    path: PathBuf,
    folder: File,
}

impl Group {
    /// Makes the group of a command. `None` where control groups are not ours to
    /// make.
    pub(super) fn create(command: &str) -> Option<Self> {
        let path = base()?.join(format!("{PREFIX}{command}"));
        match claim(&path) {
            Ok(folder) => is_group(&path).then_some(Self { path, folder }),
            Err(error) => {
                tracing::debug!(%error, "control groups cannot be used");
                None
            }
        }
    }

    /// The group that a command left behind.
    pub(in super::super) fn find(command: &str) -> Option<Self> {
        Self::at(base()?.join(format!("{PREFIX}{command}")))
    }

    fn at(path: PathBuf) -> Option<Self> {
        is_group(&path).then_some(())?;
        let folder = File::open(&path).ok()?;
        Some(Self { path, folder })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Its processes, and those of groups below that its processes made.
    pub(in super::super) fn members(&self) -> Vec<i32> {
        let mut found = Vec::new();
        each_folder(&self.path, &mut |folder| {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|p| *p > 1));
        });
        found
    }

    /// Ends every process in it.
    pub(in super::super) fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Before Linux 5.14: nobody forks while it is frozen.
        drop(fs::write(self.path.join("cgroup.freeze"), "1"));
        for pid in self.members() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(fs::write(self.path.join("cgroup.freeze"), "0"));
    }

    /// Removes it when it is empty; what was left behind on purpose keeps it.
    pub(in super::super) fn remove(self) {
        let mut folders = Vec::new();
        each_folder(&self.path, &mut |folder| folders.push(folder.to_owned()));
        for folder in folders.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

/// Only a group of version 2 has this file.
fn is_group(path: &Path) -> bool {
    path.join("cgroup.events").exists()
}

/// Makes a folder, if there is none yet, and locks it: as long as what is returned
/// is open, [`remove_empty`] leaves the folder alone.
pub(super) fn claim(path: &Path) -> io::Result<File> {
    for _ in 0..CLAIMS {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let folder = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder?,
        };
        folder.lock()?;
        // Whoever held the lock before may have removed the folder under it.
        let there = fs::metadata(path).map(|meta| meta.ino());
        if there.is_ok_and(|there| folder.metadata().is_ok_and(|own| own.ino() == there)) {
            return Ok(folder);
        }
    }
    Err(io::Error::other("others keep removing it"))
}

/// Removes the groups of earlier commands of which nothing is left.
pub(super) fn remove_empty() {
    if let Some(base) = base() {
        remove_empty_in(&base);
    }
}

/// Removes the empty folders of commands that no keeper holds.
pub(super) fn remove_empty_in(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && let Ok(folder) = File::open(&path)
            && folder.try_lock().is_ok()
        {
            drop(fs::remove_dir(&path));
        }
    }
}

/// Calls `each` with a group and those below it, the outer before the inner.
fn each_folder(folder: &Path, each: &mut impl FnMut(&Path)) {
    each(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            each_folder(&entry.path(), each);
        }
    }
}

/// The folder of the control group that this process is in.
fn base() -> Option<PathBuf> {
    let mounts = fs::read(format!("/proc/{}/mountinfo", std::process::id())).ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    place(&String::from_utf8_lossy(&mounts), &groups)
}

/// Where the group named in `/proc/self/cgroup` is, by `/proc/self/mountinfo`.
pub(super) fn place(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|l| l.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let version_2 = after.split(' ').next()? == "cgroup2";
        // Seen from inside a name space, groups outside of it begin with `/..`.
        let inside = own.strip_prefix(root.trim_end_matches('/'))?;
        (version_2 && !inside.starts_with("/..") && !point.contains('\\'))
            .then(|| Path::new(point).join(inside.trim_start_matches('/')))
    })
}
