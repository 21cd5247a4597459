//! What may be set of sites, in layers, and how what holds is read.

use super::{
    SiteSettings,
    cache::{Plan, Remap, rules as cache},
    rules,
};
use crate::settings::{Acts, Field, Topic, within};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// How often devices look at themselves.
pub(super) const COLLECTION: Topic = Topic {
    word: "collection",
    says: "How often computers measure, and look for what changed in their inventory.",
    acts: Acts::Device,
    fields: &[
        Field {
            word: "collect_every_s",
            says: "Time from one measurement to the next.",
            unit: "s",
            usual: || json!(SiteSettings::default().collect_every_s),
            check: |value| within(value, 1, 3600),
            secret: false,
        },
        Field {
            word: "inventory_every_s",
            says: "Time from one look at the inventory to the next.",
            unit: "s",
            usual: || json!(SiteSettings::default().inventory_every_s),
            check: |value| within(value, 60, 86_400),
            secret: false,
        },
    ],
};

/// What the relay's package cache may fetch, and when it fetches ahead. Which files it is
/// to have ready is no setting but work, with a state of its own.
pub(super) const PACKAGE_CACHE: Topic = Topic {
    word: "package_cache",
    says: "What sites' package caches may fetch, beside what their relays' own files say.",
    acts: Acts::Relay,
    fields: &[
        Field {
            word: "hosts",
            says: "Hosts that may be fetched from: `*.example.org` covers subdomains; at most 256.",
            unit: "",
            usual: || json!([]),
            check: |value| checked(value, |hosts: Vec<String>| cache::check_hosts(&hosts)),
            secret: false,
        },
        Field {
            word: "remaps",
            says: "Repositories behind HTTPS, each with `name` and `url`; at most 128.",
            unit: "",
            usual: || json!([]),
            check: |value| checked(value, cache::check_remaps),
            secret: false,
        },
        Field {
            word: "plan",
            says: "When files are fetched ahead: `from` and `until` as times of day in UTC, and \
                   `bytes_per_s`. `null` leaves it to the relay.",
            unit: "",
            usual: || Value::Null,
            check: |value| {
                checked(value, |plan: Option<Plan>| {
                    plan.map(|plan| cache::check_plan(&plan).map(cache::plan_body)).transpose()
                })
            },
            secret: false,
        },
    ],
};

/// Who gets into a site's local UI.
pub(super) const LOCAL_UI: Topic = Topic {
    word: "local_ui",
    says: "Sign-in at the sites' local UI.",
    acts: Acts::Relay,
    fields: &[Field {
        word: "pin",
        says: "6 to 12 digits, not all the same. Kept as a hash alone.",
        unit: "",
        usual: || Value::Null,
        check: |value| match value.as_str() {
            Some(pin) if rules::acceptable_pin(pin) => Ok(value.clone()),
            _ => Err("It is 6 to 12 digits, not all the same.".into()),
        },
        secret: true,
    }],
};

/// All of them.
pub(super) const TOPICS: &[Topic] = &[COLLECTION, PACKAGE_CACHE, LOCAL_UI];

fn checked<T: DeserializeOwned, U: Serialize>(
    value: &Value,
    check: impl FnOnce(T) -> Result<U, String>,
) -> Result<Value, String> {
    let read = T::deserialize(value).map_err(|error| format!("It cannot be read: {error}."))?;
    serde_json::to_value(check(read)?).map_err(|error| error.to_string())
}

/// What holds at a site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Holds {
    pub(super) collection: SiteSettings,
    pub(super) package_cache: CacheHolds,
    pub(super) local_ui: LocalUi,
}

/// What holds of [`PACKAGE_CACHE`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CacheHolds {
    pub(super) hosts: Vec<String>,
    pub(super) remaps: Vec<Remap>,
    pub(super) plan: Option<Plan>,
}

/// What holds of [`LOCAL_UI`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LocalUi {
    /// The PIN's hash.
    pub(super) pin: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::settings::{compose, values};

    #[test]
    fn what_holds_where_nobody_set_anything_is_the_default_of_what_is_read() {
        let all = TOPICS.iter().map(|topic| (topic.word.to_owned(), values(&compose(topic, &[]))));
        let all: serde_json::Map<String, Value> = all.map(|(k, v)| (k, v.into())).collect();
        let read: Holds = serde_json::from_value(Value::Object(all.clone())).unwrap();
        assert_eq!(read, Holds::default());
        assert_eq!(serde_json::to_value(Holds::default()).unwrap(), Value::Object(all));
    }

    #[test]
    fn what_is_kept_is_taken_again_as_it_is() {
        for (field, value) in [
            (0, json!([" Deb.Debian.org ", "deb.debian.org"])),
            (1, json!([{"name": "npm", "url": "https://registry.npmjs.org/"}])),
            (2, json!({"from": "22:00", "until": "04:30", "bytes_per_s": 5})),
            (2, Value::Null),
        ] {
            let check = PACKAGE_CACHE.fields[field].check;
            let kept = check(&value).unwrap();
            assert_eq!(check(&kept).unwrap(), kept);
        }
        let refused = (PACKAGE_CACHE.fields[1].check)(&json!([{"name": "x"}])).unwrap_err();
        assert!(refused.contains("missing field `url`"), "{refused}");
    }
}
