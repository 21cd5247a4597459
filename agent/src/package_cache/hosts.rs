//! Which addresses the cache fetches, and the small file that apt's helper reads.

use unifyit_protocol::config::PackageCache;

/// Writes what apt's helper needs. It runs as apt's own unprivileged user, to whom
/// the agent's state is closed, so this is a file of its own; nothing in it is
/// secret.
#[must_use]
pub fn write(offer: &PackageCache) -> String {
    let mut text = String::from("# Written by unifyit-agent; changes are overwritten.\n");
    let addresses = offer.addresses.iter().map(|a| ("cache", a));
    for (name, value) in addresses.chain(offer.hosts.iter().map(|h| ("host", h))) {
        // What is not a plain name came from nobody who means well.
        if value.bytes().all(|b| b.is_ascii_graphic()) {
            text.push_str(&format!("{name} {value}\n"));
        }
    }
    text
}

/// Reads it.
#[must_use]
pub fn parse(text: &str) -> PackageCache {
    let values = |name: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map(str::to_owned)
            .collect()
    };
    PackageCache { addresses: values("cache"), hosts: values("host") }
}

/// Whether the cache fetches this address. HTTPS goes past it.
#[must_use]
pub fn fetches(hosts: &[String], url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("").to_ascii_lowercase();
    let authority = authority.strip_suffix(":80").unwrap_or(&authority);
    if authority.is_empty() || authority.contains(['@', '$']) {
        return false;
    }
    hosts.iter().any(|host| match host.strip_prefix("*.") {
        Some(parent) => {
            authority.strip_suffix(parent).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        }
        None => host.eq_ignore_ascii_case(authority),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_cache_fetches_goes_through_it() {
        let hosts = ["deb.debian.org".to_owned(), "*.ubuntu.com".into(), "10.0.0.9:8080".into()];
        for url in [
            "http://deb.debian.org/debian",
            "http://DEB.debian.org:80",
            "http://de.archive.ubuntu.com/x",
            "http://10.0.0.9:8080/repo",
        ] {
            assert!(fetches(&hosts, url), "{url}");
        }
        for url in [
            "https://deb.debian.org/debian",
            "http://user@deb.debian.org/",
            "http://xubuntu.com/",
            "http://10.0.0.9/repo",
            "http://$mirror/",
            "http://",
            "ftp://deb.debian.org/",
        ] {
            assert!(!fetches(&hosts, url), "{url}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_a_value_cannot_add_lines() {
        let offer = PackageCache {
            addresses: vec!["relay:3142".into(), "a\nhost *.evil".into()],
            hosts: vec!["*.debian.org".into()],
        };
        let read = parse(&write(&offer));
        assert_eq!(read.addresses, ["relay:3142"]);
        assert_eq!(read.hosts, ["*.debian.org"]);
    }
}
