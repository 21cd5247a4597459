//! A computer that behaves: samples as a real one would give them.
//!
//! Values follow what causes them in reality: working hours, jobs that start and
//! end, writes that wait for the flusher, memory that moves in pages, rates that
//! are counts divided by ten seconds. Nothing is smoothed for the sake of a
//! better figure; the seed makes a run repeatable.

use unifyit_protocol::telemetry::{Sample, Series, SeriesTable};

/// Seconds between samples.
pub(crate) const EVERY_S: u64 = 10;

/// A small generator (SplitMix64): examples need no cryptography.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn bell(&mut self) -> f64 {
        (0..6).map(|_| self.unit()).sum::<f64>() * 2.0_f64.sqrt() - 3.0 * 2.0_f64.sqrt()
    }

    fn often(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Mostly small, sometimes large: sizes and durations.
    fn skewed(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }
}

/// One computer.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    chance: Chance,
    server: bool,
    up_s: u64,
    job_left: u32,
    job_cpu: f64,
    drift: f64,
    load: [f64; 3],
    memory_total: i64,
    memory_used: i64,
    cached: i64,
    swap: i64,
    disk: [i64; 2],
    disk_total: [i64; 2],
    dirty: f64,
    processes: f64,
    heat: [f64; 3],
    errors: i64,
}

const PAGE: i64 = 4096;
const GIB: i64 = 1 << 30;

