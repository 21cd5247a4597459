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
        if !config.trusted_proxies.contains(&address) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(hop) => address = hop.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// Whether the `Origin` of a request is this console's. A page elsewhere can
/// open a WebSocket to us with the user's cookie; nothing but this check stops it.
#[must_use]
pub fn same_origin(config: &Config, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok()) else {
        return false;
    };
    if !config.public_url.is_empty() && origin == config.public_url.trim_end_matches('/') {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    matches!((host, authority), (Some(host), Some(authority)) if authority.as_str() == host)
}
