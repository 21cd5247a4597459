//! URL rules for the content of Windows Update, the Store and winget, as Delivery
//! Optimization and BITS ask for it.
//!
//! The same file stands at several hosts, and often with a signature in the query
//! that is another for each client and hour. Where the path names the content, by
//! a file id or a hash, host and query are no part of its name here; the file is
//! still fetched by the address, signature and all, of the client that asks
//! first. Catalogues and everything else keep their whole address.

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
    let file = lower.rsplit('/').next().unwrap_or("");
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.rsplit_once('_').is_some_and(|(_, hash)| {
        matches!(hash.len(), 40 | 64) && hash.bytes().all(|b| b.is_ascii_hexdigit())
    })
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
