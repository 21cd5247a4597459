//! The house rules that a machine can check: a broken one fails the tests and
//! names the file. What each rule is for stands at its test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod features;
mod licences;
mod relay;
mod systems;

use std::{
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 5] = ["protocol", "agent", "site-relay", "cloud", "tests"];
const MAX_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Asked when the tests run, not when they were built: build results are shared
/// between clones.
fn root() -> PathBuf {
    let krate = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&krate).parent().unwrap().to_owned()
}

/// Every Rust file of a folder, with its path from the repository's root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn manifest(krate: &str) -> toml::Table {
    fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(krate: &str, with_dev: bool) -> Vec<String> {
    let manifest = manifest(krate);
    let mut sections = vec!["dependencies", "build-dependencies"];
    if with_dev {
        sections.push("dev-dependencies");
    }
    sections
        .into_iter()
        .filter_map(|section| manifest.get(section)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Fails with all offences at once, so that they are mended in one go.
fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

/// Lines of code, without those of comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let offences: Vec<String> = CRATES
        .iter()
        .flat_map(|krate| sources(krate))
        .filter(|(_, text)| !text.starts_with("//!") && !text.starts_with("#![no_main]\n//!"))
        .map(|(path, _)| path)
        .collect();
    assert_none(&offences, "A file starts with `//!`: what it is for, what it keeps true.");
}

#[test]
fn no_file_grows_into_a_hall() {
    let long = |path: &str| LONG.iter().any(|(known, _)| *known == path);
    let offences: Vec<String> = CRATES
        .iter()
        .flat_map(|krate| sources(krate))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(path, lines)| *lines > MAX_LINES && !long(path))
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&offences, "A file has at most 400 lines; split it into rooms.");
}

#[test]
fn inline_tests_beyond_a_hundred_lines_live_in_a_sibling() {
    let offences: Vec<String> = CRATES
        .iter()
        .flat_map(|krate| sources(krate))
        .filter_map(|(path, text)| {
            let at = text.find("#[cfg(test)]\nmod tests {")?;
            let lines = text[at..].lines().count();
            (lines > 120).then(|| format!("{path}: {lines} lines of tests"))
        })
        .collect();
    assert_none(&offences, "Long inline tests move to a sibling tests.rs.");
}

#[test]
fn the_protocol_does_no_io_and_reads_no_clock() {
    let forbidden = [
        "tokio",
        "async-std",
        "hyper",
        "reqwest",
        "libp2p",
        "rumqttc",
        "rumqttd",
        "axum",
        "redb",
        "sqlx",
        "nix",
        "libc",
        "socket2",
        "tracing",
    ];
    let mut offences: Vec<String> = dependencies("protocol", false)
        .into_iter()
        .filter(|name| forbidden.contains(&name.as_str()))
        .map(|name| format!("protocol/Cargo.toml: {name}"))
        .collect();
    for (path, text) in sources("protocol/src") {
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        let calls = ["std::fs", "std::net", "SystemTime::now", "Instant::now", "std::thread"];
        for (number, line) in code(&text) {
            if calls.iter().any(|call| line.contains(call)) {
                offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&offences, "The protocol is pure: bytes and times come in as arguments.");
}

#[test]
fn agent_relay_and_cloud_know_only_the_protocol() {
    let mut offences = Vec::new();
    for krate in ["protocol", "agent", "site-relay", "cloud"] {
        for name in dependencies(krate, true) {
            let sibling = name.starts_with("unifyit-");
            if sibling && (krate == "protocol" || name != "unifyit-protocol") {
                offences.push(format!("{krate}/Cargo.toml: {name}"));
            }
        }
    }
    assert_none(
        &offences,
        "agent, relay and cloud depend on the protocol and never on each other.",
    );
}

#[test]
fn the_spine_of_the_cloud_never_imports_a_feature() {
    // The table of contents, and the command line beside it.
    let may = ["cloud/src/app.rs", "cloud/src/cli.rs", "cloud/src/lib.rs", "cloud/src/main.rs"];
    let mut offences = Vec::new();
    for (path, text) in sources("cloud/src") {
        let test_only = path.ends_with("testing.rs") || path.ends_with("tests.rs");
        if path.starts_with("cloud/src/features/") || test_only || may.contains(&path.as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            if line.contains("crate::features") || line.contains("super::features") {
                offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&offences, "Features build on the spine; app.rs alone lists them.");
}

#[test]
fn features_do_not_reach_into_each_others_sql() {
    let mut offences = Vec::new();
    for (path, text) in sources("cloud/src/features") {
        let own = path.trim_start_matches("cloud/src/features/").split('/').next().unwrap();
        for (number, line) in code(&text) {
            for rest in line.split("features::").skip(1) {
                let mut parts = rest.split("::");
                let other = parts.next().unwrap_or_default();
                let inner = parts.next().unwrap_or_default();
                // A type of another's store is a proof of permission; a function is SQL.
                let item = parts.next().unwrap_or_default();
                let function = item.starts_with(|c: char| c.is_lowercase() || c == '{');
                if other != own && inner.starts_with("store") && function {
                    offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    assert_none(
        &offences,
        "A feature is reached by a named function or an event, not by its store.",
    );
}

/// Where unsafe code may stand, each with its reason beside it. A process is made in
/// its control group by a call that no library offers.
const UNSAFE: [&str; 5] = [
    "agent/src/platform/linux/alarm.rs",
    "agent/src/platform/linux/keep/fork.rs",
    "agent/src/platform/linux/keep/mark.rs",
    "agent/src/platform/linux/memory.rs",
    "agent/src/platform/windows/uptime.rs",
];

#[test]
fn no_crate_is_unsafe_and_all_share_the_lints() {
    let workspace: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let lint = workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str();
    assert_eq!(lint, Some("deny"), "the workspace denies unsafe code");
    let mut offences = Vec::new();
    for krate in CRATES {
        let shared = manifest(krate)
            .get("lints")
            .and_then(|lints| lints.get("workspace")?.as_bool())
            .unwrap_or(false);
        if !shared {
            offences.push(format!("{krate}/Cargo.toml: [lints] workspace = true is missing"));
        }
        for (path, text) in sources(krate) {
            if path.starts_with("tests/tidy/") || UNSAFE.contains(&path.as_str()) {
                continue;
            }
            if code(&text).any(|(_, line)| line.contains("unsafe_code")) {
                offences.push(format!("{path}: allows unsafe code"));
            }
        }
    }
    assert_none(&offences, "Nobody opts out of the workspace's lints.");
}
