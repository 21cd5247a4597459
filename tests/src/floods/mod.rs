//! Floods, each from one sort of sender: an enrolled device, a relay, a stranger, a
//! viewer. While one lasts, somebody else works, and whatever is refused or broken off
//! for them is an error here. The tests judge that, and memory; `make bench` prints
//! how much longer the others wait, for which it needs a quiet machine.

pub mod device;
pub mod relay;
pub mod stranger;
pub mod viewer;

use crate::{
    api::live::{Event, Events, Terminal},
    stack::Stack,
    wait::secs,
};
use anyhow::{Result, ensure};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};

/// Between two questions of somebody who works: well within what a person may ask.
const PACE: Duration = Duration::from_millis(25);

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// How long the others are watched before the flood.
    pub quiet: Duration,
    /// How long those floods last that are not a number of things.
    pub flood: Duration,
    /// How often each of the others' workers asks, and the like.
    pub times: usize,
}

impl Length {
    /// Enough to see who is refused or broken off.
    pub const SHORT: Self =
        Self { quiet: Duration::from_secs(1), flood: Duration::from_secs(6), times: 100 };
    /// Enough to measure how long the others wait.
    pub const LONG: Self =
        Self { quiet: Duration::from_secs(15), flood: Duration::from_secs(15), times: 400 };
}

/// What a flood did to the others.
#[derive(Debug)]
pub struct Figures {
    /// How long the others waited before it, each time; in order of length.
    pub quiet: Vec<Duration>,
    /// And while it lasted.
    pub meanwhile: Vec<Duration>,
    /// Resident memory of who is flooded before it, bytes.
    pub before: u64,
    /// And while it lasted.
    pub during: u64,
    /// How much it was.
    pub extent: String,
}

impl Figures {
    fn new(mut quiet: Vec<Duration>, mut meanwhile: Vec<Duration>, memory: [u64; 2]) -> Self {
        quiet.sort_unstable();
        meanwhile.sort_unstable();
        let [before, during] = memory;
        Self { quiet, meanwhile, before, during, extent: String::new() }
    }

    fn of(self, extent: String) -> Self {
        Self { extent, ..self }
    }

    /// How many times as long the others' 99th of 100 waits.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        p99(&self.meanwhile).as_secs_f64() / p99(&self.quiet).as_secs_f64().max(1e-6)
    }

    /// Nobody was left out, and it cost at most so much memory.
    ///
    /// # Errors
    /// When that is not so.
    pub fn check(&self, most_bytes: u64) -> Result<()> {
        ensure!(!self.quiet.is_empty(), "the others did not begin");
        ensure!(!self.meanwhile.is_empty(), "the others were not served during the flood");
        let cost = self.during.saturating_sub(self.before);
        ensure!(self.before > 0 && cost < most_bytes, "it cost {} MiB", cost >> 20);
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; the others' p99 {:?} before, {:?} meanwhile ({} and {} times); memory {} MiB \
             before, {} MiB meanwhile",
            self.extent,
            p99(&self.quiet),
            p99(&self.meanwhile),
            self.quiet.len(),
            self.meanwhile.len(),
            self.before >> 20,
            self.during >> 20
        )
    }
}

/// The 99th of a hundred, of waits in order.
#[must_use]
pub fn p99(waits: &[Duration]) -> Duration {
    waits.get(waits.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

type Asked = (Vec<Duration>, Vec<Duration>);

/// Somebody who works while others flood: a terminal, an event socket, and one
/// question after another.
struct Others {
    terminal: Terminal,
    events: Events,
    asking: JoinHandle<Result<Asked>>,
    flooding: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Others {
    /// Begins to work, and works undisturbed for a while.
    async fn at_work(stack: &Stack, quiet: Duration) -> Result<Self> {
        let device = stack.first_device().await?;
        let mut terminal = Terminal::open(&stack.api, &device, 80, 24).await?;
        terminal.send(b"echo before=$((40+2))\r").await?;
        terminal.expect("before=42", secs(15)).await?;
        let events = Events::open(&stack.api).await?;
        let api = stack.api.clone();
        let flags = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (flooding, over) = (Arc::clone(&flags.0), Arc::clone(&flags.1));
        let asking = tokio::spawn(async move {
            let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
            while !flags.1.load(Ordering::Relaxed) {
                let flooded = flags.0.load(Ordering::Relaxed);
                let began = Instant::now();
                // Nobody refuses them.
                api.device(&device).await?;
                let waits = if flooded { &mut meanwhile } else { &mut before };
                waits.push(began.elapsed());
                sleep(PACE).await;
            }
            Ok((before, meanwhile))
        });
        sleep(quiet).await;
        flooding.store(true, Ordering::Relaxed);
        Ok(Self { terminal, events, asking, flooding, over })
    }

    /// Checks that all of it went on, over the same connections, and returns how long
    /// answers took before and meanwhile.
    async fn went_on(mut self, stack: &Stack) -> Result<Asked> {
        ensure!(self.flooding.load(Ordering::Relaxed), "the flood has not begun");
        self.over.store(true, Ordering::Relaxed);
        let asked = self.asking.await??;
        self.terminal.send(b"echo after=$((40+3))\r").await?;
        self.terminal.expect("after=43", secs(15)).await?;
        let device = stack.first_device().await?;
        self.events.watch(&[device.as_str()], &[]).await?;
        let sample = |event: &Event| (event.kind == "device.sample").then_some(());
        self.events.find("a sample", secs(30), sample).await?;
        Ok(asked)
    }
}

/// Resident memory of a process, bytes; 0 when there is none.
#[must_use]
pub fn resident(pid: Option<i32>) -> u64 {
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let status = status.unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Resident memory of the cloud, bytes.
fn memory(stack: &mut Stack) -> u64 {
    resident(stack.cloud.process().map(|process| process.pid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_judged_by_who_was_left_out_and_by_what_it_cost() {
        let waits = |ms: u64| (1..=100).map(|n| Duration::from_millis(n * ms)).collect::<Vec<_>>();
        let figures = |meanwhile, during| Figures::new(waits(1), meanwhile, [1 << 20, during]);
        assert!(figures(waits(2), 5 << 20).check(10 << 20).is_ok());
        assert!(figures(Vec::new(), 5 << 20).check(10 << 20).is_err(), "nobody was served");
        assert!(figures(waits(2), 12 << 20).check(10 << 20).is_err(), "it cost too much");
        assert!((figures(waits(2), 0).ratio() - 2.0).abs() < 0.01);
    }
}
