//! Installed packages, as each package manager tells them.
//!
//! The parsers read line by line, so that a database of any size costs only what
//! is kept of it. What they read is written by others: odd lines are skipped.

use std::{collections::BTreeMap, io::BufRead};
use unifyit_protocol::inventory::{Entry, MAX_ENTRIES};

/// Longest value kept of anything that a package says about itself, in characters.
const MAX_VALUE: usize = 200;

/// Entries of a section under construction, bounded.
#[derive(Debug, Default)]
pub struct Packages {
    /// Entries by `manager/name`.
    pub entries: BTreeMap<String, Entry>,
    /// Entries beyond the bound.
    pub cut: u32,
}

#[derive(Default)]
struct Package {
    name: String,
    version: String,
    arch: String,
    summary: String,
    /// What is unusual about how it is installed.
    state: String,
    installed: bool,
}

impl Packages {
    /// Adds what a package manager printed or keeps in its file.
    ///
    /// # Errors
    /// When reading fails.
    pub fn add(&mut self, manager: &str, from: impl BufRead) -> std::io::Result<()> {
        match manager {
            "dpkg" => self.dpkg(from),
            "apk" => self.apk(from),
            "rpm" => self.columns(manager, from, '\t', 0, |f| Package {
                name: f(0),
                version: f(1).trim_start_matches("0:").to_owned(),
                arch: f(2),
                summary: f(3),
                // The database of rpm holds imported keys too, as if they were packages.
                installed: f(0) != "gpg-pubkey",
                ..Package::default()
            }),
            "pacman" => self.columns(manager, from, ' ', 0, |f| Package {
                name: f(0),
                version: f(1),
                installed: true,
                ..Package::default()
            }),
            "snap" => self.columns(manager, from, ' ', 1, |f| Package {
                name: f(0),
                version: f(1),
                installed: true,
                ..Package::default()
            }),
            "flatpak" => self.columns(manager, from, '\t', 0, |f| Package {
                name: f(0),
                version: if f(1).is_empty() { f(3) } else { f(1) },
                arch: f(2),
                installed: true,
                ..Package::default()
            }),
            _ => Ok(()),
        }
    }

    /// `/var/lib/dpkg/status`: paragraphs of `Field: value`.
    fn dpkg(&mut self, from: impl BufRead) -> std::io::Result<()> {
        let mut package = Package::default();
        each_line(from, |line| {
            if line.is_empty() {
                self.keep("dpkg", std::mem::take(&mut package));
            } else if let Some((field, value)) = line.split_once(": ") {
                match field {
                    "Package" => package.name = clip(value),
                    "Status" => {
                        let state = value.split_ascii_whitespace().next_back().unwrap_or_default();
                        // Its files are there in every other state, vulnerable or not.
                        package.installed = !matches!(state, "not-installed" | "config-files");
                        if state != "installed" {
                            package.state = clip(state);
                        }
                    }
                    "Version" => package.version = clip(value),
                    "Architecture" => package.arch = clip(value),
                    "Description" => package.summary = clip(value),
                    _ => {}
                }
            }
        })?;
        self.keep("dpkg", package);
        Ok(())
    }

    /// `/lib/apk/db/installed`: paragraphs of `P:value`.
    fn apk(&mut self, from: impl BufRead) -> std::io::Result<()> {
        let mut package = Package { installed: true, ..Package::default() };
        each_line(from, |line| {
            if line.is_empty() {
                let fresh = Package { installed: true, ..Package::default() };
                self.keep("apk", std::mem::replace(&mut package, fresh));
            } else if let Some((field, value)) = line.split_once(':') {
                match field {
                    "P" => package.name = clip(value),
                    "V" => package.version = clip(value),
                    "A" => package.arch = clip(value),
                    "T" => package.summary = clip(value),
                    _ => {}
                }
            }
        })?;
        self.keep("apk", package);
        Ok(())
    }

    /// One package a line, in columns.
    fn columns(
        &mut self,
        manager: &str,
        from: impl BufRead,
        separator: char,
        headings: usize,
        read: impl Fn(&dyn Fn(usize) -> String) -> Package,
    ) -> std::io::Result<()> {
        let mut skip = headings;
        each_line(from, |line| {
            if skip > 0 {
                skip -= 1;
                return;
            }
            let fields: Vec<&str> = if separator == ' ' {
                line.split_ascii_whitespace().collect()
            } else {
                line.split(separator).collect()
            };
            // What rpm prints for a tag that a package does not have.
            let known = |field: &&str| *field != "(none)";
            let field = |i: usize| clip(fields.get(i).copied().filter(known).unwrap_or_default());
            self.keep(manager, read(&field));
        })
    }

    /// Adds what another reading found.
    pub fn join(&mut self, other: Self) {
        self.cut = self.cut.saturating_add(other.cut);
        for (key, entry) in other.entries {
            if self.entries.len() >= MAX_ENTRIES {
                self.cut = self.cut.saturating_add(1);
            } else {
                self.entries.insert(key, entry);
            }
        }
    }

