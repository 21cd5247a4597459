//! A believable inventory of a simulated computer, section by section.

use super::{
    hostile,
    machine::{Machine, Rng, Role},
};
use std::collections::BTreeMap;
use unifyit_protocol::inventory::{Entry, InventoryReport, Section, system};

const LINUX_PACKAGES: &[&str] = &[
    "adduser",
    "apt",
    "base-files",
    "bash",
    "bind9-host",
    "bsdutils",
    "ca-certificates",
    "coreutils",
    "cron",
    "curl",
    "dash",
    "dbus",
    "debconf",
    "diffutils",
    "dpkg",
    "e2fsprogs",
    "findutils",
    "firefox-esr",
    "gawk",
    "git",
    "gnupg",
    "grep",
    "grub-efi-amd64",
    "gzip",
    "htop",
    "ifupdown",
    "init",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "kmod",
    "less",
    "libc6",
    "libcurl4",
    "libgcc-s1",
    "libglib2.0-0",
    "libgnutls30",
    "libncurses6",
    "libpam-modules",
    "libpcre2-8-0",
    "libreoffice-core",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libxml2",
    "linux-image-amd64",
    "locales",
    "logrotate",
    "lsb-release",
    "lvm2",
    "man-db",
    "mariadb-server",
    "mount",
    "nano",
    "nftables",
    "nginx",
    "openssh-client",
    "openssh-server",
    "openssl",
    "passwd",
    "perl",
    "postgresql-15",
    "procps",
    "python3",
    "python3-minimal",
    "rsync",
    "rsyslog",
    "samba",
    "sed",
    "sqlite3",
    "sudo",
    "systemd",
    "systemd-timesyncd",
    "sysvinit-utils",
    "tar",
    "thunderbird",
    "tmux",
    "tzdata",
    "ucf",
    "udev",
    "unattended-upgrades",
    "unzip",
    "util-linux",
    "vim",
    "wget",
    "xz-utils",
    "zlib1g",
    "zstd",
];
const WINDOWS_PACKAGES: &[&str] = &[
    "7-Zip 23.01 (x64)",
    "Adobe Acrobat (64-bit)",
    "AnyDesk",
    "Cisco Secure Client",
    "Docker Desktop",
    "FileZilla Client",
    "Git",
    "Google Chrome",
    "GIMP",
    "Greenshot",
    "IrfanView",
    "KeePassXC",
    "LibreOffice",
    "Logi Options+",
    "Microsoft 365 Apps for business",
    "Microsoft Edge",
    "Microsoft OneDrive",
    "Microsoft SQL Server 2022",
    "Microsoft Teams",
    "Microsoft Visual C++ 2022",
    "Microsoft Visual Studio Code",
    "Mozilla Firefox",
    "Mozilla Thunderbird",
    "Node.js",
    "Notepad++",
    "NVIDIA Graphics Driver",
    "OpenVPN",
    "Oracle VM VirtualBox",
    "paint.net",
    "PDF24 Creator",
    "PuTTY",
    "Python 3.12",
    "Realtek Audio Driver",
    "Slack",
    "SonicWall NetExtender",
    "Sysinternals",
    "TeamViewer",
    "Total Commander",
    "VLC media player",
    "Veeam Agent",
    "WinMerge",
    "WinSCP",
    "Wireshark",
    "Zoom Workplace",
];
const LINUX_SERVICES: &[&str] = &[
    "apparmor.service",
    "auditd.service",
    "chrony.service",
    "containerd.service",
    "cron.service",
    "cups.service",
    "dbus.service",
    "fail2ban.service",
    "getty@tty1.service",
    "mariadb.service",
    "networking.service",
    "nftables.service",
    "nginx.service",
    "postgresql.service",
    "rsyslog.service",
    "smbd.service",
    "ssh.service",
    "systemd-journald.service",
    "systemd-logind.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "unattended-upgrades.service",
    "unifyit-agent.service",
];
const WINDOWS_SERVICES: &[&str] = &[
    "BITS",
    "CryptSvc",
    "Dhcp",
    "Dnscache",
    "EventLog",
    "LanmanServer",
    "LanmanWorkstation",
    "MSSQLSERVER",
    "mpssvc",
    "Netlogon",
    "NlaSvc",
    "Schedule",
    "SecurityHealthService",
    "Spooler",
    "TermService",
    "Themes",
    "UnifyITAgent",
    "VeeamEndpointBackupSvc",
    "W32Time",
    "WinDefend",
    "WinRM",
    "wuauserv",
];

