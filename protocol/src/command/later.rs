//! Reads commands of later versions as far as this one can: who may execute them and
//! until when is known though what they ask for is not, so that they can be refused in a
//! sentence instead of being brought again until they expire.
//!
//! What a later version adds carries a structure, never a bare name.

use super::{Action, Script, Targets, Terminal};
use crate::ids::{CommandId, DeviceId, SiteId};
use serde::{
    Deserialize, Deserializer,
    de::{EnumAccess, IgnoredAny, VariantAccess, Visitor},
};
use std::fmt;

/// Longest name that is kept of something unknown, in characters.
const MAX_NAME: usize = 40;

#[derive(Deserialize)]
struct Cancel {
    command: CommandId,
}

#[derive(Deserialize)]
struct Named(
    #[serde(deserialize_with = "crate::codec::at_most::<{ super::MAX_NAMED_TARGETS }, _, _>")]
    Vec<DeviceId>,
);

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Actions;
        impl<'de> Visitor<'de> for Actions {
            type Value = Action;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, action: A) -> Result<Action, A::Error> {
                let (name, value) = action.variant::<String>()?;
                match name.as_str() {
                    "Script" => value.newtype_variant::<Script>().map(Action::Script),
                    "Cancel" => value
                        .newtype_variant::<Cancel>()
                        .map(|Cancel { command }| Action::Cancel { command }),
                    "Terminal" => value.newtype_variant::<Terminal>().map(Action::Terminal),
                    _ => {
                        value.newtype_variant().map(|_: IgnoredAny| Action::Later(known_as(&name)))
                    }
                }
            }
        }
        reader.deserialize_enum("Action", &["Script", "Cancel", "Terminal"], Actions)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("who may execute a command")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, targets: A) -> Result<Targets, A::Error> {
                let (name, value) = targets.variant::<String>()?;
                match name.as_str() {
                    "Devices" => {
                        value.newtype_variant::<Named>().map(|Named(ids)| Targets::Devices(ids))
                    }
                    "Site" => value.newtype_variant::<SiteId>().map(Targets::Site),
                    _ => {
                        value.newtype_variant().map(|_: IgnoredAny| Targets::Later(known_as(&name)))
                    }
                }
            }
        }
        reader.deserialize_enum("Targets", &["Devices", "Site"], Kinds)
    }
}

/// A name as it may be shown.
fn known_as(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || "_-".contains(*c)).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests;
