//! Figures and their goals, and how they are shown.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// Collected figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    failures: Vec<String>,
}

#[derive(Debug)]
struct Line {
    what: String,
    measured: String,
    goal: String,
    met: Option<bool>,
}

impl Report {
    /// A figure with a goal that it meets or misses.
    pub(crate) fn goal(&mut self, what: &str, measured: String, goal: &str, met: bool) {
        self.add(what, measured, goal, Some(met));
    }

    /// A figure to compare with.
    pub(crate) fn note(&mut self, what: &str, measured: String, about: &str) {
        self.add(what, measured, about, None);
    }

    fn add(&mut self, what: &str, measured: String, goal: &str, met: Option<bool>) {
        println!("  {what}: {measured}");
        self.lines.push(Line { what: what.into(), measured, goal: goal.into(), met });
    }

    /// How long the disk takes to sync: each durable hop waits for that.
    pub(crate) fn sync(&mut self, folder: &Path) {
        let outcome = sync_times(folder).map(|mut times| {
            let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
            self.note(
                "one sync of this disk, p50",
                ms(p50),
                "cloud, relay and agent each sync a command",
            );
            self.note("one sync of this disk, p99", ms(p99), "");
        });
        self.part("disk", outcome);
    }

    /// Notes that a part could not be measured, and goes on.
    pub(crate) fn part(&mut self, what: &str, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            // An error may carry the whole state of what was waited for.
            let error: String = format!("{error:#}").chars().take(300).collect();
            eprintln!("  {what}: not measured: {error}");
            self.failures.push(format!("{what}: {error}"));
        }
    }

    /// Shows all figures.
    pub(crate) fn print(&self) {
        println!();
        println!("{:<44} {:>28}   {:<44}", "figure", "measured", "goal or peer");
        for line in &self.lines {
            let mark = match line.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            println!("{:<44} {:>28}   {:<44} {mark}", line.what, line.measured, line.goal);
        }
        for failure in &self.failures {
            println!("not measured: {failure}");
        }
    }
}

fn sync_times(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// What it was measured on.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim())
        .to_owned();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} cores of {model}, load {load} at the start")
}

/// Milliseconds for people.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// The value below which `share` (0 to 1) of the measurements lie. Sorts them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of measurements are small"
)]
pub(crate) fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

/// Processor time of a process and of its ended children, seconds.
#[expect(clippy::cast_precision_loss, reason = "ticks of a minute")]
pub(crate) fn cpu_s(pid: i32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields.iter().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

/// Megabytes for people.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(crate) fn mb(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
