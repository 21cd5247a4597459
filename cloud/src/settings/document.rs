//! What somebody set of a topic at one place, field by field, and how it is changed.

use super::{Effective, Field, Topic};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// Most bytes of a document, as JSON.
pub(super) const MAX_BYTES: usize = 192 * 1024;

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// As the audit log names them.
    pub by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What is set of a field. One without value and lock is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Its value, if it has one here.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
    /// Who gave it the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Mark>,
    /// Who locked it for all below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Mark>,
}

/// A value that stands there is one, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What is set of a topic at a place, by field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(pub BTreeMap<String, Entry>);

/// What somebody wishes to be set: it takes the place of what is.
#[derive(Debug, Clone, Default)]
pub struct Wished {
    /// Values by field.
    pub fields: BTreeMap<String, Value>,
    /// Fields to lock.
    pub locked: BTreeSet<String>,
}

/// Why it was not taken, by field.
pub type Refused = BTreeMap<String, String>;

/// Stands for a secret that is set, both ways.
#[must_use]
pub fn set_already() -> Value {
    serde_json::json!({ "set": true })
}

impl Document {
    /// The value of a field here.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.0.get(field)?.value.as_ref()
    }

    /// Secrets that are taken away, or locked without one, each with why that is refused:
    /// an earlier one would come back, the one from the enrolment of a site's relay.
    ///
    /// # Errors
    /// A sentence for each.
    pub fn keeps_secrets(&self, before: &Self, topic: &Topic) -> Result<(), Refused> {
        let none_here = |field: &&Field| field.secret && self.value(field.word).is_none();
        let why = |field: &Field| {
            let locked = self.0.get(field.word).is_some_and(|entry| entry.locked.is_some());
            match (before.value(field.word).is_some(), locked) {
                (true, _) => Some("It is not taken away, but replaced: set another one."),
                (false, true) => Some("Set one where you lock it."),
                (false, false) => None,
            }
        };
        let refused: Refused = topic
            .fields
            .iter()
            .filter(none_here)
            .filter_map(|field| Some((field.word.to_owned(), why(field)?.to_owned())))
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    /// This document changed into what is wished. Values that stay keep who set them.
    /// `above` is what holds without this document: what is locked there stays as it is.
    ///
    /// # Errors
    /// A sentence for each field that is not acceptable.
    pub fn changed(
        &self,
        topic: &Topic,
        wished: Wished,
        above: &[Effective],
        mark: &Mark,
    ) -> Result<Self, Refused> {
        let (mut made, mut refused) = (Self::default(), Refused::new());
        for (word, value) in &wished.fields {
            let Some(field) = topic.field(word) else {
                refused.insert(word.clone(), "There is no such field.".into());
                continue;
            };
            match self.taken(field, value, above) {
                Ok(value) => {
                    let entry = self.0.get(word).filter(|e| e.value.as_ref() == Some(&value));
                    let set = entry.and_then(|e| e.set.clone()).unwrap_or_else(|| mark.clone());
                    let entry = Entry { value: Some(value), set: Some(set), locked: None };
                    made.0.insert(word.clone(), entry);
                }
                Err(why) => drop(refused.insert(word.clone(), why)),
            }
        }
        for word in wished.locked {
            if topic.field(&word).is_none() {
                refused.insert(word, "There is no such field.".into());
                continue;
            }
            let before = self.0.get(&word).and_then(|entry| entry.locked.clone());
            let entry = made.0.entry(word).or_default();
            entry.locked = Some(before.unwrap_or_else(|| mark.clone()));
        }
        let bytes = serde_json::to_string(&made).map_or(usize::MAX, |text| text.len());
        if bytes > MAX_BYTES {
            let why = format!("All of it is {bytes} bytes long; {MAX_BYTES} fit.");
            refused.entry(topic.word.into()).or_insert(why);
        }
        if refused.is_empty() { Ok(made) } else { Err(refused) }
    }

    /// A value as it is kept.
    fn taken(&self, field: &Field, value: &Value, above: &[Effective]) -> Result<Value, String> {
        let before = self.value(field.word);
        let value = match field.secret {
            // A secret arrives hashed, or says that it stays.
            true if *value == set_already() => before.cloned().ok_or("None is set here yet.")?,
            true => value.clone(),
            false => (field.check)(value)?,
        };
        let lock = above.iter().find(|e| e.field.word == field.word && e.locked.is_some());
        match lock {
            Some(_) if before != Some(&value) => {
                Err("It is locked above, and cannot be set here.".into())
            }
            _ => Ok(value),
        }
    }

    /// What changes against another, for the audit log: no secrets, and long values cut.
    #[must_use]
    pub fn told_against(&self, before: &Self, topic: &Topic) -> String {
        const SHOWN: usize = 120;
        let show = |field: &Field, value: &Value| match field.secret {
            true => "a secret".to_owned(),
            false => value.to_string().chars().take(SHOWN).collect(),
        };
        let mut told = Vec::new();
        for field in topic.fields {
            let (old, new) = (before.value(field.word), self.value(field.word));
            match (old, new) {
                (old, Some(new)) if old != Some(new) => {
                    told.push(format!("{} is {}", field.word, show(field, new)));
                }
                (Some(_), None) => told.push(format!("{} no longer set", field.word)),
                _ => {}
            }
            let locked = |document: &Self| {
                document.0.get(field.word).is_some_and(|entry| entry.locked.is_some())
            };
            match (locked(before), locked(self)) {
                (false, true) => told.push(format!("{} locked", field.word)),
                (true, false) => told.push(format!("{} unlocked", field.word)),
                _ => {}
            }
        }
        if told.is_empty() { "nothing changed".to_owned() } else { told.join("; ") }
    }
}
