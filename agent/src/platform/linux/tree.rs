//! Processes by parentage, from one look at `/proc/*/stat`.
//!
//! That file is read without the process's memory lock, so that a look never
//! waits for a process that hangs; its environment or command line might.

use std::{collections::BTreeSet, fs};

/// One process at the moment of the look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// Ticks since the system's start at which it began.
    pub(super) began: u64,
    pub(super) name: String,
    /// It has ended and waits for its parent.
    pub(super) ended: bool,
}

impl Process {
    /// How a sentence names it.
    pub(super) fn named(&self) -> String {
        format!("{} (process {})", self.name, self.pid)
    }
}

/// All processes.
pub(super) fn look() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| parse(&fs::read(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Reads `pid (name) state parent group session …`; a name may hold anything.
pub(super) fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.trim().parse::<i32>().ok();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?);
    Some(Process {
        pid: number(stat.get(..open)?)?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
        name: name.chars().filter(|c| !c.is_control()).collect(),
        ended: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// Those that descend from `root`, without it.
pub(super) fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut family = BTreeSet::from([root]);
    // A parent may stand behind its child in the list.
    loop {
        let before = family.len();
        let children = all.iter().filter(|p| family.contains(&p.parent)).map(|p| p.pid);
        let children: Vec<i32> = children.collect();
        family.extend(children);
        if family.len() == before {
            break;
        }
    }
    all.iter().filter(|p| p.pid != root && family.contains(&p.pid)).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_of_blanks_and_brackets_does_not_move_the_fields() {
        let line = b"42 (a) R (b\xff) S 7 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 999 0 0";
        let found = parse(line).unwrap();
        assert_eq!((found.pid, found.parent, found.session, found.began), (42, 7, 40, 999));
        assert_eq!(found.name, "a) R (b\u{fffd}");
        assert!(!found.ended);
        assert_eq!(parse(b"nonsense"), None);
    }

    #[test]
    fn descendants_are_found_in_whatever_order_they_stand() {
        let process = |pid, parent| Process {
            pid,
            parent,
            session: 1,
            began: 0,
            name: "x".into(),
            ended: false,
        };
        let all = [process(9, 8), process(8, 5), process(5, 1), process(6, 1), process(7, 5)];
        let found: Vec<i32> = below(5, &all).iter().map(|p| p.pid).collect();
        assert_eq!(found, [9, 8, 7]);
    }
}