fn entry<const N: usize>(facts: [(&str, String); N]) -> Entry {
    facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// All sections, whole.
#[must_use]
pub fn sections(machine: &Machine, seed: u64, at_ms: u64) -> Vec<InventoryReport> {
    let mut rng = Rng::new(seed, "inventory");
    let parts = [
        (Section::System, system_facts(machine, &mut rng)),
        (Section::Interfaces, interfaces(machine, &mut rng)),
        (Section::Disks, disks(machine)),
        (Section::Packages, packages(machine, &mut rng)),
        (Section::Services, services(machine, &mut rng)),
    ];
    parts
        .into_iter()
        .map(|(section, set)| InventoryReport {
            section,
            at_ms,
            whole: true,
            set,
            gone: Vec::new(),
            cut: 0,
        })
        .collect()
}

/// A package that was updated: what a living computer reports now and then.
#[must_use]
pub fn update(machine: &Machine, rng: &mut Rng, at_ms: u64) -> InventoryReport {
    let all = packages(machine, rng);
    let index = usize::try_from(rng.below(all.len() as u64)).unwrap_or(0);
    let set = all.into_iter().skip(index).take(1).collect();
    let section = Section::Packages;
    InventoryReport { section, at_ms, whole: false, set, gone: Vec::new(), cut: 0 }
}

fn system_facts(machine: &Machine, rng: &mut Rng) -> BTreeMap<String, Entry> {
    let (vendor, model) = *rng.pick(match machine.role {
        Role::Server => &[
            ("Dell Inc.", "PowerEdge R650"),
            ("HPE", "ProLiant DL360 Gen10"),
            ("Lenovo", "ThinkSystem SR630"),
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)"),
        ],
        Role::Workstation => &[
            ("LENOVO", "ThinkPad T14 Gen 4"),
            ("Dell Inc.", "OptiPlex 7010"),
            ("HP", "EliteBook 840 G10"),
            ("FUJITSU", "ESPRIMO P5012"),
        ],
    });
    let cpu = *rng.pick(&[
        "Intel(R) Core(TM) i5-1345U",
        "Intel(R) Core(TM) i7-13700",
        "AMD Ryzen 7 PRO 7840U",
        "Intel(R) Xeon(R) Silver 4314",
    ]);
    let kernel = if machine.os_family == "windows" { "10.0.22631" } else { "6.1.0-25-amd64" };
    let chassis = if vendor == "QEMU" { "vm" } else { "physical" };
    if machine.lies {
        return lying_system(machine);
    }
    let user = *rng.pick(&["", "a.meyer", "k.yilmaz", "s.nowak", "t.schmidt", "j.becker"]);
    BTreeMap::from([(
        "system".to_owned(),
        entry([
            (system::HOSTNAME, machine.hostname.clone()),
            (system::OS_FAMILY, machine.os_family.into()),
            (system::OS_NAME, machine.os_name.into()),
            (system::KERNEL, kernel.into()),
            (system::ARCH, "x86_64".into()),
            (system::VENDOR, vendor.into()),
            (system::MODEL, model.into()),
            (system::SERIAL, format!("SIM{:08X}", rng.below(u64::from(u32::MAX)))),
            (system::CPU, cpu.into()),
            (system::CPU_COUNT, machine.cpus.to_string()),
            (system::MEMORY, machine.memory.to_string()),
            (system::FIRMWARE, format!("1.{}.{}", rng.below(30), rng.below(9))),
            (system::CHASSIS, chassis.into()),
            (system::USERS, user.into()),
        ]),
    )])
}

