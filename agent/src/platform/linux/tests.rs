//! The parsers against what Linux really prints, and processes against the kernel.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{disks, facts, network, probe, sensors, *};
use crate::{apart::Watch, platform::Blow};

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

fn mounts(text: &[u8]) -> Vec<(String, Vec<String>, bool)> {
    let shown = |p: &std::path::PathBuf| p.to_string_lossy().into_owned();
    disks::parse_mounts(text)
        .unwrap()
        .iter()
        .map(|m| (m.device.clone(), m.points.iter().map(shown).collect(), m.read_only))
        .collect()
}

#[test]
fn a_device_mounted_twice_counts_once_and_escapes_are_undone() {
    let text = "/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /var/snap ext4 rw 0 0\nproc /proc proc rw 0 0\n\
        /dev/sdb1 /mnt/my\\040disk xfs rw 0 0\noverlay /var/lib/docker/x overlay rw 0 0\n\
        nas:/x /nas nfs4 rw 0 0\nbad\n";
    let first: Vec<String> =
        mounts(text.as_bytes()).into_iter().map(|(_, points, _)| points[0].clone()).collect();
    assert_eq!(first, ["/", "/mnt/my disk"]);
}

#[test]
fn a_name_that_is_no_text_loses_nothing_but_its_own_letters() {
    let found =
        mounts(b"/dev/a / ext4 rw 0 0\n/dev/b /mnt/caf\xe9 ext4 rw 0 0\n/dev/c /c ext4 rw 0 0\n");
    let points: Vec<&str> = found.iter().map(|(_, points, _)| points[0].as_str()).collect();
    assert_eq!(points, ["/", "/mnt/caf\u{fffd}", "/c"]);
}

#[test]
fn the_outermost_mount_of_a_device_is_its_place_whatever_comes_first() {
    let text = b"overlay / overlay rw 0 0\n/dev/vda1 /etc/resolv.conf ext4 rw 0 0\n\
        /dev/vda1 /etc/hosts ext4 rw 0 0\n/dev/vdb1 /srv/a/b ext4 rw 0 0\n\
        /dev/vdb1 /srv ext4 rw 0 0\n";
    let found = mounts(text);
    assert_eq!(found[0].1, ["/"]);
    assert_eq!(found[1].1, ["/etc/resolv.conf", "/etc/hosts"], "left out later, being files");
    assert_eq!(found[2].1, ["/srv", "/srv/a/b"]);
}

#[test]
fn a_device_is_read_only_when_it_is_so_everywhere() {
    let text = b"/dev/a /usr ext4 ro,relatime 0 0\n/dev/b / ext4 rw,errors=remount-ro 0 0\n\
        /dev/b /bind ext4 ro 0 0\n";
    let found = mounts(text);
    assert_eq!((found[0].2, found[1].2), (true, false));
}

#[test]
fn single_files_that_were_mounted_are_no_disks_and_the_root_is_one() {
    let found = disks::filesystems(&Watch::default());
    assert!(found.unanswered.is_empty(), "{found:?}");
    let is_folder = |fs: &crate::platform::FileSystem| std::path::Path::new(&fs.mount).is_dir();
    assert!(found.found.iter().all(is_folder), "{found:?}");
}

#[test]
fn disk_counters_are_of_whole_disks_in_bytes() {
    let text = "   8 0 sda 10 0 2000 5 20 0 4000 6 0 0 0\n   8 1 sda1 1 0 2 3 4 0 5 6 0 0 0\nbad\n";
    let (found, left_out) = disks::parse_io(text, |d| d == "sda");
    assert_eq!((found.len(), left_out), (1, 0));
    assert_eq!((found[0].reads, found[0].read_bytes), (10, 2000 * 512));
    assert_eq!((found[0].writes, found[0].write_bytes), (20, 4000 * 512));
    let many: String = (0..40).map(|i| format!("8 0 sd{i} 1 0 2 3 4 0 5 6\n")).collect();
    assert_eq!(disks::parse_io(&many, |_| true).1, 8, "the cut is told");
}

fn counters(name: &str) -> String {
    format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
}

#[test]
fn the_loopback_counts_only_when_it_is_alone() {
    let text = counters("lo") + &counters("  eth0") + &counters("veth12");
    let (both, _) = network::parse_counters(&text);
    assert_eq!(both.len(), 1);
    let net = &both[0];
    assert_eq!((net.name.as_str(), net.rx_bytes, net.rx_errors), ("eth0", 1, 3));
    assert_eq!((net.tx_bytes, net.tx_errors), (9, 11));
    assert_eq!(network::parse_counters(&counters("lo")).0.len(), 1);
}

