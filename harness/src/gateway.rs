//! A gateway: something that takes pushes at a URL and tells how it fares. It is an Envoy of its own with the module, as a
//! process or in a container; nothing a caller sees depends on that.

mod envoy_process;
mod statistics;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::envoy_process::EnvoyProcess;
pub use self::envoy_process::Place;
pub use self::statistics::Statistics;
// As the benchmark's driver names them.
use crate::configuration::{Configuration, HeadersMode};
use crate::demo::{self, SECRET_VARIABLE};
use crate::directory::Directory;
use crate::process::Process;
use crate::{http, products, wait};

/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(20);

/// One business system and where its callbacks go.
#[derive(Clone, Debug)]
pub struct BusinessAt {
    /// Its name in bindings.
    pub ak: String,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The path of its callback address.
    pub path: String,
    /// How long one callback may take, milliseconds.
    pub timeout_ms: u64,
    /// Further members of its entry, such as `signing_secrets`.
    pub more: Value,
}

impl BusinessAt {
    /// The demonstration's business at `address`.
    pub fn demo(address: &str) -> Self {
        Self::new(demo::AK, address)
    }

    /// The business `ak` at `address`, with the path `/callback` and five seconds for an answer.
    pub fn new(ak: &str, address: &str) -> Self {
        Self {
            ak: ak.to_owned(),
            address: address.to_owned(),
            path: "/callback".to_owned(),
            timeout_ms: 5000,
            more: json!({}),
        }
    }
}

type Change = Box<dyn Fn(&mut Configuration) -> Result<()> + Send + Sync>;

/// What kind of gateway is wanted. Everything not said is as shipped.
pub struct Options {
    place: Place,
    directory: Option<Directory>,
    module: Option<PathBuf>,
    ports: Ports,
    concurrency: u32,
    headers: HeadersMode,
    store: String,
    businesses: Vec<BusinessAt>,
    environment: Vec<(String, String)>,
    reloadable: bool,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    Free,
    Given { gateway: u16, admin: u16 },
}

impl Options {
    /// A gateway run by `place` (an [`EnvoyBinary`](crate::envoy_binary::EnvoyBinary), or a container) in front of the store
    /// at `store` (`HOST:PORT`, as the gateway sees it), on free ports, with one worker.
    pub fn new(place: impl Into<Place>, store: &str) -> Self {
        Self {
            place: place.into(),
            directory: None,
            module: None,
            ports: Ports::Free,
            concurrency: 1,
            headers: HeadersMode::Hold,
            store: store.to_owned(),
            businesses: Vec::new(),
            environment: vec![(SECRET_VARIABLE.to_owned(), demo::SECRET.to_owned())],
            reloadable: false,
            changes: Vec::new(),
        }
    }

    /// With its configuration and log in `directory` instead of a fresh one.
    pub fn directory(mut self, directory: Directory) -> Self {
        self.directory = Some(directory);
        self
    }

