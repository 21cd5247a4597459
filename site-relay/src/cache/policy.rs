//! Which upstream a request means, and whether the site allows it.
//!
//! Three spellings reach the cache: as a forward proxy (`GET http://host/path`),
//! as a mirror (`GET /host/path`), and by a named remap (`GET /remap/pypi/…`),
//! which is how repositories that exist only over HTTPS are cached. What no
//! policy names is refused: the cache is no open proxy.

use super::{naming, windows};
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    hash::{Hash, Hasher},
};
use thiserror::Error;

/// Longest URL that is handled, in bytes.
const MAX_URL: usize = 4096;

/// Where a body lives: the place it comes from and its path there.
/// Together they are its name in the index and alone tell resources apart: the
/// same Windows file may be asked for by many addresses.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Host, or the name of a remap, for people.
    pub repository: String,
    /// Where the bytes come from: host, or the address that a remap leads to. A
    /// remap that is made to lead elsewhere does not inherit what was stored.
    pub place: String,
    /// Path and query in their one spelling ([`naming`]), with the leading slash;
    /// behind a `#`, which no path holds, the media type that a client of a remap
    /// negotiates.
    pub path: String,
    /// Where to fetch it.
    pub url: String,
}

impl Resource {
    fn name(&self) -> (&str, &str) {
        (&self.place, &self.path)
    }

    /// Seconds that a body of this resource needs no confirmation, whatever the
    /// upstream says: where the path names the content, it does not change.
    #[must_use]
    pub fn fresh_s(&self) -> u32 {
        if self.repository == windows::REPOSITORY { windows::FRESH_S } else { 0 }
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Ord for Resource {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl PartialOrd for Resource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The host is not on the site's list.
    #[error(
        "This site's package cache does not serve {0}. Whoever manages the site can allow it: in the console, on the site's page under Package cache, or on the relay itself with cache.hosts in /etc/unifyit/relay.toml."
    )]
    HostNotAllowed(String),
    /// There is no such remap.
    #[error(
        "This site's package cache has no remap named {0}. Whoever manages the site can add it: in the console, on the site's page under Package cache, or on the relay itself with cache.remaps in /etc/unifyit/relay.toml."
    )]
    NoSuchRemap(String),
    /// Not something that a package client asks.
    #[error("This is a package cache; the request is not one that it understands: {0}.")]
    NotUnderstood(&'static str),
}

/// What the site allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    hosts: Vec<String>,
    remaps: BTreeMap<String, String>,
}

impl Policy {
    /// Builds a policy from allowed hosts (`deb.debian.org`, `*.ubuntu.com`,
    /// with `:port` where it is not the scheme's own) and remaps (`name=url`).
    /// Entries that cannot be read are returned for the log.
    #[must_use]
    pub fn new(hosts: &[String], remaps: &[String]) -> (Self, Vec<String>) {
        let mut rejected = Vec::new();
        let mut policy = Self::default();
        for host in hosts {
            let host = host.trim().to_ascii_lowercase();
            if Self::is_host(&host) {
                if !policy.hosts.contains(&host) {
                    policy.hosts.push(host);
                }
            } else {
                rejected.push(host);
            }
        }
        for remap in remaps {
            match remap.split_once('=') {
                Some((name, url)) if valid_name(name) && valid_base(url) => {
                    policy.remaps.insert(name.into(), url.trim_end_matches('/').into());
                }
                _ => rejected.push(remap.clone()),
            }
        }
        (policy, rejected)
    }

    /// Whether a text can be a host of the list: a name, also `*.name`, also with
    /// `:port`.
    #[must_use]
    pub fn is_host(text: &str) -> bool {
        valid_authority(text.strip_prefix("*.").unwrap_or(text))
    }

    /// The hosts, as they were written.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The remaps by name.
    #[must_use]
    pub fn remaps(&self) -> &BTreeMap<String, String> {
        &self.remaps
    }

