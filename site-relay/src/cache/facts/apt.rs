//! apt's indexes: `Release` names its sibling indexes, `Packages` and `Sources`
//! name the files in the pool. Formats: Debian Policy and the wiki page
//! "DebianRepository/Format".

use super::{Sink, folder, line, tell};
use crate::cache::content::unhex;
use std::{
    collections::HashMap,
    io::{BufRead, Read},
};

/// Longest `Release`; Debian's has 200 kB.
const MAX_RELEASE: u64 = 32 * 1024 * 1024;
/// Lists of hashes, as `Release` and `by-hash/` call them.
const LISTS: [&str; 4] = ["SHA256", "SHA512", "SHA1", "MD5Sum"];

/// Facts of a `Release` or `InRelease`: every file under `SHA256:`, by its name
/// and, where the repository offers it, by each hash that is listed for it.
///
/// # Errors
/// A sentence when it cannot be read.
pub fn release(path: &str, body: impl BufRead, sink: &mut Sink<'_>) -> Result<(), String> {
    let mut bytes = Vec::new();
    let read = body.take(MAX_RELEASE).read_to_end(&mut bytes);
    read.map_err(|e| format!("the index cannot be read: {e}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let base = folder(path);
    let by_hash = text.lines().any(|line| line.trim() == "Acquire-By-Hash: yes");
    let mut known = HashMap::new();
    for list in LISTS.into_iter().take(if by_hash { LISTS.len() } else { 1 }) {
        for (hash, size, name) in listed(&text, list) {
            if let ("SHA256", Some(sha256)) = (list, unhex(hash)) {
                known.insert(name, sha256);
                tell(base, name, sha256, Some(size), sink)?;
            }
            if let (true, Some(sha256)) = (by_hash && is_hash(hash), known.get(name)) {
                let file = format!("{}by-hash/{list}/{hash}", subfolder(name));
                tell(base, &file, *sha256, Some(size), sink)?;
            }
        }
    }
    Ok(())
}

/// The files of one list: hash, length, name.
fn listed<'a>(text: &'a str, list: &'a str) -> impl Iterator<Item = (&'a str, u64, &'a str)> {
    let begins = move |line: &str| line.trim_end().strip_suffix(':') == Some(list);
    let lines = text.lines().skip_while(move |line| !begins(line)).skip(1);
    lines.take_while(|line| line.starts_with(' ')).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (hash, size, name) = (words.next()?, words.next()?, words.next()?);
        Some((hash, size.parse().ok()?, name))
    })
}

