//! The installer and the line that starts it.

use super::{Named, Pin};
use std::fmt::Write;

const INSTALLER: &str = include_str!("install.sh");
/// What is put in its places: the service's definitions, as packages have them.
const PARTS: [(&str, &str); 4] = [
    ("@UNIT-AGENT@", include_str!("../../../deploy/systemd/unifyit-agent.service")),
    ("@UNIT-RELAY@", include_str!("../../../deploy/systemd/unifyit-relay.service")),
    ("@OPENRC@", include_str!("../../../deploy/init/openrc")),
    ("@SYSV@", include_str!("../../../deploy/init/sysv")),
];
/// Where the table of files stands in it.
const TABLE: &str = "@FILES@";

/// The installer with the files that it may fetch: program, form, machine,
/// SHA-256 and BLAKE3, a line each.
pub(super) fn render(table: &[(Named, Pin)]) -> String {
    let mut rows = String::new();
    for (named, pin) in table {
        let Named { program, form, machine } = named;
        let form = form.word();
        let _infallible =
            writeln!(rows, "{program} {form} {machine} {} {}", pin.sha256, pin.blake3);
    }
    let whole = INSTALLER.replace(TABLE, rows.trim_end());
    PARTS.iter().fold(whole, |text, (place, part)| text.replace(place, part.trim_end()))
}

/// One line for any shell of a Linux computer. Nothing but the script's SHA-256
/// says whether it is the right one, so it may come over TLS that this computer
/// has no reason to trust, and by whatever the computer has: curl, wget, or the
/// helper of apt on a Debian that has neither. (wget is tried without a time limit
/// too: some builds of BusyBox crash when they are given one.) Every variable stands in quotes: an
/// address is one word, whatever a relay called itself.
///
/// A relay is on the LAN, so agents go past a proxy of the person's shell. The
/// cloud may be behind it, so for a relay it is handed on, since sudo drops it. It
/// goes by standard input, as the token does: what stands among a program's
/// arguments is read by every user of the computer and kept in sudo's log.
pub(super) fn line(script: &Pin, program: &str, bases: &[String], token: &str) -> String {
    let Pin { blake3, sha256 } = script;
    let bases = bases.iter().map(|b| quoted(b)).collect::<Vec<_>>().join(" ");
    let (past, proxy) = if program == "agent" {
        ("unset https_proxy HTTPS_PROXY all_proxy ALL_PROXY; ", "")
    } else {
        ("", " \"${https_proxy-${HTTPS_PROXY-}}\"")
    };
    format!(
        "f=$(mktemp); o=; for u in {bases}; do ( {past}curl -kfsSL -m 60 -o \"$f\" \"$u/{blake3}\" || \
         wget -q -T 60 --no-check-certificate -O \"$f\" \"$u/{blake3}\" || \
         wget -q --no-check-certificate -O \"$f\" \"$u/{blake3}\" || \
         /usr/lib/apt/apt-helper -o Acquire::https::Verify-Peer=false download-file \"$u/{blake3}\" \"$f\" ) \
         >/dev/null 2>&1; [ \"$(sha256sum <\"$f\" | cut -c1-64)\" = {sha256} ] && o=$u && break; done; \
         if [ \"$o\" ]; then s=; [ \"$(id -u)\" = 0 ] || ! command -v sudo >/dev/null || s=sudo; \
         printf '%s\\n' {}{proxy} | $s sh \"$f\" {program} --from \"$o\" --token -; \
         else echo 'The UnifyIT installer could not be fetched from {}. Check the network, or copy a fresh line from the console.' >&2; false; fi; \
         r=$?; rm -f \"$f\"; [ $r = 0 ]",
        quoted(token),
        bases.replace('\'', ""),
    )
}

/// Safe inside of a shell's line: addresses and tokens are made of few letters,
/// anything else is quoted.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
