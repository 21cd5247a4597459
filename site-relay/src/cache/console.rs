//! What the console sets for the cache, joined with the relay's own file.
//!
//! Hosts add up. A remap that both name, the hours and the line are the relay
//! file's where it differs from what is built in, and the console's otherwise:
//! whoever stands at the machine has the last word, and what he never touched
//! can be set from afar. Whatever is in neither is refused.

use super::{
    Cache, CacheConfig,
    policy::Policy,
    prefetch::{Bucket, Hours},
    reach::Reach,
};
use std::sync::{Arc, PoisonError, RwLock};
use unifyit_protocol::{
    cache::{CachePlan, CachePolicy},
    config::SiteConfig,
};

/// Bounds of what is told of it.
const MAX_TOLD: usize = 1024;
const MAX_OVERRULED: usize = 256;
const MAX_REMAP: usize = 600;

/// What is in force, for all who follow it.
pub(super) type Shared = Arc<RwLock<Arc<Rules>>>;

/// What is in force.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) policy: Arc<Policy>,
    pub(super) reach: Arc<Reach>,
    pub(super) hours: Hours,
    /// The line, as far as fetching ahead and sisters may use it.
    pub(super) line: Arc<Bucket>,
    plan: CachePlan,
    overruled: Vec<String>,
}

impl Rules {
    /// The file's settings alone.
    ///
    /// # Errors
    /// The text that is no time of day.
    pub(super) fn of(config: &CacheConfig) -> Result<Self, String> {
        let hours = Hours::parse(&config.ahead_from, &config.ahead_until)?;
        Ok(Self::joined(config, hours, &SiteConfig::default(), None))
    }

    fn joined(config: &CacheConfig, own: Hours, site: &SiteConfig, before: Option<&Self>) -> Self {
        let mut overruled = Vec::new();
        let policy = join_policy(config, site, &mut overruled);
        let plan = join_plan(config, own, site.cache_plan, &mut overruled);
        overruled.truncate(MAX_OVERRULED);
        // The same line goes on: what was taken of it stays taken.
        let line = before
            .filter(|rules| rules.plan.bytes_per_s == plan.bytes_per_s)
            .map_or_else(|| Arc::new(Bucket::new(plan.bytes_per_s)), |rules| rules.line.clone());
        let policy = Arc::new(policy);
        let reach = Arc::new(Reach::of(config, Arc::clone(&policy)));
        Self { policy, reach, hours: Hours::of(plan), line, plan, overruled }
    }
}

fn join_policy(config: &CacheConfig, site: &SiteConfig, overruled: &mut Vec<String>) -> Policy {
    let built_in = CacheConfig::default().remaps;
    let (given, own): (Vec<_>, Vec<_>) =
        config.remaps.iter().cloned().partition(|remap| built_in.contains(remap));
    let hosts = [config.hosts.as_slice(), &site.cache_hosts].concat();
    // The last of a name holds.
    let remaps = [given.as_slice(), &site.cache_remaps, &own].concat();
    let (policy, rejected) = Policy::new(&hosts, &remaps);
    for entry in rejected {
        tracing::warn!(
            entry,
            "A host or remap of the package cache cannot be read and is ignored."
        );
    }
    for remap in &site.cache_remaps {
        let Some((name, url)) = remap.split_once('=') else { continue };
        let holds = policy.remaps().get(name);
        if let Some(holds) = holds.filter(|holds| *holds != url.trim_end_matches('/')) {
            let holds: String = holds.chars().take(MAX_REMAP).collect();
            overruled.push(format!("The relay's own file maps {name} to {holds}."));
        }
    }
    policy
}

