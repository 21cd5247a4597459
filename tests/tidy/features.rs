//! Who in the cloud names a feature: its own folder, the table of contents, and those
//! features that are listed here. A feature that nobody else names can be taken out, or
//! another put in, by its folder and one line.

use crate::{assert_none, code, root, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

const FEATURES: &str = "cloud/src/features/";
const CONTENTS: &str = "cloud/src/app.rs";

/// Who names which other features. Better shorter than longer: what only wants to hear of
/// something listens to an event, and what wants something of all asks the list.
const NAMED: &[(&str, &[&str])] = &[
    ("api_keys", &["tenants"]),
    ("audit", &["devices"]),
    ("cli.rs", &["users"]),
    ("devices", &["inventory", "sites"]),
    ("gaps", &["devices", "metrics", "sites"]),
    ("inventory", &["devices"]),
    ("metrics", &["devices"]),
    ("relays", &["sites"]),
    ("retention", &["tenants"]),
    ("sites", &["tenants"]),
    ("tasks", &["devices"]),
    ("tenants", &["sites"]),
    ("terminal", &["devices", "tasks"]),
    ("users", &["tenants"]),
];

/// How what a feature brings is declared: kinds of events and of timeline items, rights,
/// settings of what it keeps.
const DECLARED: &[&str] = &["Kind::new(", "Can::new(", "Setting {\n    field:"];
/// Where the spine declares its own.
const SPINES_OWN: &[&str] =
    &["cloud/src/audit.rs", "cloud/src/authz/mod.rs", "cloud/src/events/timeline.rs"];
/// Texts elsewhere that are a feature's word by chance.
const BY_CHANCE: &[(&str, &str)] = &[("cloud/src/downloads/mod.rs", "install")];

/// Every feature, which is every folder.
fn features() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join(FEATURES)).unwrap().flatten();
    let folders = folders.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Code of the product alone.
pub(crate) fn product(path: &str, text: &str) -> Option<String> {
    let test = path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/testing");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    (!test).then(|| code(text).map(|(_, line)| line).collect::<Vec<_>>().join("\n"))
}

/// What stands first in a path, or in each path of a group.
pub(crate) fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![rest] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let path = group[start..at].trim_start();
                if !path.is_empty() {
                    found.push(path);
                }
                start = at + 1;
                if sign == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// The paths below `features` that a file names, as far as their first word tells: those
/// after `features::`, and after as many `super::` as lead there.
fn paths<'a>(path: &str, code: &'a str) -> Vec<&'a str> {
    let mut found: Vec<&str> = code.split("features::").skip(1).flat_map(heads).collect();
    if let Some(inner) = path.strip_prefix(FEATURES) {
        let depth = inner.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/').count();
        let up = "super::".repeat(depth);
        found.extend(code.split(up.as_str()).skip(1).flat_map(heads));
    }
    found
}

pub(crate) fn word(path: &str) -> &str {
    let end = path.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_' && sign != '*');
    &path[..end.unwrap_or(path.len())]
}

/// The features that a file names, and whether it takes in all at once.
fn named(path: &str, code: &str, features: &BTreeSet<String>) -> BTreeSet<String> {
    let words = paths(path, code).into_iter().map(word);
    words.filter(|word| *word == "*" || features.contains(*word)).map(str::to_owned).collect()
}

#[test]
fn a_feature_is_named_by_its_folder_the_contents_and_who_is_listed() {
    let features = features();
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, text) in sources("cloud/src") {
        let contents = path == CONTENTS || path == format!("{FEATURES}mod.rs");
        let Some(code) = product(&path, &text).filter(|_| !contents) else { continue };
        let who = match path.strip_prefix(FEATURES) {
            Some(inner) => inner.split('/').next().unwrap(),
            None => path.trim_start_matches("cloud/src/"),
        };
        let others = named(&path, &code, &features).into_iter().filter(|other| other != who);
        found.entry(who.to_owned()).or_default().extend(others);
    }
    let mut offences = Vec::new();
    for (who, others) in &found {
        let may = NAMED.iter().find(|(name, _)| name == who).map_or(&[][..], |(_, may)| may);
        let others = others.iter().filter(|other| !may.contains(&other.as_str()));
        offences.extend(others.map(|other| format!("{who} names {other}")));
    }
    for (who, may) in NAMED {
        let stale =
            may.iter().filter(|other| !found.get(*who).is_some_and(|o| o.contains(**other)));
        offences.extend(stale.map(|other| format!("{who} no longer names {other}: strike it out")));
    }
    assert_none(
        &offences,
        "A feature is one folder: others hear of it by events and by what its FEATURE tells. \
         Where one must name another, it is listed in tests/tidy/features.rs.",
    );
}

