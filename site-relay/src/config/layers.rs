//! The layers of settings, one over the other: built-in values, the file, variables,
//! flags. figment merges them and names the layer of a value that does not fit.

use super::{Config, ConfigError, Sources};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Serialized,
    util::nest,
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

/// The settings of all sources.
pub(super) fn put_together(file: Option<&Path>, sources: &Sources) -> Result<Config, ConfigError> {
    let usual = Figment::from(Serialized::defaults(Config::default()));
    let mut all = usual.clone();
    if let Some(path) = file {
        all = all.merge(read(path)?);
        // What is wrong with the file is said of it before anything stands over it.
        all.extract::<Config>().map_err(|error| ConfigError::File {
            path: path.into(),
            reason: format!("{}: {}", error.path.join("."), error.kind),
        })?;
    }
    let mut paths = Vec::new();
    if let Ok(Value::Dict(_, settings)) = usual.find_value("") {
        leaves(&settings, "", &mut paths);
    }
    for path in paths {
        let name = format!("UNIFYIT_{}", path.replace('.', "_").to_uppercase());
        if let Some((_, text)) = sources.variables.iter().find(|(found, _)| *found == name) {
            all = over(all, &usual, &path, text, name)?;
        }
    }
    for (path, text) in &sources.flags {
        all = over(all, &usual, path, text, format!("--set {path}"))?;
    }
    all.extract().map_err(|error| {
        let what = error.metadata.as_ref().map(|of| of.name.to_string()).unwrap_or_default();
        ConfigError::Value { what, reason: error.kind.to_string() }
    })
}

/// Reads a file.
fn read(path: &Path) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    let wrong = |reason: String| ConfigError::File { path: path.into(), reason };
    let table: toml::Table = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let mut values = Dict::new();
    for (key, value) in table {
        values.insert(key, Value::serialize(value).map_err(|e| wrong(e.to_string()))?);
    }
    Ok(Layer { name: path.display().to_string(), values })
}

/// Puts one value over what is there. `name` is how its source calls it.
fn over(
    all: Figment,
    usual: &Figment,
    path: &str,
    text: &str,
    name: String,
) -> Result<Figment, ConfigError> {
    let wrong = |reason: String| ConfigError::Value { what: name.clone(), reason };
    let present = usual
        .find_value(path)
        .map_err(|_| wrong(format!("there is no setting {path}; see --help")))?;
    let value = match present {
        Value::Num(..) => {
            let number: Result<i64, _> = text.trim().parse();
            Value::from(number.map_err(|_| wrong("a whole number is expected".into()))?)
        }
        Value::Bool(..) => {
            let flag: Result<bool, _> = text.trim().parse();
            Value::from(flag.map_err(|_| wrong("true or false is expected".into()))?)
        }
        Value::Array(..) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.collect::<Vec<_>>())
        }
        Value::Dict(..) => {
            return Err(wrong(format!("{path} is a group; name one of its settings")));
        }
        _ => Value::from(text),
    };
    let values = nest(path, value).into_dict().unwrap_or_default();
    Ok(all.merge(Layer { name, values }))
}

/// The paths of all settings.
fn leaves(settings: &Dict, above: &str, out: &mut Vec<String>) {
    for (key, value) in settings {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match value {
            Value::Dict(_, group) => leaves(group, &path, out),
            _ => out.push(path),
        }
    }
}
