//! Settings in layers: what they are about, where they are set, what comes of them.
//!
//! A *topic* is a handful of fields that belong together; features contribute topics
//! ([`Topic`]). A *document* of a topic ([`Document`]) stands at a partner, an
//! organization, a site or a device, and has values of some fields, and locks. What holds
//! at a place is composed field by field ([`compose()`]): the nearest document that has a
//! value wins, unless one above it locked the field; what nobody set is as the topic says.
//! Each value knows where it comes from.
//!
//! The table `settings` has the documents. A row is seen by whoever sees its place, and by
//! those below it, for whom it counts; who may not write there is stopped by the row
//! policies. What follows from a change is the features' ([`Follow`]).

mod compose;
mod document;
mod spot;
mod standing;
pub mod store;
mod topic;

pub use compose::{Effective, Layer, compose, values};
pub use document::{Document, Entry, Mark, Refused, Wished, set_already};
pub use spot::{Level, Spot, find};
pub use standing::{Stands, stands};
pub use topic::{Acts, Field, Topic, topic, topics, within};

use crate::{context::AppState, db::TenantTx, link::downlink::AppendError};
use futures::future::BoxFuture;

/// What a feature has to do, in the acting transaction, when a document changed at a spot.
pub type Follow =
    for<'a> fn(&'a mut TenantTx, &'a AppState, &'a Spot) -> BoxFuture<'a, Result<(), AppendError>>;

#[cfg(test)]
mod tests;
