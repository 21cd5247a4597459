//! Where installed packages and services can be learnt from.

use super::{process::search_path, tree};
use crate::{
    apart::within_blocking,
    platform::{PackageSource, ServiceManager, SourceKind},
};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Most bytes read of one source.
const MAX_SOURCE: u64 = 256 << 20;
/// How long the end of a source's processes is waited for.
const END: Duration = Duration::from_secs(2);

/// Finds a program in the search path below a root folder.
fn find(root: &Path, program: &str) -> Option<PathBuf> {
    let folders = search_path().split(':').map(|folder| root.join(folder.trim_start_matches('/')));
    folders.map(|folder| folder.join(program)).find(|p| p.is_file())
}

/// Makes this process the one that reads sources: what they start and leave is
/// then found below it. For the inventory's own process.
pub fn prepare_for_sources() {
    if let Err(error) = prctl::set_child_subreaper(true) {
        tracing::debug!(%error, "what a source leaves behind cannot be ended");
    }
}

/// Reads a source, at most for `limit`; then all that it started is ended.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn read_source<T: Send + 'static>(
    source: &SourceKind,
    limit: Duration,
    take: impl FnOnce(Box<dyn BufRead>) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let source = source.clone();
    within_blocking(limit, move || read_whole(&source, take)).unwrap_or_else(|error| {
        end_children();
        Err(error.to_string())
    })
}

fn read_whole<T>(
    source: &SourceKind,
    take: impl FnOnce(Box<dyn BufRead>) -> io::Result<T>,
) -> Result<T, String> {
    match source {
        SourceKind::File(path) => {
            let file = File::open(path).map_err(|e| e.to_string())?;
            take(Box::new(BufReader::new(file.take(MAX_SOURCE)))).map_err(|e| e.to_string())
        }
        SourceKind::Command(program, arguments) => {
            let mut child = Command::new(program)
                .args(arguments)
                .env("LC_ALL", "C")
                .env("PATH", search_path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .map_err(|e| format!("it could not be started: {e}"))?;
            let out = child.stdout.take().ok_or("it has no output")?;
            let taken = take(Box::new(BufReader::new(out.take(MAX_SOURCE))));
            let status = child.wait().map_err(|e| e.to_string())?;
            if !status.success() {
                return Err(format!("it ended with {status}"));
            }
            taken.map_err(|e| e.to_string())
        }
    }
}

/// Ends all processes below this one, as far as they can be ended.
fn end_children() {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let until = Instant::now() + END;
    loop {
        let mut below = tree::below(own, &tree::look());
        below.retain(|p| !p.ended);
        if below.is_empty() || Instant::now() >= until {
            return;
        }
        for process in below {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive)
        {
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Package managers that are present below a root folder, which is `/` but in
/// tests.
#[must_use]
pub fn package_sources(root: &Path) -> Vec<PackageSource> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let file = |manager, path: &str| {
        let path = at(path);
        path.is_file().then_some(PackageSource { manager, from: SourceKind::File(path) })
    };
    let command = |manager, program: &str, arguments: &[&'static str]| {
        let from = SourceKind::Command(find(root, program)?, arguments.to_vec());
        Some(PackageSource { manager, from })
    };
    // rpm is often installed on Debian without a database of its own.
    let rpm = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"].iter().any(|p| {
        ["rpmdb.sqlite", "Packages", "Packages.db"].iter().any(|f| at(p).join(f).exists())
    });
    const RPM: &[&str] =
        &["-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{SUMMARY}\\n"];
    [
        file("dpkg", "/var/lib/dpkg/status"),
        file("apk", "/lib/apk/db/installed").or_else(|| file("apk", "/usr/lib/apk/db/installed")),
        rpm.then(|| command("rpm", "rpm", RPM)).flatten(),
        command("pacman", "pacman", &["-Q"]),
        command("snap", "snap", &["list", "--color=never", "--unicode=never"]),
        command("flatpak", "flatpak", &["list", "--columns=application,version,arch,branch"]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Who manages services here.
#[must_use]
pub fn service_manager() -> ServiceManager {
    if Path::new("/run/systemd/system").is_dir()
        && let Some(systemctl) = find(Path::new("/"), "systemctl")
    {
        const ARGUMENTS: &[&str] = &[
            "list-units",
            "--type=service",
            "--all",
            "--plain",
            "--full",
            "--no-legend",
            "--no-pager",
        ];
        return ServiceManager::Systemd(SourceKind::Command(systemctl, ARGUMENTS.to_vec()));
    }
    if Path::new("/run/openrc").is_dir()
        && let Some(status) = find(Path::new("/"), "rc-status")
    {
        let arguments = vec!["--all", "--format", "ini"];
        return ServiceManager::OpenRc(SourceKind::Command(status, arguments));
    }
    ServiceManager::None("This computer runs neither systemd nor OpenRC.")
}