#[test]
fn bridges_of_containers_never_push_a_real_card_out() {
    let mut text: String = (0..40u64).map(|i| counters(&format!("br-{i:012x}"))).collect();
    text += &(0..40).map(|i| counters(&format!("docker{i}"))).collect::<String>();
    for name in ["tap100i0", "tap1a2b3c4d-5e", "vnet3", "enp3s0", "tap0", "br-lan", "eth0:1"] {
        text += &counters(name);
    }
    let (found, left_out) = network::parse_counters(&text);
    let names: Vec<&str> = found.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names[..4], ["enp3s0", "tap0", "br-lan", "eth0:1"]);
    assert_eq!((names.len(), left_out), (32, 12), "the cut is told");
}

#[test]
fn processors_are_those_of_the_computer() {
    assert_eq!(facts::count_list("0-3,8,10-11\n"), Some(7));
    assert_eq!(facts::count_list("0"), Some(1));
    assert_eq!(facts::count_list("3-1"), None);
    assert_eq!(facts::count_list(""), None);
}

fn chip(folder: &std::path::Path, number: u32, label: &str, value: &str) {
    let chip = folder.join(format!("hwmon{number}"));
    std::fs::create_dir(&chip).unwrap();
    for (file, text) in [("name", "nvme\n"), ("temp1_label", label), ("temp1_input", value)] {
        std::fs::write(chip.join(file), text).unwrap();
    }
}

#[test]
fn two_sensors_of_one_name_are_two_and_one_that_comes_later_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (mut found, watch) = (sensors::Sensors::default(), Watch::default());
    chip(dir.path(), 0, "Composite\n", "40000\n");
    assert_eq!(found.read(dir.path(), &watch), [("nvme/Composite".to_owned(), 40_000)]);
    chip(dir.path(), 1, "Composite\n", "71000\n");
    chip(dir.path(), 2, "Odd \u{e9}\n", "1\n");
    let named = found.read(dir.path(), &watch);
    let wanted = [
        ("nvme (hwmon0)/Composite".to_owned(), 40_000),
        ("nvme (hwmon1)/Composite".to_owned(), 71_000),
        ("nvme/Odd \u{e9}".to_owned(), 1),
    ];
    assert_eq!(named, wanted);
}

#[test]
fn names_of_system_and_processor_are_found() {
    let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
    assert_eq!(facts::os_name(release).unwrap(), "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(facts::cpu_model("model name\t: Xeon\nflags: a\n").unwrap(), "Xeon");
}

#[test]
fn facts_of_one_thing_stay_short() {
    let many: Vec<String> = (0..5000).map(|n| format!("2001:db8::{n:x}/64")).collect();
    let told = facts::listed(many);
    assert!(told.len() < 2000 && told.ends_with(", and 4936 more"), "{told}");
    assert_eq!(facts::listed(vec!["10.0.0.1/8".into()]), "10.0.0.1/8");
    let release = format!("NAME={}", "x".repeat(100_000));
    assert_eq!(facts::os_name(&release).unwrap().len(), 256);
}

#[test]
fn this_computer_can_be_read() {
    let mut probe = Probe::default();
    let reading = probe.read(&Watch::default());
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

#[test]
fn the_agents_own_group_and_the_whole_system_are_never_signalled() {
    assert!(!signal_group(0, Blow::Kill));
    assert!(!signal_group(1, Blow::Kill));
}

#[test]
fn the_service_hands_nothing_on_that_would_break_a_program() {
    let unit = include_str!("../../../../deploy/systemd/unifyit-agent.service");
    let settings: Vec<&str> = unit.lines().filter(|l| !l.starts_with('#')).collect();
    let breaks = [
        "NoNewPrivileges",
        "LockPersonality",
        "SystemCall",
        "Restrict",
        "CapabilityBoundingSet",
        "Protect",
        "Private",
        "MemoryDeny",
        "DynamicUser",
        "User=",
        "Keyring",
    ];
    for setting in &settings {
        assert!(!breaks.iter().any(|b| setting.starts_with(b)), "{setting} reaches every script");
    }
    for needed in ["Delegate=yes", "KillMode=process"] {
        assert!(settings.contains(&needed), "{needed} is missing");
    }
}
