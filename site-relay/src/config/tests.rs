//! Order of the sources, and the sentences for what is wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn later_sources_win_over_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(
        &file,
        "names = [\"relay.lan\"]\n[listen]\nmqtt = \"127.0.0.1:1\"\nhttps = \"127.0.0.1:2\"\nui = \"127.0.0.1:3\"\n",
    )
    .unwrap();
    let config = Config::load(&Sources {
        file: Some(file),
        variables: pairs(&[
            ("UNIFYIT_LISTEN_HTTPS", "127.0.0.1:20"),
            ("UNIFYIT_LISTEN_UI", "127.0.0.1:30"),
            ("UNIFYIT_BROKER_MAX_PACKET", "2048"),
        ]),
        flags: pairs(&[("listen.ui", "[::1]:0"), ("state", "/tmp/x"), ("names", "a, b")]),
    })
    .unwrap();
    assert_eq!(config.listen.mqtt.port(), 1);
    assert_eq!(config.listen.https.port(), 20);
    assert_eq!(config.listen.ui, "[::1]:0".parse().unwrap());
    assert_eq!(config.broker.max_packet, 2048);
    assert_eq!(config.state, Path::new("/tmp/x"));
    assert_eq!(config.names, ["a", "b"]);
}

#[test]
fn a_misspelt_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, "[listen]\nmqttt = \"127.0.0.1:1\"\n").unwrap();
    let error = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("mqttt"), "{error}");
}

#[test]
fn an_unusable_flag_says_what_is_expected() {
    for (path, value, expected) in [
        ("broker.queue_bytes", "many", "whole number"),
        ("broker.queue_bytes", "0", "at least 1"),
        ("listen.mqtt", "here", "socket address"),
        ("nothing.here", "1", "there is no setting nothing.here"),
        ("listen", "1", "is a group"),
    ] {
        let sources = Sources { flags: pairs(&[(path, value)]), ..Sources::default() };
        let error = Config::load(&sources).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}={value}: {error}");
    }
}
