//! Where the cache may go: which redirects it follows, and which addresses a name
//! may lie at.
//!
//! What a policy allows is a name. Neither an upstream's redirect nor an answer of
//! the DNS widens that to this machine's own services, to the site's network or to
//! a cloud's metadata address. A company's own repository lies in its own network,
//! and is reached there because somebody named it: a host or remap that is set in
//! the relay's file or the console may lie at a private address, a built-in one
//! may not, `cache.private` names exceptions.

use super::{CacheConfig, console::Shared, naming, policy::Policy};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, PoisonError},
};
use thiserror::Error;

/// An address that the cache does not connect to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{host} lies at {address}, where this site's package cache may not fetch from. If that is right, add {host} to cache.private in /etc/unifyit/relay.toml"
)]
pub(super) struct Forbidden {
    host: String,
    address: IpAddr,
}

/// Permissions beyond a policy's names.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    policy: Arc<Policy>,
    /// Hosts, or addresses, that may be anywhere.
    private: Vec<String>,
    /// Hosts that lead to mirrors of their own choice.
    mirrors: Vec<String>,
}

impl Reach {
    /// That of the relay's file, for a policy.
    pub(super) fn of(config: &CacheConfig, policy: Arc<Policy>) -> Self {
        let lower = |all: &[String]| all.iter().map(|h| h.trim().to_ascii_lowercase()).collect();
        Self { policy, private: lower(&config.private), mirrors: lower(&config.mirrors) }
    }

    /// Whether a redirect may be followed. `named` when a signed index names the
    /// bytes that are to come.
    ///
    /// # Errors
    /// A sentence about where it leads.
    pub(super) fn hop(&self, first: &Url, from: &Url, to: &Url, named: bool) -> Result<(), String> {
        let host = to.host_str().unwrap_or_default();
        let refused = || {
            format!(
                "it leads to {}, which this site's package cache may not fetch from. Whoever manages the site can allow that host: in the console, on the site's page under Package cache, or on the relay itself with cache.hosts in /etc/unifyit/relay.toml",
                to.origin().ascii_serialization()
            )
        };
        if !matches!(to.scheme(), "http" | "https")
            || (from.scheme() == "https" && to.scheme() == "http")
            || !to.username().is_empty()
            || to.password().is_some()
            || naming::read(to.path()).is_err()
        {
            return Err(refused());
        }
        let authority = to.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if self.policy.allows(&authority) || self.policy.remaps().values().any(|b| within(b, to)) {
            return Ok(());
        }
        let mirrored = named
            && to.port().is_none()
            && first.host_str().is_some_and(|h| covers(&self.mirrors, h));
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // Names are looked at when they are resolved.
        match (mirrored, literal) {
            (true, Ok(address)) if class(address) == Class::Public => Ok(()),
            (true, Err(_)) => Ok(()),
            _ => Err(refused()),
        }
    }

    /// Whether a name may lie at an address.
    fn may(&self, host: &str, address: IpAddr) -> bool {
        match class(address) {
            Class::Public => true,
            _ if covers(&self.private, host) || covers(&self.private, &address.to_string()) => true,
            Class::Private => self.named_here(host),
            Class::Own => host == "localhost" && self.named_here(host),
            Class::Special => false,
        }
    }

    /// Whether the relay's file or the console names the host, beyond what is
    /// built in.
    fn named_here(&self, host: &str) -> bool {
        let built_in = CacheConfig::default();
        let hosts = self.policy.hosts().iter().filter(|h| !built_in.hosts.contains(h));
        let bare = hosts.map(|h| h.rsplit_once(':').map_or(h.as_str(), |(bare, _)| bare));
        let bare: Vec<String> = bare.map(str::to_owned).collect();
        let remapped = self.policy.remaps().iter().any(|(name, base)| {
            !built_in.remaps.contains(&format!("{name}={base}"))
                && Url::parse(base).is_ok_and(|base| base.host_str() == Some(host))
        });
        covers(&bare, host) || remapped
    }
}

fn covers(list: &[String], host: &str) -> bool {
    list.iter().any(|entry| match entry.strip_prefix("*.") {
        Some(parent) => {
            host.strip_suffix(parent).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        }
        None => entry == host,
    })
}

/// Whether an address continues a remap's base.
fn within(base: &str, to: &Url) -> bool {
    let Ok(base) = Url::parse(base) else { return false };
    let path = base.path().trim_end_matches('/');
    base.origin() == to.origin()
        && to.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    /// A site's own network.
    Private,
    /// This machine.
    Own,
    /// No place for a repository: a link's own, a cloud's metadata, many hosts.
    Special,
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Class::Own,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
        (0 | 224..=255, ..) | (169, 254, _) | (192, 0, 0 | 2) | (198, 18 | 19, _) => Class::Special,
        (198, 51, 100) | (203, 0, 113) => Class::Special,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        class_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Own,
        // IPv4 in IPv6's clothes: mapped, translated, tunnelled.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, .., high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Class::Private,
        [0x2001, 0xdb8, ..] => Class::Special,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Special,
    }
}

