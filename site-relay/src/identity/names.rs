//! Names and addresses of this machine: what its certificate must cover and
//! what agents are told to dial.

use nix::ifaddrs::getifaddrs;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// Host name as the kernel has it; `localhost` when it has none.
#[must_use]
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Addresses of this machine's interfaces that others on the LAN can reach.
#[must_use]
pub fn lan_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let found: BTreeSet<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            reachable(ip).then_some(ip)
        })
        .collect();
    found.into_iter().collect()
}

/// What the server certificate covers: the configured names first, then the
/// host name, the LAN addresses and the loopback.
#[must_use]
pub fn certificate_names(configured: &[String]) -> Vec<String> {
    let mut names: Vec<String> = configured.iter().map(|n| n.trim().to_owned()).collect();
    names.push(hostname());
    names.extend(lan_addresses().iter().map(ToString::to_string));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = BTreeSet::new();
    names.retain(|name| is_name(name) && seen.insert(name.clone()));
    names
}

/// As many addresses as others take of one relay.
const MAX_ADDRESSES: usize = 16;

/// `host:port` at which agents reach a listener: configured names first, then
/// the address listened on, or the LAN's when that is every address. None while the
/// system has yet to choose the port.
#[must_use]
pub fn reachable_at(configured: &[String], listening: SocketAddr) -> Vec<String> {
    let port = listening.port();
    if port == 0 {
        return Vec::new();
    }
    let mut hosts: Vec<String> = configured.to_vec();
    if listening.ip().is_unspecified() {
        hosts.extend(lan_addresses().iter().map(ToString::to_string));
        if hosts.is_empty() {
            hosts.push("127.0.0.1".to_owned());
        }
    } else {
        hosts.push(listening.ip().to_string());
    }
    let mut seen = BTreeSet::new();
    hosts.retain(|host| is_name(host) && seen.insert(host.clone()));
    hosts.iter().take(MAX_ADDRESSES).map(|host| host_port(host, port)).collect()
}

fn host_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

fn is_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || (!name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'))
}

fn reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        // Link-local IPv6 needs a zone, which no certificate can carry.
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn nobody_is_told_more_addresses_than_they_take_or_one_without_a_port() {
        let names: Vec<String> = (0..40).map(|n| format!("relay-{n}.lan")).collect();
        let told = reachable_at(&names, "10.0.0.2:8443".parse().unwrap());
        assert_eq!(told.len(), MAX_ADDRESSES);
        assert_eq!(told[0], "relay-0.lan:8443", "what was configured goes first");
        assert!(reachable_at(&names, "10.0.0.2:0".parse().unwrap()).is_empty());
    }
}
