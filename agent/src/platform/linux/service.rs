//! The agent as a service: of systemd, or of a script in `/etc/init.d` where
//! OpenRC or System V's init runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

const NAME: &str = "unifyit-agent";
/// Units that the installer wrote, and that a package did: the latter are the
/// package manager's to remove.
const UNITS: [(&str, bool); 3] = [
    ("etc/systemd/system/unifyit-agent.service", true),
    ("usr/lib/systemd/system/unifyit-agent.service", false),
    ("lib/systemd/system/unifyit-agent.service", false),
];
const SCRIPT: &str = "etc/init.d/unifyit-agent";

/// Stops the service, keeps it from starting again and removes what the installer
/// wrote for it. Below another root than `/` nothing runs, so only files go.
/// Returns what was removed.
///
/// # Errors
/// A sentence's middle: what the service manager said.
pub fn remove_service(root: &Path) -> Result<Vec<PathBuf>, String> {
    let here = root == Path::new("/");
    let mut removed = Vec::new();
    let present: Vec<(PathBuf, bool)> = UNITS
        .iter()
        .map(|(unit, ours)| (root.join(unit), *ours))
        .filter(|(unit, _)| unit.exists())
        .collect();
    let managed = here && Path::new("/run/systemd/system").is_dir() && !present.is_empty();
    if managed {
        run("systemctl", &["disable", "--now", NAME])?;
    }
    for (unit, _) in present.iter().filter(|(_, ours)| *ours) {
        remove(unit, &mut removed)?;
    }
    if managed {
        run("systemctl", &["daemon-reload"])?;
    }
    let script = root.join(SCRIPT);
    if script.exists() {
        if here && !managed {
            let path = script.display().to_string();
            run(&path, &["stop"])?;
            // Whichever of them keeps the list of what starts; the others are not here.
            for (program, args) in [
                ("rc-update", &["--all", "del", NAME][..]),
                ("update-rc.d", &["-f", NAME, "remove"]),
                ("chkconfig", &["--del", NAME]),
            ] {
                drop(Command::new(program).args(args).output());
            }
        }
        remove(&script, &mut removed)?;
    }
    Ok(removed)
}

fn remove(path: &Path, removed: &mut Vec<PathBuf>) -> Result<(), String> {
    match fs::remove_file(path) {
        Ok(()) => removed.push(path.to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(format!("{} cannot be removed: {e}", path.display())),
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| format!("{program} cannot be started: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(format!("{program} {} said: {said}", args.join(" ")))
}