#[test]
fn the_contents_have_one_line_for_each_feature_and_name_no_more_of_it() {
    let text = fs::read_to_string(root().join(CONTENTS)).unwrap();
    let code = product(CONTENTS, &text).unwrap();
    let features = features();
    let mut lines = BTreeMap::<&str, usize>::new();
    let mut offences = Vec::new();
    for path in paths(CONTENTS, &code) {
        let name = word(path);
        if !features.contains(name) {
            continue;
        }
        *lines.entry(name).or_default() += 1;
        if !path.starts_with(&format!("{name}::FEATURE,")) {
            let line = path.lines().next().unwrap_or_default();
            offences.push(format!("{CONTENTS}: features::{line}"));
        }
    }
    let unlisted = features.iter().filter(|name| lines.get(name.as_str()) != Some(&1));
    offences.extend(unlisted.map(|name| format!("{name} does not stand there once")));
    for name in &features {
        let text = fs::read_to_string(root().join(format!("{FEATURES}{name}/mod.rs"))).unwrap();
        if !text.contains(&format!("Feature::named(\"{name}\")")) {
            offences.push(format!("{FEATURES}{name}/mod.rs does not bear its folder's name"));
        }
    }
    assert_none(&offences, "app.rs lists each feature in one line: `features::<name>::FEATURE,`.");
}

/// The words that a file declares, and in what way.
fn declared(code: &str) -> Vec<(&'static str, String)> {
    let of = |way: &'static str| {
        let word =
            |rest: &str| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned);
        let words: Vec<_> = code.split(way).skip(1).filter_map(word).collect();
        words.into_iter().map(move |word| (way, word))
    };
    DECLARED.iter().copied().flat_map(of).collect()
}

/// Whether the tests are told of a word, by whoever lists it. What is declared and listed
/// nowhere is missing there too.
fn probed(word: &str) -> bool {
    let spelled = |(path, text): (String, String)| {
        path.ends_with("/probes.rs") && text.contains(&format!("\"{word}\""))
    };
    sources(FEATURES).into_iter().any(spelled)
}

#[test]
fn what_a_feature_brings_is_declared_in_its_folder_and_spelled_nowhere_else() {
    let files: Vec<(String, String)> = sources("cloud/src")
        .into_iter()
        .filter_map(|(path, text)| product(&path, &text).map(|code| (path, code)))
        .collect();
    let (mut offences, mut ways) = (Vec::new(), BTreeSet::new());
    for (path, code) in &files {
        let folder = path.strip_prefix(FEATURES).and_then(|inner| inner.split('/').next());
        for (way, word) in declared(code) {
            ways.insert(way);
            if !probed(&word) {
                offences.push(format!("{path}: no probes.rs spells {word}"));
            }
            let Some(folder) = folder else {
                if !SPINES_OWN.contains(&path.as_str()) {
                    offences.push(format!("{path} declares {word}"));
                }
                continue;
            };
            // A sort of timeline item is a plain word, which other texts are too.
            if way == "Kind::new(" && !word.contains('.') {
                continue;
            }
            let (home, spelled) = (format!("{FEATURES}{folder}/"), format!("\"{word}\""));
            let elsewhere = files.iter().filter(|(path, code)| {
                !path.starts_with(&home)
                    && code.contains(&spelled)
                    && !BY_CHANCE.contains(&(path.as_str(), word.as_str()))
            });
            offences.extend(elsewhere.map(|(path, _)| format!("{path} spells {folder}'s {word}")));
        }
    }
    assert_eq!(ways.len(), DECLARED.len(), "what is declared is found as it is written");
    assert_none(
        &offences,
        "Kinds of events and of timeline items, rights and settings are declared by their feature and \
         reach others by its FEATURE or by the constant's name.",
    );
}

#[test]
fn tests_of_all_features_name_none() {
    let mut offences = Vec::new();
    for test in ["features", "unauthorized", "viewers"] {
        let path = format!("cloud/src/app/tests/{test}.rs");
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let lines = code(&text).filter(|(_, line)| line.contains("features::"));
        offences.extend(lines.map(|(number, _)| format!("{path}:{}", number + 1)));
    }
    for name in features() {
        let probes = format!("{FEATURES}{name}/probes.rs");
        if !root().join(&probes).is_file() {
            offences.push(format!("{probes} is not there"));
        }
    }
    assert_none(&offences, "What tests demand of a feature stands in its `probes.rs`.");
}

#[test]
fn groups_and_relative_paths_are_read_too() {
    let features = ["devices", "sites", "tasks"].map(str::to_owned).into();
    let read = |path: &str, code: &str| {
        named(path, code, &features).into_iter().collect::<Vec<_>>().join(" ")
    };
    let group = "use crate::{\n    features::{\n        devices::{self, tasks},\n        sites as s,\n    },\n};";
    assert_eq!(read("cloud/src/jobs/mod.rs", group), "devices sites");
    assert_eq!(read("cloud/src/cli.rs", "crate::features::tasks::running()"), "tasks");
    assert_eq!(read("cloud/src/cli.rs", "use crate::features::*;"), "*");
    assert_eq!(read("cloud/src/cli.rs", "features::records()"), "");
    let up = "use super::super::sites;";
    assert_eq!(read("cloud/src/features/tasks/store.rs", up), "sites");
    assert_eq!(read("cloud/src/features/tasks/api/mod.rs", up), "sites");
    assert_eq!(read("cloud/src/features/tasks/api/get.rs", up), "", "a module of its own");
}
