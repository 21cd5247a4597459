//! What the computer is: facts for the inventory.

use super::{
    machine,
    network::{is_transient, is_virtual},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};
use unifyit_protocol::inventory::{Entry, system};

/// Facts of the system section. Unknown ones are left out.
#[must_use]
pub fn system_facts() -> Entry {
    let release = text("/etc/os-release").or_else(|| text("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    let cpu = text("/proc/cpuinfo").unwrap_or_default();
    let memory = text("/proc/meminfo").unwrap_or_default();
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
        (system::CPU_COUNT, processors(&cpu).map(|n| n.to_string())),
        (system::MEMORY, total),
        (system::CHASSIS, Some(chassis(&cpu).into())),
        (system::USERS, signed_in()),
    ];
    facts.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect()
}

/// Processors of the computer, whatever share of them the agent may use.
fn processors(cpuinfo: &str) -> Option<usize> {
    let online = first_line("/sys/devices/system/cpu/online");
    online
        .and_then(|list| count_list(&list))
        .or_else(|| Some(cpuinfo.lines().filter(|l| l.starts_with("processor")).count()))
        .filter(|count| *count > 0)
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
}

/// How many numbers a list such as `0-3,8,10-11` names.
pub(super) fn count_list(list: &str) -> Option<usize> {
    let mut count = 0;
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        count += to.checked_sub(from)? + 1;
    }
    Some(count)
}

/// Most interfaces told of, and most addresses of each.
const MAX_INTERFACES: usize = 128;
const MAX_ADDRESSES: usize = 64;

/// Interfaces by name, and how many are left out.
#[must_use]
pub fn interfaces() -> (BTreeMap<String, Entry>, usize) {
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
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    names.retain(|name| !is_transient(&name.to_string_lossy()));
    names.sort_by_key(|name| (is_virtual(&name.to_string_lossy()), name.clone()));
    let left_out = names.len().saturating_sub(MAX_INTERFACES);
    names.truncate(MAX_INTERFACES);
    let told = names.into_iter().map(|name| {
        let folder = Path::new("/sys/class/net").join(&name);
        let read = |what: &str| first_line(folder.join(what));
        let speed = read("speed").filter(|s| s.parse::<i64>().is_ok_and(|v| v > 0));
        let name = name.to_string_lossy().into_owned();
        let facts = [
            ("mac", read("address").filter(|m| m != "00:00:00:00:00:00")),
            ("state", read("operstate")),
            ("mtu", read("mtu")),
            ("speed_mbit", speed),
            ("addresses", addresses.remove(&name).map(listed)),
        ];
        let entry = facts.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
        (name, entry)
    });
    (told.collect(), left_out)
}

/// Addresses for people's eyes. Hosts of many sites or containers have thousands.
pub(super) fn listed(mut addresses: Vec<String>) -> String {
    let more = addresses.len().saturating_sub(MAX_ADDRESSES);
    addresses.truncate(MAX_ADDRESSES);
    if more > 0 {
        addresses.push(format!("and {more} more"));
    }
    addresses.join(", ")
}

/// A file's text, of whatever encoding.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(1 << 20).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn first_line(path: impl AsRef<Path>) -> Option<String> {
    let text = text(path)?;
    let line = text.lines().next()?.trim();
    let line: String = line.chars().filter(|c| !c.is_control()).take(256).collect();
    (!line.is_empty()).then_some(line)
}

fn firmware(what: &str) -> Option<String> {
    first_line(format!("/sys/class/dmi/id/{what}"))
}

fn device_tree_model() -> Option<String> {
    first_line("/proc/device-tree/model")
}

pub(super) fn os_name(release: &str) -> Option<String> {
    let value = |key: &str| {
        release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim().trim_matches(['"', '\'']).to_owned())
    };
    let name = value("PRETTY_NAME").or_else(|| value("NAME"))?;
    Some(name.chars().filter(|c| !c.is_control()).take(256).collect())
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
            let text = text(entry.path())?;
            let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key));
            let sessions = value("SESSIONS=").is_some_and(|s| !s.is_empty());
            if sessions { value("NAME=").map(str::to_owned) } else { None }
        })
        .collect();
    users.sort();
    users.truncate(32);
    Some(users.join(", "))
}
