//! What may be set for a site's package cache, and how it is written to the relay.
//! Each refusal names the entry and says what would do.

use super::model::{AheadInput, CacheInput, Plan, Remap};
use std::collections::HashSet;
use time::OffsetDateTime;
use unifyit_protocol::{
    cache::CachePlan,
    config::{CacheAhead, SiteConfig},
};

const MAX_HOSTS: usize = 256;
const MAX_REMAPS: usize = 128;
const MAX_AHEAD: usize = 1024;
const MAX_URL: usize = 2048;
/// Bytes of all addresses together: the whole fits one message to the relay.
const MAX_URLS: usize = 192 * 1024;
const MAX_SIZE: u64 = 1 << 40;
const MAX_BYTES_PER_S: u64 = 100_000_000_000;
/// How long a file is kept when nothing is said, and at most.
const KEEP: time::Duration = time::Duration::days(30);
const KEEP_AT_MOST: time::Duration = time::Duration::days(366);

/// Settings as they are stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) hosts: Vec<String>,
    pub(crate) remaps: Vec<Remap>,
    pub(crate) plan: Option<CachePlan>,
    pub(crate) ahead: Vec<Ahead>,
}

/// A file to have ready, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) url: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) size: i64,
    pub(crate) keep_until: OffsetDateTime,
}

/// Checks new settings; `known` are remaps that the relay has by itself.
///
/// # Errors
/// A sentence that names the entry.
pub(crate) fn check(
    input: CacheInput,
    known: &[Remap],
    now: OffsetDateTime,
) -> Result<Checked, String> {
    let CacheInput { hosts, remaps, plan, ahead } = input;
    let hosts = check_hosts(&hosts)?;
    let remaps = check_remaps(remaps)?;
    let plan = plan.as_ref().map(check_plan).transpose()?;
    let mut names: Vec<Remap> = remaps.clone();
    names.extend(known.iter().filter(|k| remaps.iter().all(|r| r.name != k.name)).cloned());
    let ahead = check_ahead(ahead, &names, now)?;
    Ok(Checked { hosts, remaps, plan, ahead })
}

/// Hosts and remaps that a relay holds, when a console could have set them.
pub(crate) fn held(config: &SiteConfig) -> Option<(Vec<String>, Vec<Remap>)> {
    let remap = |text: &String| {
        let (name, url) = text.split_once('=')?;
        Some(Remap { name: name.into(), url: url.into() })
    };
    let remaps = config.cache_remaps.iter().map(remap).collect::<Option<Vec<_>>>()?;
    Some((check_hosts(&config.cache_hosts).ok()?, check_remaps(remaps).ok()?))
}

/// Files that a relay has ready or is to have, as far as a console could have named them.
pub(crate) fn held_ahead(config: &SiteConfig, now: OffsetDateTime) -> Vec<Ahead> {
    let mut hashes = HashSet::new();
    let file = |file: &CacheAhead| {
        let plain = file.url.starts_with("http://") || file.url.starts_with("/remap/");
        let visible = file.url.len() <= MAX_URL && file.url.bytes().all(|b| b.is_ascii_graphic());
        let seconds = i64::try_from(file.until_ms / 1000).ok()?;
        let keep_until = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        let known = keep_until > now && keep_until <= now + KEEP_AT_MOST;
        let size = (1..=MAX_SIZE).contains(&file.size).then_some(file.size)?;
        (plain && visible && known).then_some(Ahead {
            url: file.url.clone(),
            sha256: file.sha256,
            size: i64::try_from(size).ok()?,
            keep_until,
        })
    };
    let files = config.cache_ahead.iter().take(MAX_AHEAD).filter_map(file);
    files.filter(|file| hashes.insert(file.sha256)).collect()
}

pub(crate) fn check_hosts(hosts: &[String]) -> Result<Vec<String>, String> {
    if hosts.len() > MAX_HOSTS {
        return Err(format!("hosts: {} are named; {MAX_HOSTS} are possible.", hosts.len()));
    }
    let mut checked: Vec<String> = Vec::new();
    for host in hosts {
        let host = host.trim().to_ascii_lowercase();
        let bare = host.strip_prefix("*.");
        if !is_authority(bare.unwrap_or(&host)) {
            return Err(format!(
                "hosts: `{}` is no host name. Write for example deb.debian.org, or *.ubuntu.com for its subdomains, without http:// and without a path.",
                shown(&host)
            ));
        }
        if bare.is_some_and(|bare| !bare.contains('.')) {
            return Err(format!(
                "hosts: `{}` would allow a whole top-level domain. Name the organization's domain, for example *.ubuntu.com.",
                shown(&host)
            ));
        }
        if !checked.contains(&host) {
            checked.push(host);
        }
    }
    Ok(checked)
}

pub(crate) fn check_remaps(remaps: Vec<Remap>) -> Result<Vec<Remap>, String> {
    if remaps.len() > MAX_REMAPS {
        return Err(format!("remaps: {} are named; {MAX_REMAPS} are possible.", remaps.len()));
    }
    let mut names = HashSet::new();
    let mut checked = Vec::new();
    for Remap { name, url } in remaps {
        let (name, url) = (name.trim().to_owned(), url.trim().trim_end_matches('/').to_owned());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(format!(
                "remaps: `{}` is no name for a remap. Use letters, digits, -, _ and ., for example docker-ce.",
                shown(&name)
            ));
        }
        let rest = url.strip_prefix("https://").unwrap_or_default();
        let visible = url.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#' && b != b'?');
        if url.len() > 512 || !visible || !is_authority(rest.split('/').next().unwrap_or("")) {
            return Err(format!(
                "remaps: {name} must stand for an HTTPS address such as https://download.docker.com/linux, not `{}`.",
                shown(&url)
            ));
        }
        if !names.insert(name.clone()) {
            return Err(format!("remaps: {name} is named twice."));
        }
        checked.push(Remap { name, url });
    }
    Ok(checked)
}

