//! A believable computer: what it is called, what it measures from moment to
//! moment. Everything grows from a seed, so that a device is the same again at
//! the next start.

use unifyit_protocol::telemetry::{Sample, Series, SeriesTable};

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream that depends on the seed and what it is for.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        let mut eight = [0; 8];
        hasher.finalize_xof().fill(&mut eight);
        Self(u64::from_le_bytes(eight))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end.max(1)
    }

    /// From -1 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub fn swing(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(list.len() as u64)).unwrap_or(0);
        &list[at]
    }
}

/// What kind of computer a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Somebody works at it, by day.
    Workstation,
    /// Serves round the clock.
    Server,
}

/// Fixed facts of one computer.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Kind.
    pub role: Role,
    /// Host name.
    pub hostname: String,
    /// `linux` or `windows`.
    pub os_family: &'static str,
    /// Name of the operating system.
    pub os_name: &'static str,
    /// Bytes of memory.
    pub memory: i64,
    /// Logical processors.
    pub cpus: i64,
    /// Mount points or drives with their bytes.
    pub disks: Vec<(&'static str, i64)>,
    /// Name of the network interface.
    pub interface: &'static str,
    /// Name of another one.
    pub second_interface: &'static str,
    /// Whether it reports lies; see [`super::hostile`].
    pub lies: bool,
}

impl Machine {
    /// The computer that grows from a seed; `number` is part of its name.
    #[must_use]
    pub fn new(seed: u64, number: usize) -> Self {
        let mut rng = Rng::new(seed, "machine");
        let role = if rng.below(5) == 0 { Role::Server } else { Role::Workstation };
        let (os_family, os_name) = *rng.pick(match role {
            Role::Server => &[
                ("linux", "Debian GNU/Linux 12 (bookworm)"),
                ("linux", "Ubuntu 24.04.1 LTS"),
                ("linux", "Red Hat Enterprise Linux 9.4"),
                ("windows", "Windows Server 2022 Standard"),
            ],
            Role::Workstation => &[
                ("windows", "Windows 11 Pro 23H2"),
                ("windows", "Windows 11 Pro 24H2"),
                ("windows", "Windows 10 Pro 22H2"),
                ("linux", "Ubuntu 24.04.1 LTS"),
            ],
        });
        let gib = 1_i64 << 30;
        let memory = gib * rng.pick(&[8, 16, 16, 32, 64]);
        let cpus = *rng.pick(&[4, 8, 8, 12, 16]);
        let system = gib * rng.pick(&[238, 476, 476, 953]);
        let disks = match (os_family, role) {
            ("windows", Role::Server) => vec![("C:", system), ("D:", 4 * system)],
            ("windows", _) => vec![("C:", system)],
            (_, Role::Server) => vec![("/", system), ("/srv", 4 * system)],
            _ => vec![("/", system), ("/home", system)],
        };
        let place = *rng.pick(&["ber", "ham", "muc", "lej", "cgn", "str"]);
        let kind = match role {
            Role::Server => *rng.pick(&["srv", "sql", "app", "file", "web"]),
            Role::Workstation => *rng.pick(&["ws", "nb", "pc"]),
        };
        Self {
            role,
            hostname: format!("{place}-{kind}-{number:04}"),
            os_family,
            os_name,
            memory,
            cpus,
            disks,
            interface: if os_family == "windows" { "Ethernet" } else { "enp1s0" },
            second_interface: if os_family == "windows" { "Wi-Fi" } else { "wlp2s0" },
            lies: false,
        }
    }
}

/// A column and how its value moves.
#[derive(Debug)]
struct Column {
    series: Series,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Share of the load, in thousandths.
    Load { thousandths: i64, scale: i64 },
    /// Wanders within a range by at most a step.
    Wander { low: i64, high: i64, step: i64, grain: i64, now: i64 },
    /// Never changes.
    Fixed(i64),
    /// Seconds since the start.
    Uptime,
}

/// What a computer measures.
#[derive(Debug)]
pub struct Meter {
    columns: Vec<Column>,
    table: u32,
    rng: Rng,
    /// Load from 0 to 1, which the busy columns share.
    load: f64,
    mean_load: f64,
    booted_ms: u64,
}

impl Meter {
    /// The meter of a computer; `now_ms` dates its last boot.
    #[must_use]
    pub fn new(machine: &Machine, seed: u64, now_ms: u64) -> Self {
        let mut rng = Rng::new(seed, "meter");
        let columns = columns(machine, &mut rng);
        let table = SeriesTable { series: columns.iter().map(|c| c.series.clone()).collect() };
        let mean_load = 0.03 + 0.3 * rng.swing().abs();
        let booted_ms = now_ms - rng.below(40 * 86_400) * 1000;
        Self { table: table.hash(), columns, rng, load: mean_load, mean_load, booted_ms }
    }

    /// Names of the columns.
    #[must_use]
    pub fn series(&self) -> SeriesTable {
        SeriesTable { series: self.columns.iter().map(|c| c.series.clone()).collect() }
    }

