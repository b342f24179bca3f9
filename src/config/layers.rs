//! From where a setting comes: the default, then the file, then the environment, then a flag. The later wins.

use std::ffi::OsString;
use std::path::Path;

use figment::error::Kind as Cause;
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::keys::{self, Flags, KEYS, Key, Kind};
use super::{Config, ConfigError, redact};

/// Variables with our prefix that are no settings: those of the client commands, and the file itself.
const NOT_SETTINGS: &[&str] = &["RECADO_CONFIG", "RECADO_SERVER", "RECADO_SERVER_CA", "RECADO_API_KEY"];

/// All layers, each checked for names and kinds and with its source.
pub struct Layers(Figment);

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its place in the file: `engine.call_limit`.
    pub key: &'static str,
    /// The value; a secret only as `(hidden)` or `(not set)`.
    pub value: String,
    /// `default`, the file's path, the variable of the environment, or the flag.
    pub source: String,
}

impl Layers {
    /// Reads all layers: the file that the flags or `RECADO_CONFIG` name, and the given environment.
    ///
    /// # Errors
    /// All names that are no settings and all values of the wrong kind, each with its source.
    pub fn read(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut environment: Vec<_> = environment.into_iter().collect();
        environment.sort();
        let mut reading = Reading { layers: vec![Layer::of_defaults()], problems: Vec::new() };
        let named = environment.iter().find(|(name, value)| name == "RECADO_CONFIG" && !value.is_empty());
        if let Some(path) = flags.config.as_deref().or(named.map(|(_, path)| Path::new(path))) {
            reading.file(path);
        }
        for (name, value) in &environment {
            reading.variable(name, value);
        }
        for (path, value) in &flags.values {
            match keys::by_path(path) {
                Some(key) => reading.text(key, value, format!("--{}", key.flag)),
                None => reading.problems.push(format!("{path:?} is no setting")),
            }
        }
        match reading.problems.is_empty() {
            true => Ok(Self(reading.layers.into_iter().fold(Figment::new(), |figment, layer| figment.merge(layer)))),
            false => Err(ConfigError(reading.problems)),
        }
    }

    /// The settings, each readable by itself; [`Config::check`] tells whether they fit together.
    ///
    /// # Errors
    /// The first value that cannot be read, with its key and source.
    pub fn config(&self) -> Result<Config, ConfigError> {
        self.0.extract().map_err(|error| ConfigError(vec![describe(&error)]))
    }

    /// Every setting with its value and source, in the order of `config/default.toml`.
    pub fn explain(&self) -> Vec<InForce> {
        let one = |key: &'static Key| InForce {
            key: &key.path,
            value: self.0.find_value(&key.path).map_or_else(|_| String::new(), |value| shown(key, &value)),
            source: self.0.find_metadata(&key.path).map_or_else(String::new, |from| from.name.to_string()),
        };
        KEYS.iter().map(one).collect()
    }
}

fn shown(key: &Key, value: &Value) -> String {
    let text = match value {
        Value::String(_, text) => text.clone(),
        other => other.to_i128().map(|number| number.to_string()).unwrap_or_default(),
    };
    match (text.as_str(), key.secret) {
        ("", _) => "(not set)".to_owned(),
        (_, true) => "(hidden)".to_owned(),
        (url, _) if key.path == "database_url" => redact(url),
        // A user in it is refused, and not shown all the same.
        (url, _) if key.path == "nats.url" && url.contains('@') => "(hidden)".to_owned(),
        (text, _) => text.to_owned(),
    }
}

/// What is wrong with a value, where it came from, and what would be right.
fn describe(error: &Error) -> String {
    let key = error.path.join(".");
    let source = error.metadata.as_ref().map_or("default", |from| &from.name);
    match &error.kind {
        Cause::Message(text) => format!("{key} ({source}): {text}"),
        Cause::UnknownVariant(word, known) => format!("{key} ({source}): {word:?} is none of {}", known.join(", ")),
        Cause::InvalidValue(found, wanted) | Cause::InvalidType(found, wanted) => {
            format!("{key} ({source}): found {found}, wanted {wanted}")
        }
        other => format!("{key} ({source}): {other}"),
    }
}

/// Values that came from one source.
struct Layer {
    source: String,
    values: Dict,
}

