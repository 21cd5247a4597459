//! One reading of all counters, straight from `/proc` and `/sys`.
//!
//! The probe keeps one text buffer, so that a reading every few seconds
//! allocates next to nothing. The parsers are plain functions over text.

use super::{disks, network};
use crate::platform::{CpuTimes, Memory, Reading};
use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

/// Most temperature sensors read.
const MAX_SENSORS: usize = 16;

/// Reads all counters.
#[derive(Debug)]
pub struct Probe {
    text: String,
    sensors: Vec<(String, PathBuf)>,
}

impl Default for Probe {
    fn default() -> Self {
        Self { text: String::with_capacity(8192), sensors: find_sensors() }
    }
}

impl Probe {
    /// Reads all counters. What cannot be read is left out.
    pub fn read(&mut self) -> Reading {
        let mut reading = Reading::default();
        if let Some(text) = self.load("/proc/stat") {
            reading.cpu = parse_cpu(text);
            reading.running = parse_running(text);
        }
        reading.load = self.load("/proc/loadavg").and_then(parse_load);
        reading.memory = self.load("/proc/meminfo").and_then(parse_memory);
        if let Some(text) = self.load("/proc/self/mounts") {
            reading.filesystems = disks::measured(text);
        }
        if let Some(text) = self.load("/proc/diskstats") {
            reading.disks = disks::parse_io(text, disks::is_whole_disk);
        }
        if let Some(text) = self.load("/proc/net/dev") {
            reading.interfaces = network::parse_counters(text);
        }
        reading.uptime_s = self.load("/proc/uptime").and_then(parse_uptime);
        reading.processes = count_processes();
        for (name, path) in &self.sensors {
            if let Some(value) = read_sensor(path) {
                reading.temperatures.push((name.clone(), value));
            }
        }
        reading
    }

    fn load(&mut self, path: &str) -> Option<&str> {
        self.text.clear();
        // A bound, because a file under /proc may be of any length.
        File::open(path).ok()?.take(1 << 20).read_to_string(&mut self.text).ok()?;
        Some(&self.text)
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

fn find_sensors() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let Ok(chips) = fs::read_dir("/sys/class/hwmon") else { return found };
    for chip in chips.flatten() {
        let folder = chip.path();
        let name = fs::read_to_string(folder.join("name")).unwrap_or_default();
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for file in files.flatten() {
            let file_name = file.file_name().to_string_lossy().into_owned();
            let Some(index) = file_name.strip_prefix("temp").and_then(|n| n.strip_suffix("_input"))
            else {
                continue;
            };
            let label = fs::read_to_string(folder.join(format!("temp{index}_label")))
                .map_or_else(|_| format!("temp{index}"), |l| l.trim().to_owned());
            found.push((format!("{}/{label}", name.trim()), file.path()));
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found.truncate(MAX_SENSORS);
    found
}

fn read_sensor(path: &PathBuf) -> Option<i64> {
    let value: i64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // Disconnected sensors report absurd values.
    (-100_000..=250_000).contains(&value).then_some(value)
}
