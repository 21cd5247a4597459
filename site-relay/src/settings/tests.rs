//! What computers are told of this relay's package cache.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::store::tests::Rig;
use unifyit_protocol::config::{PackageCache, SiteConfig};

#[tokio::test]
async fn a_name_with_a_line_of_its_own_is_offered_to_no_computer() {
    let rig = Rig::new();
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let site = SiteConfig {
        revision: 1,
        cache_hosts: names(&["*.ubuntu.com", "b.org\nproxy=http://evil", "c.org evil"]),
        ..SiteConfig::default()
    };
    rig.store.write(move |txn| txn.take_site_config(site).map(drop)).await.unwrap();
    rig.store.offer_package_cache(PackageCache {
        addresses: names(&["relay:3142", "relay:1\nsslverify=0", "relay 2", "[::1]:3142"]),
        hosts: names(&["deb.debian.org", "a.org\nhost *.evil", ""]),
    });
    let PackageCache { addresses, hosts } = rig.store.device_config().package_cache;
    assert_eq!(addresses, ["relay:3142", "[::1]:3142"]);
    assert_eq!(hosts, ["deb.debian.org", "*.ubuntu.com"]);
}
