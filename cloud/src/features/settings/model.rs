//! What settings look like from outside.

use crate::settings::{
    Acts, Document, Effective, Field, Layer, Level, Mark, Spot, Stands, Topic, Wished, set_already,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A topic that may be set.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SettingsTopic {
    /// Its name.
    topic: &'static str,
    /// What it is about.
    says: &'static str,
    /// Who acts on it; what relays act on is set for sites and above.
    acts: Acts,
    /// What may be set.
    fields: Vec<SettingsField>,
}

/// One thing that may be set.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SettingsField {
    /// Its name.
    field: &'static str,
    /// What it means.
    says: &'static str,
    /// What its numbers count; empty where there are none.
    unit: &'static str,
    /// What holds where nobody set it.
    #[schema(value_type = serde_json::Value)]
    default: Value,
    /// Whether it is never shown again.
    secret: bool,
}

impl From<&Topic> for SettingsTopic {
    fn from(topic: &Topic) -> Self {
        let field = |field: &Field| SettingsField {
            field: field.word,
            says: field.says,
            unit: field.unit,
            default: (field.usual)(),
            secret: field.secret,
        };
        let fields = topic.fields.iter().map(field).collect();
        Self { topic: topic.word, says: topic.says, acts: topic.acts, fields }
    }
}

/// What is set of a topic at one place. It replaces all that was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsDocument {
    /// Values by field. A secret that is set reads `{"set": true}`; written so, it stays.
    #[serde(default)]
    pub(super) fields: BTreeMap<String, Value>,
    /// Fields that nobody below may set.
    #[serde(default)]
    pub(super) locked: BTreeSet<String>,
}

impl From<SettingsDocument> for Wished {
    fn from(SettingsDocument { fields, locked }: SettingsDocument) -> Self {
        Self { fields, locked }
    }
}

/// Where something was set or locked, by whom, and when.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SettingsOrigin {
    /// What kind of place.
    level: Level,
    /// Which.
    id: Uuid,
    /// As it is shown.
    name: String,
    /// By whom, as the audit log names them; empty where that is not known.
    by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339::option")]
    at: Option<OffsetDateTime>,
}

/// What holds of a field, and why.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SettingsValue {
    /// The field.
    field: &'static str,
    /// What holds. A secret that is set reads `{"set": true}`.
    #[schema(value_type = serde_json::Value)]
    value: Value,
    /// What its numbers count.
    unit: &'static str,
    /// Where it was set; absent where it is as it usually is.
    origin: Option<SettingsOrigin>,
    /// Where it was locked, if it is: nobody below that sets it.
    locked: Option<SettingsOrigin>,
}

/// How a topic stands at a place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SettingsBody {
    /// The topic.
    topic: &'static str,
    /// What kind of place.
    level: Level,
    /// Which.
    id: Uuid,
    /// What is set at this very place.
    document: SettingsDocument,
    /// What holds there, by field.
    effective: Vec<SettingsValue>,
}

impl SettingsBody {
    pub(super) fn of(topic: &Topic, spot: &Spot, stands: &Stands) -> Self {
        let value = |holds: &Effective| SettingsValue {
            field: holds.field.word,
            value: shown(holds.field, &holds.value),
            unit: holds.field.unit,
            origin: holds
                .from
                .as_ref()
                .and_then(|(n, mark)| Some(origin(stands.layers.get(*n)?, mark.as_ref()))),
            locked: holds
                .locked
                .as_ref()
                .and_then(|(n, mark)| Some(origin(stands.layers.get(*n)?, Some(mark)))),
        };
        Self {
            topic: topic.word,
            level: spot.level,
            id: spot.id,
            document: document(topic, &stands.own),
            effective: stands.effective.iter().map(value).collect(),
        }
    }
}

fn document(topic: &Topic, own: &Document) -> SettingsDocument {
    let mut shows = SettingsDocument::default();
    for (word, entry) in &own.0 {
        if let (Some(field), Some(value)) = (topic.field(word), &entry.value) {
            shows.fields.insert(word.clone(), shown(field, value));
        }
        shows.locked.extend(entry.locked.as_ref().map(|_| word.clone()));
    }
    shows
}

fn shown(field: &Field, value: &Value) -> Value {
    match field.secret && !value.is_null() {
        true => set_already(),
        false => value.clone(),
    }
}

fn origin(layer: &Layer, mark: Option<&Mark>) -> SettingsOrigin {
    SettingsOrigin {
        level: layer.level,
        id: layer.id,
        name: layer.name.clone(),
        by: mark.map(|mark| mark.by.clone()).unwrap_or_default(),
        at: mark.map(|mark| mark.at),
    }
}
