//! apt's indexes: `Release` names its sibling indexes, `Packages` and `Sources`
//! name the files in the pool. Formats: Debian Policy and the wiki page
//! "DebianRepository/Format".

use super::{Fact, MAX_FACTS, folder};
use crate::cache::content::{hex, unhex};

/// Facts of a `Release` or `InRelease`: every file under `SHA256:`, by its name
/// and, where the repository offers it, by its hash.
#[must_use]
pub fn release(path: &str, body: &[u8]) -> Vec<Fact> {
    let text = String::from_utf8_lossy(body);
    let base = folder(path);
    let by_hash = text.lines().any(|line| line.trim() == "Acquire-By-Hash: yes");
    let mut facts = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            inside = line.trim_end() == "SHA256:";
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(hash), Some(size), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (true, Some(sha256), Ok(size)) = (inside, unhex(hash), size.parse()) else { continue };
        if name.split('/').any(|part| part == "..") || facts.len() + 2 > MAX_FACTS {
            continue;
        }
        let size = Some(size);
        if by_hash {
            let path = format!("{base}{}by-hash/SHA256/{}", subfolder(name), hex(&sha256));
            facts.push(Fact { path, sha256, size });
        }
        facts.push(Fact { path: format!("{base}{name}"), sha256, size });
    }
    facts
}

/// Facts of a `Packages` (`Filename`, `SHA256`, `Size`) or `Sources`
/// (`Directory`, `Checksums-Sha256`). File names are relative to the
/// repository's root: what stands before `dists/`, or, for a flat repository,
/// the folder of the index.
#[must_use]
pub fn packages(path: &str, body: &[u8]) -> Vec<Fact> {
    let root = path.find("/dists/").map_or_else(|| folder(path), |at| &path[..=at]);
    let text = String::from_utf8_lossy(body);
    let mut facts = Vec::new();
    for paragraph in text.split("\n\n") {
        if facts.len() >= MAX_FACTS {
            break;
        }
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        if let (Some(file), Some(sha256)) = (field("Filename:"), field("SHA256:").and_then(unhex)) {
            let file = file.trim_start_matches("./");
            let size = field("Size:").and_then(|s| s.parse().ok());
            if !file.split('/').any(|part| part == "..") {
                facts.push(Fact { path: format!("{root}{file}"), sha256, size });
            }
        } else if let Some(directory) = field("Directory:") {
            source_files(root, directory, paragraph, &mut facts);
        }
    }
    facts
}

fn source_files(root: &str, directory: &str, paragraph: &str, facts: &mut Vec<Fact>) {
    let listed = paragraph.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:"));
    for line in listed.skip(1).take_while(|line| line.starts_with(' ')) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(sha256), Some(size), Some(name)) =
            (words.next().and_then(unhex), words.next(), words.next())
        {
            let path = format!("{root}{}/{name}", directory.trim_start_matches("./"));
            facts.push(Fact { path, sha256, size: size.parse().ok() });
        }
    }
}

fn subfolder(name: &str) -> &str {
    name.rfind('/').map_or("", |at| &name[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn release_names_indexes_by_path_and_by_hash() {
        let body = format!(
            "Suite: stable\nAcquire-By-Hash: yes\nMD5Sum:\n abc 1 main/x\nSHA256:\n {ZERO} 12 main/binary-amd64/Packages.gz\n"
        );
        let facts = release("/debian/dists/stable/InRelease", body.as_bytes());
        let paths: Vec<_> = facts.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                &format!("/debian/dists/stable/main/binary-amd64/by-hash/SHA256/{ZERO}"),
                "/debian/dists/stable/main/binary-amd64/Packages.gz",
            ]
        );
        assert!(facts.iter().all(|f| f.size == Some(12) && f.sha256 == [0; 32]));
    }

    #[test]
    fn packages_name_pool_files_below_the_repositorys_root() {
        let body = format!(
            "Package: a\nFilename: pool/a.deb\nSize: 3\nSHA256: {ZERO}\n\nPackage: evil\nFilename: ../x\nSHA256: {ZERO}\n"
        );
        let facts = packages("/debian/dists/stable/main/binary-amd64/Packages", body.as_bytes());
        assert_eq!(facts.len(), 1);
        assert_eq!(facts[0].path, "/debian/pool/a.deb");
        let flat = packages("/repo/Packages", body.replace("pool/", "./").as_bytes());
        assert_eq!(flat[0].path, "/repo/a.deb");
    }

    #[test]
    fn sources_name_their_parts() {
        let body = format!(
            "Package: a\nDirectory: pool/a\nChecksums-Sha256:\n {ZERO} 5 a.dsc\n {ZERO} 6 a.tar.xz\nFiles:\n x 5 a.dsc\n"
        );
        let facts = packages("/debian/dists/s/main/source/Sources", body.as_bytes());
        let paths: Vec<_> = facts.iter().map(|f| (f.path.as_str(), f.size)).collect();
        assert_eq!(
            paths,
            [("/debian/pool/a/a.dsc", Some(5)), ("/debian/pool/a/a.tar.xz", Some(6))]
        );
    }
}
