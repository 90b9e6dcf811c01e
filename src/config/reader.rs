//! Reads sections from JSON and notes every error with its path.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::fields::{Choice, Field, Fields, TextRule};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// JSON pointer to the value; `""` is the configuration itself.
    pub path: String,
    /// What is wrong and what would be right. Never holds a secret.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(formatter, "{path}: {}", self.message)
    }
}

/// Where a [`Reader`] finds environment variables.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads one object of the configuration.
pub struct Reader<'v> {
    object: &'v Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    errors: Vec<ConfigError>,
    environment: Environment<'v>,
}

/// Reads `value` as the section `read` declares.
///
/// # Errors
/// Everything that is wrong, in the order of the declaration.
pub fn read<'v, T>(
    value: &'v Value,
    environment: Environment<'v>,
    read: impl FnOnce(&mut Reader<'v>) -> Option<T>,
) -> Result<T, Vec<ConfigError>> {
    let Value::Object(object) = value else {
        let message = format!("must be an object, found {}", kind(value));
        return Err(vec![ConfigError { path: String::new(), message }]);
    };
    let mut errors = Vec::new();
    match read_object(object, String::new(), environment, &mut errors, read) {
        Some(section) if errors.is_empty() => Ok(section),
        _ => Err(errors),
    }
}

fn read_object<'v, T>(
    object: &'v Map<String, Value>,
    path: String,
    environment: Environment<'v>,
    errors: &mut Vec<ConfigError>,
    read: impl FnOnce(&mut Reader<'v>) -> Option<T>,
) -> Option<T> {
    let mut reader = Reader { object, path, known: Vec::new(), errors: Vec::new(), environment };
    let section = read(&mut reader);
    reader.refuse_unknown();
    errors.append(&mut reader.errors);
    section
}

/// The JSON type of a value, for error texts: YAML readily makes a boolean of `no` and a number of `0123`.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A protobuf Struct makes a double of every number.
fn whole_number(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && (0.0..=EXACT).contains(&float)).then_some(float as u64)
    })
}

/// A name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'v> Reader<'v> {
    fn get(&mut self, name: &'static str) -> Option<&'v Value> {
        self.known.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn path_of(&self, name: &str) -> String {
        if name.is_empty() { self.path.clone() } else { format!("{}/{}", self.path, escaped(name)) }
    }

    fn required(&mut self, field: Field) -> Option<&'v Value> {
        match self.get(field.name) {
            Some(value) => Some(value),
            None => self.refuse(field.name, "is required"),
        }
    }

    fn read_text(&mut self, name: &'static str, value: &Value, rule: TextRule) -> Option<String> {
        match value {
            Value::String(text) if (rule.accepts)(text) => Some(text.clone()),
            Value::String(_) => self.refuse(name, format!("must be {}", rule.description)),
            other => self.refuse(name, format!("must be {}, found {}; quote it", rule.description, kind(other))),
        }
    }

    fn read_integer(&mut self, name: &'static str, value: &Value, range: RangeInclusive<u64>) -> Option<u64> {
        match whole_number(value) {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let found = match value {
                    Value::Number(number) => number.to_string(),
                    other => kind(other).to_owned(),
                };
                let (low, high) = (range.start(), range.end());
                self.refuse(name, format!("must be a whole number from {low} to {high}, found {found}"))
            }
        }
    }

    fn read_choice<T: Copy>(&mut self, path: String, value: &Value, choices: &[Choice<T>]) -> Option<T> {
        let chosen = choices.iter().find(|(choice, _)| value.as_str() == Some(choice));
        match chosen {
            Some((_, chosen)) => Some(*chosen),
            None => {
                let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
                self.errors.push(ConfigError { path, message: format!("must be one of: {}", names.join(", ")) });
                None
            }
        }
    }

    fn child<T>(&mut self, path: String, value: &'v Value, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let Value::Object(object) = value else {
            self.errors.push(ConfigError { path, message: format!("must be an object, found {}", kind(value)) });
            return None;
        };
        read_object(object, path, self.environment, &mut self.errors, read)
    }

    fn refuse_unknown(&mut self) {
        for name in self.object.keys() {
            if !self.known.contains(&name.as_str()) {
                let path = self.path_of(name);
                let message = format!("is not a field; the fields here are: {}", self.known.join(", "));
                self.errors.push(ConfigError { path, message });
            }
        }
    }
}

