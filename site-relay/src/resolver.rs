//! Where the relay's libp2p nodes look names up: where the machine does.
//!
//! A machine may have no `/etc/resolv.conf`, or one that names no server: a container,
//! a router's image, a network that is being set up. Addresses are dialled without it,
//! and names are asked of the machine itself then, as resolv.conf(5) has it.

use hickory_resolver::{
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    system_conf,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

/// What the machine says of its name servers.
#[must_use]
pub(crate) fn of_machine() -> (ResolverConfig, ResolverOpts) {
    of_file(Path::new("/etc/resolv.conf"))
}

fn of_file(path: &Path) -> (ResolverConfig, ResolverOpts) {
    let read = std::fs::read(path).map_err(|e| e.to_string());
    let parsed = read.and_then(|text| {
        system_conf::parse_resolv_conf(text).map_err(|e| format!("it is not understood: {e}"))
    });
    match parsed {
        Ok((config, options)) if !config.name_servers().is_empty() => (config, options),
        other => {
            let why = other.err().unwrap_or_else(|| "it names no server".to_owned());
            tracing::warn!(file = %path.display(), why, "This machine names no DNS server; names are asked of the machine itself.");
            let own = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
            (ResolverConfig::from_parts(None, Vec::new(), vec![own]), ResolverOpts::default())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use libp2p::{Swarm, SwarmBuilder, noise, ping, tcp, yamux};

    fn servers(path: &Path) -> Vec<IpAddr> {
        of_file(path).0.name_servers().iter().map(|server| server.ip).collect()
    }

    fn node((config, options): (ResolverConfig, ResolverOpts)) -> Swarm<ping::Behaviour> {
        SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_dns_config(config, options)
            .with_behaviour(|_| ping::Behaviour::default())
            .unwrap()
            .build()
    }

    #[tokio::test]
    async fn a_machine_without_settings_of_names_builds_its_nodes_and_asks_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let own = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        assert_eq!(servers(&path), own, "missing");
        for text in ["", "# nothing\n", "options timeout:1\n", "\0\u{1}\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(servers(&path), own, "{text:?}");
            let _node = node(of_file(&path));
        }
        std::fs::write(&path, "nameserver 192.0.2.7\n").unwrap();
        assert_eq!(servers(&path), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    }
}
