//! Addresses as what one subscriber has, and sets of addresses in settings.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::net::IpAddr;

/// Bits of the IPv6 prefix that one customer of a provider commonly has, or has for nothing
/// from a broker of tunnels: 2¹⁶ subscribers' worth.
pub(super) const WIDE_BITS: u32 = 48;

/// What one subscriber has: an IPv4 address, or an IPv6 /64. Whoever is bounded
/// by a single IPv6 address has 2⁶⁴ more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// The one that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::wide(address, 64)
    }

    /// The one of an IPv6 prefix of so many bits.
    #[must_use]
    pub fn wide(address: IpAddr, bits: u32) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(ip) => {
                let rest = 128 - bits.clamp(1, 128);
                IpAddr::V6((ip.to_bits() >> rest << rest).into())
            }
        })
    }

    /// The wider one that it lies in.
    #[must_use]
    pub fn widened(self, bits: u32) -> Self {
        Self::wide(self.0, bits)
    }
}

/// A set of addresses: each an address or a prefix like `10.0.0.0/8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Those of this machine itself.
    #[must_use]
    pub fn loopback() -> Self {
        let v4 = ipnet::Ipv4Net::new([127, 0, 0, 0].into(), 8).map(IpNet::V4);
        let v6 = ipnet::Ipv6Net::new(std::net::Ipv6Addr::LOCALHOST, 128).map(IpNet::V6);
        Self(v4.into_iter().chain(v6).collect())
    }

    /// Whether one of them holds the address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

impl FromIterator<IpAddr> for Networks {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        Self(addresses.into_iter().map(IpNet::from).collect())
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &String| {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            net.map_err(|_| {
                D::Error::custom(format!(
                    "{text:?} is neither an address nor a prefix like 10.0.0.0/8"
                ))
            })
        };
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Network, Networks};
    use std::net::IpAddr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_subscriber_is_one_and_its_neighbour_another() {
        assert_eq!(Network::of(ip("2001:db8::1")), Network::of(ip("2001:db8::ffff:1")));
        assert_ne!(Network::of(ip("2001:db8::1")), Network::of(ip("2001:db8:0:1::1")));
        assert_eq!(Network::of(ip("::ffff:10.0.0.1")), Network::of(ip("10.0.0.1")));
        assert_ne!(Network::of(ip("10.0.0.1")), Network::of(ip("10.0.0.2")));
    }

    #[test]
    fn prefixes_and_addresses_are_read_and_nonsense_is_named() {
        let nets: Networks =
            serde_json::from_str(r#"["10.0.0.0/8", "192.0.2.7", "fd00::/8"]"#).unwrap();
        for inside in ["10.9.8.7", "192.0.2.7", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(nets.contain(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe00::1"] {
            assert!(!nets.contain(ip(outside)), "{outside}");
        }
        let error = serde_json::from_str::<Networks>(r#"["proxy"]"#).unwrap_err();
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}
