//! What a connected device costs while nothing happens. The devices run in a
//! process of their own, so that what is measured is the relay alone.

use crate::{
    client::Client,
    site::{Device, Site, until},
};
use std::{
    env, fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Most bytes that an idle device may cost the relay.
const GOAL: usize = 20_000;
const WARM: usize = 50;
const DEVICES: usize = 500;
/// Tells the second process where to connect.
const TARGET: &str = "UNIFYIT_TEST_IDLE_TARGET";

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// The devices' process: connects, stays, and ends with its input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the measurement below"]
async fn devices() {
    let Ok(target) = env::var(TARGET) else { return };
    let (address, count) = target.split_once(' ').unwrap();
    let mut site = Site::start().await;
    site.address = address.parse().unwrap();
    let mut held = Vec::new();
    for n in 0..count.parse().unwrap() {
        let device: Device = site.device();
        held.push(Client::listening(&site, &device, n % 2 == 0).await);
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_device_costs_little_memory() {
    let site = Site::start().await;
    // Both processes work with the same authority.
    let state = site.state();
    let start = |count: usize| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "idle::devices", "--ignored"])
            .env(TARGET, format!("{} {count}", site.address))
            .env(crate::site::STATE, &state)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let online = |count: usize| {
        let site = &site;
        let deadline = Instant::now() + Duration::from_secs(120);
        async move {
            while site.handle.online().len() < count && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(site.handle.online().len(), count);
        }
    };
    let mut warm = start(WARM);
    online(WARM).await;
    let before = resident();
    let mut many = start(DEVICES);
    online(WARM + DEVICES).await;
    until("handshakes to be over", || (site.metric("mqtt_half_open") == 0.0).then_some(())).await;
    let each = (resident().saturating_sub(before)) / DEVICES;
    println!("{each} bytes an idle device");
    for child in [&mut warm, &mut many] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    assert!(each < GOAL, "{each} bytes an idle device; the goal is {GOAL}");
}
