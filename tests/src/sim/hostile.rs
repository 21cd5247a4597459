//! A device that lies: names, inventories and output made to do harm where they
//! are shown. Markup that would run, escapes that would drive a terminal, text
//! that turns its reading direction, bytes that are no text, and great lengths.
//! Whoever shows a device's words is tested against these.

use super::machine::{Machine, Role};
use std::{collections::BTreeMap, sync::LazyLock};
use unifyit_protocol::inventory::Entry;

/// Sets a mark in the page when it is taken for markup; `open("//…")` and the
/// image leave the machine when they are.
const MARKUP: &str = "<img src=//hostile.invalid/x onerror=window.hostile=1>\
<script>window.hostile=1;alert(1)</script><svg onload=window.hostile=1>\
\"'><a href=javascript:window.hostile=1>{{7*7}}${7*7}";
/// Reads as `invoice_exe.pdf` where overrides are obeyed.
const TURNED: &str = "invoice_\u{202e}fdp.exe\u{2066}\u{200f} עברית مرحبا";
const ESCAPES: &str =
    "\u{1b}]0;hostile title\u{7}\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{9b}1m\u{0}\u{8}";
/// Marks on one letter, and letters that take no room.
static PILED: LazyLock<String> =
    LazyLock::new(|| format!("Z{}\u{200b}\u{feff}", "\u{0334}\u{035b}\u{0321}".repeat(60)));
static LONG: LazyLock<String> = LazyLock::new(|| "W".repeat(10_240));

/// The lies, one kind each.
#[must_use]
pub fn texts() -> [&'static str; 5] {
    [MARKUP, TURNED, ESCAPES, PILED.as_str(), LONG.as_str()]
}

/// A lie that differs from device to device.
#[must_use]
pub fn text(number: usize) -> &'static str {
    let texts = texts();
    texts[number % texts.len()]
}

/// A computer all of whose facts are lies. Its name begins with `hostile-`.
#[must_use]
pub fn machine(number: usize) -> Machine {
    let lie = text(number);
    Machine {
        role: Role::Server,
        hostname: format!("hostile-{number} {lie}"),
        os_family: "linux",
        os_name: lie,
        memory: i64::MAX / 2048,
        cpus: 4,
        disks: vec![(lie, 1 << 40), ("/", 0)],
        interface: lie,
        second_interface: TURNED,
        lies: true,
    }
}

/// Entries of a section whose keys and values are all lies.
#[must_use]
pub fn entries(facts: &[&str]) -> BTreeMap<String, Entry> {
    let entry = |lie: &str| facts.iter().map(|fact| ((*fact).to_owned(), lie.to_owned())).collect();
    texts().into_iter().map(|lie| (lie.to_owned(), entry(lie))).collect()
}

/// What it prints instead of a script's output, and at a terminal's opening.
#[must_use]
pub fn output() -> Vec<u8> {
    let mut out = b"begin of hostile output\n".to_vec();
    for lie in texts() {
        out.extend_from_slice(lie.as_bytes());
        out.push(b'\n');
    }
    // Writes the clipboard, asks for answers, draws a link, hides what follows,
    // leaves a string open; then bytes that are no UTF-8.
    out.extend_from_slice(b"\x1b]52;c;aG9zdGlsZQ==\x07\x1b[c\x1b[6n\x1b[>c\x1bP$qm\x1b\\");
    out.extend_from_slice(b"\x1b]8;;javascript:window.hostile=1\x07press me\x1b]8;;\x07\n");
    out.extend_from_slice(b"\xff\xfe\xc3\x28\xed\xa0\x80\xf4\x90\x80\x80 not text\n");
    out.extend_from_slice(b"\x1b[8mhidden\x1b[0m \x1b[999;999H\x1b[?1049h\x1b[?1049l\n");
    out.extend_from_slice(b"end of hostile output\n\x1b]0;never closed");
    out
}
