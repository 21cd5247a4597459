//! Services, as systemd or OpenRC tells them.

use super::packages::{clip, each_line};
use std::{collections::BTreeMap, io::BufRead};
use unifyit_protocol::inventory::{Entry, MAX_ENTRIES};

/// Reads `systemctl list-units --plain --no-legend`: name, load, active, sub,
/// description.
///
/// # Errors
/// When reading fails.
pub fn systemd(from: impl BufRead) -> std::io::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    each_line(from, |line| {
        // A bullet marks failed units on some versions.
        let line = line.trim_start_matches(['●', '×', '*', ' ']);
        let mut fields = line.split_ascii_whitespace();
        let mut next = || fields.next().map(clip);
        let (Some(unit), Some(load), Some(active), Some(sub)) = (next(), next(), next(), next())
        else {
            return;
        };
        let Some(name) = unit.strip_suffix(".service") else { return };
        // Units that others merely mention are not on this computer.
        if load == "not-found" || found.len() >= MAX_ENTRIES {
            return;
        }
        let description = clip(&fields.collect::<Vec<_>>().join(" "));
        let entry = [
            ("manager", "systemd".to_owned()),
            ("load", load),
            ("active", active),
            ("state", sub),
            ("description", description),
        ];
        found.insert(name.to_owned(), owned(entry));
    })?;
    Ok(found)
}

/// Reads `rc-status --all --format ini`: runlevels in brackets, `name = state`.
///
/// # Errors
/// When reading fails.
pub fn openrc(from: impl BufRead) -> std::io::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    let mut runlevel = String::new();
    each_line(from, |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            runlevel = clip(name);
        } else if let Some((name, state)) = line.split_once('=')
            && found.len() < MAX_ENTRIES
        {
            let state = clip(state);
            let active = if state == "started" { "active" } else { "inactive" };
            let entry = [
                ("manager", "openrc".to_owned()),
                ("active", active.to_owned()),
                ("state", state),
                ("runlevel", runlevel.clone()),
            ];
            found.insert(clip(name), owned(entry));
        }
    })?;
    Ok(found)
}

/// The section of a computer without a service manager: one entry that says so.
#[must_use]
pub fn none(sentence: &str) -> BTreeMap<String, Entry> {
    let entry = [("manager", "none".to_owned()), ("description", sentence.to_owned())];
    BTreeMap::from([("(none)".to_owned(), owned(entry))])
}

fn owned<const N: usize>(facts: [(&str, String); N]) -> Entry {
    facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn systemd_units_are_read_and_absent_ones_left_out() {
        let text = "ssh.service loaded active running OpenBSD Secure Shell server\n\
            ● nginx.service loaded failed failed A high performance web server\n\
            gone.service not-found inactive dead gone.service\nx.socket loaded active running\n";
        let found = systemd(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["ssh"]["state"], "running");
        assert_eq!(found["ssh"]["description"], "OpenBSD Secure Shell server");
        assert_eq!(found["nginx"]["active"], "failed");
    }

    #[test]
    fn openrc_services_carry_their_runlevel() {
        let found =
            openrc("[default]\nsshd = started\n[shutdown]\nkillprocs =  stopped\n".as_bytes());
        let found = found.unwrap();
        assert_eq!(found["sshd"]["active"], "active");
        assert_eq!(found["killprocs"]["runlevel"], "shutdown");
    }
}
