//! Telling a package or an index from what somebody else answered in its place.
//!
//! A hotel's log-in page, a proxy's error with status 200, an empty answer: all
//! come as if they were the file. Where a signed index names the bytes, their hash
//! decides. Everywhere else an answer is held against its name and against the copy
//! that is here: a page never stands for a package, and what is here is replaced
//! only by something of its kind.

use super::{naming, policy::Resource, windows};

/// Bytes of a body's beginning that are looked at.
pub(super) const START: usize = 4096;
/// Bytes that tell all kinds but pages apart.
pub(super) const ENOUGH: usize = 512;

/// What bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Empty,
    /// A web page; whether it lists files as Python's repositories do.
    Page(bool),
    Json,
    Xml,
    /// PGP's armour.
    Armour,
    Text,
    /// A format that begins with a mark of its own.
    Marked(&'static str),
    /// Bytes without a mark that is known here.
    Bytes,
}

/// What an answer is, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Not what the name promises, and yet perhaps the file: not to be kept.
    Doubtful(&'static str),
    /// Certainly somebody else's answer.
    Posing(&'static str),
}

/// Compressions. Where no ending names one, an index may go from one to another under
/// its name, as `core.db` of a repository does when its maintainer changes it.
const COMPRESSIONS: [&str; 6] = ["gzip", "xz", "zstd", "bzip2", "zchunk", TAR];
/// What is not compressed, but packed all the same.
const TAR: &str = "tar";
/// Where the mark of a tar archive stands.
const TAR_AT: usize = 257;

const MARKS: [(&[u8], &str); 16] = [
    (b"!<arch>\n", "ar"),
    (b"\xed\xab\xee\xdb", "rpm"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\0ZCK1", "zchunk"),
    (b"MSCF", "cab"),
    (b"MSWIM\0\0\0", "wim"),
    (b"MZ", "exe"),
    (b"\xd0\xcf\x11\xe0", "msi"),
    (b"\x7fELF", "elf"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG", "png"),
];

/// Endings of packages and indexes, and the marks that they begin with.
const ENDINGS: [(&[&str], &[&str]); 15] = [
    (&["deb", "udeb", "ddeb"], &["ar"]),
    (&["rpm", "drpm"], &["rpm"]),
    (&["whl", "egg", "zip", "jar", "nupkg"], &["zip"]),
    (&["msix", "appx", "msixbundle", "appxbundle"], &["zip"]),
    (&["gz", "tgz"], &["gzip"]),
    (&["apk"], &["gzip", "zip"]),
    (&["xz"], &["xz"]),
    (&["zst"], &["zstd"]),
    (&["bz2"], &["bzip2"]),
    (&["zck"], &["zchunk"]),
    (&["cab"], &["cab"]),
    (&["msu"], &["cab", "wim"]),
    (&["esd", "wim"], &["wim"]),
    (&["exe"], &["exe"]),
    (&["msi"], &["msi"]),
];

/// What the beginning of a body looks like.
#[must_use]
pub(super) fn look(start: &[u8], content_type: Option<&str>) -> Look {
    if let Some((_, mark)) = MARKS.iter().find(|(mark, _)| start.starts_with(mark)) {
        return Look::Marked(mark);
    }
    if start.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Look::Marked(TAR);
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let lower = String::from_utf8_lossy(text.get(..text.len().min(START)).unwrap_or(text))
        .to_ascii_lowercase();
    let html = content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let begins = |what: &[&str]| what.iter().any(|what| lower.starts_with(what));
    let head = lower.get(..ENOUGH.min(lower.len())).unwrap_or(&lower);
    // A server that calls everything a page does not make it one.
    let other = begins(&["-----begin pgp"])
        || (begins(&["<?xml"]) && !head.contains("html"))
        || (are_fields(text) && !head.contains("<html"));
    if (html && !other)
        || begins(&["<!doctype html", "<html", "<head", "<body", "<script", "<meta"])
        || (begins(&["<?xml", "<!--"]) && head.contains("<html"))
    {
        let lists = ["#sha256=", "#md5=", "pypi:repository-version", "data-dist-info-metadata"];
        return Look::Page(lists.iter().any(|sign| lower.contains(sign)));
    }
    match text.first() {
        None => Look::Empty,
        Some(b'{' | b'[') => Look::Json,
        Some(b'<') => Look::Xml,
        _ if begins(&["-----begin pgp"]) => Look::Armour,
        _ if text.iter().all(|b| *b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r')) => Look::Text,
        _ => Look::Bytes,
    }
}

/// Holds an answer's beginning against the name that was asked for. `named` when
/// its hash is known and will be looked at.
#[must_use]
pub(super) fn judge(resource: &Resource, look: Look, start: &[u8], named: bool) -> Verdict {
    let path = naming::of_fact(&resource.path);
    let name = path.rsplit('/').next().unwrap_or("");
    if matches!(look, Look::Page(_)) && !may_be_page(name) && !path.contains("/simple/") {
        return Verdict::Posing("a web page");
    }
    if named {
        return Verdict::Fine;
    }
    let odd = matches!(look, Look::Page(_) | Look::Json | Look::Xml | Look::Text | Look::Empty);
    if resource.place == windows::REPOSITORY && odd {
        return Verdict::Posing("a text");
    }
    const OTHER: &str = "something else than its name says";
    match name {
        "InRelease" | "Release" | "Packages" | "Sources" => match look {
            Look::Armour if name == "InRelease" => Verdict::Fine,
            Look::Text if is_field(start) => Verdict::Fine,
            Look::Empty if matches!(name, "Packages" | "Sources") => Verdict::Fine,
            Look::Text | Look::Empty => Verdict::Doubtful(OTHER),
            _ => Verdict::Posing(OTHER),
        },
        "repomd.xml" if look != Look::Xml => Verdict::Posing(OTHER),
        _ => {
            let end = ending(name);
            let known = ENDINGS.iter().find(|(ends, _)| ends.contains(&end.as_str()));
            match (known, look) {
                (Some((_, marks)), Look::Marked(mark)) if marks.contains(&mark) => Verdict::Fine,
                (None, _) | (_, Look::Bytes) => Verdict::Fine,
                _ => Verdict::Doubtful(OTHER),
            }
        }
    }
}

/// Whether a body may take the place of one that is here, where no hash tells.
#[must_use]
pub(super) fn replaces(new: Look, old: Look) -> bool {
    match (old, new) {
        (Look::Page(true), new) => new == Look::Page(true),
        (Look::Page(_) | Look::Empty, _) => true,
        (Look::Marked(old), Look::Marked(new)) => {
            old == new || (COMPRESSIONS.contains(&old) && COMPRESSIONS.contains(&new))
        }
        (Look::Marked(_), _) => false,
        (Look::Json | Look::Xml, new) => new == old,
        (Look::Armour | Look::Text, Look::Armour | Look::Text) => true,
        (_, Look::Page(_) | Look::Json | Look::Xml | Look::Empty) => false,
        _ => true,
    }
}

/// Whether the name is one that pages have: none, or an ending of pages.
fn may_be_page(name: &str) -> bool {
    let end = ending(name);
    let known = ["InRelease", "Release", "Packages", "Sources"].contains(&name);
    !known
        && (end.is_empty()
            || end.bytes().all(|b| b.is_ascii_digit())
            || ["html", "htm", "xhtml", "php", "asp", "aspx", "jsp", "cgi"].contains(&end.as_str()))
}

fn ending(name: &str) -> String {
    name.rsplit_once('.').map_or(String::new(), |(_, end)| end.to_ascii_lowercase())
}

/// Whether a text begins with a field, as apt's indexes do.
fn is_field(start: &[u8]) -> bool {
    let line = start.trim_ascii_start().split(|b| *b == b'\n').next().unwrap_or_default();
    is_field_line(line)
}

/// Whether a text is nothing but fields, as far as two lines tell.
fn are_fields(text: &[u8]) -> bool {
    let mut lines = text.split(|b| *b == b'\n');
    let next = |line: &[u8]| is_field_line(line) || line.starts_with(b" ");
    lines.next().is_some_and(is_field_line) && lines.next().is_some_and(next)
}

fn is_field_line(line: &[u8]) -> bool {
    let name = line.split(|b| *b == b':').next().unwrap_or_default();
    name.len() < line.len()
        && !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Whether a file of this path lists others, so that what the site has of it is
/// better than an upstream's refusal.
#[must_use]
pub(super) fn is_index(resource: &Resource) -> bool {
    let path = naming::of_fact(&resource.path);
    let name = path.rsplit('/').next().unwrap_or("");
    path.contains("/dists/")
        || path.contains("/repodata/")
        || is_top(&resource.path)
        || super::facts::speaks_of_others(&path)
        || (may_be_page(name) && resource.place.contains("://"))
}

/// Whether it is the index that all others hang on, or its signature. These two
/// must be of one age, so that no freshness is believed.
#[must_use]
pub(super) fn is_top(path: &str) -> bool {
    let path = naming::of_fact(path);
    let name = path.rsplit('/').next().unwrap_or("");
    let plain = name.strip_suffix(".sig").unwrap_or(name);
    matches!(name, "InRelease" | "Release" | "Release.gpg" | "APKINDEX.tar.gz")
        || name.starts_with("repomd.xml")
        || plain.strip_suffix(".db").is_some_and(|repo| !repo.is_empty())
}

/// The index to a signature, and the signature to an index.
#[must_use]
pub(super) fn other_half(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let other = match name {
        "Release" => "Release.gpg",
        "Release.gpg" => "Release",
        "repomd.xml" => "repomd.xml.asc",
        "repomd.xml.asc" => "repomd.xml",
        _ => return None,
    };
    Some(format!("{folder}/{other}"))
}

#[cfg(test)]
mod tests;
