//! The agent as a service of systemd.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

const UNIT: &str = "unifyit-agent.service";

/// Stops the service, keeps it from starting again and removes its unit. Below
/// another root than `/` nothing runs, so only the file goes. Returns what was
/// removed.
///
/// # Errors
/// A sentence's middle: what the service manager said.
pub fn remove_service(root: &Path) -> Result<Vec<PathBuf>, String> {
    let unit = root.join("etc/systemd/system").join(UNIT);
    if !unit.exists() {
        return Ok(Vec::new());
    }
    let managed = root == Path::new("/") && Path::new("/run/systemd/system").is_dir();
    if managed {
        systemctl(&["disable", "--now", UNIT])?;
    }
    match fs::remove_file(&unit) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(format!("{} cannot be removed: {e}", unit.display()));
        }
        _ => {}
    }
    if managed {
        systemctl(&["daemon-reload"])?;
    }
    Ok(vec![unit])
}

fn systemctl(args: &[&str]) -> Result<(), String> {
    let output = Command::new("systemctl")
        .args(args)
        .output()
        .map_err(|e| format!("systemctl cannot be started: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(format!("systemctl {} said: {said}", args.join(" ")))
}
