//! The wall around the store of the relay: it names no feature, and what features keep
//! in it stands in their own folders, a line each in the table of contents.

use crate::{
    assert_none,
    features::{heads, product, word},
    root, sources,
};
use std::{collections::BTreeSet, fs};

const SOURCE: &str = "site-relay/src/";
const STORE: &str = "site-relay/src/store/";
const CONTENTS: &str = "site-relay/src/parts.rs";

/// What the store builds on, beside itself: the table of contents of its parts, the time
/// and the metrics.
const SPINE: [&str; 4] = ["store", "parts", "clock", "telemetry"];

/// What code of the store names of the crate that is no part of the spine.
fn beyond_the_spine(path: &str, code: &str) -> BTreeSet<String> {
    let mut named: Vec<&str> = code.split("crate::").skip(1).flat_map(heads).collect();
    if let Some(inner) = path.strip_prefix(STORE) {
        let depth = inner.trim_end_matches("mod.rs").trim_end_matches(".rs").split('/');
        let up = "super::".repeat(depth.filter(|name| !name.is_empty()).count() + 1);
        named.extend(code.split(up.as_str()).skip(1).flat_map(heads));
    }
    let beyond = named.into_iter().map(word).filter(|name| !name.is_empty());
    let beyond = beyond.filter(|name| !SPINE.contains(name));
    beyond.map(str::to_owned).collect()
}

#[test]
fn the_store_of_the_relay_names_no_feature() {
    let mut offences = Vec::new();
    for (path, text) in sources(STORE) {
        let Some(code) = product(&path, &text) else { continue };
        let beyond = beyond_the_spine(&path, &code);
        offences.extend(beyond.into_iter().map(|name| format!("{path} names {name}")));
    }
    assert_none(
        &offences,
        "Features build on the store, which knows them as parts alone (store/part.rs).",
    );
}

/// What implements a part, by its path.
fn parts() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in sources(SOURCE) {
        let Some(code) = product(&path, &text) else { continue };
        let feature = path[SOURCE.len()..].split(['/', '.']).next().unwrap_or_default();
        let implemented = code.split("impl Part for ").skip(1).map(word);
        found.extend(implemented.map(|name| format!("{feature} {name}")));
    }
    found
}

#[test]
fn the_contents_have_one_line_for_each_part_of_the_store() {
    let text = fs::read_to_string(root().join(CONTENTS)).unwrap();
    let code = product(CONTENTS, &text).unwrap();
    let mut listed = BTreeSet::new();
    let mut offences = Vec::new();
    for line in code.lines().filter(|line| line.ends_with(',')) {
        let path = line.split("crate::").nth(1).unwrap_or_default().trim_end_matches(',');
        let (first, last) = path.split_once("::").unwrap_or_default();
        let name = format!("{first} {}", last.rsplit("::").next().unwrap_or_default());
        if !listed.insert(name) {
            offences.push(format!("{CONTENTS} lists {path} twice"));
        }
    }
    let parts = parts();
    offences.extend(parts.difference(&listed).map(|part| format!("{part} is not listed")));
    offences.extend(listed.difference(&parts).map(|part| format!("{part} is no part")));
    assert_none(&offences, "parts.rs lists each part of the store in one line, and no more.");
}

#[test]
fn tables_of_the_relays_store_are_declared_by_the_parts_that_own_them() {
    // The package cache has a file of its own.
    let may = [format!("{STORE}part.rs"), format!("{SOURCE}cache/index/")];
    let mut offences = Vec::new();
    for (path, text) in sources(SOURCE) {
        let Some(code) = product(&path, &text) else { continue };
        if code.contains("TableDefinition") && !may.iter().any(|may| path.starts_with(may)) {
            offences.push(path);
        }
    }
    assert_none(&offences, "A table of the store is declared with `tables!`, which creates it.");
}

/// Who spawns tasks that the lifecycle does not know, each with its reason: they end with
/// what they are for, or whoever has them hears of their end.
const SPAWNS: [(&str, &str); 10] = [
    ("cache/flight.rs", "one fetch"),
    ("cache/linger.rs", "one fetch that its client left"),
    ("cache/refresh.rs", "one look at a resource"),
    ("downlink.rs", "of one session, which ends with it"),
    ("ingest/meet.rs", "a moment later"),
    ("lifecycle.rs", "what a part runs beside itself, and watches"),
    ("sisters/node.rs", "one request"),
    ("tunnel.rs", "one tunnel"),
    ("uplink/mod.rs", "one session, which the uplink waits for"),
    ("uplink/session.rs", "the writer of one session, which ends with it"),
];

#[test]
fn what_runs_for_long_in_the_relay_is_a_part_whose_end_is_seen() {
    let mut found = BTreeSet::new();
    let mut offences = Vec::new();
    for (path, text) in sources(SOURCE) {
        let Some(code) = product(&path, &text) else { continue };
        let spawns = code.matches("tokio::spawn(").count() + code.matches("task::spawn(").count();
        let inner = &path[SOURCE.len()..];
        let listed = SPAWNS.iter().any(|(known, _)| *known == inner);
        if spawns > usize::from(listed) {
            offences.push(format!("{path}: spawns {spawns} tasks"));
        }
        if spawns > 0 {
            found.insert(inner.to_owned());
        }
    }
    let stale = SPAWNS.iter().filter(|(path, _)| !found.contains(*path));
    offences.extend(stale.map(|(path, _)| format!("{path} no longer spawns: strike it out")));
    assert_none(
        &offences,
        "A task is spawned under the lifecycle, or beside a part that watches it (lifecycle.rs).",
    );
}

#[test]
fn groups_relative_paths_and_macros_of_the_store_are_read_too() {
    let read = |path: &str, code: &str| {
        beyond_the_spine(path, code).into_iter().collect::<Vec<_>>().join(" ")
    };
    let group = "use crate::{\n    clock::SiteClock,\n    ui::{self, parts},\n};";
    assert_eq!(read("site-relay/src/store/mod.rs", group), "ui");
    assert_eq!(read("site-relay/src/store/part.rs", "$crate::inbox::Inbox"), "inbox");
    assert_eq!(read("site-relay/src/store/mod.rs", "use super::fanout;"), "fanout");
    assert_eq!(read("site-relay/src/store/txn.rs", "use super::super::fanout;"), "fanout");
    assert_eq!(read("site-relay/src/store/txn.rs", "use super::outbox;"), "");
}