    /// Measures.
    #[expect(clippy::cast_possible_truncation, reason = "loads are between 0 and 1")]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub fn sample(&mut self, at_ms: u64) -> Sample {
        // Drawn back to its mean, pushed by chance, with rare peaks.
        let peak = if self.rng.below(60) == 0 { 0.5 } else { 0.0 };
        self.load += 0.15 * (self.mean_load - self.load) + 0.05 * self.rng.swing() + peak;
        self.load = self.load.clamp(0.002, 0.99);
        let uptime = i64::try_from(at_ms.saturating_sub(self.booted_ms) / 1000).unwrap_or(0);
        let mut values = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            values.push(Some(match &mut column.kind {
                Kind::Load { thousandths, scale } => {
                    (self.load * (*thousandths * *scale) as f64 / 1000.0) as i64
                }
                Kind::Wander { low, high, step, grain, now } => {
                    *now = (*now + (*step as f64 * self.rng.swing()) as i64).clamp(*low, *high);
                    *now / *grain * *grain
                }
                Kind::Fixed(value) => *value,
                Kind::Uptime => uptime,
            }));
        }
        Sample { at_ms, table: self.table, values }
    }
}

fn columns(machine: &Machine, rng: &mut Rng) -> Vec<Column> {
    let mut out = Vec::with_capacity(48);
    let mut add = |name: &str, label: &str, unit: &str, scale: u8, kind: Kind| {
        let series = Series { name: name.into(), label: label.into(), unit: unit.into(), scale };
        out.push(Column { series, kind });
    };
    let wander = |low, high, step, grain, now| Kind::Wander { low, high, step, grain, now };
    for (name, thousandths) in
        [("cpu.busy", 1000), ("cpu.user", 720), ("cpu.system", 230), ("cpu.iowait", 50)]
    {
        add(name, "", "percent", 1, Kind::Load { thousandths, scale: 1000 });
    }
    add("cpu.steal", "", "percent", 1, Kind::Fixed(0));
    for (name, thousandths) in [("load.1", 1000), ("load.5", 900), ("load.15", 850)] {
        add(name, "", "load", 2, Kind::Load { thousandths, scale: machine.cpus * 100 });
    }
    let memory = machine.memory;
    let used = memory / 10 * i64::try_from(2 + rng.below(6)).unwrap_or(4);
    let moving = |share: i64, now| wander(0, share, memory / 2000, 4096, now);
    add("memory.used", "", "bytes", 0, moving(memory, used));
    add("memory.available", "", "bytes", 0, moving(memory, memory - used));
    add("memory.total", "", "bytes", 0, Kind::Fixed(memory));
    add("memory.cached", "", "bytes", 0, moving(memory / 2, memory / 5));
    add("memory.used_pct", "", "percent", 1, wander(50, 990, 3, 1, used * 1000 / memory));
    add("swap.used", "", "bytes", 0, wander(0, memory / 8, 1 << 16, 4096, 0));
    add("swap.total", "", "bytes", 0, Kind::Fixed(memory / 8));
    for (mount, total) in &machine.disks {
        let share = i64::try_from(150 + rng.below(750)).unwrap_or(500);
        let filled = total / 1000 * share;
        add("disk.used", mount, "bytes", 0, wander(0, *total, 1 << 22, 4096, filled));
        add("disk.total", mount, "bytes", 0, Kind::Fixed(*total));
        add("disk.used_pct", mount, "percent", 1, Kind::Fixed(share));
    }
    for disk in block_devices(machine) {
        for (name, high) in [("disk.read", 40_000_000), ("disk.write", 25_000_000)] {
            add(name, disk, "bytes_per_s", 0, wander(0, high, high / 20, 4096, high / 50));
        }
        for (name, high) in [("disk.read_ops", 900), ("disk.write_ops", 600)] {
            add(name, disk, "ops_per_s", 0, wander(0, high, high / 20, 1, high / 50));
        }
    }
    for interface in [machine.interface, machine.second_interface] {
        for (name, high) in [("net.rx", 12_000_000), ("net.tx", 4_000_000)] {
            add(name, interface, "bytes_per_s", 0, wander(200, high, high / 20, 1, 9000));
        }
        for name in ["net.rx_errors", "net.tx_errors"] {
            add(name, interface, "count", 0, Kind::Fixed(0));
        }
    }
    add("system.uptime", "", "seconds", 0, Kind::Uptime);
    add("process.count", "", "count", 0, wander(90, 420, 4, 1, 210));
    add("process.running", "", "count", 0, wander(1, 12, 2, 1, 2));
    for sensor in ["cpu", "nvme"] {
        add("temperature", sensor, "celsius", 1, wander(320, 780, 12, 1, 460));
    }
    out
}

fn block_devices(machine: &Machine) -> &'static [&'static str] {
    match (machine.os_family, machine.role) {
        ("windows", Role::Server) => &["PhysicalDrive0", "PhysicalDrive1"],
        ("windows", _) => &["PhysicalDrive0"],
        (_, Role::Server) => &["nvme0n1", "nvme1n1"],
        _ => &["nvme0n1"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_measures_about_forty_series_and_is_the_same_again() {
        let machine = Machine::new(5, 1);
        let mut meter = Meter::new(&machine, 5, 4_000_000_000_000);
        let columns = meter.series().series.len();
        assert!((34..=48).contains(&columns), "{columns}");
        let sample = meter.sample(4_000_000_010_000);
        assert_eq!(sample.values.len(), columns);
        assert_eq!(sample.table, meter.series().hash());
        let mut again = Meter::new(&Machine::new(5, 1), 5, 4_000_000_000_000);
        assert_eq!(again.sample(4_000_000_010_000), sample);
    }
}
