//! Control groups by what Linux prints, and folders against links in the way.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    folder::ScriptFolder,
    group::{claim, place, remove_empty_in},
    way::{Start, prepare},
};
use crate::platform::{Account, AccountId, is_administrator};
use nix::sys::signal::{SigSet, Signal};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, exit, id},
};

#[test]
fn the_control_group_is_found_in_pure_and_mixed_systems_and_in_containers() {
    let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    let unit = "0::/system.slice/unifyit-agent.service\n";
    let found = place(pure, unit).unwrap();
    assert_eq!(found, Path::new("/sys/fs/cgroup/system.slice/unifyit-agent.service"));
    let mixed = "33 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        42 23 0:37 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";
    assert_eq!(place(mixed, "1:cpu:/\n0::/\n").unwrap(), Path::new("/sys/fs/cgroup/unified"));
    let bound = "9 1 0:3 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    assert_eq!(place(bound, "0::/docker/x/in\n").unwrap(), Path::new("/sys/fs/cgroup/in"));
    assert_eq!(place(pure, "1:cpu:/x\n"), None, "no version 2");
    assert_eq!(place(pure, "0::/../elsewhere\n"), None, "outside of what is seen");
    assert_eq!(place("33 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\n", "0::/\n"), None);
}

#[test]
fn a_group_that_is_still_empty_is_its_keepers_and_no_other_keeper_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, left) = (dir.path().join("unifyit-mine"), dir.path().join("unifyit-left"));
    let other = dir.path().join("user.slice");
    for folder in [&left, &other] {
        fs::create_dir(folder).unwrap();
    }
    let held = claim(&mine).unwrap();
    remove_empty_in(dir.path());
    assert!(mine.exists(), "a group was removed before its command's process was made");
    assert!(!left.exists() && other.exists());
    // A group that a command left is claimed as it is.
    drop(held);
    let again = claim(&mine).unwrap();
    remove_empty_in(dir.path());
    assert!(mine.exists());
    drop(again);
    remove_empty_in(dir.path());
    assert!(!mine.exists(), "an empty group that nobody holds stays for good");
}

#[test]
fn a_process_that_lost_its_keeper_does_not_become_the_program() {
    const KEEPER: &str = "TEST_KEEPER";
    const NAME: &str = "platform::linux::keep::tests::\
                        a_process_that_lost_its_keeper_does_not_become_the_program";
    if let Ok(keeper) = std::env::var(KEEPER) {
        let keeper = nix::unistd::Pid::from_raw(keeper.parse().unwrap());
        let (folder, program) = ("/".into(), Command::new("true"));
        let start = Start { keeper, becomes: None, terminal: None, folder, program };
        exit(if prepare(&start).is_ok() { 10 } else { 11 });
    }
    let prepared = |keeper: i32| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", NAME, "--nocapture"]).env(KEEPER, keeper.to_string());
        child.output().unwrap().status.code()
    };
    assert_eq!(prepared(i32::try_from(id()).unwrap()), Some(10));
    // Its parent is another one than made it: that one has ended.
    assert_eq!(prepared(nix::unistd::getppid().as_raw()), Some(11));
}

/// Some shells put that right by themselves, so no script shows it.
#[test]
fn what_the_keeper_holds_back_for_itself_reaches_the_program() {
    const KEEPER: &str = "TEST_KEEPER_THAT_WAITS";
    const NAME: &str = "platform::linux::keep::tests::\
                        what_the_keeper_holds_back_for_itself_reaches_the_program";
    if let Ok(keeper) = std::env::var(KEEPER) {
        SigSet::from_iter([Signal::SIGCHLD]).thread_block().unwrap();
        let keeper = nix::unistd::Pid::from_raw(keeper.parse().unwrap());
        let (folder, program) = ("/".into(), Command::new("true"));
        prepare(&Start { keeper, becomes: None, terminal: None, folder, program }).unwrap();
        let blocked = SigSet::thread_get_mask().unwrap();
        exit(if blocked.contains(Signal::SIGCHLD) { 11 } else { 10 });
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", NAME, "--nocapture"]).env(KEEPER, id().to_string());
    assert_eq!(child.output().unwrap().status.code(), Some(10));
}

#[test]
fn a_scripts_folder_is_private_and_what_is_there_already_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let made = ScriptFolder::create(dir.path(), "one", "sh", b"echo", None).unwrap();
    assert_eq!(fs::read(&made.script).unwrap(), b"echo");
    assert_eq!(fs::metadata(&made.all).unwrap().mode() & 0o777, 0o700);
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, dir.path().join("two")).unwrap();
    ScriptFolder::create(dir.path(), "two", "sh", b"echo", None).unwrap_err();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "a link was followed");
    made.remove();
    assert!(!made.all.exists());
}

#[test]
fn another_users_folder_stays_the_agents_own_and_only_what_lies_in_it_is_handed_over() {
    if !is_administrator() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let nobody = Account {
        name: "nobody".into(),
        id: AccountId { uid: 65_534, gid: 65_534 },
        home: "/".into(),
        shell: "/bin/sh".into(),
    };
    let made = ScriptFolder::create(dir.path(), "c", "sh", b"echo", Some(&nobody)).unwrap();
    let of = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.uid(), meta.permissions().mode() & 0o777)
    };
    // Whoever owns a folder may put a link where root is about to make a file.
    assert_eq!(of(&made.all), (0, 0o711));
    assert_eq!(of(&made.work), (65_534, 0o700));
    assert_eq!(of(&made.script), (65_534, 0o600));
    made.remove();
}