/// The system's resolver, whose answers are held against what may be reached.
pub(super) struct Checked {
    rules: Shared,
    /// Proxies towards upstreams, which may be anywhere.
    proxies: HashSet<String>,
}

impl Checked {
    /// Follows `rules` as they change.
    pub(super) fn new(rules: Shared, config: &CacheConfig) -> Self {
        const NAMES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];
        let both = NAMES.into_iter().flat_map(|name| [name.to_owned(), name.to_ascii_uppercase()]);
        let set = both.filter_map(|name| std::env::var(name).ok());
        let proxies = set
            .chain([config.proxy.clone()])
            .filter_map(|text| {
                let text = if text.contains("://") { text } else { format!("http://{text}") };
                Url::parse(&text).ok()?.host_str().map(str::to_owned)
            })
            .collect();
        Self { rules, proxies }
    }
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_ascii_lowercase();
        let reach = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner).reach);
        let anywhere = self.proxies.contains(&host);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let (may, must_not): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|at| anywhere || reach.may(&host, at.ip()));
            match (may.is_empty(), must_not.first()) {
                (true, Some(at)) => Err(Forbidden { host, address: at.ip() }.into()),
                _ => Ok(Box::new(may.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> Reach {
        let config = CacheConfig {
            private: vec!["deb.debian.org".into()],
            hosts: [
                CacheConfig::default().hosts,
                vec!["repo.corp.example".into(), "127.0.0.1:8001".into(), "localhost:8002".into()],
            ]
            .concat(),
            remaps: vec!["corp=https://nexus.corp.example/repository/npm".into()],
            ..CacheConfig::default()
        };
        let (policy, _) = Policy::new(&config.hosts, &config.remaps);
        Reach::of(&config, Arc::new(policy))
    }

    fn hop(from: &str, to: &str, named: bool) -> bool {
        let (from, to) = (Url::parse(from), Url::parse(to));
        from.is_ok_and(|from| to.is_ok_and(|to| reach().hop(&from, &from, &to, named).is_ok()))
    }

    #[test]
    fn redirects_stay_within_what_is_allowed() {
        let from = "http://deb.debian.org/debian/x";
        for to in [
            "http://security.debian.org/x",
            "https://deb.debian.org/x",
            "http://127.0.0.1:8001/x",
            "https://nexus.corp.example/repository/npm/a.tgz",
        ] {
            assert!(hop(from, to, false), "{to}");
        }
        for to in [
            "http://elsewhere.example/x",
            "http://127.0.0.1/metrics",
            "http://127.0.0.1:9100/metrics",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://169.254.169.254/latest/meta-data",
            "http://deb.debian.org:22/x",
            "http://user:secret@deb.debian.org/x",
            "http://user@deb.debian.org/x",
            "https://nexus.corp.example/repository/secret/a.tgz",
            "https://nexus.corp.example/repository/npm-secret/a.tgz",
            "https://nexus.corp.example/repository/npm/..%2f..%2fsecret",
            "https://nexus.corp.example/repository/npm/../secret",
            "http://nexus.corp.example/repository/npm/a.tgz",
            "file:///etc/passwd",
            "ftp://deb.debian.org/x",
        ] {
            assert!(!hop(from, to, true), "{to}");
        }
        assert!(!hop("https://deb.debian.org/x", "http://deb.debian.org/x", true));
    }

    #[test]
    fn a_mirror_of_the_upstreams_choice_gives_only_what_a_signed_index_names() {
        let from = "http://download.opensuse.org/x.rpm";
        assert!(hop(from, "http://mirror.example/x.rpm", true));
        assert!(!hop(from, "http://mirror.example/x.rpm", false));
        for to in ["http://10.0.0.1/x", "http://127.0.0.1/x", "http://mirror.example:6379/x"] {
            assert!(!hop(from, to, true), "{to}");
        }
    }

    #[test]
    fn names_do_not_lie_at_private_addresses_unless_somebody_named_them() {
        let may = |host: &str, at: &str| at.parse().is_ok_and(|at| reach().may(host, at));
        for at in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "fe80::1",
            "::1",
            "fd00::1",
            "0.0.0.0",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "100.64.0.1",
            "224.0.0.1",
        ] {
            assert!(!may("security.debian.org", at), "{at}");
            assert!(may("deb.debian.org", at), "{at}");
        }
        for host in ["repo.corp.example", "nexus.corp.example"] {
            assert!(may(host, "10.1.2.3") && may(host, "fd00::1"));
            assert!(!may(host, "127.0.0.1") && !may(host, "169.254.169.254"));
        }
        assert!(may("localhost", "127.0.0.1") && may("localhost", "::1"));
        assert!(may("security.debian.org", "151.101.2.132"));
        assert!(may("security.debian.org", "2a04:4e42::644"));
    }
}
