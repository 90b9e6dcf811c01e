//! The stack of `docker-compose.yml`, under a name and on ports of its own, so that several run side by side.
//!
//! The containers are made by Compose from the shipped file; each is then started by itself and attached to, so that it is a
//! [`Process`] like any other: its output is read, it is stopped, killed, frozen and started again.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::demo::{self, SECRET_VARIABLE};
use crate::directory::Directory;
use crate::process::{Process, Start};
use crate::products;

/// The variable that names the tag of images that are there already; without it `cargo xtask test --compose` builds them.
pub const IMAGES_VARIABLE: &str = "PRIVATENUMBER_IMAGES";

/// The tag of the images that are built for tests.
const TEST_TAG: &str = "test";

/// A container engine that runs, with Compose.
#[derive(Clone, Debug)]
pub struct Engine {
    compose: &'static [&'static str],
}

impl Engine {
    /// Finds the engine and its Compose, of either kind.
    ///
    /// # Errors
    ///
    /// When one of them is missing or the engine does not run; with the remedy.
    pub fn find() -> Result<Self> {
        let info = Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]).output();
        let info =
            info.context("there is no `docker`: install Docker Engine (https://docs.docker.com/engine/install)")?;
        if !info.status.success() {
            bail!(
                "Docker's engine cannot be reached; start it (`systemctl start docker`), and see that you may use it \
                 (`docker info`). It said: {}",
                String::from_utf8_lossy(&info.stderr).trim()
            );
        }
        let kinds: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let found = kinds.into_iter().find(|compose| {
            let version = command(compose).arg("version").output();
            version.is_ok_and(|version| version.status.success())
        });
        let compose = found.context(
            "there is no Docker Compose: install its plugin (https://docs.docker.com/compose/install) or docker-compose 1.29",
        )?;
        Ok(Self { compose })
    }

    /// Compose on the shipped file.
    pub fn compose(&self) -> Command {
        let mut compose = command(self.compose);
        compose.current_dir(products::repository()).arg("-f").arg("docker-compose.yml");
        compose
    }

    /// The command that builds the images for tests; `None` where [`IMAGES_VARIABLE`] names some.
    pub fn build(&self) -> Option<Command> {
        if images().is_some() {
            return None;
        }
        let mut compose = self.compose();
        // Whatever else may be set there is no matter of the images.
        compose.args(["build", "gateway", "store", "business"]).env("IMAGE_TAG", TEST_TAG);
        Some(compose)
    }
}

/// The tag of the images that tests run.
pub fn images_tag() -> String {
    images().unwrap_or_else(|| TEST_TAG.to_owned())
}

fn images() -> Option<String> {
    env::var(IMAGES_VARIABLE).ok().filter(|tag| !tag.is_empty())
}

fn command(words: &[&str]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().copied().unwrap_or("docker"));
    command.args(words);
    command
}

/// Does to a container what a signal does to a process.
///
/// # Errors
///
/// When the engine cannot, such as when the container does not run.
pub(crate) fn signal(container: &str, signal: Signal) -> Result<()> {
    let mut docker = Command::new("docker");
    match signal {
        Signal::STOP => docker.arg("pause"),
        Signal::CONT => docker.arg("unpause"),
        Signal::TERM => docker.args(["kill", "--signal", "TERM"]),
        _ => docker.args(["kill", "--signal", "KILL"]),
    };
    succeed(docker.arg(container)).map(drop)
}

