//! What may be set: topics with their fields, as features contribute them.

use super::Level;
use crate::feature::Feature;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Who acts on what is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acts {
    /// The site's relay. It is set for sites and above.
    Relay,
    /// Each computer by itself.
    Device,
}

/// Fields that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Topic {
    /// Its name on the wire.
    pub word: &'static str,
    /// What it is about.
    pub says: &'static str,
    /// Who acts on it.
    pub acts: Acts,
    /// What may be set.
    pub fields: &'static [Field],
}

/// One thing that may be set.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name on the wire.
    pub word: &'static str,
    /// What it means.
    pub says: &'static str,
    /// What its numbers count; empty where there are none.
    pub unit: &'static str,
    /// What holds where nobody set it.
    pub usual: fn() -> Value,
    /// A value as it is kept, or a sentence that says what would do.
    pub check: fn(&Value) -> Result<Value, String>,
    /// Whether it is never shown again, and kept as a hash alone.
    pub secret: bool,
}

impl Topic {
    /// A field by its word.
    #[must_use]
    pub fn field(&self, word: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.word == word)
    }

    /// Whether documents of it stand at a level.
    #[must_use]
    pub fn stands_at(&self, level: Level) -> bool {
        match self.acts {
            Acts::Relay => level <= Level::Site,
            Acts::Device => true,
        }
    }
}

/// The topics of all features.
pub fn topics(features: &[Feature]) -> impl Iterator<Item = &'static Topic> {
    features.iter().flat_map(|feature| feature.topics)
}

/// A topic by its word.
#[must_use]
pub fn topic(features: &[Feature], word: &str) -> Option<&'static Topic> {
    topics(features).find(|topic| topic.word == word)
}

/// Takes a whole number within bounds.
///
/// # Errors
/// A sentence that names them.
pub fn within(value: &Value, least: u64, most: u64) -> Result<Value, String> {
    let number = value.as_u64().filter(|number| (least..=most).contains(number));
    number.map(Value::from).ok_or_else(|| format!("It is a whole number from {least} to {most}."))
}
