//! Where installed packages and services can be learnt from.

use super::process::search_path;
use crate::platform::{PackageSource, ServiceManager, SourceKind};
use std::path::{Path, PathBuf};

/// Finds a program in the search path.
#[must_use]
fn find(program: &str) -> Option<PathBuf> {
    search_path().split(':').map(|folder| Path::new(folder).join(program)).find(|p| p.is_file())
}

/// Package managers that are present.
#[must_use]
pub fn package_sources() -> Vec<PackageSource> {
    let file = |manager, path: &str| {
        let path = PathBuf::from(path);
        path.is_file().then_some(PackageSource { manager, from: SourceKind::File(path) })
    };
    let command = |manager, program: &str, arguments: &[&'static str]| {
        let from = SourceKind::Command(find(program)?, arguments.to_vec());
        Some(PackageSource { manager, from })
    };
    // rpm is often installed on Debian without a database of its own.
    let rpm = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"].iter().any(|p| {
        ["rpmdb.sqlite", "Packages", "Packages.db"].iter().any(|f| Path::new(p).join(f).exists())
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
        && let Some(systemctl) = find("systemctl")
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
        && let Some(status) = find("rc-status")
    {
        let arguments = vec!["--all", "--format", "ini"];
        return ServiceManager::OpenRc(SourceKind::Command(status, arguments));
    }
    ServiceManager::None("This computer runs neither systemd nor OpenRC.")
}
