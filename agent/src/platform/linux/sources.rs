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
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Most bytes read of one source.
const MAX_SOURCE: u64 = 256 << 20;
/// How long the end of a source's processes is waited for.
const END: Duration = Duration::from_secs(2);
/// How long they are asked to end before they are ended by force: some hold locks in
/// a database, which would stay.
const ASK: Duration = Duration::from_secs(1);

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
    let (begun, mut asked) = (Instant::now(), Vec::new());
    loop {
        let mut below = tree::below(own, &tree::look());
        below.retain(|p| !p.ended);
        if below.is_empty() || begun.elapsed() >= END {
            return;
        }
        for process in below {
            let pid = Pid::from_raw(process.pid);
            if begun.elapsed() >= ASK {
                let _ = kill(pid, Signal::SIGKILL);
            } else if !asked.contains(&pid) {
                let _ = kill(pid, Signal::SIGTERM);
                asked.push(pid);
            }
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
        path.is_file().then(|| {
            let database = vec![path.clone()];
            PackageSource { manager, from: SourceKind::File(path), database }
        })
    };
    let command = |manager, program: &str, arguments: &[&'static str], database: &[&str]| {
        let from = SourceKind::Command(find(root, program)?, arguments.to_vec());
        let database = database.iter().map(|path| at(path)).collect();
        Some(PackageSource { manager, from, database })
    };
    // rpm is often installed on Debian without a database of its own.
    let rpm = RPM_DATABASE.iter().any(|path| !path.ends_with("-wal") && at(path).exists());
    const RPM: &[&str] =
        &["-qa", "--qf", "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{SUMMARY}\\n"];
    const SNAP: &[&str] = &["list", "--color=never", "--unicode=never"];
    const FLATPAK: &[&str] = &["list", "--columns=application,version,arch,branch"];
    // Installations elsewhere change without a word here.
    let elsewhere = fs::read_dir(at("/etc/flatpak/installations.d")).is_ok_and(|d| d.count() > 0);
    let flatpaks = if elsewhere { &[][..] } else { &FLATPAK_DATABASE };
    [
        file("dpkg", "/var/lib/dpkg/status"),
        file("apk", "/lib/apk/db/installed").or_else(|| file("apk", "/usr/lib/apk/db/installed")),
        rpm.then(|| command("rpm", "rpm", RPM, &RPM_DATABASE)).flatten(),
        // Each package has a folder there.
        command("pacman", "pacman", &["-Q"], &["/var/lib/pacman/local"]),
        command("snap", "snap", SNAP, &["/var/lib/snapd/state.json"]),
        command("flatpak", "flatpak", FLATPAK, flatpaks),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// rpm's database: where, and in which format, depends on the system and its age.
const RPM_DATABASE: [&str; 8] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/usr/lib/sysimage/rpm/Packages",
    "/usr/lib/sysimage/rpm/Packages.db",
];

/// What flatpak touches at each change, of the system and of the agent's own user.
const FLATPAK_DATABASE: [&str; 2] =
    ["/var/lib/flatpak/.changed", "/root/.local/share/flatpak/.changed"];

/// How a source's database looks from outside: as long as that is the same, so is
/// what is installed. `None` where nothing can be told from it.
#[must_use]
pub fn look_of(source: &PackageSource) -> Option<String> {
    let look = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        // An empty log is as good as none, and readers make one.
        (meta.is_dir() || meta.size() > 0).then(|| {
            let changed = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            format!("{}:{}:{}:{changed:?}", meta.dev(), meta.ino(), meta.size())
        })
    };
    let looks: Vec<_> = source.database.iter().map(look).collect();
    looks.iter().any(Option::is_some).then(|| format!("{:?} {looks:?}", source.from))
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
