//! Describes sections: as a JSON Schema, and as rows of the reference.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::fields::{Choice, Field, Fields, TextRule};

/// One row of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the field stands, `[]` for "each entry", e.g. `businesses[].cluster`.
    pub path: String,
    /// Its type and range.
    pub kind: String,
    /// Its default; `None` for a field that is required, `Some("")` for one that may be left out.
    pub default: Option<String>,
    /// What it means.
    pub meaning: &'static str,
}

/// Collects what a section declares.
#[derive(Debug, Default)]
pub struct Describer {
    path: String,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    alternatives: Vec<Value>,
    rows: Vec<Row>,
}

/// What a declaration says of itself.
#[derive(Debug)]
pub struct Description {
    /// A JSON Schema, draft 2020-12.
    pub schema: Value,
    /// The reference, in the order of the declaration.
    pub rows: Vec<Row>,
}

/// Describes the section that `read` declares.
pub fn describe<T>(read: impl FnOnce(&mut Describer) -> Option<T>) -> Description {
    let mut describer = Describer::default();
    let _ = read(&mut describer);
    let rows = std::mem::take(&mut describer.rows);
    Description { schema: describer.into_schema(), rows }
}

impl Describer {
    fn add(&mut self, field: Field, kind: String, default: Option<String>, schema: Value) {
        let Value::Object(mut schema) = schema else { return };
        schema.insert("description".to_owned(), Value::from(field.meaning));
        if default.is_none() {
            self.required.push(field.name);
        }
        self.rows.push(Row { path: format!("{}{}", self.path, field.name), kind, default, meaning: field.meaning });
        self.properties.insert(field.name.to_owned(), Value::Object(schema));
    }

    fn into_schema(self) -> Value {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema.insert("properties".to_owned(), Value::Object(self.properties));
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), json!(self.required));
        }
        if !self.alternatives.is_empty() {
            schema.insert("oneOf".to_owned(), Value::Array(self.alternatives));
        }
        Value::Object(schema)
    }

    /// Describes the fields below `field` and returns their schema.
    fn below<T>(&mut self, prefix: String, read: impl FnOnce(&mut Self) -> Option<T>) -> Value {
        let mut child = Self { path: prefix, ..Self::default() };
        let _ = read(&mut child);
        self.rows.append(&mut child.rows);
        child.into_schema()
    }

    /// Adds `field` ahead of the rows that `below` adds for it.
    fn add_with_below<T>(
        &mut self,
        field: Field,
        kind: String,
        default: Option<String>,
        suffix: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
        wrap: impl FnOnce(Value) -> Value,
    ) {
        let own = self.rows.len();
        let schema = self.below(format!("{}{}{suffix}", self.path, field.name), read);
        let below = self.rows.split_off(own);
        self.add(field, kind, default, wrap(schema));
        self.rows.extend(below);
    }
}

fn names<T>(choices: &[Choice<T>]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}

fn integer(range: &RangeInclusive<u64>) -> (String, Value) {
    let (low, high) = (range.start(), range.end());
    (format!("integer, {low} to {high}"), json!({"type": "integer", "minimum": low, "maximum": high}))
}

fn text(rule: TextRule) -> (String, Value) {
    (format!("text: {}", rule.description), json!({"type": "string", "pattern": rule.pattern}))
}

fn with_default(mut schema: Value, default: Value) -> Value {
    if let Value::Object(object) = &mut schema {
        object.insert("default".to_owned(), default);
    }
    schema
}

impl Fields for Describer {
    fn integer(&mut self, field: Field, range: RangeInclusive<u64>, default: u64) -> Option<u64> {
        let (kind, schema) = integer(&range);
        self.add(field, kind, Some(default.to_string()), with_default(schema, json!(default)));
        None
    }

    fn optional_integer(&mut self, field: Field, range: RangeInclusive<u64>) -> Option<Option<u64>> {
        let (kind, schema) = integer(&range);
        self.add(field, kind, Some(String::new()), schema);
        None
    }

    fn text(&mut self, field: Field, rule: TextRule) -> Option<String> {
        let (kind, schema) = text(rule);
        self.add(field, kind, None, schema);
        None
    }

    fn text_or(&mut self, field: Field, rule: TextRule, default: &'static str) -> Option<String> {
        let (kind, schema) = text(rule);
        self.add(field, kind, Some(default.to_owned()), with_default(schema, json!(default)));
        None
    }

    fn optional_text(&mut self, field: Field, rule: TextRule) -> Option<Option<String>> {
        let (kind, schema) = text(rule);
        self.add(field, kind, Some(String::new()), schema);
        None
    }

    fn choice<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<T> {
        let names = names(choices);
        let default = names.first().copied().unwrap_or_default();
        let schema = json!({"enum": names, "default": default});
        self.add(field, names.join(" or "), Some(default.to_owned()), schema);
        None
    }

    fn choice_or<T: Copy>(
        &mut self,
        field: Field,
        choices: &[Choice<T>],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let names = names(choices);
        let default = names.first().copied().unwrap_or_default();
        let kind = format!("{}, or an object", names.join(" or "));
        self.add_with_below(
            field,
            kind,
            Some(default.to_owned()),
            ".",
            read,
            |object| json!({"anyOf": [{"enum": names}, object], "default": default}),
        );
        None
    }

    fn choices<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<Vec<T>> {
        let names = names(choices);
        let schema = json!({
            "type": "array", "items": {"enum": names}, "minItems": 1, "uniqueItems": true, "default": names,
        });
        self.add(field, format!("list of {}", names.join(", ")), Some(format!("[{}]", names.join(", "))), schema);
        None
    }

    fn texts(&mut self, field: Field, names: TextRule, values: TextRule) -> Option<Vec<(String, String)>> {
        let schema = json!({
            "type": "object",
            "propertyNames": {"pattern": names.pattern},
            "additionalProperties": {"type": "string", "pattern": values.pattern},
            "default": {},
        });
        let kind = format!("object: each name {}, each value {}", names.description, values.description);
        self.add(field, kind, Some("{}".to_owned()), schema);
        None
    }

    fn section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        // A section may be left out exactly when everything in it may.
        let own = self.rows.len();
        let schema = self.below(format!("{}{}.", self.path, field.name), read);
        let below = self.rows.split_off(own);
        let default = schema.get("required").is_none().then(|| "{}".to_owned());
        self.add(field, "object".to_owned(), default, schema);
        self.rows.extend(below);
        None
    }

    fn optional_section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        self.add_with_below(field, "object".to_owned(), Some(String::new()), ".", read, |schema| schema);
        None
    }

    fn sections<T>(
        &mut self,
        field: Field,
        length: RangeInclusive<usize>,
        read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (low, high) = (*length.start(), *length.end());
        let default = (low == 0).then(|| "[]".to_owned());
        let kind = format!("list of {low} to {high} objects");
        self.add_with_below(
            field,
            kind,
            default,
            "[].",
            read,
            |items| json!({"type": "array", "items": items, "minItems": low, "maxItems": high}),
        );
        None
    }

    fn environment(&mut self, _field: &'static str, _variable: &str) -> Option<String> {
        None
    }

    fn exactly_one(&mut self, fields: &'static [&'static str]) -> Option<()> {
        self.alternatives.extend(fields.iter().map(|name| json!({"required": [name]})));
        None
    }

    fn refuse_at<T>(&mut self, _path: &[&str], _message: &str) -> Option<T> {
        None
    }
}
