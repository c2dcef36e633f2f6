//! Bringing defaults, file and environment together.

use std::{collections::BTreeMap, path::Path};

use toml::{Table, Value};

use super::{Config, DEFAULT, read};
use crate::model::{Problem, unavailable};

/// Variables of this form override single settings: `RELAY__STORE__PATH` is `store.path`.
const OVERRIDE: &str = "RELAY__";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    Unreadable(String, std::io::Error),
    /// The file is no TOML.
    #[error("the configuration file {0} is not valid TOML: {1}")]
    Malformed(String, String),
    /// Settings are wrong: all of them, one a line.
    #[error("the configuration has {} problem{}:\n{}", .0.len(), if .0.len() == 1 { "" } else { "s" }, listed(.0))]
    Invalid(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// Loads the configuration from `file` (or the defaults alone) with `environment` over it.
///
/// # Errors
/// [`ConfigError`]; wrong settings are all listed at once.
pub fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let mut table: Table = DEFAULT.parse().expect("config/default.toml is valid, a test reads it");
    if let Some(path) = file {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(shown.clone(), error))?;
        let mut given: Table = text.parse().map_err(|error: toml::de::Error| {
            // The library's text quotes the line; a secret may be in it.
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            ConfigError::Malformed(shown, format!("{place}{}", error.message()))
        })?;
        given.iter_mut().for_each(|(_, value)| fill_in(value, environment));
        // The sample destination is for those who have no file.
        table.remove("destinations");
        merge(&mut table, given);
    }
    let mut problems = Vec::new();
    override_from(&mut table, environment, &mut problems);
    read::config(table, problems).map_err(ConfigError::Invalid)
}

/// Tables are merged; anything else in `over` replaces what was there.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn override_from(table: &mut Table, environment: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(OVERRIDE) else { continue };
        let keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        let [section, key] = keys.as_slice() else {
            problems.push(Problem::new(name, "must name a section and a key, such as RELAY__STORE__PATH"));
            continue;
        };
        // A list as TOML has it; anything else is the text as it is, which a number may be.
        let list = || format!("list = {text}").parse::<Table>().ok()?.remove("list");
        let value = Some(text).filter(|text| text.starts_with('[')).and_then(|_| list());
        let value = value.unwrap_or_else(|| Value::String(text.clone()));
        match table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(section) => {
                section.insert(key.clone(), value);
            }
            _ => problems.push(Problem::new(name, "names a section that is no table; use the file for it")),
        }
    }
}

/// Replaces `${NAME}` in every text by the environment's value.
fn fill_in(value: &mut Value, environment: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = filled(text, environment).unwrap_or_else(|why| unavailable(&why)),
        Value::Array(list) => list.iter_mut().for_each(|item| fill_in(item, environment)),
        Value::Table(table) => table.iter_mut().for_each(|(_, item)| fill_in(item, environment)),
        _ => {}
    }
}

fn filled(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    if text.contains('\0') {
        return Err("must not contain the character U+0000".to_owned());
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').ok_or("has a ${ without its }")?;
        // Only a name is repeated: anything else may be a secret that was put in the wrong place.
        let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
        if !named {
            return Err("must have the name of an environment variable in ${…}: letters, digits and _".to_owned());
        }
        let found = environment.get(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
        filled.push_str(before);
        filled.push_str(found);
        rest = tail;
    }
    Ok(filled + rest)
}
