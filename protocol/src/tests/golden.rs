//! The bytes of each message, as snapshots in `protocol/tests/golden`: a change
//! of the wire is seen in review. `UPDATE_GOLDEN=1` writes them anew.

use super::examples::{Example, wires};
use std::{fmt::Write, path::PathBuf};

/// Asked when the tests run, not when they were built: build results are shared
/// between clones.
fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/golden")
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn lines(examples: &[Example]) -> String {
    examples.iter().fold(String::new(), |mut text, example| {
        writeln!(text, "{} {}", example.name, hex(&example.bytes)).unwrap();
        text
    })
}

#[test]
fn the_bytes_of_every_message_are_as_they_were() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (wire, examples) in wires() {
        let path = folder().join(format!("{wire}.hex"));
        let found = lines(&examples);
        if update {
            std::fs::write(&path, found).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{wire}: these bytes changed, or their order");
        }
        assert_eq!(
            found.lines().count(),
            expected.lines().count(),
            "{wire}: messages came or went"
        );
    }
}

#[test]
fn the_bytes_kept_decode_to_the_messages_they_were() {
    for (wire, examples) in wires() {
        let text = std::fs::read_to_string(folder().join(format!("{wire}.hex"))).unwrap();
        for (line, example) in text.lines().zip(&examples) {
            let (name, hex) = line.rsplit_once(' ').unwrap();
            assert_eq!(name, example.name);
            assert!((example.reads)(&unhex(hex)), "{wire}: {name} is not read as it was written");
        }
    }
}

#[test]
fn a_file_sealed_by_an_earlier_build_opens() {
    let path = folder().join("sealed.hex");
    // Sealing is random: the file is made once and only ever read.
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, hex(&crate::seal::seal(b"machine", "what", b"secret").unwrap()))
            .unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let opened = crate::seal::open(b"machine", "what", &unhex(text.trim())).unwrap();
    assert_eq!(opened.as_slice(), b"secret");
}

/// What agents without a name of their own send.
#[test]
fn a_hello_without_the_later_fields_is_read() {
    let bytes = unhex(
        "a3617601646b696e640164626f6479585ca66d6167656e745f76657273696f6e65302e312e30\
         6565706f63680468686f73746e616d656470632d37666e6f775f6d731913886772756e6e696e\
         678150000000000000400980000000000000096c68656564735f68616e646564f5",
    );
    let read = crate::lan::UpControl::decode(&bytes).unwrap();
    let crate::envelope::Decoded::Known(crate::lan::UpControl::Hello(hello)) = read else {
        panic!("it is a hello: {read:?}");
    };
    assert_eq!((hello.hostname.as_str(), hello.heeds_handed), ("pc-7", true));
    assert!(hello.instance.is_nil());
}