impl Machine {
    /// A server for every third seed, else a workstation.
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(7919));
        let memory_total = (7 + (chance.next() % 4) as i64 * 8) * GIB + 733 * 1024 * PAGE;
        Self {
            server: seed.is_multiple_of(3),
            up_s: chance.next() % 4_000_000,
            job_left: 0,
            job_cpu: 0.0,
            drift: 0.0,
            load: [0.2; 3],
            memory_total,
            memory_used: memory_total / PAGE / 3 * PAGE,
            cached: memory_total / PAGE / 4 * PAGE,
            swap: (chance.next() % 3) as i64 * 77 * PAGE,
            disk: [61 * GIB + 5 * PAGE, 3 * GIB + PAGE],
            disk_total: [237 * GIB, 511 * GIB],
            dirty: 0.0,
            processes: 180.0 + chance.unit() * 120.0,
            heat: [38.0, 41.0, 35.0],
            errors: 0,
            chance,
        }
    }

    /// The columns that all machines have.
    pub(crate) fn table() -> SeriesTable {
        let mut series = Vec::new();
        let mut add = |names: &[&str], label: &str, unit: &str, scale: u8| {
            series.extend(names.iter().map(|name| Series {
                name: (*name).into(),
                label: label.into(),
                unit: unit.into(),
                scale,
            }));
        };
        let cpu = ["cpu.busy", "cpu.user", "cpu.system", "cpu.iowait", "cpu.steal"];
        add(&cpu, "", "percent", 1);
        add(&["load.1", "load.5", "load.15"], "", "load", 2);
        add(&["memory.used", "memory.available", "memory.total", "memory.cached"], "", "bytes", 0);
        add(&["memory.used_pct"], "", "percent", 1);
        add(&["swap.used", "swap.total"], "", "bytes", 0);
        for mount in ["/", "/srv"] {
            add(&["disk.used", "disk.total"], mount, "bytes", 0);
            add(&["disk.used_pct"], mount, "percent", 1);
        }
        for device in ["sda", "sdb"] {
            add(&["disk.read", "disk.write"], device, "bytes_per_s", 0);
            add(&["disk.read_ops", "disk.write_ops"], device, "ops_per_s", 0);
        }
        add(&["net.rx", "net.tx"], "eth0", "bytes_per_s", 0);
        add(&["net.rx_errors", "net.tx_errors"], "eth0", "count", 0);
        add(&["system.uptime"], "", "seconds", 0);
        add(&["process.count", "process.running"], "", "count", 0);
        for sensor in ["package", "nvme", "board", "wifi"] {
            add(&["temperature"], sensor, "celsius", 1);
        }
        SeriesTable { series }
    }

    /// The next sample.
    pub(crate) fn sample(&mut self, at_ms: u64, table: u32) -> Sample {
        let hour = (at_ms / 60_000 % 1440) as f64 / 60.0;
        let at_work =
            if self.server { 0.6 } else { f64::from(u8::from((8.0..17.5).contains(&hour))) };
        self.up_s += EVERY_S;
        let cpu = self.cpu(at_work);
        let mut v: Vec<i64> = cpu.iter().map(|p| (p * 10.0).round() as i64).collect();
        let running = 1 + (cpu[0] / 30.0) as i64 + i64::from(self.chance.often(0.2));
        for (load, over) in self.load.iter_mut().zip([60.0, 300.0, 900.0]) {
            *load += (running as f64 * cpu[0] / 100.0 - *load) * (1.0 - (-10.0_f64 / over).exp());
            v.push((*load * 100.0).round() as i64);
        }
        self.memory(at_work, &mut v);
        self.disks(at_work, cpu[0], &mut v);
        self.network(at_work, &mut v);
        v.push(self.up_s as i64);
        if self.chance.often(0.15 + 0.3 * at_work) {
            self.processes += self.chance.bell() * 2.0;
        }
        v.push(self.processes as i64);
        v.push(running);
        for (n, heat) in self.heat.iter_mut().enumerate() {
            let rest = [38.0, 41.0, 35.0][n];
            *heat += (rest + cpu[0] * 0.4 / (n + 1) as f64 - *heat) * 0.05;
        }
        // Sensors give whole or half degrees.
        v.push((self.heat[0] + self.chance.bell() * 0.6).round() as i64 * 10);
        v.push(((self.heat[1] * 2.0).round() * 5.0) as i64 - 1);
        v.push((self.heat[2] * 2.0).round() as i64 * 5);
        v.push(((self.heat[2] + 3.0).round() * 10.0) as i64);
        Sample { at_ms, table, values: v.into_iter().map(Some).collect() }
    }

    fn cpu(&mut self, at_work: f64) -> [f64; 5] {
        if self.job_left > 0 {
            self.job_left -= 1;
        } else {
            self.job_cpu = 0.0;
            if self.chance.often(0.004 + 0.03 * at_work) {
                self.job_left = self.chance.skewed(6.0) as u32;
                self.job_cpu = self.chance.skewed(25.0).min(92.0);
            }
        }
        self.drift = self.drift * 0.9 + self.chance.bell() * 0.4 * (0.2 + at_work);
        let rest = 0.6 + 3.0 * at_work + self.drift;
        let user = (rest + self.job_cpu + self.chance.bell() * 0.3).clamp(0.1, 97.0);
        let system = (0.4 + user * 0.22 + self.chance.bell() * 0.15).max(0.1);
        let wait = if self.chance.often(0.15) { self.chance.skewed(0.4) } else { 0.0 };
        let busy = (user + system).min(100.0);
        [busy, user.min(100.0 - system), system, wait, 0.0]
    }

    fn memory(&mut self, at_work: f64, v: &mut Vec<i64>) {
        let moved = self.chance.bell() * (120.0 + 2500.0 * at_work) + self.job_cpu * 40.0;
        let rest = self.memory_total / 3 + (at_work * 0.2 * self.memory_total as f64) as i64;
        self.memory_used += moved as i64 * PAGE + (rest - self.memory_used) / PAGE / 400 * PAGE;
        self.memory_used = self.memory_used.clamp(GIB, self.memory_total / PAGE * 9 / 10 * PAGE);
        if self.chance.often(0.4) {
            self.cached += (self.chance.bell() * 60.0) as i64 * PAGE;
        }
        let available = (self.memory_total - self.memory_used) / PAGE * PAGE;
        let pct = (self.memory_used as f64 / self.memory_total as f64 * 1000.0).round() as i64;
        if self.chance.often(0.002) {
            self.swap += (self.chance.unit() * 50.0) as i64 * PAGE;
        }
        v.extend([self.memory_used, available, self.memory_total, self.cached, pct]);
        v.extend([self.swap, 2 * GIB - PAGE]);
    }

    fn disks(&mut self, at_work: f64, busy: f64, v: &mut Vec<i64>) {
        let per_second = |pages: i64| (pages * PAGE) as f64 / EVERY_S as f64;
        self.dirty += self.chance.skewed(3.0 + 40.0 * at_work + busy * 2.0);
        let flush = self.chance.often(0.45);
        let written = if flush { std::mem::take(&mut self.dirty) as i64 } else { 0 };
        let read = if self.chance.often(0.05 + 0.25 * at_work) {
            self.chance.skewed(80.0 + busy * 10.0) as i64
        } else {
            0
        };
        if self.chance.often(0.3 + 0.3 * at_work) {
            self.disk[0] += (self.chance.bell() * 6.0 + 0.8) as i64 * PAGE;
        }
        if self.server && self.chance.often(0.1) {
            self.disk[1] += self.chance.skewed(200.0) as i64 * PAGE;
        }
        for (used, total) in self.disk.iter().zip(self.disk_total) {
            v.extend([*used, total, (*used as f64 / total as f64 * 1000.0).round() as i64]);
        }
        let second = if self.server && flush { written / 5 } else { 0 };
        for (read, written) in [(read, written), (0, second)] {
            let ops = |pages: i64| (pages as f64 / 6.0 / EVERY_S as f64).round() as i64;
            v.extend([per_second(read).round() as i64, per_second(written).round() as i64]);
            v.extend([ops(read), ops(written)]);
        }
    }

    fn network(&mut self, at_work: f64, v: &mut Vec<i64>) {
        // Broadcasts of the LAN and the agent itself, then whatever a person or a
        // job causes.
        let mut received = 260.0 + self.chance.skewed(90.0);
        let mut sent = 120.0 + self.chance.skewed(25.0);
        if self.chance.often(0.06 + 0.5 * at_work) {
            let traffic = self.chance.skewed(8_000.0) * (1.0 + self.job_cpu / 4.0);
            received += traffic;
            sent += traffic * 0.12;
        }
        self.errors += i64::from(self.chance.often(0.0005));
        v.extend([received.round() as i64, sent.round() as i64, self.errors, 0]);
    }
}
