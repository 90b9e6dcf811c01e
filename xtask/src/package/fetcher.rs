//! Reads an image as Istio's agent does: the last layer of an ordinary image, its file called `plugin.wasm`; or, of an image
//! with two layers, the one of wasm's own media type as it stands.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::{MODULE_FILE, digest};

/// The module in the layout at `directory`. Every digest on the way is checked.
///
/// # Errors
///
/// When there is none.
pub fn fetch(directory: &Path) -> Result<Vec<u8>> {
    let manifest = manifest(directory)?;
    let layers = manifest.get("layers").and_then(Value::as_array).context("the manifest has no layers")?;
    let last = layers.last().context("the manifest has no layers")?;
    match media_type(last) {
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            unpack(&blob(directory, last)?)
        }
        _ => {
            ensure!(layers.len() == 2, "an image of wasm's own media types has 2 layers, not {}", layers.len());
            let wasm =
                layers.iter().find(|layer| media_type(layer) == "application/vnd.module.wasm.content.layer.v1+wasm");
            blob(directory, wasm.context("no layer is a module")?)
        }
    }
}

/// The one manifest of the layout at `directory`.
///
/// # Errors
///
/// When it cannot be read.
pub fn manifest(directory: &Path) -> Result<Value> {
    let index = directory.join("index.json");
    let index = fs::read(&index).with_context(|| format!("cannot read {}", index.display()))?;
    let index: Value = serde_json::from_slice(&index).context("index.json is not JSON")?;
    match index.get("manifests").and_then(Value::as_array).map(Vec::as_slice) {
        Some([manifest]) => serde_json::from_slice(&blob(directory, manifest)?).context("the manifest is not JSON"),
        _ => bail!("index.json does not name one manifest"),
    }
}

fn media_type(descriptor: &Value) -> &str {
    descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default()
}

fn blob(directory: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let hex = descriptor.get("digest").and_then(Value::as_str).and_then(|digest| digest.strip_prefix("sha256:"));
    let hex = hex.context("a descriptor has no SHA-256 digest")?;
    let path = directory.join("blobs/sha256").join(hex);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(digest::hex(&bytes) == hex, "{} is not what its name says", path.display());
    let size = descriptor.get("size").and_then(Value::as_u64);
    ensure!(size == Some(bytes.len() as u64), "{} has another size than its descriptor says", path.display());
    Ok(bytes)
}

fn unpack(layer: &[u8]) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(GzDecoder::new(layer));
    for entry in archive.entries().context("the layer is no archive")? {
        let mut entry = entry.context("the layer is no archive")?;
        if entry.path().is_ok_and(|path| path.file_name().is_some_and(|name| name == MODULE_FILE)) {
            let mut module = Vec::new();
            entry.read_to_end(&mut module).with_context(|| format!("cannot unpack {MODULE_FILE}"))?;
            return Ok(module);
        }
    }
    bail!("the layer has no {MODULE_FILE}")
}