fn lying_system(machine: &Machine) -> BTreeMap<String, Entry> {
    let lie = machine.os_name;
    let facts = [
        system::OS_NAME,
        system::KERNEL,
        system::ARCH,
        system::VENDOR,
        system::MODEL,
        system::SERIAL,
        system::CPU,
        system::MEMORY,
        system::FIRMWARE,
        system::CHASSIS,
        system::USERS,
        "unknown fact",
    ];
    let mut entry: Entry = facts.iter().map(|fact| ((*fact).to_owned(), lie.to_owned())).collect();
    entry.insert(system::HOSTNAME.to_owned(), machine.hostname.clone());
    entry.insert(lie.to_owned(), lie.to_owned());
    BTreeMap::from([("system".to_owned(), entry)])
}

fn interfaces(machine: &Machine, rng: &mut Rng) -> BTreeMap<String, Entry> {
    if machine.lies {
        return hostile::entries(&["mac", "addresses", "state", "speed_mbit"]);
    }
    let mac: Vec<String> = (0..5).map(|_| format!("{:02x}", rng.below(256))).collect();
    let address = format!("10.{}.{}.{}/24", rng.below(60), rng.below(250), 2 + rng.below(250));
    let facts = entry([
        ("mac", format!("02:{}", mac.join(":"))),
        ("addresses", address),
        ("state", "up".into()),
        ("speed_mbit", "1000".into()),
    ]);
    BTreeMap::from([(machine.interface.to_owned(), facts)])
}

fn disks(machine: &Machine) -> BTreeMap<String, Entry> {
    if machine.lies {
        return hostile::entries(&["device", "filesystem", "total_bytes"]);
    }
    let file_system = if machine.os_family == "windows" { "ntfs" } else { "ext4" };
    machine
        .disks
        .iter()
        .map(|(mount, total)| {
            let facts = entry([
                ("device", format!("/dev/disk-{}", mount.trim_matches(['/', ':']))),
                ("filesystem", file_system.into()),
                ("total_bytes", total.to_string()),
            ]);
            ((*mount).to_owned(), facts)
        })
        .collect()
}

fn packages(machine: &Machine, rng: &mut Rng) -> BTreeMap<String, Entry> {
    if machine.lies {
        return hostile::entries(&["manager", "name", "version", "arch"]);
    }
    let (manager, names) = match machine.os_family {
        "windows" => ("winget", WINDOWS_PACKAGES),
        _ if machine.os_name.starts_with("Red Hat") => ("rpm", LINUX_PACKAGES),
        _ => ("dpkg", LINUX_PACKAGES),
    };
    let mut set = BTreeMap::new();
    for name in names {
        let version = format!("{}.{}.{}", 1 + rng.below(12), rng.below(40), rng.below(20));
        // One computer in ten lacks any given package.
        if rng.below(10) == 0 {
            continue;
        }
        let facts = entry([
            ("manager", manager.into()),
            ("name", (*name).into()),
            ("version", version),
            ("arch", "amd64".into()),
        ]);
        set.insert(format!("{manager}/{name}"), facts);
    }
    set
}

fn services(machine: &Machine, rng: &mut Rng) -> BTreeMap<String, Entry> {
    if machine.lies {
        return hostile::entries(&["state", "start", "description"]);
    }
    let names = if machine.os_family == "windows" { WINDOWS_SERVICES } else { LINUX_SERVICES };
    let mut set = BTreeMap::new();
    for name in names {
        let (state, start) = match rng.below(12) {
            0 => ("failed", "auto"),
            1 | 2 => ("stopped", "manual"),
            _ => ("running", "auto"),
        };
        let facts = entry([("state", state.into()), ("start", start.into())]);
        set.insert((*name).to_owned(), facts);
    }
    set
}
