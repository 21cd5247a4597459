//! What the cloud hands out to install agents and relays with.
//!
//! A folder holds the packages that a release was built into
//! (`deploy/packages/build`). At start each is copied under its BLAKE3 into
//! `<state>/install`, together with an installer script that carries all their
//! hashes: packages that are replaced under a running cloud change nothing, and what
//! the release before handed out stays, so that its lines work until they expire. An install line pins the script by its SHA-256, and the script every
//! package, so it does not matter by which road the bytes come: HTTPS from here
//! (`/install/<hash>`), or a relay that fetched them over its link.

mod script;

use aws_lc_rs::digest;
use std::{
    collections::BTreeSet,
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// Folder of the files that anybody may have, below the state folder.
pub const FOLDER: &str = "install";
/// In it, the names of what this release hands out, and of what the one before did.
const LIST: &str = "list";
const LIST_BEFORE: &str = "list-before";

/// How a file is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Deb,
    Rpm,
    /// The program alone.
    Raw,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Raw => "raw",
        }
    }
}

/// One installable file, by what its name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    /// `agent` or `relay`.
    program: &'static str,
    form: Form,
    /// As `uname -m` says it.
    machine: &'static str,
}

/// A name and the two hashes of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// BLAKE3 in hexadecimal: the name under which it is served.
    pub blake3: String,
    /// SHA-256 in hexadecimal: what every computer has a program for.
    pub sha256: String,
}

/// The files that this cloud hands out. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Downloads {
    script: Option<Pin>,
    folder: PathBuf,
}

impl Downloads {
    /// Puts the packages of `from` into `<state>/install`. Without packages there
    /// is nothing to hand out, which is no error.
    ///
    /// # Errors
    /// When the folder in the state cannot be written, or a package not read.
    pub fn publish(from: &Path, state: &Path) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let mut table = Vec::new();
        for (named, path) in packages(from)? {
            let pin = pin(&path)?;
            copy(&path, &pin, &folder)?;
            table.push((named, pin));
        }
        let text = if table.is_empty() { None } else { Some(script::render(&table)) };
        let mut names: BTreeSet<String> = table.into_iter().map(|(_, pin)| pin.blake3).collect();
        let mut script = None;
        if let Some(text) = text {
            let pin = pin_of(text.as_bytes());
            write_whole(&folder.join(&pin.blake3), |file| file.write_all(text.as_bytes()))?;
            names.insert(pin.blake3.clone());
            script = Some(pin);
        }
        keep_last(&folder, &names)?;
        Ok(Self { script, folder })
    }

    /// The installer, when there is anything to install.
    #[must_use]
    pub fn script(&self) -> Option<&Pin> {
        self.script.as_ref()
    }

    /// A file by the name that the installer knows it under.
    #[must_use]
    pub fn path(&self, hash: &blake3::Hash) -> PathBuf {
        self.folder.join(hash.to_hex().as_str())
    }
}

/// The line that fetches the installer from the first of `bases` that has it,
/// checks it, and runs it.
#[must_use]
pub fn line(script: &Pin, program: &str, bases: &[String], token: &str) -> String {
    script::line(script, program, bases, token)
}

/// Copies a package under its hash. One that changes meanwhile is an error, not
/// another file under that name.
fn copy(from: &Path, pin: &Pin, folder: &Path) -> io::Result<()> {
    let to = folder.join(&pin.blake3);
    if let (Ok(there), Ok(meta)) = (fs::symlink_metadata(&to), fs::metadata(from))
        && there.is_file()
        && there.len() == meta.len()
    {
        return Ok(());
    }
    write_whole(&to, |file| {
        let mut hasher = blake3::Hasher::new();
        let mut source = fs::File::open(from)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read])?;
        }
        if hasher.finalize().to_hex().as_str() == pin.blake3 {
            return Ok(());
        }
        Err(io::Error::other(format!("{} changed while it was read", from.display())))
    })
}

/// A file appears under its name whole or not at all.
fn write_whole(to: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let draft = to.with_extension("new");
    let mut file = fs::File::create(&draft)?;
    write(&mut file)?;
    fs::rename(draft, to)
}

/// Removes what belongs neither to `names` nor to the release before them.
fn keep_last(folder: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let read = |list: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(folder.join(list)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let (listed, mut last) = (read(LIST), read(LIST_BEFORE));
    if listed != *names {
        last = listed;
    }
    for (list, names) in [(LIST_BEFORE, &last), (LIST, names)] {
        let text = names.iter().map(|name| format!("{name}\n")).collect::<String>();
        write_whole(&folder.join(list), |file| file.write_all(text.as_bytes()))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kept = [LIST, LIST_BEFORE].contains(&name.as_str());
        if !kept && !names.contains(&name) && !last.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a folder holds, one file each of program, form and machine: where there
/// are several, the last by name.
fn packages(folder: &Path) -> io::Result<Vec<(Named, PathBuf)>> {
    let mut found = std::collections::BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let Some(named) = path.file_name().and_then(|n| n.to_str()).and_then(named) else {
            tracing::debug!(path = %path.display(), "no package by its name; it is not handed out");
            continue;
        };
        if let Some(other) = found.insert(named, path.clone()) {
            tracing::warn!(left = %other.display(), taken = %path.display(),
                "two packages for the same computers: the last by name is handed out");
        }
    }
    Ok(found.into_iter().collect())
}

/// Reads names as the package builders write them:
/// `unifyit-agent_0.1.0_amd64.deb`, `unifyit-agent-0.1.0-1.x86_64.rpm`,
/// `unifyit-agent-x86_64`.
fn named(name: &str) -> Option<Named> {
    let rest = name.strip_prefix("unifyit-")?;
    let program = ["agent", "relay"].into_iter().find(|p| rest.starts_with(p))?;
    let (form, stem) = match name.rsplit_once('.') {
        Some((stem, "deb")) => (Form::Deb, stem),
        Some((stem, "rpm")) => (Form::Rpm, stem),
        _ => (Form::Raw, name),
    };
    let ends = [
        ("x86_64", ["_amd64", ".x86_64", "-x86_64"]),
        ("aarch64", ["_arm64", ".aarch64", "-aarch64"]),
    ];
    let index = form as usize;
    let (machine, _) = ends.into_iter().find(|(_, ends)| stem.ends_with(ends[index]))?;
    Some(Named { program, form, machine })
}

fn pin(path: &Path) -> io::Result<Pin> {
    let mut file = fs::File::open(path)?;
    let (mut blake3, mut sha256) = (blake3::Hasher::new(), digest::Context::new(&digest::SHA256));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        blake3.update(&buffer[..read]);
        sha256.update(&buffer[..read]);
    }
    Ok(Pin { blake3: blake3.finalize().to_hex().to_string(), sha256: hex(&sha256.finish()) })
}

fn pin_of(bytes: &[u8]) -> Pin {
    Pin {
        blake3: blake3::hash(bytes).to_hex().to_string(),
        sha256: hex(&digest::digest(&digest::SHA256, bytes)),
    }
}

fn hex(digest: &digest::Digest) -> String {
    use std::fmt::Write;
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
