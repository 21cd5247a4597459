//! What holds at a place: documents put together field by field. Pure.

use super::{Document, Field, Level, Mark, Topic};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A document and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What kind of place that is.
    pub level: Level,
    /// Which.
    pub id: Uuid,
    /// As it is shown.
    pub name: String,
    /// What is set there.
    pub document: Document,
}

/// What holds of a field, and why.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The field.
    pub field: &'static Field,
    /// What holds.
    pub value: Value,
    /// The layer that it comes from, by its place in the list, and who set it; none where
    /// it is as the topic says.
    pub from: Option<(usize, Option<Mark>)>,
    /// The layer that locked it, and who did.
    pub locked: Option<(usize, Mark)>,
}

/// Puts documents together. `layers` go from the widest to the nearest; those of one level
/// count in their order, so that of several groups the last wins.
///
/// Of each field the nearest value wins that stands at or above the topmost lock. A value
/// that the field does not take (any more) counts as none.
#[must_use]
pub fn compose(topic: &Topic, layers: &[Layer]) -> Vec<Effective> {
    let one = |field: &'static Field| {
        let mut holds = Effective { field, value: (field.usual)(), from: None, locked: None };
        for (n, layer) in layers.iter().enumerate() {
            let Some(entry) = layer.document.0.get(field.word) else { continue };
            if let Some(value) = entry.value.as_ref().and_then(|value| kept(field, value)) {
                holds.value = value;
                holds.from = Some((n, entry.set.clone()));
            }
            if let Some(mark) = &entry.locked {
                holds.locked = Some((n, mark.clone()));
                break;
            }
        }
        holds
    };
    topic.fields.iter().map(one).collect()
}

/// A stored value, if its field takes it.
fn kept(field: &Field, value: &Value) -> Option<Value> {
    match field.secret {
        true => value.is_string().then(|| value.clone()),
        false => (field.check)(value).ok(),
    }
}

/// The values alone, by field.
#[must_use]
pub fn values(effective: &[Effective]) -> Map<String, Value> {
    effective.iter().map(|holds| (holds.field.word.to_owned(), holds.value.clone())).collect()
}
