//! Settings as text: the file, and the paths of what can be set.

use super::{Config, ConfigError};
use std::path::Path;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    toml::from_str(&text)
        .map_err(|e| ConfigError::File { path: path.into(), reason: e.to_string() })
}

/// The settings as TOML has them.
pub(super) fn table(config: &Config) -> Result<toml::Value, ConfigError> {
    toml::Value::try_from(config)
        .map_err(|e| ConfigError::Value { what: "the settings".into(), reason: e.to_string() })
}

/// The paths of all settings.
pub(super) fn leaves(value: &toml::Value, path: String, out: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(value, below, out);
            }
        }
        _ => out.push(path),
    }
}
