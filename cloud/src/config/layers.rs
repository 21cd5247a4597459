//! The layers of settings, one over the other: built-in values, the file, variables.
//! figment merges them and names the layer of a value that does not fit.

use super::{Config, ConfigError};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Serialized,
    value::{Dict, Map, Value},
};
use std::path::Path;

/// Values of one source, by its name.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone()).interpolater(|_, keys| keys.join("."))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The settings of a file's text under those variables that name one.
pub(super) fn put_together(
    path: &Path,
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let file: toml::Table =
        toml::from_str(text).map_err(|e| invalid(name.clone(), e.to_string()))?;
    let usual = Figment::from(Serialized::defaults(Config::default()));
    let mut values = Dict::new();
    for (key, value) in file {
        let value = Value::serialize(value).map_err(|e| invalid(name.clone(), e.to_string()))?;
        values.insert(key, value);
    }
    let mut all = usual.clone().merge(Layer { name, values });
    for (name, text) in variables {
        let Some(key) = name.strip_prefix("UNIFYIT_").map(str::to_lowercase) else { continue };
        let Ok(present) = usual.find_value(&key) else { continue };
        let value = read(&present, &text).map_err(|message| invalid(name.clone(), message))?;
        all = all.merge(Layer { name, values: Dict::from([(key, value)]) });
    }
    all.extract().map_err(|error| {
        let origin = error.metadata.as_ref().map(|of| of.name.to_string()).unwrap_or_default();
        let key = error.path.join(".");
        invalid(origin, format!("{key}: {}", error.kind))
    })
}

fn invalid(origin: String, message: String) -> ConfigError {
    ConfigError::Invalid { origin, message }
}

/// A variable's text as a value like the one that is there.
fn read(present: &Value, text: &str) -> Result<Value, String> {
    match present {
        Value::Num(..) => {
            let number: Result<i64, _> = text.trim().parse();
            number.map(Value::from).map_err(|_| "not a whole number".to_owned())
        }
        Value::Array(..) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::from(items.collect::<Vec<_>>()))
        }
        _ => Ok(Value::from(text)),
    }
}