impl Fields for Reader<'_> {
    fn integer(&mut self, field: Field, range: RangeInclusive<u64>, default: u64) -> Option<u64> {
        self.optional_integer(field, range).map(|given| given.unwrap_or(default))
    }

    fn optional_integer(&mut self, field: Field, range: RangeInclusive<u64>) -> Option<Option<u64>> {
        match self.get(field.name) {
            Some(value) => self.read_integer(field.name, value, range).map(Some),
            None => Some(None),
        }
    }

    fn text(&mut self, field: Field, rule: TextRule) -> Option<String> {
        let value = self.required(field)?;
        self.read_text(field.name, value, rule)
    }

    fn text_or(&mut self, field: Field, rule: TextRule, default: &'static str) -> Option<String> {
        self.optional_text(field, rule).map(|given| given.unwrap_or_else(|| default.to_owned()))
    }

    fn optional_text(&mut self, field: Field, rule: TextRule) -> Option<Option<String>> {
        match self.get(field.name) {
            Some(value) => self.read_text(field.name, value, rule).map(Some),
            None => Some(None),
        }
    }

    fn choice<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<T> {
        match self.get(field.name) {
            Some(value) => {
                let path = self.path_of(field.name);
                self.read_choice(path, value, choices)
            }
            None => choices.first().map(|(_, default)| *default),
        }
    }

    fn choice_or<T: Copy>(
        &mut self,
        field: Field,
        choices: &[Choice<T>],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let path = self.path_of(field.name);
        match self.get(field.name) {
            Some(value @ Value::Object(_)) => self.child(path, value, read),
            Some(value) => {
                let chosen = choices.iter().find(|(choice, _)| value.as_str() == Some(choice));
                let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
                let message = || format!("must be one of: {}; or an object", names.join(", "));
                chosen.map(|(_, chosen)| *chosen).or_else(|| self.refuse(field.name, message()))
            }
            None => choices.first().map(|(_, default)| *default),
        }
    }

    fn choices<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<Vec<T>> {
        let items = match self.get(field.name) {
            None => return Some(choices.iter().map(|(_, choice)| *choice).collect()),
            Some(Value::Array(items)) if items.is_empty() => return self.refuse(field.name, "must not be empty"),
            Some(Value::Array(items)) => items,
            Some(other) => return self.refuse(field.name, format!("must be a list, found {}", kind(other))),
        };
        let chosen: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.read_choice(format!("{}/{index}", self.path_of(field.name)), item, choices))
            .collect();
        if items.iter().enumerate().any(|(index, item)| items.iter().take(index).any(|earlier| earlier == item)) {
            return self.refuse(field.name, "must not name anything twice");
        }
        chosen.into_iter().collect()
    }

    fn texts(&mut self, field: Field, names: TextRule, values: TextRule) -> Option<Vec<(String, String)>> {
        let object = match self.get(field.name) {
            None => return Some(Vec::new()),
            Some(Value::Object(object)) => object,
            Some(other) => return self.refuse(field.name, format!("must be an object, found {}", kind(other))),
        };
        let mut texts = Some(Vec::new());
        for (name, value) in object {
            let path = format!("{}/{}", self.path_of(field.name), escaped(name));
            let message = if !(names.accepts)(name) {
                format!("the name must be {}", names.description)
            } else {
                match value {
                    Value::String(text) if (values.accepts)(text) => {
                        if let Some(texts) = &mut texts {
                            texts.push((name.clone(), text.clone()));
                        }
                        continue;
                    }
                    Value::String(_) => format!("must be {}", values.description),
                    other => format!("must be {}, found {}; quote it", values.description, kind(other)),
                }
            };
            self.errors.push(ConfigError { path, message });
            texts = None;
        }
        texts
    }

    fn section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let path = self.path_of(field.name);
        match self.get(field.name) {
            Some(value) => self.child(path, value, read),
            None => {
                static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
                read_object(&NOTHING, path, self.environment, &mut self.errors, read)
            }
        }
    }

    fn optional_section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let path = self.path_of(field.name);
        match self.get(field.name) {
            Some(value) => self.child(path, value, read).map(Some),
            None => Some(None),
        }
    }

    fn sections<T>(
        &mut self,
        field: Field,
        length: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (low, high) = (*length.start(), *length.end());
        let items = match self.get(field.name) {
            None if low == 0 => return Some(Vec::new()),
            None => return self.refuse(field.name, "is required"),
            Some(Value::Array(items)) => items,
            Some(other) => return self.refuse(field.name, format!("must be a list, found {}", kind(other))),
        };
        if !length.contains(&items.len()) {
            return self.refuse(field.name, format!("must have {low} to {high} entries, found {}", items.len()));
        }
        let base = self.path_of(field.name);
        let sections: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.child(format!("{base}/{index}"), item, &mut read))
            .collect();
        sections.into_iter().collect()
    }

    fn environment(&mut self, field: &'static str, variable: &str) -> Option<String> {
        match (self.environment)(variable) {
            Some(value) => Some(value),
            None => {
                let message = format!(
                    "environment variable {variable} is not set in the VM; name it under \
                     vm_config.environment_variables (host_env_keys or key_values) and set it for Envoy"
                );
                self.refuse(field, message)
            }
        }
    }

    fn exactly_one(&mut self, fields: &'static [&'static str]) -> Option<()> {
        let given = fields.iter().filter(|name| self.object.get(**name).is_some_and(|value| !value.is_null())).count();
        if given == 1 { Some(()) } else { self.refuse("", format!("must have exactly one of: {}", fields.join(", "))) }
    }

    fn refuse_at<T>(&mut self, path: &[&str], message: &str) -> Option<T> {
        let path = path.iter().fold(self.path.clone(), |base, name| format!("{base}/{}", escaped(name)));
        self.errors.push(ConfigError { path, message: message.to_owned() });
        None
    }
}
