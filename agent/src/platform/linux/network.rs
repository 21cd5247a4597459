//! Network interfaces: their counters.

use crate::platform::NetIo;

/// Most interfaces told of.
const MAX_INTERFACES: usize = 32;

/// Whether an interface comes and goes with containers and virtual machines, in
/// any number. A `tap0` that a person's VPN made is none of these.
pub(super) fn is_transient(name: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() >= length && text.bytes().take(length).all(|b| b.is_ascii_hexdigit())
    };
    let numbered = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let always = ["veth", "cali", "flannel", "cni", "vnet", "lxc", "fwbr", "fwln", "fwpr", "qvb"];
    always.iter().any(|p| name.starts_with(p))
        // Bridges that container engines name by their network's id.
        || name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && hex(id, 12))
        // Taps of virtual machines: `tap100i0`, `tap1a2b3c4d-5e`.
        || name.strip_prefix("tap").is_some_and(|rest| {
            let machine = rest.split_once('i');
            machine.is_some_and(|(vm, card)| {
                !vm.is_empty() && vm.bytes().all(|b| b.is_ascii_digit()) && numbered(card)
            }) || (hex(rest, 8) && rest[8..].starts_with('-'))
        })
}

/// Whether an interface only stands for others: told last, and first to be left
/// out.
pub(super) fn is_virtual(name: &str) -> bool {
    ["docker", "podman", "virbr", "lxdbr", "incusbr", "kube", "dummy", "ifb", "tunl", "sit"]
        .iter()
        .any(|p| name.starts_with(p))
}

/// The counters, and how many interfaces are left out.
pub(super) fn parse_counters(text: &str) -> (Vec<NetIo>, usize) {
    let mut found: Vec<NetIo> = text
        .lines()
        .filter_map(|line| {
            // A name may hold a colon; what follows the last one is numbers.
            let (name, rest) = line.rsplit_once(':')?;
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
    found.sort_by_key(|i| is_virtual(&i.name));
    let left_out = found.len().saturating_sub(MAX_INTERFACES);
    found.truncate(MAX_INTERFACES);
    (found, left_out)
}
