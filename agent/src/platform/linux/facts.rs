//! What the computer is: facts for the inventory.

use super::{machine, network::is_transient};
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};
use unifyit_protocol::inventory::{Entry, system};

/// Facts of the system section. Unknown ones are left out.
#[must_use]
pub fn system_facts() -> Entry {
    let release = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = super::probe::parse_memory(&memory).map(|m| m.total.to_string());
    let facts = [
        (system::HOSTNAME, Some(machine::hostname())),
        (system::OS_FAMILY, Some("linux".into())),
        (system::OS_NAME, os_name(&release)),
        (system::KERNEL, first_line("/proc/sys/kernel/osrelease")),
        (system::ARCH, Some(std::env::consts::ARCH.into())),
        (system::VENDOR, firmware("sys_vendor")),
        (system::MODEL, firmware("product_name").or_else(device_tree_model)),
        (system::SERIAL, firmware("product_serial")),
        (system::FIRMWARE, firmware("bios_version")),
        (system::CPU, cpu_model(&cpu)),
        (system::CPU_COUNT, std::thread::available_parallelism().ok().map(|n| n.to_string())),
        (system::MEMORY, total),
        (system::CHASSIS, Some(chassis(&cpu).into())),
        (system::USERS, signed_in()),
    ];
    facts.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect()
}

/// Interfaces by name.
#[must_use]
pub fn interfaces() -> BTreeMap<String, Entry> {
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Ok(list) = nix::ifaddrs::getifaddrs() {
        for entry in list {
            let Some(storage) = entry.address else { continue };
            let ip = storage
                .as_sockaddr_in()
                .map(|a| a.ip().to_string())
                .or_else(|| storage.as_sockaddr_in6().map(|a| a.ip().to_string()));
            let prefix = entry.netmask.and_then(|mask| {
                let bits = |ip: Ipv4Addr| u32::from(ip).count_ones();
                let bits6 = |ip: Ipv6Addr| u128::from(ip).count_ones();
                mask.as_sockaddr_in()
                    .map(|m| bits(m.ip()))
                    .or_else(|| mask.as_sockaddr_in6().map(|m| bits6(m.ip())))
            });
            if let Some(ip) = ip {
                let text = prefix.map_or(ip.clone(), |bits| format!("{ip}/{bits}"));
                addresses.entry(entry.interface_name).or_default().push(text);
            }
        }
    }
    let Ok(names) = fs::read_dir("/sys/class/net") else { return BTreeMap::new() };
    names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !is_transient(name))
        .take(128)
        .map(|name| {
            let read = |what: &str| first_line(&format!("/sys/class/net/{name}/{what}"));
            let speed = read("speed").filter(|s| s.parse::<i64>().is_ok_and(|v| v > 0));
            let facts = [
                ("mac", read("address").filter(|m| m != "00:00:00:00:00:00")),
                ("state", read("operstate")),
                ("mtu", read("mtu")),
                ("speed_mbit", speed),
                ("addresses", addresses.remove(&name).map(|a| a.join(", "))),
            ];
            let entry = facts.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
            (name, entry)
        })
        .collect()
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn firmware(what: &str) -> Option<String> {
    first_line(&format!("/sys/class/dmi/id/{what}"))
}

fn device_tree_model() -> Option<String> {
    first_line("/proc/device-tree/model").map(|m| m.trim_end_matches('\0').to_owned())
}

pub(super) fn os_name(release: &str) -> Option<String> {
    let value = |key: &str| {
        release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim().trim_matches(['"', '\'']).to_owned())
    };
    value("PRETTY_NAME").or_else(|| value("NAME"))
}

pub(super) fn cpu_model(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        matches!(key.trim(), "model name" | "Model" | "Hardware")
            .then(|| value.trim().to_owned())
            .filter(|v| !v.is_empty())
    })
}

fn chassis(cpuinfo: &str) -> &'static str {
    if Path::new("/run/systemd/container").exists()
        || Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
    {
        return "container";
    }
    let hypervisor = cpuinfo
        .lines()
        .find(|l| l.starts_with("flags"))
        .is_some_and(|l| l.split_ascii_whitespace().any(|f| f == "hypervisor"));
    if hypervisor { "vm" } else { "physical" }
}

/// Users with a session of the login manager.
fn signed_in() -> Option<String> {
    let mut users: Vec<String> = fs::read_dir("/run/systemd/users")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key));
            let sessions = value("SESSIONS=").is_some_and(|s| !s.is_empty());
            if sessions { value("NAME=").map(str::to_owned) } else { None }
        })
        .collect();
    users.sort();
    users.truncate(32);
    Some(users.join(", "))
}