    fn keep(&mut self, manager: &str, package: Package) {
        if !package.installed || package.name.is_empty() || package.version.is_empty() {
            return;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.cut = self.cut.saturating_add(1);
            return;
        }
        // One name may be installed for two architectures, or in two versions.
        let keys = [
            format!("{manager}/{}", package.name),
            format!("{manager}/{}:{}", package.name, package.arch),
            format!("{manager}/{}:{}={}", package.name, package.arch, package.version),
        ];
        let Some(key) = keys.into_iter().find(|k| !self.entries.contains_key(k)) else { return };
        let facts = [
            ("manager", manager.to_owned()),
            ("name", package.name),
            ("version", package.version),
            ("arch", package.arch),
            ("summary", package.summary),
            ("state", package.state),
        ];
        let entry =
            facts.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v));
        self.entries.insert(key, entry.collect());
    }
}

/// Text without control characters, at most [`MAX_VALUE`] long.
pub(super) fn clip(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_VALUE).collect()
}

/// Calls `take` with each line, whatever its encoding; overlong ones are cut.
pub(super) fn each_line(mut from: impl BufRead, mut take: impl FnMut(&str)) -> std::io::Result<()> {
    const MAX_LINE: usize = 4096;
    let mut line = Vec::with_capacity(256);
    loop {
        let available = from.fill_buf()?;
        if available.is_empty() {
            if !line.is_empty() {
                take(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            }
            return Ok(());
        }
        let (part, used, whole) = match available.iter().position(|b| *b == b'\n') {
            Some(at) => (&available[..at], at + 1, true),
            None => (available, available.len(), false),
        };
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        from.consume(used);
        if whole {
            take(String::from_utf8_lossy(&line).trim_end_matches('\r'));
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(manager: &str, text: &str) -> BTreeMap<String, Entry> {
        let mut packages = Packages::default();
        packages.add(manager, text.as_bytes()).unwrap();
        packages.entries
    }

    #[test]
    fn dpkg_tells_what_is_installed_and_nothing_else() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
            Version: 5.2-1\nDescription: GNU shell\n more text: not a field\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n\
            Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36";
        let found = parse("dpkg", text);
        let keys: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["dpkg/bash", "dpkg/libc6", "dpkg/libc6:i386"]);
        assert_eq!(found["dpkg/bash"]["version"], "5.2-1");
        assert_eq!(found["dpkg/bash"]["summary"], "GNU shell");
    }

    #[test]
    fn what_is_installed_in_part_is_told_with_its_state() {
        let text = "Package: a\nStatus: install ok triggers-pending\nVersion: 1\n\n\
            Package: b\nStatus: install ok half-configured\nVersion: 2\n\n\
            Package: c\nStatus: hold ok installed\nVersion: 3\n\n\
            Package: d\nStatus: deinstall ok config-files\nVersion: 4\n";
        let found = parse("dpkg", text);
        let states: Vec<_> =
            found.iter().map(|(k, e)| (k.as_str(), e.get("state").map(String::as_str))).collect();
        let wanted = [
            ("dpkg/a", Some("triggers-pending")),
            ("dpkg/b", Some("half-configured")),
            ("dpkg/c", None),
        ];
        assert_eq!(states, wanted);
    }

    #[test]
    fn imported_keys_are_no_packages_and_what_is_not_there_is_not_told() {
        let found = parse(
            "rpm",
            "gpg-pubkey\t0:11223344-5e6fda74\t(none)\tkey of somebody\n\
             bash\t0:5.1-2\tx86_64\tshell\nodd\t0:1\t(none)\t(none)\n",
        );
        assert_eq!(found.keys().collect::<Vec<_>>(), ["rpm/bash", "rpm/odd"]);
        assert!(!format!("{found:?}").contains("(none)"));
    }

    #[test]
    fn apk_rpm_pacman_snap_and_flatpak_are_read() {
        let apk = parse("apk", "P:musl\nV:1.2.4\nA:x86_64\nT:libc\nF:lib\n\nP:zlib\nV:1.3\n");
        assert_eq!(apk["apk/musl"]["version"], "1.2.4");
        assert_eq!(apk.len(), 2);
        let rpm = parse(
            "rpm",
            "bash\t0:5.1-2\tx86_64\tshell\nkernel\t0:6.1-1\tx86_64\tk\n\
            kernel\t0:6.2-1\tx86_64\tk\n",
        );
        assert_eq!(rpm["rpm/bash"]["version"], "5.1-2");
        assert_eq!(rpm.len(), 3);
        assert_eq!(parse("pacman", "zsh 5.9-1\n")["pacman/zsh"]["version"], "5.9-1");
        let snap = parse("snap", "Name  Version  Rev  Tracking\ncore22  2024  123  latest\n");
        assert_eq!(snap["snap/core22"]["version"], "2024");
        assert_eq!(snap.len(), 1);
        let flatpak =
            parse("flatpak", "org.gimp.GIMP\t2.10\tx86_64\tstable\norg.x\t\taarch64\t23\n");
        assert_eq!(flatpak["flatpak/org.x"]["version"], "23");
    }

    #[test]
    fn hostile_lines_are_cut_and_never_fail() {
        let text = format!("P:{}\nV:1\u{1b}[31m\n\n", "x".repeat(100_000));
        let found = parse("apk", &text);
        let (key, entry) = found.iter().next().unwrap();
        assert!(key.len() <= MAX_VALUE + 4);
        assert_eq!(entry["version"], "1[31m");
        let mut packages = Packages::default();
        packages.add("dpkg", &b"Package: \xff\xfe\nVersion\n: \n\n\n"[..]).unwrap();
    }
}
