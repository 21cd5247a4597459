//! Floods, each from one sort of sender: while it lasts, everybody else is served
//! and nobody is disconnected. What it did to memory and to the others' waiting
//! is printed and not judged.

mod device;
mod stranger;
mod viewer;

use anyhow::Result;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use unifyit_tests::{
    api::{
        Api,
        live::{Event, Events, Terminal},
    },
    stack::Stack,
    wait::secs,
};

/// Somebody who works while others flood.
struct Others {
    terminal: Terminal,
    events: Events,
    asking: tokio::task::JoinHandle<Result<Vec<Duration>>>,
    over: Arc<AtomicBool>,
}

impl Others {
    /// Begins to work: a terminal, an event socket, and one question after another.
    async fn at_work(stack: &Stack) -> Result<Self> {
        let device = stack.first_device().await?;
        let mut terminal = Terminal::open(&stack.api, &device, 80, 24).await?;
        terminal.send(b"echo before=$((40+2))\r").await?;
        terminal.expect("before=42", secs(15)).await?;
        let events = Events::open(&stack.api).await?;
        let api = Api::with_key(stack.api.base(), &stack.api.create_key("others").await?.key)?;
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let asking = tokio::spawn(async move {
            let mut waited = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                api.device(&device).await?;
                waited.push(began.elapsed());
            }
            Ok(waited)
        });
        Ok(Self { terminal, events, asking, over })
    }

    /// Checks that all of it went on, and returns how long answers took.
    async fn went_on(mut self, stack: &Stack) -> Result<Vec<Duration>> {
        self.over.store(true, Ordering::Relaxed);
        let mut waited = self.asking.await??;
        waited.sort_unstable();
        self.terminal.send(b"echo after=$((40+3))\r").await?;
        self.terminal.expect("after=43", secs(15)).await?;
        let device = stack.first_device().await?;
        self.events.watch(&[device.as_str()], &[]).await?;
        let sample = |event: &Event| (event.kind == "device.sample").then_some(());
        self.events.find("a sample", secs(30), sample).await?;
        Ok(waited)
    }
}

/// Resident memory of the cloud in KiB.
fn memory(stack: &mut Stack) -> u64 {
    let Some(process) = stack.cloud.process() else { return 0 };
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn print(flood: &str, before: u64, after: u64, waited: &[Duration]) {
    let at = |part: usize| waited.get(waited.len() * part / 100).copied().unwrap_or_default();
    println!(
        "{flood}: memory {before} kB before, {after} kB after; others asked {} times, p50 {:?}, p99 {:?}",
        waited.len(),
        at(50),
        at(99)
    );
}