fn join_plan(
    config: &CacheConfig,
    own: Hours,
    console: Option<CachePlan>,
    overruled: &mut Vec<String>,
) -> CachePlan {
    let built_in = CacheConfig::default();
    let (from_min, until_min) = own.minutes();
    let mut plan = CachePlan { from_min, until_min, bytes_per_s: config.ahead_bytes_per_s };
    let Some(console) = console else { return plan };
    let (from, until) = (&config.ahead_from, &config.ahead_until);
    if (from, until) == (&built_in.ahead_from, &built_in.ahead_until) {
        (plan.from_min, plan.until_min) = (console.from_min, console.until_min);
    } else if (plan.from_min, plan.until_min) != (console.from_min, console.until_min) {
        overruled.push(format!("The relay's own file sets the hours: {from} to {until}."));
    }
    if config.ahead_bytes_per_s == built_in.ahead_bytes_per_s {
        plan.bytes_per_s = console.bytes_per_s;
    } else if plan.bytes_per_s != console.bytes_per_s {
        overruled.push(format!(
            "The relay's own file sets the bandwidth: {} bytes a second.",
            plan.bytes_per_s
        ));
    }
    plan
}

impl Cache {
    /// Takes over what the console sets, on top of the local file. Takes effect
    /// with the next request.
    pub fn follow(&self, site: &SiteConfig) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let joined = Rules::joined(&self.config, self.own_hours, site, Some(&rules));
        *rules = Arc::new(joined);
        drop(rules);
        self.news.notify_one();
    }

    /// What is in force, for the console.
    #[must_use]
    pub fn allowed(&self) -> CachePolicy {
        let rules = self.rules();
        CachePolicy {
            hosts: rules.policy.hosts().iter().take(MAX_TOLD).cloned().collect(),
            remaps: (rules.policy.remaps().iter())
                .map(|(name, url)| format!("{name}={url}"))
                .filter(|remap| remap.len() <= MAX_REMAP)
                .take(MAX_OVERRULED)
                .collect(),
            plan: Some(rules.plan),
            overruled: rules.overruled.clone(),
        }
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner).policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(config: &CacheConfig, site: &SiteConfig) -> Rules {
        let own = Hours::parse(&config.ahead_from, &config.ahead_until);
        let own = own.unwrap_or_else(|_| Hours::of(PLAN));
        Rules::joined(config, own, site, None)
    }

    const PLAN: CachePlan = CachePlan { from_min: 60, until_min: 120, bytes_per_s: 1000 };

    fn site() -> SiteConfig {
        SiteConfig {
            cache_hosts: vec!["repo.corp.example".into()],
            cache_remaps: vec![
                "pypi=https://pypi.corp.example".into(),
                "tools=https://tools.example/a".into(),
            ],
            cache_plan: Some(PLAN),
            ..SiteConfig::default()
        }
    }

    #[test]
    fn the_console_adds_to_the_file_and_replaces_what_is_built_in() {
        let rules = joined(&CacheConfig::default(), &site());
        assert!(rules.policy.resolve("http://repo.corp.example/x").is_ok());
        assert!(rules.policy.resolve("http://deb.debian.org/x").is_ok());
        assert!(rules.policy.resolve("http://other.example/x").is_err());
        assert_eq!(
            rules.policy.remaps().get("pypi").map(String::as_str),
            Some("https://pypi.corp.example")
        );
        assert!(rules.policy.remaps().contains_key("npm"));
        assert_eq!((rules.plan, rules.overruled.len()), (PLAN, 0));
    }

    #[test]
    fn what_the_relays_own_file_sets_wins_and_is_told() {
        let config = CacheConfig {
            remaps: vec!["tools=https://here.example".into()],
            ahead_from: "23:00".into(),
            ahead_bytes_per_s: 7,
            ..CacheConfig::default()
        };
        let rules = joined(&config, &site());
        assert_eq!(
            rules.policy.remaps().get("tools").map(String::as_str),
            Some("https://here.example")
        );
        // Taken out of the file's list, and named by the console: the console's.
        assert!(rules.policy.remaps().contains_key("pypi"));
        assert_eq!(rules.plan, CachePlan { from_min: 23 * 60, until_min: 5 * 60, bytes_per_s: 7 });
        assert_eq!(rules.overruled.len(), 3, "{:?}", rules.overruled);
    }
}
