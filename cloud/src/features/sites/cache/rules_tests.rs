//! What is taken and what is refused, with its reason.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn remap(name: &str, url: &str) -> Remap {
    Remap { name: name.into(), url: url.into() }
}

fn input() -> CacheInput {
    CacheInput { hosts: Vec::new(), remaps: Vec::new(), plan: None, ahead: Vec::new() }
}

fn file(url: &str, digit: char) -> AheadInput {
    AheadInput {
        url: Some(url.into()),
        sha256: digit.to_string().repeat(64),
        size: 10,
        ..AheadInput::default()
    }
}

fn refusal(input: CacheInput) -> String {
    check(input, &[], NOW).unwrap_err()
}

#[test]
fn settings_are_written_as_the_relay_reads_them() {
    let known = [remap("npm", "https://registry.npmjs.org")];
    let by_path = AheadInput {
        url: None,
        repository: Some("npm".into()),
        path: Some("/x/-/x-1.tgz".into()),
        ..file("", 'c')
    };
    let at_host = AheadInput {
        repository: Some("repo.example".into()),
        sha256: "d".repeat(64),
        ..by_path.clone()
    };
    let checked = check(
        CacheInput {
            hosts: vec![" Deb.Debian.org ".into(), "deb.debian.org".into(), "10.0.0.1:8080".into()],
            remaps: vec![remap("docker", "https://download.docker.com/linux/")],
            plan: Some(Plan { from: "22:30".into(), until: "05:00".into(), bytes_per_s: 7 }),
            ahead: vec![
                file("http://deb.debian.org/pool/a.deb", 'a'),
                file("https://download.docker.com/linux/x.deb", 'b'),
                by_path,
                at_host,
            ],
        },
        &known,
        NOW,
    )
    .unwrap();
    assert_eq!(checked.hosts, ["deb.debian.org", "10.0.0.1:8080"]);
    assert_eq!(checked.remaps, [remap("docker", "https://download.docker.com/linux")]);
    let plan = CachePlan { from_min: 22 * 60 + 30, until_min: 300, bytes_per_s: 7 };
    assert_eq!(checked.plan, Some(plan));
    let urls: Vec<_> = checked.ahead.iter().map(|file| file.url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "http://deb.debian.org/pool/a.deb",
            "/remap/docker/x.deb",
            "/remap/npm/x/-/x-1.tgz",
            "http://repo.example/x/-/x-1.tgz"
        ]
    );
    assert_eq!(checked.ahead[0].keep_until, NOW + KEEP);
    assert_eq!(time_of_day(plan.from_min), "22:30");
}

#[test]
fn hosts_and_remaps_that_would_open_too_much_are_refused_by_name() {
    for host in ["*", "*.com", "http://x.org", "a b", "x.org/path", "", "x:0", "a..b", "ä.de"] {
        let refused = refusal(CacheInput { hosts: vec![host.into()], ..input() });
        assert!(refused.starts_with("hosts: `"), "{host}: {refused}");
    }
    for (name, url) in [
        ("plain", "http://x.org"),
        ("a b", "https://x.org"),
        ("", "https://x.org"),
        ("q", "https://x.org/?a=b"),
        ("none", "https://"),
        ("user", "https://me@x.org"),
    ] {
        let refused = refusal(CacheInput { remaps: vec![remap(name, url)], ..input() });
        assert!(refused.starts_with("remaps: "), "{name}: {refused}");
    }
    let twice = vec![remap("x", "https://a.org"), remap("x", "https://b.org")];
    assert_eq!(refusal(CacheInput { remaps: twice, ..input() }), "remaps: x is named twice.");
}

#[test]
fn files_that_could_never_be_fetched_are_refused_by_their_place() {
    let refused = |file: AheadInput| refusal(CacheInput { ahead: vec![file], ..input() });
    assert!(refused(file("https://x.org/a", 'a')).contains("add one for https://x.org"));
    assert!(refused(file("ftp://x.org/a", 'a')).contains("begins with"));
    assert!(refused(file("http://x.org", 'a')).contains("names no file"));
    assert!(refused(file("/remap/x", 'a')).contains("names no file"));
    assert!(refused(file("http://x.org/a", 'g')).contains("64 hexadecimal"));
    assert!(
        refused(AheadInput { sha256: "+f".repeat(32), ..file("http://x.org/a", 'a') })
            .contains("64 hex")
    );
    assert!(refused(AheadInput { size: 0, ..file("http://x.org/a", 'a') }).contains("size"));
    let both = AheadInput { path: Some("/a".into()), ..file("http://x.org/a", 'a') };
    assert!(refused(both).contains("name url, or repository and path"));
    let old = AheadInput { keep_until: Some(NOW), ..file("http://x.org/a", 'a') };
    assert!(refused(old).contains("keep_until"));
    let twice = vec![file("http://x.org/a", 'a'), file("http://x.org/b", 'a')];
    assert!(refusal(CacheInput { ahead: twice, ..input() }).starts_with("ahead: entry 2"));
    let long = format!("http://x.org/{}", "x".repeat(1000));
    let many = (0..300).map(|n| AheadInput { sha256: format!("{n:064x}"), ..file(&long, 'a') });
    assert!(refusal(CacheInput { ahead: many.collect(), ..input() }).contains("Name fewer"));
}

#[test]
fn hours_are_times_of_day() {
    for from in ["24:00", "5", "5:00", "", "12:60", "+1:00"] {
        let plan = Plan { from: from.into(), until: "05:00".into(), bytes_per_s: 0 };
        let refused = refusal(CacheInput { plan: Some(plan), ..input() });
        assert!(refused.starts_with("plan.from"), "{from}: {refused}");
    }
}