    /// Finds the resource that a request's target names.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn resolve(&self, target: &str) -> Result<Resource, Refusal> {
        if target.len() > MAX_URL || !target.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(Refusal::NotUnderstood("the address is too long or not ASCII"));
        }
        if let Some(rest) = strip_scheme(target, "http://") {
            return self.by_host(rest);
        }
        if strip_scheme(target, "https://").is_some() {
            return Err(Refusal::NotUnderstood("HTTPS addresses are cached through /remap/"));
        }
        let path = target.strip_prefix('/').ok_or(Refusal::NotUnderstood("no path"))?;
        if let Some(rest) = path.strip_prefix("remap/") {
            return self.by_remap(rest);
        }
        self.by_host(path)
    }

    /// As [`Self::resolve`], with the client's `Accept`: repositories behind remaps
    /// answer the same path as JSON to one client and as HTML to another, and
    /// neither must get the other's.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn resolve_for(&self, target: &str, accept: Option<&str>) -> Result<Resource, Refusal> {
        let mut resource = self.resolve(target)?;
        if let Some(kind) = accept.and_then(negotiated)
            && self.remaps.contains_key(&resource.repository)
        {
            resource.path = format!("{}#{kind}", resource.path);
        }
        Ok(resource)
    }

    fn by_host(&self, rest: &str) -> Result<Resource, Refusal> {
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(":80").unwrap_or(&authority);
        if !valid_authority(authority) {
            return Err(Refusal::NotUnderstood("the host name is not one"));
        }
        if !self.allows(authority) {
            return Err(Refusal::HostNotAllowed(authority.into()));
        }
        let name = naming::read(path)?;
        let url = format!("http://{authority}{}", name.wire);
        Ok(match windows::content(authority, &name.key) {
            Some(content) => {
                let repository = windows::REPOSITORY;
                Resource {
                    repository: repository.into(),
                    place: repository.into(),
                    path: content,
                    url,
                }
            }
            None => Resource {
                repository: authority.into(),
                place: authority.into(),
                path: name.key,
                url,
            },
        })
    }

    fn by_remap(&self, rest: &str) -> Result<Resource, Refusal> {
        let (name, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let base = self.remaps.get(name).ok_or_else(|| Refusal::NoSuchRemap(name.into()))?;
        let path = naming::read(path)?;
        Ok(Resource {
            repository: name.into(),
            place: base.clone(),
            url: format!("{base}{}", path.wire),
            path: path.key,
        })
    }

    /// A file of the same place, by its name there; none when the site does not
    /// allow the place any more.
    #[must_use]
    pub fn beside(&self, resource: &Resource, path: &str) -> Option<Resource> {
        let place = &resource.place;
        let url = if self.remaps.values().any(|base| base == place) {
            format!("{place}{path}")
        } else {
            self.allows(place).then(|| format!("http://{place}{path}"))?
        };
        Some(Resource { path: path.to_owned(), url, ..resource.clone() })
    }

    /// Whether a host (`name` or `name:port`) is on the list.
    #[must_use]
    pub fn allows(&self, authority: &str) -> bool {
        self.hosts.iter().any(|host| match host.strip_prefix("*.") {
            Some(parent) => authority
                .strip_suffix(parent)
                .is_some_and(|sub| sub.is_empty() || sub.ends_with('.')),
            None => host == authority,
        })
    }
}

/// The page format that an `Accept` prefers, where it prefers one: JSON or HTML
/// of some kind. What asks for files says `*/*`, and apt `text/*`.
fn negotiated(accept: &str) -> Option<String> {
    let weight = |range: &str| {
        let q = range.split(';').find_map(|p| p.trim().strip_prefix("q="));
        q.and_then(|q| q.trim().parse::<f32>().ok()).unwrap_or(1.0)
    };
    let mut best: Option<(&str, f32)> = None;
    for range in accept.split(',') {
        let q = weight(range);
        if best.is_none_or(|(_, most)| q > most) {
            best = Some((range.split(';').next().unwrap_or("").trim(), q));
        }
    }
    let kind = best?.0.to_ascii_lowercase();
    let page = kind.ends_with("json") || kind.ends_with("html");
    let token = |b: u8| b.is_ascii_alphanumeric() || b"/.+-_".contains(&b);
    (page && kind.len() <= 80 && kind.bytes().all(token)).then_some(kind)
}

