//! The package cache: whether it runs, its disk, what its own file allows. Whether
//! its port answers stands with the other ports.

use super::{
    Finding,
    machine::{existing, size},
};
use crate::{cache::policy::Policy, config::Config};
use nix::sys::statvfs::statvfs;

/// What is set for the cache, and the room it has.
pub(super) fn cache(config: &Config) -> Vec<Finding> {
    let check = "package cache";
    let cache = &config.cache;
    if !cache.enabled {
        return vec![Finding::well(check, "switched off (cache.enabled in relay.toml)")];
    }
    let (policy, rejected) = Policy::new(&cache.hosts, &cache.remaps);
    let allowed = format!(
        "fetches from {} hosts and {} remaps by the relay's own file; what the console allows comes on top",
        policy.hosts().len(),
        policy.remaps().len()
    );
    let upstreams = match rejected.first() {
        None => Finding::well("package cache upstreams", allowed),
        Some(first) => Finding::warning(
            "package cache upstreams",
            format!("{} entries are ignored, `{first}` among them; it {allowed}", rejected.len()),
            "Write hosts as deb.debian.org or *.ubuntu.com (cache.hosts) and remaps as name=https://host/path (cache.remaps) in relay.toml.",
        ),
    };
    vec![disk(config), upstreams]
}

fn disk(config: &Config) -> Finding {
    let check = "package cache disk";
    let folder = config.cache_folder();
    let path = existing(&folder);
    let Ok(space) = statvfs(&path) else {
        return Finding::ill(
            check,
            format!("the file system of {} cannot be read", path.display()),
            "Check that the disk is mounted, or set cache.folder in relay.toml.",
        );
    };
    let free = space.blocks_available() * space.fragment_size();
    let detail = format!(
        "keeps up to {} in {}; {} free there",
        size(config.cache.max_bytes),
        folder.display(),
        size(free)
    );
    if free < config.cache.reserve_bytes {
        return Finding::warning(
            check,
            format!("{detail}, and {} are left to others", size(config.cache.reserve_bytes)),
            "Files are passed on without being kept, and kept ones go. Free some space, or set cache.folder to a larger disk.",
        );
    }
    Finding::well(check, detail)
}