fn succeed(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// One stack: two gateways, the store, two businesses. Nothing runs yet; dropping it removes all of it, data included.
#[derive(Debug)]
pub struct Project {
    engine: Engine,
    name: String,
    directory: Directory,
    ports: Ports,
}

#[derive(Debug)]
struct Ports {
    gateways: [u16; 2],
    metrics: [u16; 2],
    store: u16,
    businesses: [u16; 2],
}

impl Project {
    /// Makes the containers. `business_arguments` are more of those of `privatenumber-sim business`.
    ///
    /// # Errors
    ///
    /// When there is no engine or no images, or Compose cannot make them.
    pub fn create(directory: &Directory, business_arguments: &[&str]) -> Result<Self> {
        static PROJECTS: AtomicU32 = AtomicU32::new(0);
        let number = PROJECTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("privatenumber-test-{}-{number}", std::process::id());
        let [one, two, three, four, five, six, seven] = free_ports()?;
        let ports = Ports { gateways: [one, two], metrics: [three, four], store: five, businesses: [six, seven] };
        let project = Self { engine: Engine::find()?, name, directory: directory.clone(), ports };
        for other in [false, true] {
            let path = project.gateway_directory(other);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
            readable(&path, 0o755)?;
        }
        let overrides = serde_json::to_vec_pretty(&project.overrides(business_arguments))?;
        let file = project.file();
        fs::write(&file, overrides).with_context(|| format!("cannot write {}", file.display()))?;
        let services = ["gateway", "gateway-2", "store", "business", "business-2"];
        succeed(project.compose().args(["up", "--no-start", "--no-build"]).args(services))?;
        Ok(project)
    }

    /// The store.
    pub fn store(&self) -> Service {
        self.service("store", self.ports.store)
    }

    /// The business, or the other one; to gateways it is `business:8091` or `business-2:8091`.
    pub fn business(&self, other: bool) -> Service {
        let name = if other { "business-2" } else { "business" };
        self.service(name, one_of(self.ports.businesses, other))
    }

    /// The gateway, or the other one.
    pub fn gateway(&self, other: bool) -> GatewayService {
        let name = if other { "gateway-2" } else { "gateway" };
        GatewayService {
            service: self.service(name, one_of(self.ports.gateways, other)),
            metrics: address(one_of(self.ports.metrics, other)),
            directory: self.gateway_directory(other),
        }
    }

    fn service(&self, name: &str, port: u16) -> Service {
        Service {
            name: name.to_owned(),
            container: format!("{}-{name}", self.name),
            log: self.directory.join(format!("{name}.log")),
            address: address(port),
        }
    }

    fn gateway_directory(&self, other: bool) -> PathBuf {
        self.directory.join(if other { "gateway-2" } else { "gateway" })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("docker-compose.test.json")
    }

    fn compose(&self) -> Command {
        let mut compose = self.engine.compose();
        compose.arg("-f").arg(self.file());
        compose.env("COMPOSE_PROJECT_NAME", &self.name).env(SECRET_VARIABLE, demo::SECRET);
        compose.env("IMAGE_TAG", images_tag()).env("ENVOY_CONCURRENCY", "1");
        compose.env("GATEWAY_PORT", self.ports.gateways[0].to_string());
        compose.env("METRICS_PORT", self.ports.metrics[0].to_string());
        compose.env("STORE_PORT", self.ports.store.to_string());
        compose.env("BUSINESS_PORT", self.ports.businesses[0].to_string());
        compose
    }

    /// What differs from the shipped file: names to find the containers by, nothing starts by itself, each gateway reads the
    /// configuration that its story gives it, and there is another one of what a story may want two of.
    fn overrides(&self, business_arguments: &[&str]) -> Value {
        let name = |service: &str| format!("{}-{service}", self.name);
        let business = ["business", "--listen", "0.0.0.0:8091"];
        let told_business = [&business, business_arguments].concat();
        let command = ["-c", "/etc/gateway/envoy.json", "--disable-hot-restart", "--concurrency", "1"];
        let volume = |other| [format!("{}:/etc/gateway:ro", self.gateway_directory(other).display())];
        json!({
            "services": {
                "store": { "container_name": name("store"), "restart": "no" },
                "business": {
                    "container_name": name("business"), "restart": "no", "command": told_business,
                },
                "business-2": {
                    "container_name": name("business-2"), "image": "private-number-gateway/simulator:${IMAGE_TAG}",
                    "command": business, "read_only": true,
                    "ports": [format!("127.0.0.1:{}:8091", self.ports.businesses[1])],
                },
                "gateway": {
                    "container_name": name("gateway"), "restart": "no", "command": command, "volumes": volume(false),
                },
                "gateway-2": {
                    "container_name": name("gateway-2"), "image": "private-number-gateway/gateway:${IMAGE_TAG}",
                    "command": command, "volumes": volume(true), "read_only": true,
                    "environment": { SECRET_VARIABLE: format!("${{{SECRET_VARIABLE}}}") },
                    "ports": [
                        format!("127.0.0.1:{}:10000", self.ports.gateways[1]),
                        format!("127.0.0.1:{}:9902", self.ports.metrics[1]),
                    ],
                },
            },
        })
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let down = self.compose().args(["down", "--volumes", "--remove-orphans", "--timeout", "1"]).output();
        if let Err(error) = down {
            eprintln!("the containers of {} were not removed: {error}", self.name);
        }
    }
}

fn one_of([one, other_one]: [u16; 2], other: bool) -> u16 {
    if other { other_one } else { one }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Ports nobody listens on now. Compose publishes containers on them, also when they are started again.
///
/// # Errors
///
/// When there are not so many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known: no two are the same.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener.and_then(|listener| listener.local_addr()).context("there is no free port")?.port();
    }
    Ok(ports)
}