impl Layer {
    fn of_defaults() -> Self {
        let mut values = Dict::new();
        for key in KEYS.iter() {
            insert(&mut values, &key.path, typed(key, &key.default).unwrap_or_else(|| "".into()));
        }
        Self { source: "default".to_owned(), values }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Puts a value at a dotted place.
fn insert(dict: &mut Dict, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            dict.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = dict.entry(section.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// A value that came as text. Text stays text: a key made of digits is no number.
fn typed(key: &Key, text: &str) -> Option<Value> {
    match key.kind {
        Kind::Text => Some(text.into()),
        Kind::Number => text.trim().parse::<i64>().ok().map(Value::from),
    }
}

struct Reading {
    layers: Vec<Layer>,
    problems: Vec<String>,
}

impl Reading {
    fn file(&mut self, path: &Path) {
        let source = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("the file {source} cannot be read: {error}")),
        };
        match text.parse::<toml::Table>() {
            Ok(table) => {
                let mut values = Dict::new();
                self.table(&table, "", &source, &mut values);
                self.layers.push(Layer { source, values });
            }
            // The library's full text would show the line, and the line may hold a secret.
            Err(error) => {
                let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                self.problems.push(format!("{source}, line {line}: this is not TOML: {}", error.message()));
            }
        }
    }

    fn table(&mut self, table: &toml::Table, prefix: &str, source: &str, values: &mut Dict) {
        for (name, value) in table {
            let path = format!("{prefix}{name}");
            let is_section = KEYS.iter().any(|key| key.path.starts_with(&format!("{path}.")));
            match (keys::by_path(&path), value) {
                (None, toml::Value::Table(inner)) if is_section => {
                    self.table(inner, &format!("{path}."), source, values);
                }
                (None, _) if is_section => self.problems.push(format!("{path} ({source}) must be a section, [{path}]")),
                (None, _) => {
                    let alike = keys::nearest(&path, KEYS.iter().map(|key| key.path.as_str()));
                    let meant = alike.map(|key| format!("; did you mean {key}?")).unwrap_or_default();
                    self.problems.push(format!("{path} ({source}) is no setting{meant}"));
                }
                (Some(Key { kind: Kind::Text, .. }), toml::Value::String(text)) => {
                    insert(values, &path, text.as_str().into());
                }
                (Some(Key { kind: Kind::Number, .. }), toml::Value::Integer(number)) => {
                    insert(values, &path, Value::from(*number));
                }
                (Some(key), _) => self.problems.push(wrong_kind(key, source)),
            }
        }
    }

    fn variable(&mut self, name: &OsString, value: &OsString) {
        let Some(name) = name.to_str().filter(|name| name.starts_with("RECADO_")) else { return };
        let text = value.to_str();
        match (KEYS.iter().find(|key| key.env == name), text) {
            (Some(key), Some(text)) => self.text(key, text, name.to_owned()),
            (Some(key), None) => self.problems.push(format!("{} ({name}) is not UTF-8", key.path)),
            (None, _) if NOT_SETTINGS.contains(&name) || is_of_kubernetes(name, text.unwrap_or_default()) => {}
            (None, _) => {
                let alike = keys::nearest(name, KEYS.iter().map(|key| key.env.as_str()));
                let meant = alike.map(|env| format!("; did you mean {env}?")).unwrap_or_default();
                self.problems.push(format!("the environment's {name} is no setting{meant}"));
            }
        }
    }

    fn text(&mut self, key: &Key, text: &str, source: String) {
        match typed(key, text) {
            Some(value) => {
                let mut values = Dict::new();
                insert(&mut values, &key.path, value);
                self.layers.push(Layer { source, values });
            }
            None => self.problems.push(wrong_kind(key, &source)),
        }
    }
}

fn wrong_kind(key: &Key, source: &str) -> String {
    match (key.kind, key.default.as_str()) {
        (Kind::Number, default) => format!("{} ({source}) must be a whole number, such as {default}", key.path),
        (Kind::Text, "") => format!("{} ({source}) must be text in quotes", key.path),
        (Kind::Text, default) => format!("{} ({source}) must be text in quotes, such as {default:?}", key.path),
    }
}

/// Whether Kubernetes set it for a Service named `recado` or `recado-…`:
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let rest = name.trim_start_matches("RECADO_");
    let ours = rest.starts_with("SERVICE_") || rest.starts_with("PORT");
    let anothers = rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || (rest.contains("_PORT") && (value.starts_with("tcp://") || value.starts_with("udp://")))
        || rest.split_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()));
    ours || anothers
}
