//! Repository files of dnf, yum and zypper: one marked line pair a repository.
//!
//! Both managers read `proxy=` in a repository's own section, so that only what
//! the cache fetches goes through it. A line is added only where all addresses of
//! a repository are plain HTTP at hosts that the cache fetches from, and where
//! nobody set a proxy. Everything else in the file stays byte by byte.

use super::hosts;

/// What stands above each added line.
pub const MARK: &str =
    "# The next line is unifyit-agent's: it comes and goes with the site's package cache.";

/// The file with the lines added, for a cache at `address` (`host:port`).
#[must_use]
pub fn with_cache(text: &str, address: &str, allowed: &[String]) -> String {
    let text = without_cache(text);
    // A value with a line of its own in it came from nobody who means well.
    if !address.bytes().all(|b| b.is_ascii_graphic()) {
        return text;
    }
    let sections = sections(&text);
    let mut out = String::with_capacity(text.len() + 256);
    for section in sections {
        let mut lines = section.split_inclusive('\n');
        let header = lines.next().unwrap_or("");
        if is_header(header) && header.ends_with('\n') && eligible(lines.clone(), allowed) {
            out.push_str(&format!("{header}{MARK}\nproxy=http://{address}\n"));
            out.extend(lines);
        } else {
            out.push_str(section);
        }
    }
    out
}

/// The file without the agent's lines.
#[must_use]
pub fn without_cache(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut ours = false;
    for line in text.split_inclusive('\n') {
        let after_mark = std::mem::replace(&mut ours, line.trim_end() == MARK);
        if ours || (after_mark && line.trim_start().starts_with("proxy=")) {
            continue;
        }
        out.push_str(line);
    }
    out
}

/// Whether a main configuration sets a proxy, which then holds for everything.
#[must_use]
pub fn sets_proxy(text: &str) -> bool {
    text.lines()
        .any(|line| key_value(line).is_some_and(|(key, value)| key == "proxy" && !value.is_empty()))
}

fn sections(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_header(line) && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(text.len());
    starts.windows(2).filter_map(|w| text.get(*w.first()?..*w.last()?)).collect()
}

fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('[') && line.ends_with(']') && line != "[main]"
}

fn key_value(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn eligible<'a>(lines: impl Iterator<Item = &'a str>, allowed: &[String]) -> bool {
    let (mut urls, mut in_urls) = (Vec::new(), false);
    for line in lines {
        // A value goes on in lines that are indented.
        if in_urls && line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            urls.extend(line.split([' ', '\t', ',', '\n', '\r']).filter(|u| !u.is_empty()));
            continue;
        }
        let Some((key, value)) = key_value(line) else { continue };
        in_urls = key == "baseurl";
        match key.as_str() {
            "baseurl" => {
                let value = line.split_once('=').map_or("", |(_, value)| value);
                urls.extend(value.split([' ', '\t', ',', '\n', '\r']).filter(|u| !u.is_empty()));
            }
            "proxy" | "mirrorlist" | "metalink" => return false,
            "enabled" if matches!(value.as_str(), "0" | "false" | "no") => return false,
            _ => {}
        }
    }
    !urls.is_empty() && urls.iter().all(|url| hosts::fetches(allowed, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[plain]\nname=x\nbaseurl=http://ok.org/a/$releasever\n\
        [many]\nbaseurl=http://ok.org/a\n    http://b.ok.org/b\nenabled=1\n\n\
        [secure]\nbaseurl=https://ok.org/a\n[foreign]\nbaseurl=http://ok.org/ http://other.org/\n\
        [off]\nenabled = 0\nbaseurl=http://ok.org/\n[own]\nproxy=_none_\nbaseurl=http://ok.org/\n\
        [list]\nmirrorlist=http://ok.org/list\nbaseurl=http://ok.org/";

    #[test]
    fn lines_are_added_only_where_all_goes_through_the_cache_and_removed_to_the_byte() {
        let allowed = ["ok.org".to_owned(), "*.ok.org".into()];
        let with = with_cache(FILE, "relay:3142", &allowed);
        let added = format!("{MARK}\nproxy=http://relay:3142\n");
        assert_eq!(with.matches(&added).count(), 2, "{with}");
        assert!(with.contains(&format!("[plain]\n{added}name=x\n")));
        assert!(with.contains(&format!("[many]\n{added}baseurl")));
        assert_eq!(without_cache(&with), FILE);
        // Once more, with another address, replaces and does not pile up.
        let again = with_cache(&with, "other:1", &allowed);
        assert_eq!(without_cache(&again), FILE);
        assert_eq!(again.matches(MARK).count(), 2);
        assert_eq!(with_cache(FILE, "relay:3142", &[]), FILE);
        assert_eq!(with_cache(FILE, "relay:1\nsslverify=0", &allowed), FILE);
    }

    #[test]
    fn a_proxy_in_the_main_settings_is_seen() {
        assert!(sets_proxy("[main]\nproxy = http://x:1\n"));
        assert!(!sets_proxy("[main]\n#proxy=http://x:1\nproxy=\nproxy_auth_method=any\n"));
    }
}