fn readable(path: &Path, mode: u32) -> Result<()> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).with_context(|| format!("cannot make {} readable", path.display()))
}

/// One container of a [`Project`].
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    container: String,
    log: PathBuf,
    address: String,
}

impl Service {
    /// Where it is published on this machine: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts it, or starts it again.
    ///
    /// # Errors
    ///
    /// When the engine cannot be asked.
    pub fn start(&self) -> Result<Process> {
        let start = Start::new(&format!("the container {}", self.name), "docker", &self.log);
        start.arguments(["start", "--attach", &self.container]).attached_to(&self.container).run()
    }
}

/// A gateway's container.
#[derive(Clone, Debug)]
pub struct GatewayService {
    service: Service,
    metrics: String,
    directory: PathBuf,
}

impl GatewayService {
    /// Where its listener is published: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.service.address()
    }

    /// Where its statistics are published: `127.0.0.1:PORT`.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// The file it reads its configuration from, on this machine.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("envoy.json")
    }

    /// Lets the container's own user read the configuration.
    ///
    /// # Errors
    ///
    /// When the file is not there.
    pub fn let_it_read(&self) -> Result<()> {
        readable(&self.configuration(), 0o644)
    }

    /// Starts it, or starts it again.
    ///
    /// # Errors
    ///
    /// When the engine cannot be asked.
    pub fn start(&self) -> Result<Process> {
        self.service.start()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Output};

    use serde_json::{Value, json};

    use crate::demo;
    use crate::directory::Directory;
    use crate::products::repository;

    /// Runs `with-business.sh` as the gateway's container does, with an Envoy that only says how it is called.
    fn with_business(directory: &Directory, address: &str, path: &str) -> Output {
        let envoy = directory.join("envoy");
        fs::write(&envoy, "#!/bin/sh\necho \"envoy $*\"\n").unwrap();
        fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).unwrap();
        let addressed = directory.join("addressed.yaml");
        let sed = Command::new("sed")
            .arg("-f")
            .arg(repository().join("deploy/containers/addresses.sed"))
            .arg(repository().join("envoy.yaml"))
            .output()
            .unwrap();
        fs::write(&addressed, sed.stdout).unwrap();
        let search = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        Command::new(repository().join("deploy/containers/with-business.sh"))
            .args(["-c", "/tmp/envoy.yaml"])
            .env("PATH", search)
            .env("CONFIGURATION", &addressed)
            .env("CHANGED_CONFIGURATION", directory.join("changed.yaml"))
            .env("BUSINESS_ADDRESS", address)
            .env("BUSINESS_PATH", path)
            .output()
            .unwrap()
    }

    #[test]
    fn a_businesss_address_is_put_into_the_configuration() {
        let directory = Directory::fresh("with-business").unwrap();
        for (address, host, port) in [
            ("business:8091", "business", 8091),
            ("host.docker.internal:80", "host.docker.internal", 80),
            ("10.0.0.7:18080", "10.0.0.7", 18080),
        ] {
            let started = with_business(&directory, address, "/calls?from=gateway");
            assert_eq!(String::from_utf8_lossy(&started.stdout), "envoy -c /tmp/envoy.yaml\n", "{started:?}");
            let text = fs::read_to_string(directory.join("changed.yaml")).unwrap();
            let envoy: Value = serde_yaml_ng::from_str(&text).unwrap();
            let clusters = envoy["static_resources"]["clusters"].as_array().unwrap();
            let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
            let of = |name: &str| {
                clusters.iter().find(|cluster| cluster["name"] == name).unwrap().pointer(endpoint).unwrap().clone()
            };
            assert_eq!(of("business"), json!({ "address": host, "port_value": port }));
            assert_eq!(of("store"), json!({ "address": "store", "port_value": 8090 }));
            assert!(text.contains(&format!("\"authority\": \"{address}\"")), "{address}");
            assert!(text.contains("\"path\": \"/calls?from=gateway\""));
        }
    }

    #[test]
    fn what_is_not_an_address_or_a_path_starts_nothing() {
        let directory = Directory::fresh("with-business-refused").unwrap();
        for (address, path) in [
            ("business", "/callback"),
            ("http://business:8091", "/callback"),
            ("business:8091|e id", "/callback"),
            ("business:", "/callback"),
            ("business:8091", "callback"),
            ("business:8091", "/a\"b"),
            ("business:8091", "/a|b"),
        ] {
            let started = with_business(&directory, address, path);
            let said = String::from_utf8_lossy(&started.stderr);
            assert!(!started.status.success() && started.stdout.is_empty(), "{address}{path}");
            assert!(said.contains("error: BUSINESS_"), "{address}{path}: {said}");
        }
    }

    #[test]
    fn compose_registers_the_demonstrations_binding() {
        let path = repository().join("deploy/containers/demo-binding.json");
        let registered: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let mut expected = serde_json::to_value(demo::binding()).unwrap();
        expected.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(registered, expected);
        let compose = fs::read_to_string(repository().join("docker-compose.yml")).unwrap();
        assert!(compose.contains(demo::SUBSCRIPTION_ID));
    }

    /// The stages of the Dockerfile, each with its instructions.
    fn stages() -> Vec<String> {
        let text = fs::read_to_string(repository().join("Dockerfile")).unwrap();
        text.split("\nFROM ").skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn an_edit_of_envoy_yaml_compiles_nothing() {
        let (compiling, other): (Vec<_>, Vec<_>) =
            stages().into_iter().partition(|stage| stage.contains("cargo build"));
        assert_eq!(compiling.len(), 2, "the module and the programs");
        for stage in &compiling {
            assert!(!stage.contains("COPY . ") && !stage.contains("COPY envoy.yaml"), "{stage}");
        }
        // Only the stage that copies the manifests out has everything, and hands on what does not depend on the rest.
        let with_everything = other.iter().filter(|stage| stage.contains("COPY . "));
        assert_eq!(with_everything.map(|stage| stage.contains("AS manifests")).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn each_base_image_comes_from_the_registry_that_is_asked_for() {
        for stage in stages() {
            let base = stage.split_whitespace().next().unwrap();
            assert!(base.starts_with("${REGISTRY}/") || base == "crates", "{base}");
        }
    }
}
