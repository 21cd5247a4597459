//! For how long a partner's data are kept: as it is asked for, checked and told.

use super::{Bound, Setting};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use std::{borrow::Cow, fmt};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AdditionalProperties,
    },
};

/// Days for which a partner's data are kept, of each setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept(Vec<(Setting, i32)>);

/// What somebody asks for: it may have any fields.
#[derive(Debug)]
pub struct Asked(Vec<(String, i32)>);

impl Kept {
    /// Of each setting what its function gives.
    ///
    /// # Errors
    /// The function's first.
    pub fn each<E>(
        settings: &[Setting],
        days: impl Fn(&Setting) -> Result<i32, E>,
    ) -> Result<Self, E> {
        let days = settings.iter().map(|setting| Ok((*setting, days(setting)?)));
        Ok(Self(days.collect::<Result<_, E>>()?))
    }

    /// Where a partner has set nothing.
    #[must_use]
    pub fn usual(settings: &[Setting]) -> Self {
        Self(settings.iter().map(|setting| (*setting, setting.usual)).collect())
    }

    /// What was asked for, if it names each setting once and keeps the bounds.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(settings: &[Setting], asked: &Asked) -> Result<Self, Cow<'static, str>> {
        let known = |field: &str| settings.iter().any(|setting| setting.field == field);
        if let Some((field, _)) = asked.0.iter().find(|(field, _)| !known(field)) {
            return Err(format!("There is no field `{field}`.").into());
        }
        let kept = Self::each(settings, |setting| {
            let mut given = asked.0.iter().filter(|(field, _)| field == setting.field);
            match (given.next(), given.next()) {
                (Some((_, days)), None) => Ok(*days),
                (None, _) => Err(format!("The field `{}` is missing.", setting.field)),
                (Some(_), Some(_)) => Err(format!("The field `{}` stands twice.", setting.field)),
            }
        })?;
        kept.check()?;
        Ok(kept)
    }

    /// Checks the bounds that the table has too.
    fn check(&self) -> Result<(), &'static str> {
        let bound = |bound| match bound {
            Bound::Days(days) => days,
            Bound::Of(other) => self.days(other),
        };
        let beyond = |(setting, days): &&(Setting, i32)| {
            !(bound(setting.least)..=bound(setting.most)).contains(days)
        };
        self.0.iter().find(beyond).map_or(Ok(()), |(setting, _)| Err(setting.refusal))
    }

    /// The days of a setting.
    #[must_use]
    pub fn days(&self, setting: &Setting) -> i32 {
        let own = self.0.iter().find(|(own, _)| own.field == setting.field);
        own.map_or(setting.usual, |(_, days)| *days)
    }

    /// Each setting with its days.
    pub fn iter(&self) -> impl Iterator<Item = &(Setting, i32)> {
        self.0.iter()
    }

    /// What changes against another, for the audit log.
    #[must_use]
    pub fn told_against(&self, before: &Self) -> String {
        let changed = self.0.iter().filter_map(|(setting, days)| {
            let was = before.days(setting);
            (*days != was).then(|| format!("{} {days} days (was {was})", setting.about))
        });
        let changed = changed.collect::<Vec<_>>().join("; ");
        if changed.is_empty() { "nothing changed".to_owned() } else { changed }
    }

    /// Its schema with the fields that settings give it.
    #[must_use]
    pub fn described(settings: &[Setting]) -> Schema {
        let schema = ObjectBuilder::new()
            .description(Some("Days for which a partner's data are kept."))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let schema = settings.iter().fold(schema, |schema, setting| {
            let days = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
                .description(Some(setting.says));
            schema.property(setting.field, days).required(setting.field)
        });
        schema.into()
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(setting, days)| (setting.field, days)))
    }
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Asked;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of days")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Asked, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Asked(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl PartialSchema for Kept {
    /// Without its fields, which only the list of features has.
    fn schema() -> RefOr<Schema> {
        Self::described(&[]).into()
    }
}

impl ToSchema for Kept {
    fn name() -> Cow<'static, str> {
        "Retention".into()
    }
}