    /// With another build of the module than the one under test.
    pub fn module(mut self, file: PathBuf) -> Self {
        self.module = Some(file);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// See [`Gateway::start`].
    pub async fn start(mut self) -> Result<Gateway> {
        let directory = self.directory.take().map_or_else(|| Directory::fresh("gateway"), Ok)?;
        Gateway::start(&directory, self).await
    }

    /// On these ports of 127.0.0.1 instead of free ones: the listener's and the admin interface's.
    pub fn ports(mut self, gateway: u16, admin: u16) -> Self {
        self.ports = Ports::Given { gateway, admin };
        self
    }

    /// With this many workers.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// With the other way of treating headers.
    pub fn headers(mut self, mode: HeadersMode) -> Self {
        self.headers = mode;
        self
    }

    /// With this business; may be said several times. The first time replaces the shipped one.
    pub fn business(mut self, business: BusinessAt) -> Self {
        self.businesses.push(business);
        self
    }

    /// With this in its environment. `envoy.yaml` shows the filter only [`SECRET_VARIABLE`].
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Able to [`reload`](Gateway::reload).
    pub fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    /// With any other change to its configuration.
    pub fn change(mut self, change: impl Fn(&mut Configuration) -> Result<()> + Send + Sync + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    fn configuration(&self, directory: &Directory) -> Result<Configuration> {
        let mut configuration = Configuration::shipped()?;
        match (&self.place, self.ports) {
            (Place::Container(_), _) => configuration.move_into_container()?,
            (Place::Process(_), ports) => {
                let (gateway, admin) = match ports {
                    Ports::Free => (0, 0),
                    Ports::Given { gateway, admin } => (gateway, admin),
                };
                configuration.gateway_port(gateway)?;
                configuration.admin_port(admin)?;
                configuration.module(&self.module.clone().map_or_else(products::module, Ok)?)?;
            }
        }
        configuration.cluster("store", &self.store)?;
        if !self.businesses.is_empty() {
            let mut entries = Vec::new();
            for (index, business) in self.businesses.iter().enumerate() {
                let cluster = if index == 0 { "business".to_owned() } else { format!("business-{index}") };
                if index == 0 {
                    configuration.cluster(&cluster, &business.address)?;
                } else {
                    configuration.add_cluster(&cluster, &business.address)?;
                }
                entries.push(entry(business, &cluster));
            }
            let plugin = configuration.plugin()?.as_object_mut().context("the plugin's configuration is no object")?;
            plugin.insert("businesses".to_owned(), Value::Array(entries));
        }
        if self.reloadable {
            if let Place::Container(_) = self.place {
                bail!("a gateway in a container can not reload: its configuration is part of the image");
            }
            configuration.discover_filter(&directory.join("filter.json"))?;
        }
        configuration.headers(self.headers)?;
        for change in &self.changes {
            change(&mut configuration)?;
        }
        Ok(configuration)
    }
}

fn entry(business: &BusinessAt, cluster: &str) -> Value {
    let mut entry = json!({
        "ak": business.ak,
        "cluster": cluster,
        "authority": "business.example.com",
        "path": business.path,
        "timeout_ms": business.timeout_ms,
    });
    if let (Some(entry), Some(more)) = (entry.as_object_mut(), business.more.as_object()) {
        entry.extend(more.clone());
    }
    entry
}

/// A gateway that takes pushes.
pub struct Gateway {
    configuration: Configuration,
    envoy: EnvoyProcess,
}

impl Gateway {
    /// Starts one; its configuration and log are in `directory`.
    ///
    /// # Errors
    ///
    /// When the module is not built, Envoy refuses the configuration, or it does not become ready.
    pub async fn start(directory: &Directory, options: Options) -> Result<Self> {
        let configuration = options.configuration(directory)?;
        let envoy = EnvoyProcess::start(
            &options.place,
            directory,
            &configuration,
            options.concurrency,
            options.environment.clone(),
        );
        let envoy = envoy.await?;
        Ok(Self { configuration, envoy })
    }

    /// The configuration it runs on.
    pub fn configuration(&self) -> Configuration {
        self.configuration.clone()
    }

    /// Where pushes go: `http://127.0.0.1:PORT/huawei/fee`.
    pub fn url(&self) -> String {
        format!("http://{}/huawei/fee", self.envoy.address)
    }

    /// `127.0.0.1:PORT` of the listener.
    pub fn address(&self) -> &str {
        &self.envoy.address
    }

    /// `http://127.0.0.1:PORT` of the admin interface.
    pub fn admin(&self) -> String {
        format!("http://{}", self.envoy.admin)
    }

    /// Where a listener added by [`Configuration::add_listener`] is: `127.0.0.1:PORT`.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub async fn listener(&self, name: &str) -> Result<String> {
        envoy_process::listener_address(&self.envoy.admin, name).await
    }

    /// All counters and gauges, as they are now.
    ///
    /// # Errors
    ///
    /// When the admin interface does not answer.
    pub async fn statistics(&self) -> Result<Statistics> {
        Statistics::ask(&self.admin()).await
    }

    /// The metrics, as Prometheus reads them.
    ///
    /// # Errors
    ///
    /// When the admin interface does not answer.
    pub async fn prometheus(&self) -> Result<String> {
        let url = format!("{}/stats/prometheus?usedonly", self.admin());
        Ok(http::get(&url).await?.expect(200)?.text())
    }

    /// Everything it has logged so far.
    pub fn logs(&self) -> Vec<String> {
        self.envoy.process.lines()
    }

    /// The process, to freeze, kill or ask.
    pub fn process(&mut self) -> &mut Process {
        &mut self.envoy.process
    }

    /// Changes the plugin's configuration of the running gateway and waits until it is in force.
    ///
    /// # Errors
    ///
    /// When the gateway was not asked for as [`reloadable`](Options::reloadable), or it refuses the configuration; the
    /// former one then goes on serving.
    pub async fn reload(&mut self, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
        self.reload_filter(|configuration| change(configuration.plugin()?)).await
    }

    /// As [`reload`](Self::reload), with all of the filter's entry to be changed: what it runs on as well.
    ///
    /// # Errors
    ///
    /// As for [`reload`](Self::reload).
    pub async fn reload_filter(&mut self, change: impl FnOnce(&mut Configuration) -> Result<()>) -> Result<()> {
        if !self.configuration.is_discovered() {
            bail!("this gateway can not reload: ask for it with Options::reloadable");
        }
        let mut changed = self.configuration.clone();
        change(&mut changed)?;
        let before = self.statistics().await?;
        changed.write_discovered()?;
        let refusals = |statistics: &Statistics| {
            statistics.sum_of(|name| name.contains("extension_config_discovery") && name.ends_with("config_fail"))
                + statistics.sum_of(|name| name.contains("extension_config_discovery") && name.ends_with("rejected"))
        };
        let reloads = |statistics: &Statistics| {
            statistics.sum_of(|name| name.contains("extension_config_discovery") && name.ends_with("config_reload"))
        };
        let taken = wait::until("the gateway to take its new configuration", RELOAD, async || {
            let now = self.statistics().await?;
            if refusals(&now) > refusals(&before) {
                return Ok(false);
            }
            if reloads(&now) == reloads(&before) {
                bail!("the number of reloads is still {}", reloads(&now));
            }
            Ok(true)
        });
        if !taken.await? {
            bail!("the gateway refused its new configuration:\n{}", self.envoy.process.tail(20));
        }
        self.configuration = changed;
        Ok(())
    }

    /// Stops it in order (SIGTERM).
    ///
    /// # Errors
    ///
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> Result<()> {
        self.envoy.process.terminate(envoy_process::PATIENCE).await.map(drop)
    }

    /// Kills it (SIGKILL): the end between a claim and its outcome.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.envoy.process.kill().await
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), at the same address.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.envoy.restart(&mut self.configuration).await
    }
}
