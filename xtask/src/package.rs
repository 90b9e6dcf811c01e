//! `cargo xtask package`: the module as others load it, with its checksum, its bill of materials and its images.

mod bill_of_materials;
mod digest;
mod fetcher;
mod image;
mod module;
mod reproducible;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use harness::configuration::Configuration;
use harness::demo::{self, SECRET_VARIABLE};
use harness::envoy_binary::{self, EnvoyBinary};
use harness::products;

use self::image::Variant;
use self::module::Module;
use crate::build;

/// The module's name where the file name is free; in an image it must be this one.
const MODULE_FILE: &str = "plugin.wasm";

/// What was made.
pub struct Package {
    directory: PathBuf,
    module: Module,
}

/// Makes everything, shows it, and loads what was made into an Envoy the way a service mesh does.
///
/// # Errors
///
/// When something cannot be built or written, or an image does not hold what it should, or Envoy does not load it.
pub fn run(version: Option<&str>, verify: bool) -> Result<()> {
    build::wasm_target()?;
    println!("building the module (some minutes the first time)");
    let package = make()?;
    package.show();
    let envoy = envoy_binary::find(version, |what| println!("{what}"))?;
    package.loads(&envoy)?;
    println!("Envoy {} loads the module out of each image", envoy.version);
    if verify {
        println!("building it again elsewhere");
        package.is_reproducible()?;
        println!("the second build has the same bytes");
    }
    Ok(())
}

/// Makes everything, below `package/` of the target directory.
///
/// # Errors
///
/// When something cannot be built or written.
pub fn make() -> Result<Package> {
    let target = products::target_directory()?;
    let module = module::build(&products::repository(), &target.join("package-build"))?;
    let directory = target.join("package");
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", directory.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let package = Package { directory, module };
    package.write(MODULE_FILE, &package.module.bytes)?;
    // As `sha256sum --check` reads it.
    let checksum = format!("{}  {MODULE_FILE}\n", digest::hex(&package.module.bytes));
    package.write(&format!("{MODULE_FILE}.sha256"), checksum.as_bytes())?;
    package.write("sbom.cdx.json", &bill_of_materials::write(&package.module)?)?;
    for variant in Variant::ALL {
        image::write(&package.directory.join(variant.directory()), variant, &package.module)?;
    }
    Ok(package)
}

impl Package {
    /// Unpacks every image as Istio's agent does, and lets Envoy load what comes out.
    ///
    /// # Errors
    ///
    /// When an image holds anything but the module, or Envoy refuses it.
    pub fn loads(&self, envoy: &EnvoyBinary) -> Result<()> {
        for variant in Variant::ALL {
            let name = variant.directory();
            let fetched = fetcher::fetch(&self.directory.join(name)).with_context(|| format!("the image {name}"))?;
            ensure!(fetched == self.module.bytes, "the image {name} holds another module than {MODULE_FILE}");
            let fetched_to = products::target_directory()?.join("xtask").join(format!("fetched-{name}.wasm"));
            fs::write(&fetched_to, fetched).with_context(|| format!("cannot write {}", fetched_to.display()))?;
            let said = validate(envoy, &fetched_to).with_context(|| format!("the image {name}"))?;
            for wanted in [&self.module.commit, &self.module.version] {
                ensure!(said.contains(wanted.as_str()), "the module does not say that it is {wanted}:\n{said}");
            }
        }
        Ok(())
    }

    /// Builds the module again, from a copy of the sources in another place.
    ///
    /// # Errors
    ///
    /// When that cannot be done, or the two differ.
    pub fn is_reproducible(&self) -> Result<()> {
        reproducible::check(&self.module)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    fn show(&self) {
        let Module { version, commit, bytes, .. } = &self.module;
        let directory = self.directory.display();
        println!("version {version}, commit {commit}, {} bytes", bytes.len());
        println!("  {directory}/{MODULE_FILE}            sha256 {}", digest::hex(bytes));
        println!("  {directory}/{MODULE_FILE}.sha256     for sha256sum --check");
        println!("  {directory}/sbom.cdx.json          what it is made of (CycloneDX)");
        for variant in Variant::ALL {
            println!("  {directory}/{:<22} OCI image layout: {}", variant.directory(), variant.meaning());
        }
        println!("push one: skopeo copy oci:{directory}/{}:{version} docker://…", Variant::Compat.directory());
        println!("for an init container: docker build --target module --build-arg COMMIT={commit} .");
    }
}

/// Lets Envoy load the shipped configuration with the module at `path`; returns what it says.
fn validate(envoy: &EnvoyBinary, path: &Path) -> Result<String> {
    let mut configuration = Configuration::shipped()?;
    configuration.module(path)?;
    let file = path.with_extension("json");
    configuration.write(&file)?;
    let mut command = Command::new(&envoy.path);
    command.args(["--mode", "validate", "--disable-hot-restart", "-c"]).arg(&file).env(SECRET_VARIABLE, demo::SECRET);
    let answer = command.output().with_context(|| format!("cannot run {}", envoy.path.display()))?;
    let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
    if !answer.status.success() {
        envoy_binary::explain(&said)?;
        bail!("Envoy {} does not load it:\n{said}", envoy.version);
    }
    Ok(said)
}
