//! From raw counters to samples.
//!
//! A [`Sampler`] keeps the last reading; rates are differences over the time
//! between. The columns follow from what the computer has: when a disk or an
//! interface comes or goes, the table changes and is reported before the first
//! sample that uses it. Values are scaled integers.

use crate::platform::{CpuTimes, Reading};
use std::time::{Duration, Instant};
use unifyit_protocol::telemetry::{MAX_SERIES, Sample, Series, SeriesTable};

/// Turns readings into samples.
#[derive(Debug, Default)]
pub struct Sampler {
    last: Option<(Instant, Reading)>,
    table: SeriesTable,
    told: bool,
}

/// What to report of one reading.
#[derive(Debug, PartialEq)]
pub struct Sampled {
    /// The table, when it must be told first.
    pub table: Option<SeriesTable>,
    /// The sample.
    pub sample: Sample,
}

impl Sampler {
    /// Tells the table again with the next sample.
    pub fn tell_table(&mut self) {
        self.told = false;
    }

    /// Makes the sample of a reading.
    pub fn sample(&mut self, reading: Reading, at: Instant, at_ms: u64) -> Sampled {
        let mut columns = Columns::default();
        let before = self.last.as_ref().map(|(then, r)| (at.saturating_duration_since(*then), r));
        measure(&mut columns, &reading, before);
        columns.series.truncate(MAX_SERIES);
        columns.values.truncate(MAX_SERIES);
        let table = SeriesTable { series: columns.series };
        if table != self.table {
            self.table = table;
            self.told = false;
        }
        let sample = Sample { at_ms, table: self.table.hash(), values: columns.values };
        self.last = Some((at, reading));
        let table = (!std::mem::replace(&mut self.told, true)).then(|| self.table.clone());
        Sampled { table, sample }
    }
}

#[derive(Default)]
struct Columns {
    series: Vec<Series>,
    values: Vec<Option<i64>>,
}

impl Columns {
    fn add(&mut self, name: &str, label: &str, unit: &str, scale: u8, value: Option<i64>) {
        let (name, label, unit) = (name.into(), label.into(), unit.into());
        self.series.push(Series { name, label, unit, scale });
        self.values.push(value);
    }
}

type Before<'a> = Option<(Duration, &'a Reading)>;

fn measure(columns: &mut Columns, now: &Reading, before: Before<'_>) {
    cpu(columns, now.cpu, before.and_then(|(_, r)| r.cpu));
    if let Some(load) = now.load {
        for (name, value) in ["load.1", "load.5", "load.15"].into_iter().zip(load) {
            columns.add(name, "", "load", 2, Some(scaled(value, 100.0)));
        }
    }
    memory(columns, now);
    for fs in &now.filesystems {
        columns.add("disk.used", &fs.mount, "bytes", 0, pages(fs.used));
        columns.add("disk.total", &fs.mount, "bytes", 0, pages(fs.total));
        // One that cannot be written to cannot fill: images are full by nature.
        if !fs.read_only {
            let reachable = fs.used + fs.available;
            columns.add("disk.used_pct", &fs.mount, "percent", 1, share(fs.used, reachable));
        }
    }
    for disk in &now.disks {
        let then = before
            .and_then(|(gap, r)| Some((gap, r.disks.iter().find(|d| d.device == disk.device)?)));
        let pace = |now: u64, of: fn(&crate::platform::DiskIo) -> u64| {
            then.and_then(|(gap, then)| rate(now, of(then), gap))
        };
        let label = &disk.device;
        columns.add("disk.read", label, "bytes_per_s", 0, pace(disk.read_bytes, |d| d.read_bytes));
        columns.add(
            "disk.write",
            label,
            "bytes_per_s",
            0,
            pace(disk.write_bytes, |d| d.write_bytes),
        );
        columns.add("disk.read_ops", label, "ops_per_s", 0, pace(disk.reads, |d| d.reads));
        columns.add("disk.write_ops", label, "ops_per_s", 0, pace(disk.writes, |d| d.writes));
    }
    for net in &now.interfaces {
        let then = before
            .and_then(|(gap, r)| Some((gap, r.interfaces.iter().find(|i| i.name == net.name)?)));
        let pace = |now: u64, of: fn(&crate::platform::NetIo) -> u64| {
            then.and_then(|(gap, then)| rate(now, of(then), gap))
        };
        let label = &net.name;
        columns.add("net.rx", label, "bytes_per_s", 0, pace(net.rx_bytes, |i| i.rx_bytes));
        columns.add("net.tx", label, "bytes_per_s", 0, pace(net.tx_bytes, |i| i.tx_bytes));
        columns.add("net.rx_errors", label, "count", 0, whole(net.rx_errors));
        columns.add("net.tx_errors", label, "count", 0, whole(net.tx_errors));
    }
    if let Some(uptime) = now.uptime_s {
        columns.add("system.uptime", "", "seconds", 0, whole(uptime));
    }
    if let Some(count) = now.processes {
        columns.add("process.count", "", "count", 0, whole(count));
    }
    if let Some(count) = now.running {
        columns.add("process.running", "", "count", 0, whole(count));
    }
    for (sensor, thousandths) in &now.temperatures {
        columns.add("temperature", sensor, "celsius", 1, Some(thousandths / 100));
    }
}

