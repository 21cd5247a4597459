//! Settings of the agent on its own computer: TOML file, then `UNIFYIT_*`
//! environment, then flags, each overriding the one before.
//!
//! What the cloud decides (how often to measure) is not here: it is pushed by
//! the relay and kept in the database.

use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Where the configuration is looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/unifyit/agent.toml";
/// Where state is kept when no folder is named.
pub const DEFAULT_STATE: &str = "/var/lib/unifyit-agent";

/// What the file may say. Unknown names are refused, so that a typing error does
/// not go unnoticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// State folder.
    pub state: Option<PathBuf>,
    /// Log filter, such as `info` or `unifyit_agent=debug`.
    pub log: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// `host:port` of the relay's MQTT, instead of those learnt at enrolment.
    pub mqtt: Vec<String>,
    /// `host:port` of the relay's HTTPS, instead of those of the install token.
    pub https: Vec<String>,
    /// Megabytes of disk for reports that wait for the relay.
    pub spool_mb: Option<u64>,
    /// Scripts that may run at once.
    pub max_scripts: Option<usize>,
    /// Terminals that may be open at once.
    pub max_terminals: Option<usize>,
    /// Whether the end of a terminal also ends what was detached from it on
    /// purpose (tmux, nohup, restarted daemons). Otherwise it stays, as with ssh.
    pub terminal_ends_all: Option<bool>,
    /// Whether package managers are set up to use the site's package cache, where
    /// the relay has one.
    pub package_cache: Option<bool>,
    /// Folder that stands for `/` in what the agent writes of other programs'
    /// settings and of its own service.
    pub root: Option<PathBuf>,
}

/// Settings that hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// State folder.
    pub state: PathBuf,
    /// Log filter.
    pub log: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// MQTT addresses that override the enrolled ones; may be empty.
    pub mqtt: Vec<String>,
    /// HTTPS addresses that override the enrolled ones; may be empty.
    pub https: Vec<String>,
    /// Bytes of disk for the spool.
    pub spool_bytes: u64,
    /// Scripts at once.
    pub max_scripts: usize,
    /// Terminals at once.
    pub max_terminals: usize,
    /// Whether the end of a terminal ends what was detached from it, too.
    pub terminal_ends_all: bool,
    /// Whether package managers use the site's package cache.
    pub package_cache: bool,
    /// What stands for `/`.
    pub root: PathBuf,
}

/// Values of flags and environment, where given.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Configuration file.
    pub config: Option<PathBuf>,
    /// State folder.
    pub state: Option<PathBuf>,
    /// Log filter.
    pub log: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// MQTT addresses.
    pub mqtt: Vec<String>,
    /// HTTPS addresses.
    pub https: Vec<String>,
    /// What stands for `/`.
    pub root: Option<PathBuf>,
}

/// What is wrong with the settings.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A named file is not there or not readable.
    #[error("The configuration file {0} cannot be read: {1}.")]
    Unreadable(PathBuf, io::Error),
    /// Not TOML, or with unknown or wrong values.
    #[error("The configuration file {0} is not right: {1}")]
    Invalid(PathBuf, String),
    /// A value out of its range.
    #[error("{0}")]
    Value(String),
}

impl Settings {
    /// Puts file and overrides together.
    ///
    /// # Errors
    /// [`ConfigError`] with a sentence for whoever wrote the value.
    pub fn load(overrides: Overrides) -> Result<Self, ConfigError> {
        let file = read_file(overrides.config.as_deref())?;
        Self::merge(file, overrides)
    }

    fn merge(file: ConfigFile, over: Overrides) -> Result<Self, ConfigError> {
        let format = over.log_format.or(file.log_format).unwrap_or_else(|| "text".into());
        let log_json = match format.as_str() {
            "text" => false,
            "json" => true,
            other => {
                return Err(ConfigError::Value(format!(
                    "The log format is text or json, not {other}."
                )));
            }
        };
        let pick = |first: Vec<String>, second| if first.is_empty() { second } else { first };
        Ok(Self {
            state: over.state.or(file.state).unwrap_or_else(|| DEFAULT_STATE.into()),
            log: over.log.or(file.log).unwrap_or_else(|| "info".into()),
            log_json,
            mqtt: pick(over.mqtt, file.mqtt),
            https: pick(over.https, file.https),
            spool_bytes: in_range("spool_mb", file.spool_mb.unwrap_or(64), 4, 4096)? << 20,
            max_scripts: in_range("max_scripts", file.max_scripts.unwrap_or(8), 1, 64)?,
            max_terminals: in_range("max_terminals", file.max_terminals.unwrap_or(8), 0, 64)?,
            terminal_ends_all: file.terminal_ends_all.unwrap_or(false),
            package_cache: file.package_cache.unwrap_or(true),
            root: over.root.or(file.root).unwrap_or_else(|| "/".into()),
        })
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    from: T,
    to: T,
) -> Result<T, ConfigError> {
    if value < from || value > to {
        return Err(ConfigError::Value(format!("{name} is {value}; it may be {from} to {to}.")));
    }
    Ok(value)
}

fn read_file(named: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => {
            toml::from_str(&text).map_err(|e| ConfigError::Invalid(path.into(), e.to_string()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {
            Ok(ConfigFile::default())
        }
        Err(e) => Err(ConfigError::Unreadable(path.into(), e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn flags_override_the_file_and_the_file_overrides_defaults() {
        let file: ConfigFile =
            toml::from_str("state = '/file'\nlog = 'warn'\nmqtt = ['a:1']").unwrap();
        let over = Overrides { state: Some("/flag".into()), ..Overrides::default() };
        let settings = Settings::merge(file, over).unwrap();
        assert_eq!(settings.state, Path::new("/flag"));
        assert_eq!(settings.log, "warn");
        assert_eq!(settings.mqtt, ["a:1"]);
        assert_eq!(settings.max_scripts, 8);
    }

    #[test]
    fn a_misspelt_name_in_the_file_is_refused() {
        assert!(toml::from_str::<ConfigFile>("spol_mb = 3").is_err());
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_range() {
        let file = ConfigFile { spool_mb: Some(1), ..ConfigFile::default() };
        let error = Settings::merge(file, Overrides::default()).unwrap_err();
        assert_eq!(error.to_string(), "spool_mb is 1; it may be 4 to 4096.");
    }
}
