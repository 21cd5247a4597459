//! What counts as an address that a relay may name for itself.
//!
//! A relay's word for where it is reached ends in install lines that people paste
//! as root, in tokens, and in links of the console. It is a host and a port and
//! nothing else.

use std::net::{Ipv6Addr, SocketAddr};

/// Whether `text` is `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if !digits || port.parse::<u16>().unwrap_or(0) == 0 {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    text.parse::<SocketAddr>().is_ok() || is_name(host)
}

fn is_name(host: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    !host.is_empty() && host.len() <= 253 && !host.starts_with('-') && host.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        for fit in ["10.0.0.2:8443", "relay.example-1.lan:8443", "[2001:db8::1]:8443", "R:1"] {
            assert!(is_address(fit), "{fit}");
        }
        let long = format!("{}:1", "a".repeat(254));
        for unfit in [
            "",
            "relay",
            ":8443",
            "relay:",
            "relay:0",
            "relay:65536",
            "relay:+1",
            "-o:1",
            "relay:8443/a -o /etc/cron.d/x https://relay:8443",
            "a b:1",
            "a'b:1",
            "$(id):1",
            "*:1",
            "a@b:1",
            "a/b:1",
            "a\nb:1",
            "[::1:1",
            "::1:1",
            "[relay]:1",
            "[fe80::1%eth0]:1",
            &long,
        ] {
            assert!(!is_address(unfit), "{unfit}");
        }
    }
}
