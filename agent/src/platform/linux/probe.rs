//! One reading of all counters, straight from `/proc` and `/sys`.
//!
//! The probe keeps one buffer, so that a reading every few seconds
//! allocates next to nothing. The parsers are plain functions over text.

use super::{
    disks, network,
    sensors::{HWMON, Sensors},
};
use crate::{
    apart::Watch,
    platform::{CpuTimes, Memory, Reading},
};
use std::{
    borrow::Cow,
    fs::{self, File},
    io::Read,
    path::Path,
};

/// Reads all counters.
#[derive(Debug, Default)]
pub struct Probe {
    bytes: Vec<u8>,
    sensors: Sensors,
}

impl Probe {
    /// Reads all counters. What cannot be read is left out.
    pub fn read(&mut self, watch: &Watch) -> Reading {
        let mut reading = Reading::default();
        if let Some(text) = self.load(watch, "/proc/stat") {
            reading.cpu = parse_cpu(&text);
            reading.running = parse_running(&text);
        }
        reading.load = self.load(watch, "/proc/loadavg").and_then(|t| parse_load(&t));
        reading.memory = self.load(watch, "/proc/meminfo").and_then(|t| parse_memory(&t));
        let mounts = disks::filesystems(watch);
        reading.filesystems = mounts.found;
        let mut more = vec![(mounts.left_out, "file systems")];
        if let Some(text) = self.load(watch, "/proc/diskstats") {
            let (found, left_out) = disks::parse_io(&text, disks::is_whole_disk);
            reading.disks = found;
            more.push((left_out, "disks"));
        }
        if let Some(text) = self.load(watch, "/proc/net/dev") {
            let (found, left_out) = network::parse_counters(&text);
            reading.interfaces = found;
            more.push((left_out, "network interfaces"));
        }
        reading.uptime_s = self.load(watch, "/proc/uptime").and_then(|t| parse_uptime(&t));
        reading.processes = count_processes();
        reading.temperatures = self.sensors.read(Path::new(HWMON), watch);
        more.push((self.sensors.left_out, "temperature sensors"));
        more.retain(|(count, _)| *count > 0);
        reading.left_out = more.iter().map(|(count, of)| format!("{count} more {of}")).collect();
        reading
    }

    /// A file's text. Bytes that are none, such as in a name, become replacement
    /// characters, and lose nothing else.
    fn load(&mut self, watch: &Watch, path: &str) -> Option<Cow<'_, str>> {
        self.bytes.clear();
        let bytes = &mut self.bytes;
        // A bound, because a file under /proc may be of any length.
        let read = || File::open(path)?.take(1 << 20).read_to_end(bytes);
        watch.ask(path, read)?.ok()?;
        Some(String::from_utf8_lossy(&self.bytes))
    }
}

pub(super) fn parse_cpu(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find(|l| l.starts_with("cpu "))?;
    let mut fields = line.split_ascii_whitespace().skip(1).map(|f| f.parse::<u64>().unwrap_or(0));
    let mut next = || fields.next().unwrap_or(0);
    let (user, nice, system, idle, iowait) = (next(), next(), next(), next(), next());
    let (irq, softirq, steal) = (next(), next(), next());
    Some(CpuTimes { user: user + nice, system: system + irq + softirq, idle, iowait, steal })
}

pub(super) fn parse_running(text: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix("procs_running "))?.trim().parse().ok()
}

pub(super) fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace().map(str::parse::<f64>);
    let mut next = || fields.next()?.ok();
    Some([next()?, next()?, next()?])
}

pub(super) fn parse_memory(text: &str) -> Option<Memory> {
    let (mut memory, mut free, mut page_cache, mut buffers, mut slab, mut available) =
        (Memory::default(), 0, 0, 0, 0, None);
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib: u64 =
            rest.split_ascii_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0);
        let bytes = kib.saturating_mul(1024);
        match name {
            "MemTotal" => memory.total = bytes,
            "MemFree" => free = bytes,
            "MemAvailable" => available = Some(bytes),
            "Cached" => page_cache = bytes,
            "Buffers" => buffers = bytes,
            "SReclaimable" => slab = bytes,
            "SwapTotal" => memory.swap_total = bytes,
            "SwapFree" => memory.swap_free = bytes,
            _ => {}
        }
    }
    memory.cached = page_cache + buffers + slab;
    memory.available = available.unwrap_or(free + memory.cached);
    (memory.total > 0).then_some(memory)
}

pub(super) fn parse_uptime(text: &str) -> Option<u64> {
    text.split(['.', ' ']).next()?.parse().ok()
}

fn count_processes() -> Option<u64> {
    let entries = fs::read_dir("/proc").ok()?;
    let numeric = entries
        .flatten()
        .filter(|e| e.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    u64::try_from(numeric.count()).ok()
}
