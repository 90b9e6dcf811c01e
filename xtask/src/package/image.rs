//! The module as an OCI image layout, in the two variants of the wasm image specification.
//!
//! The same module gives the same bytes: no times, no owners, one order.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::module::Module;
use super::{MODULE_FILE, digest};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// How the module is laid out in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One ordinary layer with one file: what `docker build` would make of `FROM scratch` and one `COPY`.
    Compat,
    /// Media types of its own: the module as it is, and what it is for.
    Oci,
}

impl Variant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Compat, Self::Oci];

    /// The name of its directory in the package.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Compat => "image-compat",
            Self::Oci => "image-oci",
        }
    }

    /// Who takes it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Compat => "Istio, Envoy Gateway, Higress; any registry",
            Self::Oci => "Istio; a registry that keeps artefacts",
        }
    }
}

/// Writes the layout of `variant` into `directory`.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(directory: &Path, variant: Variant, module: &Module) -> Result<()> {
    let layout = Layout { directory };
    let manifest = match variant {
        Variant::Compat => layout.compat(module)?,
        Variant::Oci => layout.oci(module)?,
    };
    let mut manifest = layout.blob(MANIFEST_TYPE, &serde_json::to_vec(&manifest)?)?;
    annotate(&mut manifest, "org.opencontainers.image.ref.name", &module.version);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    layout.file("index.json", &serde_json::to_vec(&index)?)?;
    layout.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

struct Layout<'d> {
    directory: &'d Path,
}

impl Layout<'_> {
    fn compat(&self, module: &Module) -> Result<Value> {
        let archive = archive(&module.bytes)?;
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Labels": annotations(module) },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest::hex(&archive))] },
        });
        let mut annotations = annotations(module);
        if let Some(members) = annotations.as_object_mut() {
            members.insert("module.wasm.image/variant".to_owned(), "compat".into());
        }
        Ok(json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.blob("application/vnd.oci.image.config.v1+json", &serde_json::to_vec(&config)?)?,
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &compressed(&archive)?)?],
            "annotations": annotations,
        }))
    }

    fn oci(&self, module: &Module) -> Result<Value> {
        const RUNTIME_TYPE: &str = "application/vnd.module.wasm.config.v1+json";
        // Istio wants two layers here, the module and what it is for; the latter is the manifest's config as well.
        let runtime =
            json!({ "type": "envoy_proxy", "abiVersions": ["proxy-wasm 0.2.1"], "config": { "root_ids": [""] } });
        let runtime = serde_json::to_vec(&runtime)?;
        let config = self.blob(RUNTIME_TYPE, &runtime)?;
        let mut about = config.clone();
        annotate(&mut about, "org.opencontainers.image.title", "runtime-config.json");
        let mut content = self.blob("application/vnd.module.wasm.content.layer.v1+wasm", &module.bytes)?;
        annotate(&mut content, "org.opencontainers.image.title", MODULE_FILE);
        Ok(json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config,
            "layers": [about, content],
            "annotations": annotations(module),
        }))
    }

    /// Writes `bytes` under their digest, and describes them.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let hex = digest::hex(bytes);
        self.file(&format!("blobs/sha256/{hex}"), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn annotations(module: &Module) -> Value {
    json!({
        "org.opencontainers.image.title": "private-number-gateway",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": module.version,
        "org.opencontainers.image.revision": module.commit,
    })
}

fn annotate(descriptor: &mut Value, name: &str, value: &str) {
    if let Some(members) = descriptor.as_object_mut() {
        members.entry("annotations").or_insert_with(|| json!({}));
        if let Some(Value::Object(annotations)) = members.get_mut("annotations") {
            annotations.insert(name.to_owned(), value.into());
        }
    }
}

/// A tar archive of the module alone, at its top level.
fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, MODULE_FILE, module).context("cannot write the layer")?;
    archive.into_inner().context("cannot write the layer")
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    // Neither time nor operating system in the header.
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("cannot compress the layer")?;
    encoder.finish().context("cannot compress the layer")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use harness::directory::Directory;
    use serde_json::{Value, json};

    use super::{Variant, write};
    use crate::package::module::Module;
    use crate::package::{digest, fetcher};

    fn module() -> Module {
        let bytes = b"\0asm\x01\0\0\0 not much of a module".to_vec();
        let (version, commit) = ("1.2.3".to_owned(), "0123abc".to_owned());
        Module { bytes, version, commit, metadata: json!({}), lock: String::new() }
    }

    fn files(directory: &Path, into: &mut BTreeMap<String, Vec<u8>>, root: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, into, root);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                into.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }

    #[test]
    fn what_is_written_is_what_istio_fetches() {
        for variant in Variant::ALL {
            let directory = Directory::fresh("image").unwrap();
            write(directory.path(), variant, &module()).unwrap();
            assert_eq!(fetcher::fetch(directory.path()).unwrap(), module().bytes, "{variant:?}");
        }
    }

    #[test]
    fn the_same_module_gives_the_same_image_and_every_blob_is_under_its_digest() {
        for variant in Variant::ALL {
            let written = [(); 2].map(|()| {
                let directory = Directory::fresh("image-twice").unwrap();
                write(directory.path(), variant, &module()).unwrap();
                let mut found = BTreeMap::new();
                files(directory.path(), &mut found, directory.path());
                found
            });
            assert_eq!(written[0], written[1], "{variant:?}");
            let blobs =
                written[0].iter().filter_map(|(name, bytes)| Some((name.strip_prefix("blobs/sha256/")?, bytes)));
            let blobs: Vec<_> = blobs.collect();
            assert!(blobs.len() >= 3, "{variant:?}");
            assert!(blobs.iter().all(|(name, bytes)| digest::hex(bytes) == **name), "{variant:?}");
        }
    }

    #[test]
    fn the_compat_image_says_that_it_is_one() {
        let directory = Directory::fresh("image-compat").unwrap();
        write(directory.path(), Variant::Compat, &module()).unwrap();
        let manifest: Value = fetcher::manifest(directory.path()).unwrap();
        assert_eq!(manifest["annotations"]["module.wasm.image/variant"], "compat");
        assert_eq!(manifest["annotations"]["org.opencontainers.image.revision"], "0123abc");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    }
}