fn cpu(columns: &mut Columns, now: Option<CpuTimes>, then: Option<CpuTimes>) {
    let Some(now) = now else { return };
    let spent = then.map(|then| {
        let spent = |of: fn(&CpuTimes) -> u64| of(&now).saturating_sub(of(&then));
        let (user, system) = (spent(|c| c.user), spent(|c| c.system));
        let (iowait, steal) = (spent(|c| c.iowait), spent(|c| c.steal));
        let total = user + system + iowait + steal + spent(|c| c.idle);
        ([user + system + steal, user, system, iowait, steal], total)
    });
    let names = ["cpu.busy", "cpu.user", "cpu.system", "cpu.iowait", "cpu.steal"];
    for (i, name) in names.into_iter().enumerate() {
        let value = spent.and_then(|(parts, total)| share(parts[i], total));
        columns.add(name, "", "percent", 1, value);
    }
}

fn memory(columns: &mut Columns, now: &Reading) {
    let Some(memory) = now.memory else { return };
    let used = memory.total.saturating_sub(memory.available);
    columns.add("memory.used", "", "bytes", 0, pages(used));
    columns.add("memory.available", "", "bytes", 0, pages(memory.available));
    columns.add("memory.total", "", "bytes", 0, pages(memory.total));
    columns.add("memory.cached", "", "bytes", 0, pages(memory.cached));
    columns.add("memory.used_pct", "", "percent", 1, share(used, memory.total));
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    columns.add("swap.used", "", "bytes", 0, pages(swapped));
    columns.add("swap.total", "", "bytes", 0, pages(memory.swap_total));
}