fn strip_scheme<'a>(target: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = target.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn valid_authority(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) => return false,
        None => text,
    };
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn valid_base(url: &str) -> bool {
    let rest = strip_scheme(url, "https://").or_else(|| strip_scheme(url, "http://"));
    rest.is_some_and(|r| valid_authority(r.split('/').next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let (policy, rejected) = Policy::new(
            &[
                "deb.debian.org".into(),
                "*.ubuntu.com".into(),
                "127.0.0.1:9999".into(),
                "a b".into(),
            ],
            &["pypi=https://pypi.org".into(), "bad name=https://x.org".into()],
        );
        assert_eq!(rejected.len(), 2);
        policy
    }

    #[test]
    fn the_three_spellings_name_the_same_thing_once() {
        let p = policy();
        let proxy = p.resolve("http://deb.debian.org/debian/x.deb").ok();
        assert_eq!(proxy, p.resolve("/deb.debian.org/debian/x.deb").ok());
        assert_eq!(proxy, p.resolve("HTTP://DEB.debian.org:80/debian/x.deb").ok());
        assert_eq!(proxy.map(|r| r.url), Some("http://deb.debian.org/debian/x.deb".into()));
        let remap = p.resolve("/remap/pypi/simple/six/");
        assert_eq!(remap.map(|r| r.url), Ok("https://pypi.org/simple/six/".into()));
    }

    #[test]
    fn what_no_policy_names_is_refused() {
        let p = policy();
        for target in [
            "http://evil.example/x",
            "http://xubuntu.com/x",
            "http://127.0.0.1/x",
            "http://deb.debian.org@evil.example/x",
            "/evil.example/x",
        ] {
            assert!(p.resolve(target).is_err(), "{target}");
        }
        assert!(p.resolve("http://archive.ubuntu.com/x").is_ok());
        assert!(matches!(p.resolve("/remap/npm/x"), Err(Refusal::NoSuchRemap(_))));
    }

    #[test]
    fn one_windows_file_has_one_name_at_all_its_hosts_and_under_any_signature() {
        let hosts = ["*.delivery.mp.microsoft.com".into(), "*.windowsupdate.com".into()];
        let (p, _) = Policy::new(&hosts, &[]);
        let file = "/filestreamingservice/files/0f3c2a10-1111-2222-3333-444455556666";
        let one = p.resolve(&format!("http://tlu.dl.delivery.mp.microsoft.com{file}?P1=1&P4=abc"));
        let two = p.resolve(&format!("http://2.dl.delivery.mp.microsoft.com{file}?P1=9&P4=xyz"));
        let (one, two) = (one.ok(), two.ok());
        assert!(one.is_some() && one == two);
        // Each is fetched by the signature that came with it.
        assert!(two.is_some_and(|r| r.url.ends_with("P4=xyz") && r.fresh_s() > 0));
        let list = "http://download.windowsupdate.com/c/list.cab";
        assert!(p.resolve(&format!("{list}?1")).ok() != p.resolve(&format!("{list}?2")).ok());
    }

    #[test]
    fn clients_that_negotiate_another_format_do_not_share_an_answer() {
        let p = policy();
        let of = |accept: &str| p.resolve_for("/remap/pypi/simple/six/", Some(accept)).ok();
        let json = "application/vnd.pypi.simple.v1+json, text/html; q=0.1";
        assert_ne!(of(json), of("text/html"));
        assert_eq!(of(json), of("application/vnd.pypi.simple.v1+json"));
        assert_eq!(of("*/*"), p.resolve("/remap/pypi/simple/six/").ok());
        assert_eq!(of("text/*"), of("*/*"));
        let debian = "http://deb.debian.org/x";
        assert_eq!(p.resolve_for(debian, Some("text/html")).ok(), p.resolve(debian).ok());
    }

    #[test]
    fn a_path_cannot_climb_out_of_its_repository() {
        let p = policy();
        for path in ["/../x", "/a/.%2E/x", "/x%00", "/..\\..\\x", "/a%2f..%2fx"] {
            assert!(p.resolve(&format!("/remap/pypi{path}")).is_err(), "{path}");
        }
        assert!(p.resolve("/remap/pypi/a..b/x..y").is_ok());
    }
}
