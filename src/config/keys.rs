//! The list of settings. `config/default.toml` is its only source: names, defaults, kinds and the words of the help.

use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

/// Every setting with its default, compiled in.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Settings whose value is never shown.
const SECRETS: &[&str] = &["master_key", "admin_key", "nats.password", "nats.token"];

/// What a value is written as. Durations, addresses and paths are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    /// Its place in the file: `engine.call_limit`.
    pub path: String,
    /// Its variable of the environment: `RECADO_ENGINE__CALL_LIMIT`.
    pub env: String,
    /// Its flag, without the dashes: `engine-call-limit`.
    pub flag: String,
    /// The comment above it.
    pub help: String,
    /// Its default, as it would be given in the environment.
    pub default: String,
    pub kind: Kind,
    pub secret: bool,
}

/// All settings, in the order of the file.
pub(super) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| read(DEFAULTS));

/// The defaults as a table.
pub(super) fn defaults() -> Table {
    DEFAULTS.parse().unwrap_or_else(|error| unreachable!("config/default.toml is compiled in and tested: {error}"))
}

/// The setting at a place of the file.
pub(super) fn by_path(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

fn read(text: &str) -> Vec<Key> {
    let defaults = defaults();
    let (mut keys, mut section, mut comment) = (Vec::new(), String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
            comment.clear();
        } else if let Some((name, _)) = line.split_once('=') {
            let path = format!("{section}{}", name.trim());
            let (default, kind) = match lookup(&defaults, &path) {
                Some(Value::String(text)) => (text.clone(), Kind::Text),
                Some(Value::Integer(number)) => (number.to_string(), Kind::Number),
                other => unreachable!("config/default.toml: {path} is {other:?}; only text and whole numbers are read"),
            };
            keys.push(Key {
                env: format!("RECADO_{}", path.replace('.', "__").to_uppercase()),
                flag: path.replace(['.', '_'], "-"),
                help: comment.join(" "),
                secret: SECRETS.contains(&path.as_str()),
                path,
                default,
                kind,
            });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    keys
}

fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// What was set on the command line. Every setting is a flag: flatten it into a subcommand.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`: the file.
    pub config: Option<std::path::PathBuf>,
    pub(super) values: Vec<(&'static str, String)>,
}

impl Flags {
    /// The same with one more setting, by its place in the file: `engine.call_limit`.
    #[must_use]
    pub fn with(mut self, path: &'static str, value: impl Into<String>) -> Self {
        self.values.push((path, value.into()));
        self
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(std::path::PathBuf))
            .help("TOML file with settings [env: RECADO_CONFIG]");
        KEYS.iter().fold(command.arg(config), |command, key| {
            let default = match (key.default.as_str(), key.kind) {
                ("", _) => String::new(),
                (text, Kind::Text) => format!("default: {text}; "),
                (number, Kind::Number) => format!("default: {number}; "),
            };
            let arg = Arg::new(key.path.as_str())
                .long(key.flag.as_str())
                .value_name(if key.kind == Kind::Number { "NUMBER" } else { "VALUE" })
                .allow_hyphen_values(true)
                .help(format!("{} [{default}env: {}]", key.help, key.env))
                .help_heading("Settings");
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values =
            KEYS.iter().filter_map(|key| Some((key.path.as_str(), matches.get_one::<String>(&key.path)?.clone())));
        Ok(Self { config: matches.get_one("config").cloned(), values: values.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The known word that is most like a wrong one, if any is alike enough to be what was meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, word) = known.map(|word| (distance(wrong, word), word)).min()?;
    (distance * 3 <= wrong.len()).then_some(word)
}

/// How many letters must be put in, taken out or changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(table: &Table, prefix: &str) -> Vec<String> {
        let leaf = |(name, value): (&String, &Value)| match value {
            Value::Table(inner) => leaves(inner, &format!("{prefix}{name}.")),
            _ => vec![format!("{prefix}{name}")],
        };
        table.iter().flat_map(leaf).collect()
    }

    #[test]
    fn every_key_of_the_file_is_a_setting_with_a_comment() {
        let mut listed: Vec<_> = KEYS.iter().map(|key| key.path.clone()).collect();
        listed.sort();
        let mut there = leaves(&defaults(), "");
        there.sort();
        assert_eq!(listed, there);
        for key in KEYS.iter() {
            assert!(key.help.len() > 10, "{} has no comment", key.path);
        }
    }

    #[test]
    fn every_setting_is_a_flag_with_the_comment_as_help() {
        let mut command = <Flags as clap::Args>::augment_args(Command::new("serve"));
        let help = command.render_long_help().to_string();
        for key in KEYS.iter() {
            assert!(help.contains(&format!("--{} <", key.flag)), "{help}");
        }
        assert!(help.contains("Longest time that one call to a provider may take"), "{help}");
        assert!(help.contains("[default: 30s; env: RECADO_ENGINE__CALL_LIMIT]"), "{help}");
    }

    #[test]
    fn flags_come_back_by_their_path() {
        let command = <Flags as clap::Args>::augment_args(Command::new("serve"));
        let matches = command.get_matches_from(["serve", "--engine-call-limit", "5s", "--config=a.toml"]);
        let flags = <Flags as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        assert_eq!(flags.values, [("engine.call_limit", "5s".to_owned())]);
        assert_eq!(flags.config.unwrap().to_str(), Some("a.toml"));
    }

    #[test]
    fn the_nearest_word_is_found_only_when_it_is_near() {
        let known = ["grpc_addr", "http_addr", "engine.lease"];
        assert_eq!(nearest("grcp_addr", known.into_iter()), Some("grpc_addr"));
        assert_eq!(nearest("leaze", known.into_iter()), None);
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
