//! Checks that ask the relay: ports, papers, and whose clock is wrong.

use super::Finding;
use crate::{
    clock::local_ms,
    config::Settings,
    enroll::{
        https::{HttpsError, request, split_address},
        tls::{Trusting, fingerprint},
    },
    identity::{Identity, PrivateKey},
};
use http::Method;
use rustls::pki_types::ServerName;
use std::{io, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(5);
/// A server that refuses a client's certificate says so only after the handshake.
const AFTERTHOUGHT: Duration = Duration::from_millis(700);
const CLOCK_WARNING_S: u64 = 30;
const CLOCK_ILL_S: u64 = 300;

pub(super) async fn examine(
    settings: &Settings,
    identity: &Identity,
    key: &PrivateKey,
    findings: &mut Vec<Finding>,
) {
    let https = if settings.https.is_empty() { &identity.https } else { &settings.https };
    let mqtt = if settings.mqtt.is_empty() { &identity.mqtt } else { &settings.mqtt };
    findings.push(compare_clocks(https, identity, key).await);
    for address in mqtt {
        findings.push(mqtt_port(address, identity, key).await);
    }
    if mqtt.is_empty() {
        findings.push(Finding::ill(
            "relay MQTT",
            "no address is known",
            "Enrol again, or name one with --mqtt host:port.",
        ));
    }
}

fn trusting<'a>(identity: &'a Identity, key: &'a PrivateKey) -> Trusting<'a> {
    Trusting {
        ca_fingerprint: fingerprint(&identity.ca),
        ca: Some(&identity.ca),
        client: Some((&identity.certificate, key)),
    }
}

async fn compare_clocks(addresses: &[String], identity: &Identity, key: &PrivateKey) -> Finding {
    const CHECK: &str = "relay HTTPS and clocks";
    let Ok(tls) = trusting(identity, key).config() else {
        return bad_key(CHECK);
    };
    let tls = Arc::new(tls);
    let mut problems = Vec::new();
    for address in addresses {
        match request(address, Arc::clone(&tls), Method::GET, "/", Vec::new()).await {
            Ok(answer) => {
                return match answer.date.as_deref().and_then(parse_http_date) {
                    Some(relay_s) => clocks(local_ms() / 1000, relay_s),
                    None => Finding::well(CHECK, format!("{address} answers; it tells no time")),
                };
            }
            Err(error) => problems.push(unreachable(CHECK, address, &error)),
        }
    }
    problems.into_iter().next().unwrap_or_else(|| {
        Finding::warning(CHECK, "no address is known", "Name one with --https host:port.")
    })
}

fn unreachable(check: &'static str, address: &str, error: &HttpsError) -> Finding {
    let remedy = match error {
        HttpsError::Connect(_, e) => connect_remedy(e),
        HttpsError::Tls(..) => {
            "Something else answers there, or the relay was set up anew. Compare the address with \
             the console (Sites), and enrol again if the relay was replaced."
        }
        _ => "Look at the relay: unifyit-relay doctor.",
    };
    Finding::ill(check, error.to_string(), format!("{remedy} ({address})"))
}

fn connect_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "The relay's computer answers, but nothing listens on the port: start the relay \
             (systemctl start unifyit-relay), or open the port in its firewall."
        }
        io::ErrorKind::TimedOut => {
            "Nothing answers: a firewall drops the packets, the relay is switched off, or its \
             address changed. Check the address with the console (Sites)."
        }
        _ => "Check the network and the name of the relay.",
    }
}

fn clocks(here_s: u64, relay_s: u64) -> Finding {
    const CHECK: &str = "clock against the relay";
    let apart = here_s.abs_diff(relay_s);
    let word = if here_s > relay_s { "ahead of" } else { "behind" };
    let detail = format!("this computer's clock is {apart} s {word} the relay's");
    let remedy = "Set the time on whichever is wrong: timedatectl set-ntp true.";
    match apart {
        0..CLOCK_WARNING_S => Finding::well(CHECK, format!("{apart} s apart")),
        CLOCK_WARNING_S..CLOCK_ILL_S => Finding::warning(CHECK, detail, remedy),
        _ => Finding::ill(CHECK, detail, remedy),
    }
}

fn bad_key(check: &'static str) -> Finding {
    Finding::ill(
        check,
        "the agent's certificate and key do not fit together",
        "Enrol again: unifyit-agent enroll --force --token TOKEN.",
    )
}

async fn mqtt_port(address: &str, identity: &Identity, key: &PrivateKey) -> Finding {
    const CHECK: &str = "relay MQTT";
    let Some((host, port)) = split_address(address) else {
        return Finding::ill(CHECK, format!("{address} is not host:port"), "Correct --mqtt.");
    };
    let Ok(tls) = trusting(identity, key).config() else {
        return bad_key(CHECK);
    };
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return Finding::ill(CHECK, format!("{host} is not a host name"), "Correct --mqtt.");
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connected = timeout(PATIENCE, TcpStream::connect((host, port))).await;
    let tcp = match connected.map_err(late).and_then(|r| r) {
        Ok(tcp) => tcp,
        Err(e) => {
            let detail = format!("{address} cannot be reached: {e}");
            return Finding::ill(CHECK, detail, connect_remedy(&e));
        }
    };
    let shaken = timeout(PATIENCE, TlsConnector::from(Arc::new(tls)).connect(name, tcp)).await;
    let mut stream = match shaken.map_err(late).and_then(|r| r) {
        Ok(stream) => stream,
        Err(e) => {
            return Finding::ill(
                CHECK,
                format!("{address} did not prove to be the site's relay: {e}"),
                "If the clocks differ, mend that first. Otherwise something else answers there, \
                 or the relay was set up anew: enrol again with --force and a token.",
            );
        }
    };
    // The front waits for the client's first word; an early end is a refusal.
    let refused = match timeout(AFTERTHOUGHT, stream.read_u8()).await {
        Err(_still_open) => None,
        Ok(Ok(_)) => None,
        Ok(Err(e)) => Some(e),
    };
    match refused {
        None => Finding::well(CHECK, format!("{address} accepts this computer's certificate")),
        Some(e) => Finding::ill(
            CHECK,
            format!("{address} refuses this computer's certificate: {e}"),
            "It expired or was revoked in the console. Enrol again: unifyit-agent enroll --force \
             --token TOKEN.",
        ),
    }
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` as Unix seconds.
fn parse_http_date(text: &str) -> Option<u64> {
    let mut fields = text.split_once(", ")?.1.split(' ');
    let mut next = || fields.next();
    let day: u64 = next()?.parse().ok()?;
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = u64::try_from(months.find(next()?)? / 3 + 1).ok()?;
    let year: u64 = next()?.parse().ok().filter(|y| (1970..10_000).contains(y))?;
    let mut clock = next()?.split(':').map(str::parse::<u64>);
    let mut part = || clock.next()?.ok();
    let (hours, minutes, seconds) = (part()?, part()?, part()?);
    // Days since 1970 by counting March as the first month.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unifyit_protocol::doctor::Health;

    #[test]
    fn http_dates_are_read() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn clocks_far_apart_are_ill_and_the_finding_says_which_way() {
        assert_eq!(clocks(1000, 1010).health, Health::Well);
        assert_eq!(clocks(1000, 1100).health, Health::Warning);
        let finding = clocks(10_000, 1000);
        assert_eq!(finding.health, Health::Ill);
        assert!(finding.detail.contains("9000 s ahead of"));
    }
}
