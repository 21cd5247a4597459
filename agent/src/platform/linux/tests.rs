//! The parsers against what Linux really prints, and processes against the kernel.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{disks, facts, network, probe, *};
use std::{process::Stdio, time::Duration};

#[test]
fn processor_times_count_nice_and_interrupts() {
    let text = "cpu  100 20 30 400 5 6 7 8 0 0\ncpu0 1 1 1 1\nprocs_running 3\n";
    let cpu = probe::parse_cpu(text).unwrap();
    assert_eq!((cpu.user, cpu.system, cpu.idle), (120, 43, 400));
    assert_eq!((cpu.iowait, cpu.steal), (5, 8));
    assert_eq!(probe::parse_running(text), Some(3));
}

#[test]
fn load_uptime_and_memory_are_read() {
    assert_eq!(probe::parse_load("0.52 1.00 2.25 1/345 999\n"), Some([0.52, 1.0, 2.25]));
    assert_eq!(probe::parse_uptime("12345.67 9999.99\n"), Some(12_345));
    let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nBuffers: 10 kB\n\
        Cached: 300 kB\nSReclaimable: 20 kB\nSwapTotal: 50 kB\nSwapFree: 40 kB\n";
    let memory = probe::parse_memory(text).unwrap();
    assert_eq!(memory.available, 600 * 1024);
    assert_eq!(memory.cached, 330 * 1024);
    assert_eq!(memory.swap_free, 40 * 1024);
    assert_eq!(probe::parse_memory("nonsense"), None);
}

#[test]
fn a_device_mounted_twice_counts_once_and_escapes_are_undone() {
    let text = "/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /var/snap ext4 rw 0 0\nproc /proc proc rw 0 0\n\
        /dev/sdb1 /mnt/my\\040disk xfs rw 0 0\noverlay /var/lib/docker/x overlay rw 0 0\n\
        nas:/x /nas nfs4 rw 0 0\n";
    let mounts: Vec<String> = disks::parse_mounts(text).into_iter().map(|f| f.mount).collect();
    assert_eq!(mounts, ["/", "/mnt/my disk"]);
}

#[test]
fn disk_counters_are_of_whole_disks_in_bytes() {
    let text = "   8 0 sda 10 0 2000 5 20 0 4000 6 0 0 0\n   8 1 sda1 1 0 2 3 4 0 5 6 0 0 0\nbad\n";
    let found = disks::parse_io(text, |d| d == "sda");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].reads, found[0].read_bytes), (10, 2000 * 512));
    assert_eq!((found[0].writes, found[0].write_bytes), (20, 4000 * 512));
}

#[test]
fn the_loopback_counts_only_when_it_is_alone() {
    let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    let both = network::parse_counters(&(line("lo") + &line("  eth0") + &line("veth12")));
    assert_eq!(both.len(), 1);
    let net = &both[0];
    assert_eq!((net.name.as_str(), net.rx_bytes, net.rx_errors), ("eth0", 1, 3));
    assert_eq!((net.tx_bytes, net.tx_errors), (9, 11));
    assert_eq!(network::parse_counters(&line("lo")).len(), 1);
}

#[test]
fn names_of_system_and_processor_are_found() {
    let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
    assert_eq!(facts::os_name(release).unwrap(), "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(facts::cpu_model("model name\t: Xeon\nflags: a\n").unwrap(), "Xeon");
}

#[test]
fn this_computer_can_be_read() {
    let mut probe = Probe::default();
    let reading = probe.read();
    assert!(reading.cpu.is_some() && reading.memory.is_some() && reading.load.is_some());
    assert!(reading.processes.unwrap() > 0 && reading.uptime_s.unwrap() > 0);
    assert!(!system_facts().is_empty());
}

#[test]
fn a_file_is_replaced_as_a_whole_and_is_private_even_over_a_public_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "old").unwrap();
    write_private(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(exposed(&path).unwrap(), None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no remains");
}

#[tokio::test]
async fn a_marked_process_is_ended_although_it_left_its_group() {
    let mark = uuid::Uuid::new_v4().to_string();
    let mut child = tokio::process::Command::new("setsid")
        .args(["sleep", "600"])
        .env(MARK, &mark)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // The mark appears with the exec of the new program.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while kill_marked(&mark, Blow::Kill) == 0 {
        assert!(std::time::Instant::now() < deadline, "it was not found");
        tokio::task::yield_now().await;
    }
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap();
    assert_eq!(ending(status.unwrap()), Ending::Signal(9, "SIGKILL"));
}

#[test]
fn the_agents_own_group_and_the_whole_system_are_never_signalled() {
    assert!(!signal_group(0, Blow::Kill));
    assert!(!signal_group(1, Blow::Kill));
}
