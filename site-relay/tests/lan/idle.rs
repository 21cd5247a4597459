//! What a connected device costs while nothing happens.

use crate::{client::Client, site::Site};
use std::fs;

/// Devices in the measurement. Client and relay share the process, so that the
/// relay's part is what remains when the clients' part is known.
const DEVICES: usize = 1000;

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Both ends together; run alone, in release, with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn memory_of_a_thousand_idle_devices() {
    let site = Site::start().await;
    let warm: Vec<_> = devices(&site, 50).await;
    let before = resident();
    let held = devices(&site, DEVICES).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let after = resident();
    println!(
        "{} bytes a connection, client and relay together ({} MB in all)",
        (after - before) / DEVICES,
        after / 1_000_000
    );
    assert_eq!(site.handle.online().len(), held.len() + warm.len());
}

async fn devices(site: &Site, count: usize) -> Vec<Client> {
    let mut held = Vec::new();
    for n in 0..count {
        let device = site.device();
        held.push(Client::listening(site, &device, n % 2 == 0).await);
    }
    held
}
