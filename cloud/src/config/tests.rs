//! The order of the sources.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::Config;
use std::io::Write;

#[test]
fn environment_overrides_the_file_and_the_file_the_defaults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "listen = \"127.0.0.1:1\"\ndatabase_url = \"postgres://a/b\"").unwrap();
    let environment = [
        ("UNIFYIT_LISTEN", "127.0.0.1:2"),
        ("UNIFYIT_ANNOUNCE", "/ip4/1.2.3.4/tcp/1, /ip4/1.2.3.4/tcp/2"),
        ("UNIFYIT_EVENT_HOURS", "3"),
        ("UNIFYIT_LOG", "debug"),
    ];
    let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter();
    let config = Config::load(Some(file.path()), environment).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.database_url, "postgres://a/b");
    assert_eq!(config.announce.len(), 2);
    assert_eq!(config.event_hours, 3);
    assert_eq!(config.session_hours, Config::default().session_hours);
}

#[test]
fn tls_asks_for_both_files_and_for_a_url_by_https() {
    let set = |certificate: &str, key: &str, url: &str, redirect: &str| Config {
        tls_certificate_file: certificate.into(),
        tls_key_file: key.into(),
        public_url: url.into(),
        redirect_listen: redirect.into(),
        ..Config::default()
    };
    let at = "127.0.0.1:8443".parse().unwrap();
    let config = set("c", "k", "", "");
    assert!(config.tls_files().unwrap().is_some());
    // Cookies, HSTS and the check of origins go by this.
    assert_eq!(config.public_url(at), "https://127.0.0.1:8443");
    assert!(Config { public_url: config.public_url(at), ..config }.is_https());
    assert!(set("", "", "http://x", "").tls_files().unwrap().is_none());
    for (certificate, key, url, said) in [
        ("c", "", "", "both"),
        ("", "k", "", "both"),
        ("c", "k", "http://rmm.example", "begin it with https://"),
    ] {
        let error = set(certificate, key, url, "").tls_files().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let to = "https://rmm.example";
    assert_eq!(set("", "", to, "").redirect().unwrap(), None);
    assert!(set("c", "k", to, "127.0.0.1:80").redirect().unwrap().is_some());
    for (url, redirect, said) in
        [(to, "80", "write it like 0.0.0.0:80"), ("", "127.0.0.1:80", "https://")]
    {
        let error = set("", "", url, redirect).redirect().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn an_unknown_setting_and_a_wrong_variable_are_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "listne = 1").unwrap();
    let error = Config::load(Some(file.path()), std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("listne"), "{error}");
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (name, value, said) in [
        ("UNIFYIT_EVENT_HOURS", "soon", "not a whole number"),
        ("UNIFYIT_EVENT_HOURS", "-1", "event_hours"),
        ("UNIFYIT_EVENT_HOURS", "4294967296", "event_hours"),
        ("UNIFYIT_LISTEN", "here", "socket address"),
    ] {
        let wrong = [(name.to_owned(), value.to_owned())].into_iter();
        let error = Config::load(Some(empty.path()), wrong).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(said), "{error}");
    }
    for (line, said) in [("event_hours = true", "event_hours"), ("event_hours = ", "line 1")] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{line}").unwrap();
        let error = Config::load(Some(file.path()), std::iter::empty()).unwrap_err().to_string();
        let path = file.path().display().to_string();
        assert!(error.contains(&path) && error.contains(said), "{error}");
    }
}
