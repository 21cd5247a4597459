//! How a topic stands at a spot, and changing what is set there.

use super::{
    Document, Effective, Layer, Level, Mark, Refused, Spot, Topic, Wished, compose, store,
};
use crate::db::{DbError, TenantTx};
use serde_json::Value;

/// How a topic stands at a spot.
#[derive(Debug, Clone)]
pub struct Stands {
    /// The documents that count there, from the widest to the nearest.
    pub layers: Vec<Layer>,
    /// The one that stands at the spot itself.
    pub own: Document,
    /// What would hold without that one.
    pub above: Vec<Effective>,
    /// What holds.
    pub effective: Vec<Effective>,
}

/// Looks at how a topic stands at a spot.
///
/// # Errors
/// [`DbError`].
pub async fn stands(tx: &mut TenantTx, spot: &Spot, topic: &Topic) -> Result<Stands, DbError> {
    let layers = store::layers(tx, spot).await?.remove(topic.word).unwrap_or_default();
    Ok(Stands::of(spot.level, topic, layers))
}

impl Stands {
    fn of(level: Level, topic: &Topic, layers: Vec<Layer>) -> Self {
        let (own, above): (Vec<_>, Vec<_>) =
            layers.iter().cloned().partition(|layer| layer.level == level);
        Self {
            own: own.into_iter().next().map(|layer| layer.document).unwrap_or_default(),
            above: compose(topic, &above),
            effective: compose(topic, &layers),
            layers,
        }
    }

    /// The spot's own document with these values over what it has. What is as it would be
    /// without being set, and is not set, is left so: it goes on to follow what is above.
    ///
    /// # Errors
    /// A sentence for each field that is not acceptable.
    pub fn with(
        &self,
        topic: &Topic,
        values: impl IntoIterator<Item = (&'static str, Value)>,
        mark: &Mark,
    ) -> Result<Document, Refused> {
        let mut wished = Wished::default();
        for (word, entry) in &self.own.0 {
            wished.fields.extend(entry.value.clone().map(|value| (word.clone(), value)));
            wished.locked.extend(entry.locked.as_ref().map(|_| word.clone()));
        }
        for (word, value) in values {
            let holds = self.above.iter().find(|holds| holds.field.word == word);
            let same = holds.is_some_and(|holds| holds.value == value);
            if !same || wished.fields.contains_key(word) {
                wished.fields.insert(word.to_owned(), value);
            }
        }
        self.own.changed(topic, wished, &self.above, mark)
    }
}
