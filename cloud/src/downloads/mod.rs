//! What the cloud hands out to install agents and relays with.
//!
//! A folder holds the packages that a release was built into
//! (`deploy/packages/build`). At start each is hashed and listed under its BLAKE3
//! in `<state>/install`, together with an installer script that carries all their
//! hashes. An install line pins the script by its SHA-256, and the script every
//! package, so it does not matter by which road the bytes come: HTTPS from here
//! (`/install/<hash>`), or a relay that fetched them over its link.

mod script;

use aws_lc_rs::digest;
use std::{
    fs, io,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Folder of the files that anybody may have, below the state folder.
pub const FOLDER: &str = "install";

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
    /// Lists the packages of `from` in `<state>/install`. Without packages there
    /// is nothing to hand out, which is no error.
    ///
    /// # Errors
    /// When the folder in the state cannot be written, or a package not read.
    pub fn publish(from: &Path, state: &Path) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => fs::create_dir_all(&folder)?,
        }
        let mut table = Vec::new();
        for (named, path) in packages(from)? {
            let pin = pin(&path)?;
            // A second name of the same content is no second file.
            drop(symlink(&path, folder.join(&pin.blake3)));
            table.push((named, pin));
        }
        if table.is_empty() {
            return Ok(Self { script: None, folder });
        }
        let text = script::render(&table);
        let pin = pin_of(text.as_bytes());
        fs::write(folder.join(&pin.blake3), text)?;
        Ok(Self { script: Some(pin), folder })
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
