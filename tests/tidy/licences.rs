//! What may enter the dependency tree, by the same list as `cargo deny` reads, so
//! that it holds also where that program is not installed.

use super::{assert_none, root};
use serde_json::Value;
use std::{fs, process::Command};

/// Not offline: a machine that never built this downloads here what only other
/// platforms need, and those crates have licences too.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn deny() -> toml::Table {
    fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn strings<'a>(value: &'a toml::Value, key: Option<&'a str>) -> Vec<String> {
    let items = value.as_array().unwrap().iter();
    items
        .filter_map(|item| key.map_or(Some(item), |key| item.get(key))?.as_str())
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be fulfilled with allowed licences. `/` is the
/// old way of writing OR.
fn allowed(expression: &str, list: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let fulfilled = any(&words, &mut at, list);
    fulfilled && at == words.len()
}

fn any(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let mut fulfilled = all(words, at, list);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fulfilled |= all(words, at, list);
    }
    fulfilled
}

fn all(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let mut fulfilled = one(words, at, list);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fulfilled &= one(words, at, list);
    }
    fulfilled
}

fn one(words: &[&str], at: &mut usize, list: &[String]) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let fulfilled = any(words, at, list);
        *at += 1;
        return fulfilled;
    }
    let mut licence = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        licence = format!("{word} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    list.contains(&licence)
}

#[test]
fn every_dependency_has_a_licence_that_we_may_use_and_comes_from_the_registry() {
    let list = strings(&deny()["licenses"]["allow"], None);
    let banned = strings(&deny()["bans"]["deny"], Some("crate"));
    let mut offences = Vec::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(source) = package["source"].as_str() else { continue };
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            offences.push(format!("{name}: from {source}"));
        }
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !allowed(licence, &list) {
            offences.push(format!("{name}: {licence}"));
        }
        if banned.iter().any(|b| b == name) {
            offences.push(format!("{name}: banned in deny.toml"));
        }
    }
    assert_none(&offences, "Dependencies follow deny.toml.");
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let list = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    assert!(allowed("MIT OR GPL-3.0", &list));
    assert!(allowed("GPL-3.0/MIT", &list));
    assert!(!allowed("MIT AND GPL-3.0", &list));
    assert!(allowed("ISC AND (GPL-3.0 OR MIT)", &list));
    assert!(allowed("Apache-2.0 WITH LLVM-exception", &list));
    assert!(!allowed("none stated", &list));
}
