//! URL rules for the content of Windows Update, the Store and winget, as Delivery
//! Optimization and BITS ask for it.
//!
//! The same file stands at several hosts, and often with a signature in the query
//! that is another for each client and hour. Where the path names the content, by
//! a file id or a hash, host and query are no part of its name here; the file is
//! still fetched by the address, signature and all, of the client that asks
//! first. A hash in the name is held against the content. Catalogues and everything
//! else keep their whole address.

use super::{content::unhex, policy::Resource};
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::{fs::File, io, os::unix::fs::FileExt};

/// SHA-1, which Windows' file names hold.
pub(super) type Sha1 = [u8; 20];

/// The name that all hosts of such content share.
pub(super) const REPOSITORY: &str = "windows-update";
/// Named content is confirmed at most this often. It is confirmed at all because
/// a name is no proof: a wrong copy must not live for ever.
pub(super) const FRESH_S: u32 = 24 * 3600;

const HOSTS: [&str; 2] = ["delivery.mp.microsoft.com", "windowsupdate.com"];

/// The content's path, when host and path name one.
pub(super) fn content(authority: &str, path: &str) -> Option<String> {
    let host = authority.split(':').next().unwrap_or(authority);
    let ours = HOSTS.iter().any(|parent| {
        host.strip_suffix(parent).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    });
    let path = path.split('?').next().unwrap_or(path);
    (ours && names_content(path)).then(|| path.to_ascii_lowercase())
}

fn names_content(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if let Some(id) = lower.strip_prefix("/filestreamingservice/files/") {
        return is_guid(id.split('/').next().unwrap_or(id));
    }
    // windows10.0-kb5005463-x64_<SHA-1>.cab
    hash_in(&lower).is_some_and(|hash| matches!(hash.len(), 40 | 64))
}

/// The hexadecimal digits behind the last underscore of a file's name.
fn hash_in(path: &str) -> Option<&str> {
    let file = path.rsplit('/').next().unwrap_or("");
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let (_, hash) = stem.rsplit_once('_')?;
    hash.bytes().all(|b| b.is_ascii_hexdigit()).then_some(hash)
}

/// The SHA-1 that the content's name holds.
pub(super) fn named(resource: &Resource) -> Option<Sha1> {
    if resource.place != REPOSITORY {
        return None;
    }
    // Filled up to the length that is read below; the rest is left off again.
    let hash = hash_in(&resource.path).filter(|hash| hash.len() == 40)?;
    unhex(&format!("{hash:0<64}"))?.first_chunk().copied()
}

/// The SHA-256 that the content's name holds.
pub(super) fn named_sha256(resource: &Resource) -> Option<[u8; 32]> {
    (resource.place == REPOSITORY).then(|| hash_in(&resource.path).and_then(unhex)).flatten()
}

/// The SHA-1 of a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn sha1(file: &File) -> io::Result<Sha1> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let (mut at, mut buffer) = (0, vec![0; 256 * 1024]);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        context.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
    let mut hash = [0; 20];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_name_content_lose_host_and_query() {
        let sha1 = "9f4e2c1c9f4e2c1c9f4e2c1c9f4e2c1c9f4e2c1c";
        let update =
            format!("/c/msdownload/update/software/secu/2026/10/Windows11-KB1-x64_{sha1}.msu");
        assert_eq!(
            content("au.download.windowsupdate.com", &format!("{update}?P1=2")),
            Some(update.to_ascii_lowercase())
        );
        for (host, path) in [
            ("evilwindowsupdate.com", update.as_str()),
            ("download.windowsupdate.com", "/v11/3/windowsupdate/selfupdate/wsus3setup.cab?1"),
            ("dl.delivery.mp.microsoft.com", "/filestreamingservice/files/not-a-guid"),
        ] {
            assert_eq!(content(host, path), None, "{host}{path}");
        }
    }
}
