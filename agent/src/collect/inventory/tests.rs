//! Changes as the relay applies them, and sources that fail.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;
use unifyit_protocol::envelope::Decoded;

fn apply(at: &mut BTreeMap<String, Entry>, report: InventoryReport) {
    if report.whole {
        at.clear();
    }
    at.extend(report.set);
    for key in report.gone {
        at.remove(&key);
    }
}

fn section() -> impl Strategy<Value = BTreeMap<String, Entry>> {
    let entry = proptest::collection::btree_map("[a-c]", "[a-z]{0,3}", 0..3);
    proptest::collection::btree_map("[a-f]{1,2}", entry, 0..12)
}

proptest! {
    #[test]
    fn changes_bring_the_relay_from_any_state_to_any_other(a in section(), b in section()) {
        let mut there = BTreeMap::new();
        for report in changes(Section::Packages, a.clone(), 0, None, 1) {
            apply(&mut there, report);
        }
        prop_assert_eq!(&there, &a);
        let told: Told = a.iter().map(|(k, e)| (k.clone(), hash(e))).collect();
        let reports = changes(Section::Packages, b.clone(), 0, Some(&told), 2);
        prop_assert_eq!(a == b, reports.is_empty());
        for report in reports {
            apply(&mut there, report);
        }
        prop_assert_eq!(&there, &b);
    }
}

#[test]
fn a_long_section_travels_in_bounded_reports_of_which_only_the_first_replaces() {
    let entries: BTreeMap<String, Entry> = (0..2500)
        .map(|i| (format!("dpkg/p{i:05}"), Entry::from([("version".into(), "1".into())])))
        .collect();
    let reports = changes(Section::Packages, entries.clone(), 0, None, 1);
    assert!(reports.len() >= 3);
    assert!(reports.iter().all(|r| r.set.len() <= REPORT_ENTRIES));
    assert!(reports[0].whole && reports[1..].iter().all(|r| !r.whole));
    assert_eq!(reports.iter().map(|r| r.set.len()).sum::<usize>(), entries.len());
}

fn order(dir: &Path, whole: bool) -> Order {
    let (folder, root) = (dir.join("told"), dir.join("root"));
    Order { folder, root, whole, limit: Duration::from_secs(2) }
}

/// What a run tells, and the snapshots that it wants accepted.
fn tell(order: &Order) -> (Vec<InventoryReport>, Vec<String>) {
    let mut out = Vec::new();
    tell_changes(order, &mut out).unwrap();
    let (mut reports, mut snapshots, mut rest) = (Vec::new(), Vec::new(), &out[..]);
    loop {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let body = &rest[5..5 + length];
        match FrameKind::of(rest[4]).unwrap() {
            FrameKind::Report => {
                let Decoded::Known(Report::Inventory(report)) = Report::decode(body).unwrap()
                else {
                    panic!("another report")
                };
                reports.push(report);
            }
            FrameKind::Snapshot => snapshots.push(String::from_utf8(body.into()).unwrap()),
            FrameKind::End => break,
        }
        rest = &rest[5 + length..];
    }
    (reports, snapshots)
}

fn program(dir: &Path, name: &str, body: &str) {
    let folder = dir.join("root/usr/local/bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    let made = std::process::Command::new("chmod").arg("755").arg(&path).status();
    assert!(made.unwrap().success());
}

fn state(reports: Vec<InventoryReport>, section: Section) -> BTreeMap<String, Entry> {
    let mut there = BTreeMap::new();
    for report in reports.into_iter().filter(|r| r.section == section) {
        apply(&mut there, report);
    }
    there
}

#[test]
fn what_was_told_and_accepted_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let order = order(dir.path(), false);
    let (first, _) = tell(&order);
    assert!(!first.is_empty());
    // Not accepted yet: as after a crash, it is told again.
    let (again, snapshots) = tell(&order);
    assert_eq!(again.len(), first.len());
    for snapshot in &snapshots {
        accept_snapshot(&order.folder, snapshot).unwrap();
    }
    assert!(load::<Told>(&order.folder.join("system.told")).is_some());
    let (third, _) = tell(&order);
    assert!(third.iter().all(|r| r.section != Section::Packages), "{third:?}");
}

