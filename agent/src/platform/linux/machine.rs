//! Who this computer is and who its users are.

use crate::platform::Account;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use rustix::time::{ClockId, clock_gettime};
use std::{
    ffi::CString,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use zeroize::Zeroizing;

/// Where Linux keeps the machine's identity, best first.
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Who a user is to Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountId {
    /// User id.
    pub(super) uid: u32,
    /// Primary group id.
    pub(super) gid: u32,
}

impl AccountId {
    /// Both are the same user.
    #[must_use]
    pub fn is_user(self, other: Self) -> bool {
        self.uid == other.uid
    }
}

/// Milliseconds since the computer started, sleep included. Nobody can set it.
#[must_use]
pub fn uptime_ms() -> u64 {
    let at = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(at.tv_sec), u64::try_from(at.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1000) + nanos.unwrap_or(0) / 1_000_000
}

/// The secret that binds sealed files to this computer: `machine-id`, which
/// stands on the system disk and not in the state folder; `None` where the system
/// has none.
///
/// # Errors
/// When it cannot be read at the moment. That is not taken for none: the computer
/// would pass for another one.
pub fn machine_secret() -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    secret_in(&MACHINE_ID.map(Path::new))
}

fn secret_in(paths: &[&Path]) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    for path in paths {
        let text = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                continue;
            }
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
        };
        let id = text.trim_ascii();
        if id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) {
            return Ok(Some(Zeroizing::new(id.to_vec())));
        }
    }
    Ok(None)
}

/// Host name.
#[must_use]
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".into())
}

/// Looks a user up, also one of a directory. May take as long as that.
#[must_use]
pub fn account(name: &str) -> Option<Account> {
    User::from_name(name).ok().flatten().map(from_nix).or_else(|| account_of_the_system(name))
}

/// A static program reads /etc/passwd and nothing else; users of SSSD, LDAP, winbind
/// and homed are known to the system's own C library, which `getent` asks.
fn account_of_the_system(name: &str) -> Option<Account> {
    // A number would be looked up as one, and anything with a dash be an option.
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    account_of_row(&said_by("getent", &["passwd", name])?)
}

fn account_of_row(row: &str) -> Option<Account> {
    let mut fields = row.lines().next()?.split(':');
    let (name, _password) = (fields.next()?.to_owned(), fields.next()?);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let _person = fields.next()?;
    let (home, shell) = (fields.next()?.into(), fields.next()?.into());
    Some(Account { name, id: AccountId { uid, gid }, home, shell })
}

/// The groups of a user, those of a directory among them.
#[must_use]
pub(super) fn groups(account: &Account) -> Option<Vec<Gid>> {
    let gid = Gid::from_raw(account.id.gid);
    let listed = || {
        let name = CString::new(account.name.as_str()).ok()?;
        getgrouplist(&name, gid).ok()
    };
    if !cfg!(target_env = "musl") {
        return listed();
    }
    said_by("id", &["-G", "--", &account.name]).and_then(|row| groups_of_row(&row)).or_else(listed)
}

fn groups_of_row(row: &str) -> Option<Vec<Gid>> {
    let all: Result<Vec<Gid>, _> =
        row.split_whitespace().map(|n| n.parse().map(Gid::from_raw)).collect();
    all.ok().filter(|all| !all.is_empty())
}

/// What a program of the system answers when all is well.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let out = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The user whom the agent itself runs as.
#[must_use]
pub fn agent_account() -> Account {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| unnamed(uid), from_nix)
}

/// Whether the agent may switch to any user.
#[must_use]
pub fn is_administrator() -> bool {
    geteuid().is_root()
}

fn from_nix(user: User) -> Account {
    Account {
        name: user.name,
        id: AccountId { uid: user.uid.as_raw(), gid: user.gid.as_raw() },
        home: user.dir,
        shell: user.shell,
    }
}

fn unnamed(uid: Uid) -> Account {
    Account {
        name: uid.to_string(),
        id: AccountId { uid: uid.as_raw(), gid: nix::unistd::getegid().as_raw() },
        home: PathBuf::from("/"),
        shell: PathBuf::from("/bin/sh"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_machine_identity_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let paths = [first.as_path(), second.as_path()];
        assert!(secret_in(&paths).unwrap().is_none(), "there is none");
        fs::write(&second, "0123456789abcdef0123456789abcdef\n").unwrap();
        let known = secret_in(&paths).unwrap().unwrap();
        assert_eq!(known.as_slice(), b"0123456789abcdef0123456789abcdef");
        fs::write(&first, "uninitialized\n").unwrap();
        assert_eq!(secret_in(&paths).unwrap().unwrap(), known, "a system at its first start");
        // A folder in its place stands for a disk that does not answer.
        fs::remove_file(&first).unwrap();
        fs::create_dir(&first).unwrap();
        let error = secret_in(&paths).unwrap_err();
        assert!(error.to_string().contains("first"), "{error}");
    }

    #[test]
    fn what_the_system_says_of_a_user_is_understood() {
        let row = "ann@corp.example:*:1200011:1200513:Ann, of sales:/home/corp/ann:/bin/zsh\n";
        let ann = account_of_row(row).unwrap();
        assert_eq!(
            (ann.name.as_str(), ann.id.uid, ann.id.gid),
            ("ann@corp.example", 1_200_011, 1_200_513)
        );
        assert_eq!((ann.home, ann.shell), ("/home/corp/ann".into(), "/bin/zsh".into()));
        for other in ["", "ann", "ann:*:x:1:::", "ann:*:1:1"] {
            assert!(account_of_row(other).is_none(), "{other}");
        }
        let groups = groups_of_row("1200513 27 1200600\n").unwrap();
        assert_eq!(
            groups.iter().map(|g| g.as_raw()).collect::<Vec<_>>(),
            [1_200_513, 27, 1_200_600]
        );
        assert!(groups_of_row("\n").is_none());
    }

    #[test]
    fn the_system_itself_knows_root_and_nobody_by_number() {
        let root = account_of_the_system("root").unwrap();
        assert_eq!((root.id.uid, root.id.gid), (0, 0));
        assert!(account_of_the_system("0").is_none());
        assert!(account_of_the_system("--help").is_none());
        assert!(groups(&root).unwrap().contains(&Gid::from_raw(0)));
    }
}