fn is_hash(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Facts of a `Packages` (`Filename`, `SHA256`, `Size`) or `Sources`
/// (`Directory`, `Checksums-Sha256`). File names are relative to the
/// repository's root: what stands before `dists/`, or, for a flat repository,
/// the folder of the index.
///
/// # Errors
/// A sentence when it cannot be read.
pub fn packages(path: &str, mut body: impl BufRead, sink: &mut Sink<'_>) -> Result<(), String> {
    let root = path.find("/dists/").map_or_else(|| folder(path), |at| &path[..=at]);
    let (mut bytes, mut paragraph) = (Vec::new(), Paragraph::default());
    while line(&mut body, &mut bytes)? {
        if bytes.is_empty() {
            std::mem::take(&mut paragraph).tell(root, sink)?;
        } else {
            paragraph.take(&String::from_utf8_lossy(&bytes));
        }
    }
    paragraph.tell(root, sink)
}

#[derive(Default)]
struct Paragraph {
    file: Option<String>,
    sha256: Option<[u8; 32]>,
    size: Option<u64>,
    directory: Option<String>,
    in_sums: bool,
    sums: Vec<([u8; 32], Option<u64>, String)>,
}

impl Paragraph {
    fn take(&mut self, line: &str) {
        if line.starts_with(' ') {
            let mut words = line.split_ascii_whitespace();
            if let (true, Some(sha256), Some(size), Some(name)) =
                (self.in_sums, words.next().and_then(unhex), words.next(), words.next())
            {
                self.sums.push((sha256, size.parse().ok(), name.to_owned()));
            }
            return;
        }
        let Some((field, value)) = line.split_once(':') else { return };
        let value = value.trim();
        self.in_sums = field == "Checksums-Sha256";
        match field {
            "Filename" => self.file = Some(value.to_owned()),
            "SHA256" => self.sha256 = unhex(value),
            "Size" => self.size = value.parse().ok(),
            "Directory" => self.directory = Some(value.to_owned()),
            _ => {}
        }
    }

    fn tell(self, root: &str, sink: &mut Sink<'_>) -> Result<(), String> {
        if let (Some(file), Some(sha256)) = (&self.file, self.sha256) {
            return tell(root, file, sha256, self.size, sink);
        }
        let Some(directory) = &self.directory else { return Ok(()) };
        for (sha256, size, name) in self.sums {
            tell(root, &format!("{directory}/{name}"), sha256, size, sink)?;
        }
        Ok(())
    }
}

fn subfolder(name: &str) -> &str {
    name.rfind('/').map_or("", |at| &name[..=at])
}

#[cfg(test)]
mod tests {
    use crate::cache::facts::{Fact, IndexKind, tests::all};

    const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn packages(path: &str, body: &str) -> Vec<Fact> {
        all(IndexKind::AptPackages, path, body.as_bytes()).unwrap_or_default()
    }

    #[test]
    fn release_names_indexes_by_path_and_by_each_hash() {
        let sha512 = ZERO.repeat(2);
        let body = format!(
            "Suite: stable\nAcquire-By-Hash: yes\nMD5Sum:\n abc 12 main/binary-amd64/Packages.gz\nSHA256:\n {ZERO} 12 main/binary-amd64/Packages.gz\nSHA512:\n {sha512} 12 main/binary-amd64/Packages.gz\n abc 1 ../../x\n"
        );
        let path = "/debian/dists/stable/InRelease";
        let facts = all(IndexKind::AptRelease, path, body.as_bytes()).unwrap_or_default();
        let paths: Vec<_> = facts.iter().map(|f| f.path.as_str()).collect();
        let folder = "/debian/dists/stable/main/binary-amd64";
        assert_eq!(
            paths,
            [
                format!("{folder}/Packages.gz"),
                format!("{folder}/by-hash/SHA256/{ZERO}"),
                format!("{folder}/by-hash/SHA512/{sha512}"),
                format!("{folder}/by-hash/MD5Sum/abc"),
            ]
        );
        assert!(facts.iter().all(|f| f.size == Some(12) && f.sha256 == [0; 32]));
    }

    #[test]
    fn packages_name_pool_files_below_the_repositorys_root() {
        let body = format!(
            "Package: a\nFilename: pool/a+b%1.deb\nSize: 3\nSHA256: {ZERO}\n\nPackage: evil\nFilename: ../x\nSHA256: {ZERO}\n"
        );
        let facts = packages("/debian/dists/stable/main/binary-amd64/Packages", &body);
        assert_eq!(facts.len(), 1);
        assert_eq!(facts[0].path, "/debian/pool/a+b%251.deb");
        let flat = packages("/repo/Packages", &body.replace("pool/", "./"));
        assert_eq!(flat[0].path, "/repo/a+b%251.deb");
    }

    #[test]
    fn sources_name_their_parts() {
        let body = format!(
            "Package: a\nDirectory: pool/a\nChecksums-Sha256:\n {ZERO} 5 a.dsc\n {ZERO} 6 a.tar.xz\nFiles:\n x 5 a.dsc\n"
        );
        let facts = packages("/debian/dists/s/main/source/Sources", &body);
        let paths: Vec<_> = facts.iter().map(|f| (f.path.as_str(), f.size)).collect();
        assert_eq!(
            paths,
            [("/debian/pool/a/a.dsc", Some(5)), ("/debian/pool/a/a.tar.xz", Some(6))]
        );
    }
}