#[test]
fn a_manager_that_fails_or_hangs_loses_only_itself_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "pacman", "echo zsh 5.9-1");
    program(dir.path(), "flatpak", "printf 'org.x\\t1\\tx86_64\\tstable\\n'");
    program(dir.path(), "snap", "exit 1");
    let order = order(dir.path(), false);
    let (reports, snapshots) = tell(&order);
    let system = state(reports.clone(), Section::System);
    let unread = &system[SYSTEM][UNREAD];
    assert!(unread.contains("snap: it ended with exit status: 1"), "{unread}");
    let found = state(reports, Section::Packages);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["flatpak/org.x", "pacman/zsh"]);
    for snapshot in &snapshots {
        accept_snapshot(&order.folder, snapshot).unwrap();
    }
    // What was told of it stays while it cannot be asked, and goes when it is gone.
    program(dir.path(), "flatpak", "exec sleep 600");
    let (reports, snapshots) = tell(&order);
    assert!(reports.iter().all(|r| r.section != Section::Packages), "{reports:?}");
    let system = state(reports, Section::System);
    assert!(system[SYSTEM][UNREAD].contains("flatpak: it did not answer in time"), "{system:?}");
    for snapshot in &snapshots {
        accept_snapshot(&order.folder, snapshot).unwrap();
    }
    program(dir.path(), "flatpak", "true");
    let (reports, _) = tell(&order);
    let packages = reports.iter().find(|r| r.section == Section::Packages).unwrap();
    assert_eq!(packages.gone, ["flatpak/org.x"]);
}

#[test]
fn a_manager_whose_database_is_unchanged_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let body = format!("echo x >> {}; printf 'org.x\\t1\\tx86_64\\tstable\\n'", asked.display());
    program(dir.path(), "flatpak", &body);
    program(dir.path(), "pacman", "echo zsh 5.9-1");
    let database = dir.path().join("root/var/lib/flatpak/.changed");
    fs::create_dir_all(database.parent().unwrap()).unwrap();
    fs::write(&database, "1").unwrap();
    let times = || fs::read_to_string(&asked).unwrap().lines().count();
    let run = |whole, accept: bool| {
        let order = order(dir.path(), whole);
        let (reports, snapshots) = tell(&order);
        for snapshot in snapshots.iter().filter(|_| accept) {
            accept_snapshot(&order.folder, snapshot).unwrap();
        }
        reports.into_iter().filter(|r| r.section == Section::Packages).collect::<Vec<_>>()
    };
    assert_eq!(run(false, false)[0].set.len(), 2);
    assert_eq!((run(false, true)[0].set.len(), times()), (2, 2), "a crash came in between");
    assert_eq!((run(false, true).len(), times()), (0, 2), "asked, or forgotten");
    // Another manager's change leaves it alone.
    program(dir.path(), "pacman", "echo zsh 6.0-1");
    let changed = run(false, true);
    assert_eq!(changed[0].set.keys().collect::<Vec<_>>(), ["pacman/zsh"]);
    assert_eq!((changed.len(), changed[0].gone.len(), times()), (1, 0, 2));
    fs::write(&database, "22").unwrap();
    assert_eq!((run(false, true).len(), times()), (0, 3), "what changed is read");
    assert_eq!((run(true, true)[0].set.len(), times()), (2, 4), "everything was asked for");
    // A snapshot that is lost is no word of what was told.
    fs::write(dir.path().join("told/packages.told"), "x").unwrap();
    assert_eq!((run(false, true)[0].set.len(), times()), (2, 5));
    // It is gone, database or not.
    fs::remove_file(dir.path().join("root/usr/local/bin/flatpak")).unwrap();
    assert_eq!(run(false, true)[0].gone, ["flatpak/org.x"]);
}
