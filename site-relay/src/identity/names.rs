//! Names and addresses of this machine: what its certificate must cover and
//! what agents are told to dial.

use nix::ifaddrs::getifaddrs;
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
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

/// How likely others on the LAN reach an interface, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// By it this machine reaches others itself.
    DefaultRoute,
    /// A network card.
    Card,
    /// A bridge, a tunnel, a container's.
    Made,
}

impl Reach {
    fn of(interface: &str, default_routes: &BTreeSet<String>) -> Self {
        let card = || Path::new("/sys/class/net").join(interface).join("device").exists();
        match default_routes.contains(interface) {
            true => Self::DefaultRoute,
            false if card() => Self::Card,
            false => Self::Made,
        }
    }
}

/// Interfaces of default routes, as the kernel lists routes.
fn default_routes() -> BTreeSet<String> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    routes_of(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

fn routes_of(v4: &str, v6: &str) -> BTreeSet<String> {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let v4 = v4.lines().skip(1).map(fields).filter_map(|of| {
        let all = of.get(1)? == "00000000" && of.get(7)? == "00000000";
        all.then(|| of[0].clone())
    });
    let v6 = v6.lines().map(fields).filter_map(|of| {
        // The kernel's own refusal of what has no route is one, too.
        let all =
            of.first()?.bytes().all(|b| b == b'0') && of.get(1)? == "00" && of.last()? != "lo";
        all.then(|| of.last().cloned())?
    });
    v4.chain(v6).collect()
}

/// The best first; IPv4 before IPv6.
fn ordered(mut found: Vec<(Reach, IpAddr)>) -> Vec<IpAddr> {
    found.sort_unstable();
    let mut seen = BTreeSet::new();
    found.into_iter().map(|(_, ip)| ip).filter(|ip| seen.insert(*ip)).collect()
}

/// Addresses of this machine's interfaces that others on the LAN can reach, the likeliest
/// first.
#[must_use]
pub fn lan_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let routes = default_routes();
    let found = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            reachable(ip).then(|| (Reach::of(&interface.interface_name, &routes), ip))
        })
        .collect();
    ordered(found)
}

/// What the server certificate covers: the configured names first, then the
/// host name, the LAN addresses and the loopback.
#[must_use]
pub fn certificate_names(configured: &[String]) -> Vec<String> {
    let mut names: Vec<String> = configured.iter().map(|n| n.trim().to_owned()).collect();
    names.push(hostname());
    // A route that changes is no reason for another certificate.
    let mut lan = lan_addresses();
    lan.sort_unstable();
    names.extend(lan.iter().map(ToString::to_string));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = BTreeSet::new();
    names.retain(|name| is_name(name) && seen.insert(name.clone()));
    names
}

/// As many addresses as the cloud takes of one relay.
const MAX_TOLD: usize = 16;

/// Those addresses of which the cloud is told.
#[must_use]
pub fn told(mut addresses: Vec<String>) -> Vec<String> {
    if addresses.len() > MAX_TOLD {
        tracing::warn!(
            left_out = addresses.len() - MAX_TOLD,
            "this machine has more addresses than the cloud takes; if computers or sister relays are to \
             reach it by another one, name that in `names`"
        );
        addresses.truncate(MAX_TOLD);
    }
    addresses
}

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
    hosts.iter().map(|host| host_port(host, port)).collect()
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
    fn the_cloud_is_told_no_more_addresses_than_it_takes_and_agents_all() {
        let names: Vec<String> = (0..40).map(|n| format!("relay-{n}.lan")).collect();
        let all = reachable_at(&names, "10.0.0.2:8443".parse().unwrap());
        assert_eq!(all.len(), 41, "each agent, and the package cache's clients");
        let told = told(all);
        assert_eq!(told.len(), MAX_TOLD);
        assert_eq!(told[0], "relay-0.lan:8443", "what was configured goes first");
        assert!(reachable_at(&names, "10.0.0.2:0".parse().unwrap()).is_empty());
    }

    #[test]
    fn the_address_by_which_others_are_reached_goes_before_bridges() {
        let made = (0..15).map(|n| (Reach::Made, format!("172.{}.0.1", 17 + n)));
        let rest = [(Reach::Made, "10.8.0.1"), (Reach::Card, "10.9.0.1"), (Reach::Made, "fd00::1")]
            .map(|(reach, ip)| (reach, ip.to_owned()));
        let lan = [(Reach::DefaultRoute, "192.168.1.10"), (Reach::DefaultRoute, "2001:db8::1")]
            .map(|(reach, ip)| (reach, ip.to_owned()));
        let found = made.chain(rest).chain(lan).map(|(reach, ip)| (reach, ip.parse().unwrap()));
        let shown: Vec<String> = ordered(found.collect()).iter().map(ToString::to_string).collect();
        assert_eq!(shown[..3], ["192.168.1.10", "2001:db8::1", "10.9.0.1"]);
        assert_eq!(shown.len(), 20);
    }

    #[test]
    fn default_routes_are_read_as_the_kernel_lists_them() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fe80000000000000000000000000001 00000400 00000001 00000000 00000003 wlan0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n\
             fd000000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 00000001 00000000 00000001 br0\n"
        );
        let found: Vec<String> = routes_of(v4, &v6).into_iter().collect();
        assert_eq!(found, ["eth0", "wlan0"]);
    }
}
