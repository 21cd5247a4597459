//! One name for each resource, however its address is spelled.
//!
//! apt asks for `+` as `%2b`, others write it as it is; a flat repository's files
//! are asked for below `/./`. All spellings of one file must meet the same facts,
//! the same stored copy and the same fetch, and no spelling may lead out of the
//! place that the policy allowed. So a path is decoded and written anew: what may
//! stand in a path stands there as itself, everything else as `%XX`.
//!
//! What is sent to the upstream stays as the client wrote it: some storage takes
//! `+` and `%2B` for different names.

use super::policy::Refusal;
use std::{borrow::Cow, fmt::Write as _};

/// A path as a client wrote it, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The one spelling, with the query.
    pub key: String,
    /// What to ask the upstream for.
    pub wire: String,
}

const CLIMBS: Refusal = Refusal::NotUnderstood("the path climbs out of the repository");
const ODD: Refusal = Refusal::NotUnderstood("the path holds a backslash or a control character");

/// Reads the path (and query) of an address, which begins with a slash.
///
/// # Errors
/// When it climbs, or holds what servers and libraries read differently.
pub(super) fn read(text: &str) -> Result<Name, Refusal> {
    let text = text.split('#').next().unwrap_or(text);
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut key, mut wire) = (String::new(), String::new());
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = parts.next() {
        let plain = decoded(part.as_bytes());
        check(&plain)?;
        if plain == b"." {
            if parts.peek().is_none() {
                key.push('/');
                wire.push('/');
            }
            continue;
        }
        key.push('/');
        wire.push('/');
        encode(&plain, &mut key);
        wire.push_str(part);
    }
    for text in [&mut key, &mut wire] {
        if text.is_empty() {
            text.push('/');
        }
        if !query.is_empty() {
            text.push('?');
            text.push_str(query);
        }
    }
    Ok(Name { key, wire })
}

/// The name under which facts about a resource stand: neither what a client
/// negotiates, nor a query, nor doubled slashes make another file of one that a
/// signed index names.
pub(super) fn of_fact(path: &str) -> Cow<'_, str> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or(path);
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The names of a file that an index tells of, below `root`, which is a name
/// itself. Mostly one; a percent sign may be meant as itself, or as a URL's.
pub(super) fn below(root: &str, file: &str) -> impl Iterator<Item = String> {
    let literal = literal(root, file);
    let as_url = file.contains('%').then(|| read(&format!("{root}{file}")).ok()).flatten();
    let as_url = as_url.map(|name| of_fact(&name.key).into_owned());
    let as_url = as_url.filter(|name| literal.as_ref() != Some(name));
    literal.into_iter().chain(as_url)
}

fn literal(root: &str, file: &str) -> Option<String> {
    let mut out = root.trim_end_matches('/').to_owned();
    for part in file.split('/').filter(|part| !matches!(*part, "" | ".")) {
        check(part.as_bytes()).ok()?;
        out.push('/');
        encode(part.as_bytes(), &mut out);
    }
    Some(of_fact(&out).into_owned())
}

/// Refuses what no package's path holds: each is read in two ways by somebody.
fn check(plain: &[u8]) -> Result<(), Refusal> {
    if plain.iter().any(|b| *b < 0x20 || matches!(b, 0x7f | b'\\')) {
        return Err(ODD);
    }
    // Also behind an encoded slash, and when an upstream decodes once more.
    let again = decoded(plain);
    for text in [plain, &again] {
        let mut parts = text.split(|b| matches!(b, b'/' | b'\\'));
        let inner = text.contains(&b'/');
        if parts.any(|part| part == b".." || (inner && part == b".")) {
            return Err(CLIMBS);
        }
    }
    if again.iter().any(|b| matches!(b, 0 | b'\\')) {
        return Err(ODD);
    }
    Ok(())
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        let byte = text.get(at).copied()?;
        char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

fn encode(plain: &[u8], out: &mut String) {
    for byte in plain {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Option<String> {
        read(path).ok().map(|name| name.key)
    }

    #[test]
    fn all_spellings_of_a_file_are_one_name() {
        for path in [
            "/pool/a+b_1~rc1_amd64.deb",
            "/pool/a%2bb_1%7erc1_amd64.deb",
            "/pool/a%2Bb_1%7Erc1%5famd64%2edeb",
            "/%70ool/./a+b_1~rc1_amd64.deb#x",
            "/./pool/a+b_1~rc1_amd64.deb?",
        ] {
            assert_eq!(key(path).as_deref(), Some("/pool/a+b_1~rc1_amd64.deb"), "{path}");
        }
        assert_eq!(key("/a%3a1%20%c3%a9^").as_deref(), Some("/a:1%20%C3%A9%5E"));
        assert_eq!(key("/a%zz%").as_deref(), Some("/a%25zz%25"));
        // npm's scopes: an encoded slash is part of a name.
        assert_eq!(key("/@scope%2fname").as_deref(), Some("/@scope%2Fname"));
        for (path, is) in [("", "/"), ("/", "/"), ("/a/.", "/a/"), ("/.", "/"), ("/a/", "/a/")] {
            assert_eq!(key(path).as_deref(), Some(is), "{path}");
        }
    }

    #[test]
    fn the_upstream_gets_the_clients_spelling_without_dots_and_fragment() {
        let name = read("/r/./a%2bb.deb?x=%2b#f");
        assert_eq!(name.map(|n| n.wire).as_deref(), Ok("/r/a%2bb.deb?x=%2b"));
    }

    #[test]
    fn no_spelling_climbs() {
        for path in [
            "/../x",
            "/a/../../x",
            "/%2e%2e/x",
            "/a/.%2E/x",
            "/x%00",
            "/..\\..\\x",
            "/a%5c..%5cx",
            "/a%5Cb",
            "/..%2fx",
            "/a%2f..%2fx",
            "/%252e%252e/x",
            "/..%252fx",
            "/a%255cb",
            "/%0d%0a",
            "/a%2f.%2fb",
            "/..",
        ] {
            assert!(read(path).is_err(), "{path}");
        }
        assert!(read("/a..b/x..y/...?q=../..").is_ok());
    }

    #[test]
    fn indexes_name_files_literally_and_a_percent_sign_either_way() {
        let of = |file: &str| below("/r/", file).collect::<Vec<_>>();
        assert_eq!(of("./pool/a+b.deb"), ["/r/pool/a+b.deb"]);
        assert_eq!(of("pool//a^1.rpm"), ["/r/pool/a%5E1.rpm"]);
        assert_eq!(of("a%3a1.deb"), ["/r/a%253a1.deb", "/r/a:1.deb"]);
        assert!(of("../x").is_empty() && of("a\\b").is_empty());
        assert_eq!(below("/", "a").collect::<Vec<_>>(), ["/a"]);
        assert_eq!(of_fact("/a//b///c?x//y#z"), "/a/b/c");
    }
}
