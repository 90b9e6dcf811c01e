//! What the module is made of, in CycloneDX: every crate that is compiled into it or takes part in compiling it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::digest;
use super::module::Module;
use crate::build::FILTER;

/// How a crate takes part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Only while compiling: procedural macros, build scripts, and what they need.
    Compiling,
    /// In the module.
    Linked,
}

/// The bill of materials as JSON. The same module gives the same bytes, so there is no time in it.
///
/// # Errors
///
/// When cargo's answer is not understood.
pub fn write(module: &Module) -> Result<Vec<u8>> {
    let graph = Graph::read(&module.metadata)?;
    let parts = graph.parts();
    let checksums = checksums(&module.lock);
    let mut components = Vec::new();
    for (id, part) in parts.iter().filter(|(id, _)| **id != graph.root) {
        let package = graph.packages.get(id).context("cargo metadata names a package that it does not describe")?;
        components.push(component(package, *part, &checksums)?);
    }
    let root = graph.packages.get(graph.root).context("cargo metadata does not describe the filter")?;
    let mut about = component(root, Part::Linked, &checksums)?;
    if let Some(members) = about.as_object_mut() {
        members.remove("scope");
        members.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": digest::hex(&module.bytes) }]));
        members.insert("properties".to_owned(), json!([{ "name": "commit", "value": module.commit }]));
    }
    let mut dependencies = Vec::new();
    for id in parts.keys() {
        let needs: BTreeSet<_> = graph.needs(id).map(|(needed, _)| graph.reference(needed)).collect::<Result<_>>()?;
        dependencies.push(json!({ "ref": graph.reference(id)?, "dependsOn": needs }));
    }
    let mut text = serde_json::to_vec_pretty(&json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": about },
        "components": components,
        "dependencies": dependencies,
    }))?;
    text.push(b'\n');
    Ok(text)
}

struct Graph<'m> {
    root: &'m str,
    packages: BTreeMap<&'m str, &'m Value>,
    nodes: BTreeMap<&'m str, &'m Value>,
}

impl<'m> Graph<'m> {
    fn read(metadata: &'m Value) -> Result<Self> {
        let by_id = |pointer: &str| {
            let entries = metadata.pointer(pointer).and_then(Value::as_array);
            let entries = entries.with_context(|| format!("cargo metadata has no {pointer}"))?;
            anyhow::Ok(entries.iter().filter_map(|entry| Some((text(entry, "id")?, entry))).collect::<BTreeMap<_, _>>())
        };
        let (packages, nodes) = (by_id("/packages")?, by_id("/resolve/nodes")?);
        let root = packages.iter().find(|(_, package)| text(package, "name") == Some(FILTER));
        let root = root.map(|(id, _)| *id).context("cargo metadata does not describe the filter")?;
        Ok(Self { root, packages, nodes })
    }

    /// Every package that takes part, and how.
    fn parts(&self) -> BTreeMap<&'m str, Part> {
        let mut parts = BTreeMap::new();
        let mut open = vec![(self.root, Part::Linked)];
        while let Some((id, part)) = open.pop() {
            if parts.get(id).is_some_and(|known| *known >= part) {
                continue;
            }
            parts.insert(id, part);
            open.extend(self.needs(id).map(|(needed, at)| (needed, part.min(at).min(self.kind(needed)))));
        }
        parts
    }

    /// What `id` depends on, tests aside.
    fn needs(&self, id: &str) -> impl Iterator<Item = (&'m str, Part)> {
        let entries = self.nodes.get(id).and_then(|node| node.get("deps")).and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(|entry| {
            let kinds = entry.get("dep_kinds")?.as_array()?;
            let part = kinds.iter().filter_map(|kind| match kind.get("kind").and_then(Value::as_str) {
                None => Some(Part::Linked),
                Some("build") => Some(Part::Compiling),
                Some(_) => None,
            });
            Some((text(entry, "pkg")?, part.max()?))
        })
    }

    fn kind(&self, id: &str) -> Part {
        let targets = self.packages.get(id).and_then(|package| package.get("targets")).and_then(Value::as_array);
        let is_macro = targets.into_iter().flatten().any(|target| {
            let kinds = target.get("kind").and_then(Value::as_array);
            kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "proc-macro"))
        });
        if is_macro { Part::Compiling } else { Part::Linked }
    }

    fn reference(&self, id: &str) -> Result<String> {
        reference(self.packages.get(id).context("cargo metadata names a package that it does not describe")?)
    }
}

fn component(package: &Value, part: Part, checksums: &BTreeMap<(&str, &str), &str>) -> Result<Value> {
    let (name, version) = name_and_version(package)?;
    let reference = reference(package)?;
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        // CycloneDX's word for what is not part of the result.
        "scope": if part == Part::Linked { "required" } else { "excluded" },
    });
    if let Some(members) = component.as_object_mut() {
        if let Some(license) = text(package, "license") {
            // Crates of old separate their licences by a slash.
            members.insert("licenses".to_owned(), json!([{ "expression": license.replace('/', " OR ") }]));
        }
        if let Some(checksum) = checksums.get(&(name, version)) {
            members.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
    }
    Ok(component)
}

fn reference(package: &Value) -> Result<String> {
    let (name, version) = name_and_version(package)?;
    Ok(format!("pkg:cargo/{name}@{version}"))
}

fn name_and_version(package: &Value) -> Result<(&str, &str)> {
    text(package, "name").zip(text(package, "version")).context("cargo metadata has a package without name and version")
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// The checksums of the crates, by name and version, from the lock file.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let entries = lock.split("[[package]]").skip(1).filter_map(|entry| {
        let field = |name: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.and_then(|rest| rest.strip_suffix('"'))
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::write;
    use crate::package::module::Module;

    fn package(name: &str, kind: &str) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "targets": [{"kind": [kind]}]})
    }

    fn dependency(name: &str, kind: Value) -> Value {
        json!({"pkg": name, "dep_kinds": [{"kind": kind}]})
    }

    #[test]
    fn what_is_linked_is_told_from_what_only_compiles_and_tests_are_left_out() {
        let metadata = json!({
            "packages": [
                package("private-number-gateway", "cdylib"), package("linked", "lib"), package("macro", "proc-macro"),
                package("of-the-macro", "lib"), package("of-tests", "lib"), package("of-the-build", "lib"),
            ],
            "resolve": {"nodes": [
                {"id": "private-number-gateway", "deps": [
                    dependency("linked", Value::Null), dependency("macro", Value::Null),
                    dependency("of-tests", json!("dev")), dependency("of-the-build", json!("build")),
                ]},
                {"id": "linked", "deps": []},
                {"id": "macro", "deps": [dependency("of-the-macro", Value::Null)]},
            ]},
        });
        let lock = "[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n".to_owned();
        let (version, commit) = ("1.0.0".to_owned(), "0123abc".to_owned());
        let module = Module { bytes: b"module".to_vec(), version, commit, metadata, lock };
        let written: Value = serde_json::from_slice(&write(&module).unwrap()).unwrap();
        let components = written["components"].as_array().unwrap().iter();
        let scopes: Vec<_> =
            components.map(|one| (one["name"].as_str().unwrap(), one["scope"].as_str().unwrap())).collect();
        assert_eq!(
            scopes,
            [("linked", "required"), ("macro", "excluded"), ("of-the-build", "excluded"), ("of-the-macro", "excluded")]
        );
        assert_eq!(written["components"][0]["hashes"][0]["content"], "00ff");
        assert_eq!(written["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(written["metadata"]["component"]["name"], "private-number-gateway");
    }
}
