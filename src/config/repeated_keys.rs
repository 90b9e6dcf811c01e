//! Finds keys that stand twice in one object.
//!
//! JSON allows them, and every reader takes what it likes: most the last. An operator who edits the first would change nothing.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reader::{ConfigError, escaped};

/// An error for each key of `json` that stands in its object already. `json` is known to be JSON.
pub fn find(json: &[u8]) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if let Ok(text) = std::str::from_utf8(json)
        && let Ok(value) = serde_json::from_str::<&RawValue>(text)
    {
        search(text, value.get(), "", &mut errors);
    }
    errors
}

fn search<'j>(whole: &'j str, value: &'j str, path: &str, errors: &mut Vec<ConfigError>) {
    match value.as_bytes().first() {
        Some(b'{') => {
            let Ok(Members(members)) = serde_json::from_str(value) else { return };
            let mut places = HashMap::new();
            for (name, value) in members {
                let path = format!("{path}/{}", escaped(&name));
                let here = place(whole, value.get());
                match places.get(&name) {
                    Some(first) => {
                        let message = format!("stands twice: with a value at {first} and with another at {here}");
                        errors.push(ConfigError { path: path.clone(), message });
                    }
                    None => drop(places.insert(name, here)),
                }
                search(whole, value.get(), &path, errors);
            }
        }
        Some(b'[') => {
            let Ok(entries) = serde_json::from_str::<Vec<&RawValue>>(value) else { return };
            for (index, entry) in entries.iter().enumerate() {
                search(whole, entry.get(), &format!("{path}/{index}"), errors);
            }
        }
        _ => {}
    }
}

/// Where `part`, a part of `whole`, begins: its line and its column, both from 1, as editors count.
fn place(whole: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let before = whole.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line} column {column}")
}

/// The members of an object as they stand, repeated ones included.
struct Members<'j>(Vec<(String, &'j RawValue)>);

impl<'j> Deserialize<'j> for Members<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;

        impl<'j> Visitor<'j> for Gather {
            type Value = Members<'j>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Members<'j>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Gather)
    }
}
