//! Network interfaces: their counters.

use crate::platform::NetIo;

/// Most interfaces told of.
const MAX_INTERFACES: usize = 32;

/// Whether an interface comes and goes with containers, in any number.
pub(super) fn is_transient(name: &str) -> bool {
    ["veth", "cali", "flannel", "cni", "tap"].iter().any(|p| name.starts_with(p))
}

pub(super) fn parse_counters(text: &str) -> Vec<NetIo> {
    let mut found: Vec<NetIo> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let name = name.trim();
            let counters: Vec<u64> =
                rest.split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
            let [rx_bytes, _, rx_errors, _, _, _, _, _, tx_bytes, _, tx_errors, ..] = counters[..]
            else {
                return None;
            };
            (!is_transient(name)).then(|| NetIo {
                name: name.to_owned(),
                rx_bytes,
                tx_bytes,
                rx_errors,
                tx_errors,
            })
        })
        .collect();
    // The loopback says nothing, unless it is all there is.
    if found.len() > 1 {
        found.retain(|i| i.name != "lo");
    }
    found.truncate(MAX_INTERFACES);
    found
}
