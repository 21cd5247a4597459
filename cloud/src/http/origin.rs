//! Where a request comes from: the client's address behind trusted proxies, and
//! whether a browser's page of ours sent it.

use crate::config::Config;
use axum::http::{HeaderMap, Uri, header};
use std::net::{IpAddr, SocketAddr};

/// The client's address. `X-Forwarded-For` counts only as far as the hops that
/// wrote it are trusted, read from the right.
#[must_use]
pub fn client_address(config: &Config, peer: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
    let mut address = peer.map_or(IpAddr::from([0, 0, 0, 0]), |p| p.ip().to_canonical());
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in forwarded.iter().rev() {
        if !config.trusted_proxies.contain(address) {
            break;
        }
        match forwarded_address(hop.trim()) {
            Some(hop) => address = hop.to_canonical(),
            None => break,
        }
    }
    address
}

/// An address as proxies write it: alone, or with the client's port behind it.
fn forwarded_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

/// Whether the `Origin` of a request is this console's. A page elsewhere can
/// open a WebSocket to us with the user's cookie; nothing but this check stops it.
#[must_use]
pub fn same_origin(config: &Config, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok()) else {
        return false;
    };
    let own = config.public_url.trim_end_matches('/');
    if own.is_empty() {
        return false;
    }
    origin == own || (same_machine(origin, own) == Some(true))
}

/// Whether both are this machine, by whichever of its names.
fn same_machine(origin: &str, own: &str) -> Option<bool> {
    let (origin, own) = (origin.parse::<Uri>().ok()?, own.parse::<Uri>().ok()?);
    let here = |uri: &Uri| matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let same = origin.scheme() == own.scheme() && origin.port_u16() == own.port_u16();
    Some(same && here(&origin) && here(&own))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn config(proxies: &[IpAddr], url: &str) -> Config {
        let trusted_proxies = proxies.iter().copied().collect();
        Config { trusted_proxies, public_url: url.into(), ..Config::default() }
    }

    #[test]
    fn a_proxys_word_is_taken_in_every_form_and_a_strangers_never() {
        let config = config(&[[10, 0, 0, 1].into()], "");
        let peer = |ip: [u8; 4]| Some(SocketAddr::from((ip, 1)));
        let from = |peer, said: &str| {
            let headers =
                [(header::HeaderName::from_static("x-forwarded-for"), said.parse().unwrap())];
            client_address(&config, peer, &headers.into_iter().collect()).to_string()
        };
        let proxy = peer([10, 0, 0, 1]);
        for said in ["7.7.7.7", "7.7.7.7:1000", "1.1.1.1, 7.7.7.7", "1.1.1.1, 7.7.7.7, 10.0.0.1"] {
            assert_eq!(from(proxy, said), "7.7.7.7", "{said}");
        }
        for said in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:443"] {
            assert_eq!(from(proxy, said), "2001:db8::7", "{said}");
        }
        assert_eq!(from(proxy, "unknown"), "10.0.0.1");
        assert_eq!(from(peer([10, 0, 0, 2]), "7.7.7.7"), "10.0.0.2");
    }

    #[test]
    fn an_origin_is_the_configured_one_with_its_scheme() {
        let same = |url: &str, origin: &str, host: &str| {
            let headers =
                [(header::ORIGIN, origin.parse().unwrap()), (header::HOST, host.parse().unwrap())];
            same_origin(&config(&[], url), &headers.into_iter().collect())
        };
        let url = "https://rmm.example/";
        assert!(same(url, "https://rmm.example", "rmm.example"));
        assert!(!same(url, "http://rmm.example", "rmm.example"), "another scheme");
        assert!(!same(url, "https://evil.example", "evil.example"), "the host says nothing");
        assert!(!same("", "https://evil.example", "evil.example"));
        assert!(same("http://127.0.0.1:8080", "http://localhost:8080", "localhost:8080"));
        assert!(!same("http://127.0.0.1:8080", "http://localhost:9090", "localhost:9090"));
    }
}
