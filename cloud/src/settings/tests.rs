//! Composing: whatever stands where, the nearest value wins below no lock.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

const TOPIC: Topic = Topic {
    word: "test",
    says: "",
    acts: Acts::Device,
    fields: &[
        Field {
            word: "pace",
            says: "",
            unit: "s",
            usual: || json!(10),
            check: |value| within(value, 1, 60),
            secret: false,
        },
        Field {
            word: "key",
            says: "",
            unit: "",
            usual: || Value::Null,
            check: |value| Ok(value.clone()),
            secret: true,
        },
    ],
};

const LEVELS: [Level; 5] =
    [Level::Partner, Level::Organization, Level::Site, Level::Group, Level::Device];

fn mark(by: &str) -> Mark {
    Mark { by: by.into(), at: OffsetDateTime::UNIX_EPOCH }
}

/// A layer with a value and a lock of `pace`.
fn layer(level: Level, value: Option<u64>, locked: bool) -> Layer {
    let name = level.as_str().to_owned();
    let entry = Entry {
        value: value.map(Value::from),
        set: value.map(|_| mark(&name)),
        locked: locked.then(|| mark(&name)),
    };
    let document = Document([("pace".to_owned(), entry)].into());
    Layer { level, id: Uuid::nil(), name, document }
}

fn pace(layers: &[Layer]) -> Effective {
    compose(&TOPIC, layers).swap_remove(0)
}

proptest! {
    #[test]
    fn the_nearest_value_at_or_above_the_topmost_lock_holds(
        said in prop::array::uniform5((prop::option::of(0u64..80), any::<bool>(), any::<bool>())),
    ) {
        let layers: Vec<Layer> = LEVELS
            .iter()
            .zip(said)
            .filter(|(_, (.., stands))| *stands)
            .map(|(level, (value, locked, _))| layer(*level, value, locked))
            .collect();
        let holds = pace(&layers);
        let lock = layers.iter().position(|l| l.document.0["pace"].locked.is_some());
        let reaching = &layers[..lock.map_or(layers.len(), |at| at + 1)];
        let within = |layer: &&Layer| {
            layer.document.value("pace").and_then(Value::as_u64).is_some_and(|v| (1..=60).contains(&v))
        };
        let nearest = reaching.iter().rev().find(within);
        match nearest {
            Some(layer) => {
                prop_assert_eq!(Some(&holds.value), layer.document.value("pace"));
                let (from, set) = holds.from.unwrap();
                prop_assert_eq!(layers[from].level, layer.level);
                prop_assert_eq!(set, Some(mark(&layer.name)));
            }
            None => {
                prop_assert_eq!(&holds.value, &json!(10));
                prop_assert_eq!(holds.from, None);
            }
        }
        prop_assert_eq!(holds.locked.map(|(at, _)| at), lock);
        // What stands below a lock changes nothing, and what says nothing neither.
        if lock.is_some() {
            prop_assert_eq!(&pace(reaching).value, &holds.value);
        }
        let mut more = layers.clone();
        more.push(layer(Level::Device, None, false));
        prop_assert_eq!(pace(&more).value, holds.value);
    }
}

#[test]
fn of_several_groups_the_last_wins() {
    let groups = [layer(Level::Group, Some(3), false), layer(Level::Group, Some(4), false)];
    assert_eq!(pace(&groups).value, json!(4));
}

fn wish(fields: Value, locked: &[&str]) -> Wished {
    Wished {
        fields: serde_json::from_value(fields).unwrap(),
        locked: locked.iter().map(|field| (*field).to_owned()).collect(),
    }
}

#[test]
fn who_set_a_value_that_stays_stays_with_it() {
    let none = compose(&TOPIC, &[]);
    let first = Document::default();
    let first = first.changed(&TOPIC, wish(json!({"pace": 5}), &["pace"]), &none, &mark("a"));
    let first = first.unwrap();
    let again = first.changed(&TOPIC, wish(json!({"pace": 5}), &["pace"]), &none, &mark("b"));
    assert_eq!(again.unwrap(), first);
    let other = first.changed(&TOPIC, wish(json!({"pace": 6}), &["pace"]), &none, &mark("b"));
    let entry = other.unwrap().0.remove("pace").unwrap();
    assert_eq!((entry.set, entry.locked), (Some(mark("b")), Some(mark("a"))));
    let bare = first.changed(&TOPIC, wish(json!({}), &[]), &none, &mark("b")).unwrap();
    assert!(bare.0.is_empty());
    let told = bare.told_against(&first, &TOPIC);
    assert_eq!(told, "pace no longer set; pace unlocked");
}

#[test]
fn each_field_that_is_not_acceptable_is_named() {
    let wished = wish(json!({"pace": 61, "key": {"set": true}, "more": 1}), &["less"]);
    let none = compose(&TOPIC, &[]);
    let refused = Document::default().changed(&TOPIC, wished, &none, &mark("a")).unwrap_err();
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["key", "less", "more", "pace"]);
    assert_eq!(refused["pace"], "It is a whole number from 1 to 60.");
    let long = wish(json!({"key": "x".repeat(200_000)}), &[]);
    let refused = Document::default().changed(&TOPIC, long, &none, &mark("a")).unwrap_err();
    assert!(refused["test"].contains("bytes long"), "{refused:?}");
}

#[test]
fn what_is_locked_above_is_not_set_below_and_what_was_set_before_may_stay() {
    let above = compose(&TOPIC, &[layer(Level::Partner, Some(20), true)]);
    let own = layer(Level::Site, Some(5), false).document;
    let refused = own.changed(&TOPIC, wish(json!({"pace": 6}), &[]), &above, &mark("a"));
    assert!(refused.unwrap_err()["pace"].contains("locked above"));
    let kept = own.changed(&TOPIC, wish(json!({"pace": 5}), &[]), &above, &mark("a"));
    assert_eq!(kept.unwrap(), own);
}

#[test]
fn a_document_reads_back_as_it_was_kept_with_null_for_a_value() {
    let entry = Entry { value: Some(Value::Null), set: Some(mark("a")), locked: None };
    let document = Document([("key".to_owned(), entry)].into());
    let text = serde_json::to_string(&document).unwrap();
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
}
