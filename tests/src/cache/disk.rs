//! A small disk for one cache: a tmpfs in a mount namespace of its own, which
//! ends with the process that holds it. It fills up like a disk, keeps its files
//! over a `kill -9` of the cache, and is reached from outside through `/proc`.

use crate::process::{Process, Spec};
use anyhow::{Result, ensure};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::wait::{secs, until_true};

/// The disk; it is gone when dropped.
#[derive(Debug)]
pub struct Disk {
    holder: Option<Process>,
    folder: PathBuf,
}

impl Disk {
    /// A disk of `megabytes` at `folder`, or the plain folder, with no bound,
    /// where this system lets nobody mount.
    ///
    /// # Errors
    /// When not even the folder can be made.
    pub async fn new(folder: &Path, megabytes: u32) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut disk = Self { holder: None, folder: folder.to_owned() };
        if let Ok(holder) = mount(folder, megabytes).await {
            disk.holder = Some(holder);
        }
        Ok(disk)
    }

    /// Whether it can be filled.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.holder.is_some()
    }

    /// Where its files are, seen from outside.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        match &self.holder {
            Some(holder) => {
                let root = PathBuf::from(format!("/proc/{}/root", holder.pid()));
                root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder))
            }
            None => self.folder.clone(),
        }
    }

    /// Where its files are for a program started by [`Disk::spec`].
    #[must_use]
    pub fn inside(&self) -> &Path {
        &self.folder
    }

    /// A program that sees the disk.
    pub fn spec<A: Into<OsString>>(
        &self,
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: impl Into<PathBuf>,
    ) -> Spec {
        let Some(holder) = &self.holder else { return Spec::new(name, program, args, log) };
        let mut all: Vec<OsString> = vec!["-t".into(), holder.pid().to_string().into()];
        all.push("-m".into());
        if !is_root() {
            all.extend(["-U".into(), "--preserve-credentials".into()]);
        }
        all.push("--".into());
        all.push(program.into());
        all.extend(args.into_iter().map(Into::into));
        Spec::new(name, "nsenter", all, log)
    }

    /// Fills it up to `left` free bytes. Returns what to remove.
    ///
    /// # Errors
    /// When it is no small disk.
    pub fn fill(&self, left: u64) -> Result<PathBuf> {
        ensure!(self.is_small(), "only a disk of its own may be filled");
        let filler = self.outside().join("filler");
        let stat = nix::sys::statvfs::statvfs(&self.outside())?;
        let free = stat.blocks_available() * stat.fragment_size();
        let file = fs::File::create(&filler)?;
        let size = i64::try_from(free.saturating_sub(left))?;
        if size > 0 {
            // Full before it is as full as asked for is as good.
            let _ = nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, size);
        }
        Ok(filler)
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

async fn mount(folder: &Path, megabytes: u32) -> Result<Process> {
    let shown = folder.to_str().unwrap_or_default().to_owned();
    let ready = folder.with_extension("mounted");
    let script = format!(
        "mount -t tmpfs -o size={megabytes}m,mode=700 none \"$0\" && : > \"$1\" && exec sleep infinity"
    );
    let mut args = vec!["--mount".to_owned()];
    if !is_root() {
        args.extend(["--user".to_owned(), "--map-root-user".to_owned()]);
    }
    let ready_text = ready.to_str().unwrap_or_default().to_owned();
    args.extend(["--", "sh", "-c"].map(str::to_owned));
    args.extend([script, shown, ready_text]);
    let log = folder.with_extension("mount.log");
    let mut holder = Spec::new("a small disk", "unshare", args, log).start()?;
    until_true("a small disk", secs(5), || ready.exists() || holder.ended().is_some()).await?;
    holder.check_alive()?;
    Ok(holder)
}