pub(crate) fn check_plan(plan: &Plan) -> Result<CachePlan, String> {
    let minute = |field: &str, text: &str| {
        minute(text).ok_or_else(|| {
            format!("plan.{field}: `{}` is no time of day. Write for example 21:00.", shown(text))
        })
    };
    if plan.bytes_per_s > MAX_BYTES_PER_S {
        return Err(
            "plan.bytes_per_s: that is more than any line carries; 0 means no limit.".into()
        );
    }
    Ok(CachePlan {
        from_min: minute("from", &plan.from)?,
        until_min: minute("until", &plan.until)?,
        bytes_per_s: plan.bytes_per_s,
    })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| digits(text));
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// A plan as it is set and shown.
pub(crate) fn plan_body(plan: CachePlan) -> Plan {
    Plan {
        from: time_of_day(plan.from_min),
        until: time_of_day(plan.until_min),
        bytes_per_s: plan.bytes_per_s,
    }
}

/// A time of day from its minutes.
#[must_use]
pub(crate) fn time_of_day(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

fn check_ahead(
    files: Vec<AheadInput>,
    remaps: &[Remap],
    now: OffsetDateTime,
) -> Result<Vec<Ahead>, String> {
    if files.len() > MAX_AHEAD {
        return Err(format!("ahead: {} files are named; {MAX_AHEAD} are possible.", files.len()));
    }
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    let mut checked = Vec::new();
    for (n, file) in files.into_iter().enumerate() {
        let entry = n + 1;
        let url = address(&file, remaps).map_err(|why| format!("ahead: entry {entry}: {why}"))?;
        bytes += url.len();
        let sha256 = sha256(&file.sha256).ok_or_else(|| {
            format!(
                "ahead: entry {entry}: sha256 must be the 64 hexadecimal digits that the repository's index names (`sha256sum` prints them)."
            )
        })?;
        if !(1..=MAX_SIZE).contains(&file.size) {
            return Err(format!("ahead: entry {entry}: size is the file's length in bytes."));
        }
        let keep_until = file.keep_until.unwrap_or(now + KEEP);
        if keep_until <= now || keep_until > now + KEEP_AT_MOST {
            return Err(format!("ahead: entry {entry}: keep_until must lie within the next year."));
        }
        if !seen.insert(sha256) {
            return Err(format!("ahead: entry {entry}: a file with this sha256 is named above."));
        }
        let size = i64::try_from(file.size).unwrap_or(i64::MAX);
        checked.push(Ahead { url, sha256, size, keep_until });
    }
    if bytes > MAX_URLS {
        return Err(format!(
            "ahead: the addresses are {bytes} bytes long together; {MAX_URLS} fit. Name fewer files at a time."
        ));
    }
    Ok(checked)
}

/// The address as the relay resolves it.
fn address(file: &AheadInput, remaps: &[Remap]) -> Result<String, String> {
    let text = match (&file.url, &file.repository, &file.path) {
        (Some(url), None, None) => url.trim().to_owned(),
        (None, Some(repository), Some(path)) if path.starts_with('/') => {
            match remaps.iter().any(|remap| remap.name == *repository) {
                true => format!("/remap/{repository}{path}"),
                false => format!("http://{repository}{path}"),
            }
        }
        (None, Some(_), Some(_)) => return Err("path begins with a slash.".into()),
        _ => return Err("name url, or repository and path.".into()),
    };
    if text.len() > MAX_URL || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(format!("the address is longer than {MAX_URL} bytes or not plain ASCII."));
    }
    if let Some(rest) = text.strip_prefix("http://") {
        let host = rest.split('/').next().unwrap_or("");
        return match is_authority(&host.to_ascii_lowercase()) && rest.len() > host.len() + 1 {
            true => Ok(text),
            false => Err(format!("`{}` names no file at a host.", shown(&text))),
        };
    }
    if let Some(rest) = text.strip_prefix("/remap/") {
        return match rest.split_once('/') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok(text),
            _ => Err(format!("`{}` names no file of a remap.", shown(&text))),
        };
    }
    if text.starts_with("https://") {
        let covers = |remap: &&Remap| {
            text.strip_prefix(remap.url.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        let best = remaps.iter().filter(covers).max_by_key(|remap| remap.url.len());
        let host = text.split('/').nth(2).unwrap_or("");
        return best
            .map(|remap| format!("/remap/{}{}", remap.name, &text[remap.url.len()..]))
            .ok_or_else(|| {
                format!(
                    "HTTPS addresses are cached through a remap: add one for https://{} first.",
                    shown(host)
                )
            });
    }
    Err("the address begins with http://, https:// or /remap/.".into())
}

/// 32 bytes in hexadecimal; the library reads no others.
fn sha256(text: &str) -> Option<[u8; 32]> {
    Some(*blake3::Hash::from_hex(text.trim()).ok()?.as_bytes())
}

/// A hash in hexadecimal.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_authority(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) => return false,
        None => text,
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// An input in a sentence, cut.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