fn whole(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

/// Bytes rounded down to whole pages: the last digits only cost room.
fn pages(bytes: u64) -> Option<i64> {
    whole(bytes & !4095)
}

/// Tenths of a percent.
fn share(part: u64, total: u64) -> Option<i64> {
    let tenths = (u128::from(part) * 1000 + u128::from(total) / 2).checked_div(total.into())?;
    i64::try_from(tenths.min(1000)).ok()
}

/// Per second. A counter that went back was reset; its rate is unknown.
fn rate(now: u64, then: u64, gap: Duration) -> Option<i64> {
    let grown = u128::from(now.checked_sub(then)?);
    i64::try_from((grown * 1000).checked_div(gap.as_millis())?).ok()
}

fn scaled(value: f64, factor: f64) -> i64 {
    // Saturates, which is right for a load beyond all measure.
    #[expect(clippy::cast_possible_truncation, reason = "saturating by definition")]
    let scaled = (value * factor).round() as i64;
    scaled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::platform::{DiskIo, FileSystem, Memory, NetIo};

    fn reading(ticks: u64, bytes: u64) -> Reading {
        Reading {
            cpu: Some(CpuTimes { user: ticks, system: 0, idle: ticks, iowait: 0, steal: 0 }),
            memory: Some(Memory { total: 10_000_000, available: 2_500_000, ..Memory::default() }),
            filesystems: vec![FileSystem {
                mount: "/".into(),
                total: 100,
                used: 50,
                available: 50,
                ..FileSystem::default()
            }],
            disks: vec![DiskIo { device: "sda".into(), read_bytes: bytes, ..DiskIo::default() }],
            interfaces: vec![NetIo { name: "eth0".into(), rx_bytes: bytes, ..NetIo::default() }],
            ..Reading::default()
        }
    }

    fn value(sampler: &Sampler, sampled: &Sampled, name: &str) -> Option<i64> {
        let at = sampler.table.series.iter().position(|s| s.name == name).unwrap();
        sampled.sample.values[at]
    }

    #[test]
    fn rates_come_from_two_readings_and_are_unknown_at_first() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        let first = sampler.sample(reading(100, 1000), start, 1);
        assert_eq!(value(&sampler, &first, "net.rx"), None);
        assert_eq!(value(&sampler, &first, "cpu.busy"), None);
        let second = sampler.sample(reading(300, 21_000), start + Duration::from_secs(10), 2);
        assert_eq!(value(&sampler, &second, "net.rx"), Some(2000));
        assert_eq!(value(&sampler, &second, "disk.read"), Some(2000));
        assert_eq!(value(&sampler, &second, "cpu.busy"), Some(500));
        assert_eq!(value(&sampler, &second, "memory.used_pct"), Some(750));
        assert_eq!(value(&sampler, &second, "disk.used_pct"), Some(500));
    }

    #[test]
    fn a_file_system_that_cannot_be_written_to_is_no_disk_that_fills() {
        let mut full = reading(1, 1);
        let image =
            FileSystem { mount: "/usr".into(), read_only: true, ..full.filesystems[0].clone() };
        full.filesystems.push(image);
        let mut sampler = Sampler::default();
        sampler.sample(full, Instant::now(), 1);
        let names = |mount: &str| -> Vec<&str> {
            let of = sampler.table.series.iter().filter(|s| s.label == mount);
            of.map(|s| s.name.as_str()).collect()
        };
        assert_eq!(names("/"), ["disk.used", "disk.total", "disk.used_pct"]);
        assert_eq!(names("/usr"), ["disk.used", "disk.total"]);
    }

    #[test]
    fn a_counter_that_went_back_gives_no_rate() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        sampler.sample(reading(100, 5000), start, 1);
        let after = sampler.sample(reading(200, 10), start + Duration::from_secs(1), 2);
        assert_eq!(value(&sampler, &after, "net.rx"), None);
    }

    #[test]
    fn the_table_is_told_first_on_change_and_when_asked() {
        let (mut sampler, at) = (Sampler::default(), Instant::now());
        assert!(sampler.sample(reading(1, 1), at, 1).table.is_some());
        assert!(sampler.sample(reading(2, 2), at, 2).table.is_none());
        let mut more = reading(3, 3);
        more.disks.push(DiskIo { device: "sdb".into(), ..DiskIo::default() });
        let changed = sampler.sample(more, at, 3);
        assert_eq!(changed.table.unwrap().hash(), changed.sample.table);
        sampler.tell_table();
        assert!(sampler.sample(reading(4, 4), at, 4).table.is_some());
    }

    #[test]
    fn every_sample_has_one_value_a_column() {
        let mut sampler = Sampler::default();
        let sampled = sampler.sample(reading(1, 1), Instant::now(), 1);
        assert_eq!(sampled.sample.values.len(), sampler.table.series.len());
    }
}
