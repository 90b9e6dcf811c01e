//! Envoy as a child process or in a container, and where it really listens.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::configuration::{Configuration, LISTENER};
use crate::containers::GatewayService;
use crate::directory::Directory;
use crate::envoy_binary::{self, EnvoyBinary};
use crate::process::{Process, Start};
use crate::{http, wait};

/// How long it may take to be ready, and to stop.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What runs it.
#[derive(Clone, Debug)]
pub enum Place {
    /// A process of this program.
    Process(EnvoyBinary),
    /// A container, which has one worker and the environment that it was made with, whatever else is asked for.
    Container(GatewayService),
}

impl From<EnvoyBinary> for Place {
    fn from(binary: EnvoyBinary) -> Self {
        Self::Process(binary)
    }
}

impl From<GatewayService> for Place {
    fn from(service: GatewayService) -> Self {
        Self::Container(service)
    }
}

pub struct EnvoyProcess {
    place: Place,
    directory: Directory,
    concurrency: u32,
    environment: Vec<(String, String)>,
    pub process: Process,
    /// Of the gateway's listener, `127.0.0.1:PORT`.
    pub address: String,
    /// Of the admin interface, `127.0.0.1:PORT`.
    pub admin: String,
}

impl EnvoyProcess {
    pub async fn start(
        place: &Place,
        directory: &Directory,
        configuration: &Configuration,
        concurrency: u32,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let (process, address, admin) = run(place, directory, configuration, concurrency, &environment).await?;
        let (place, directory) = (place.clone(), directory.clone());
        Ok(Self { place, directory, concurrency, environment, process, address, admin })
    }

    pub async fn restart(&mut self, configuration: &mut Configuration) -> Result<()> {
        if self.process.is_running() {
            self.process.kill().await?;
        }
        if let Place::Process(_) = self.place {
            // What pushes to it knows the address by now.
            configuration.gateway_port(port(&self.address)?)?;
        }
        let (process, address, admin) =
            run(&self.place, &self.directory, configuration, self.concurrency, &self.environment).await?;
        (self.process, self.address, self.admin) = (process, address, admin);
        Ok(())
    }
}

async fn run(
    place: &Place,
    directory: &Directory,
    configuration: &Configuration,
    concurrency: u32,
    environment: &[(String, String)],
) -> Result<(Process, String, String)> {
    match place {
        Place::Process(binary) => run_process(binary, directory, configuration, concurrency, environment).await,
        Place::Container(service) => run_container(service, configuration).await,
    }
}

async fn run_container(service: &GatewayService, configuration: &Configuration) -> Result<(Process, String, String)> {
    configuration.write(&service.configuration())?;
    service.let_it_read()?;
    let mut process = service.start()?;
    process.answers(&format!("http://{}/ready", service.metrics()), PATIENCE).await?;
    Ok((process, service.address().to_owned(), service.metrics().to_owned()))
}

async fn run_process(
    binary: &EnvoyBinary,
    directory: &Directory,
    configuration: &Configuration,
    concurrency: u32,
    environment: &[(String, String)],
) -> Result<(Process, String, String)> {
    let file = directory.join("envoy.json");
    configuration.write(&file)?;
    let admin_file = directory.join("envoy-admin");
    let _ = std::fs::remove_file(&admin_file);
    let mut start = Start::new("Envoy", &binary.path, directory.join("envoy.log"))
        .argument("-c")
        .argument(&file)
        .arguments(["--concurrency", &concurrency.to_string()])
        .argument("--admin-address-path")
        .argument(&admin_file)
        // Hot restart shares memory under one name for the whole machine; several gateways side by side must not.
        .argument("--disable-hot-restart");
    for (name, value) in environment {
        start = start.environment(name, value);
    }
    let mut process = start.run()?;
    let mut ended = false;
    let admin = wait::until("Envoy to name its admin interface", PATIENCE, async || {
        // What it printed before it ended may arrive after its end is known: one more look.
        if ended {
            return Ok(None);
        }
        ended = !process.is_running();
        let text = std::fs::read_to_string(&admin_file).context("Envoy has not named it yet")?;
        if text.trim().is_empty() {
            Err(anyhow!("Envoy has not named it yet"))
        } else {
            Ok(Some(text.trim().to_owned()))
        }
    });
    let ready = match admin.await? {
        Some(admin) => process.answers(&format!("http://{admin}/ready"), PATIENCE).await.map(|()| admin),
        None => Err(anyhow!("Envoy ended before it was ready:\n{}", process.tail(20))),
    };
    if ready.is_err() {
        envoy_binary::explain(&process.lines().join("\n"))?;
    }
    let admin = ready?;
    let address = listener_address(&admin, LISTENER).await?;
    Ok((process, address, admin))
}

pub async fn listener_address(admin: &str, name: &str) -> Result<String> {
    let listeners: Value = http::get(&format!("http://{admin}/listeners?format=json")).await?.expect(200)?.json()?;
    let entries = listeners.get("listener_statuses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let entry = entries.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let address = entry.and_then(|entry| entry.pointer("/local_address/socket_address"));
    let address = address.with_context(|| format!("Envoy has no listener `{name}`"))?;
    let host = address.get("address").and_then(Value::as_str).unwrap_or("127.0.0.1");
    let port = address.get("port_value").and_then(Value::as_u64).context("the listener has no port")?;
    Ok(format!("{host}:{port}"))
}

fn port(address: &str) -> Result<u16> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.with_context(|| format!("{address} is not HOST:PORT"))
}
