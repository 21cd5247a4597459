//! What signed repository indexes say about files: path → hash.
//!
//! The indexes themselves pass through untouched, signatures and all; clients
//! check those. The cache reads them to know which bytes a path stands for, so
//! that a republished or damaged file is never taken for the present one. They
//! are read as they unfold, so that one of any size costs a window of memory.

pub mod apt;
pub mod rpm;
mod unpack;
mod zchunk;

use super::naming;
use std::io::{BufRead, BufReader, Read};

/// What an index says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The file's name ([`naming`]) below the repository's host.
    pub path: String,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Length in bytes, when the index tells.
    pub size: Option<u64>,
}

/// Who takes facts as they are found; an error ends the reading.
pub type Sink<'a> = dyn FnMut(Fact) -> Result<(), String> + 'a;

/// Most facts taken from one index. Debian's largest has about 70,000.
pub const MAX_FACTS: usize = 400_000;
/// Longest index that is read, in bytes before and after decompression.
pub const MAX_INDEX: u64 = 512 * 1024 * 1024;
/// Longest line of an index.
const MAX_LINE: u64 = 1024 * 1024;

/// An index that the cache can read, recognised by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// apt `Release` or `InRelease`.
    AptRelease,
    /// apt `Packages` or `Sources`, possibly compressed.
    AptPackages,
    /// rpm `repomd.xml`.
    RpmRepomd,
    /// rpm `primary.xml`, possibly compressed.
    RpmPrimary,
}

impl IndexKind {
    /// Whether it names other indexes rather than packages.
    #[must_use]
    pub fn names_indexes(self) -> bool {
        matches!(self, Self::AptRelease | Self::RpmRepomd)
    }

    /// Recognises an index by its path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let path = naming::of_fact(path);
        let name = path.rsplit('/').next()?;
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        match name {
            "InRelease" | "Release" => Some(Self::AptRelease),
            "repomd.xml" => Some(Self::RpmRepomd),
            _ if matches!(stem, "Packages" | "Sources") && readable(name) => {
                Some(Self::AptPackages)
            }
            _ if name.contains("primary.xml") && readable(name) => Some(Self::RpmPrimary),
            _ => None,
        }
    }
}

/// The index that a resource's body is to be read as. What an upstream answers to a
/// query of a client's making says nothing of the names without it.
#[must_use]
pub fn teaches(path: &str) -> Option<IndexKind> {
    if path.contains('?') { None } else { IndexKind::of(path) }
}

/// Whether a file of this path may be an index: then what it says must be known
/// before a client that has read it asks for more.
#[must_use]
pub fn speaks_of_others(path: &str) -> bool {
    IndexKind::of(path).is_some() || path.contains("/by-hash/")
}

/// Whether the ending is one that [`unpack`] understands.
fn readable(name: &str) -> bool {
    match name.rsplit_once('.') {
        None => true,
        Some((_, end)) => matches!(end, "gz" | "xz" | "zst" | "xml" | "lzma" | "zck"),
    }
}

/// Reads all facts of an index. What was found before an error holds.
///
/// # Errors
/// A sentence for the log when the index cannot be read to its end.
pub fn read(
    kind: IndexKind,
    path: &str,
    body: impl Read,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let path = naming::of_fact(path);
    let plain = BufReader::new(unpack::by_ending(&path, body)?);
    let mut found = 0;
    let mut counted = |fact: Fact| {
        found += 1;
        if found > MAX_FACTS {
            return Err(format!("the index names more than {MAX_FACTS} files"));
        }
        sink(fact)
    };
    match kind {
        IndexKind::AptRelease => apt::release(&path, plain, &mut counted),
        IndexKind::AptPackages => apt::packages(&path, plain, &mut counted),
        IndexKind::RpmRepomd => rpm::items(&path, plain, "data", &mut counted),
        IndexKind::RpmPrimary => rpm::items(&path, plain, "package", &mut counted),
    }
}

/// The folder of a path, with its trailing slash.
fn folder(path: &str) -> &str {
    path.rfind('/').map_or("/", |at| &path[..=at])
}

/// Hands on what an index says of `file`, under each name that it may mean.
fn tell(
    root: &str,
    file: &str,
    sha256: [u8; 32],
    size: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    for path in naming::below(root, file) {
        sink(Fact { path, sha256, size })?;
    }
    Ok(())
}

/// The next line without its end; `false` when there is none.
fn line(body: &mut impl BufRead, into: &mut Vec<u8>) -> Result<bool, String> {
    into.clear();
    let read = body.take(MAX_LINE).read_until(b'\n', into);
    let length = read.map_err(|e| format!("the index cannot be read: {e}"))?;
    if length as u64 >= MAX_LINE {
        return Err(format!("the index has a line of more than {MAX_LINE} bytes"));
    }
    while into.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        into.pop();
    }
    Ok(length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// What an index says, for tests.
    pub(super) fn all(kind: IndexKind, path: &str, body: &[u8]) -> Result<Vec<Fact>, String> {
        let mut facts = Vec::new();
        read(kind, path, body, &mut |fact| {
            facts.push(fact);
            Ok(())
        })?;
        Ok(facts)
    }

    #[test]
    fn indexes_are_known_by_name_whatever_a_client_adds_to_it() {
        for path in ["/d/InRelease", "/d/InRelease?x=1", "/d/InRelease#text/html", "//d//InRelease"]
        {
            assert_eq!(IndexKind::of(path), Some(IndexKind::AptRelease), "{path}");
        }
        assert_eq!(IndexKind::of("/r/repodata/0a-primary.xml.zck"), Some(IndexKind::RpmPrimary));
        assert_eq!(IndexKind::of("/r/Packages.png"), None);
    }

    #[test]
    fn compressed_indexes_are_read_and_endless_ones_are_given_up() {
        let one = format!("Filename: a.deb\nSHA256: {}\n\n", "11".repeat(32));
        let gz = |text: &str| {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            assert!(gz.write_all(text.as_bytes()).is_ok());
            gz.finish().unwrap_or_default()
        };
        let of = |body: &[u8]| all(IndexKind::AptPackages, "/r/Packages.gz", body);
        assert_eq!(of(&gz(&one)).map(|facts| facts.len()), Ok(1));
        assert_eq!(of(b"<html>log in</html>").map_err(|_| ()), Err(()));
        let endless = "x".repeat(2 * 1024 * 1024);
        assert!(of(&gz(&endless)).is_err_and(|e| e.contains("line")));
    }
}
