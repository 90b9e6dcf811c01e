//! `docker-compose.yml` as it is shipped: what a new user does with it.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::containers::{Engine, free_ports, images_tag};
use harness::directory::Directory;
use harness::{demo, http, wait};
use serde_json::{Value, json};

/// Prometheus looks every five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVICES: [&str; 4] = ["gateway", "store", "business", "prometheus"];

/// The shipped stack under a name of its own; removed with its data when dropped.
struct Stack {
    engine: Engine,
    name: String,
    ports: [u16; 5],
    /// What `.env` would say besides.
    settings: Vec<(&'static str, String)>,
}

impl Stack {
    fn new(name: &str) -> Result<Self> {
        let name = format!("privatenumber-{name}-{}", std::process::id());
        Ok(Self { engine: Engine::find()?, name, ports: free_ports()?, settings: Vec::new() })
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let [gateway, metrics, store, business, prometheus] = self.ports.map(|port| port.to_string());
        let mut compose = self.engine.compose();
        compose.args(arguments).env("COMPOSE_PROJECT_NAME", &self.name).env("IMAGE_TAG", images_tag());
        compose.env("GATEWAY_PORT", gateway).env("METRICS_PORT", metrics).env("STORE_PORT", store);
        compose.env("BUSINESS_PORT", business).env("PROMETHEUS_PORT", prometheus);
        compose.envs(self.settings.iter().map(|(name, value)| (name, value)));
        compose
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        succeed(&mut self.compose(arguments))
    }

    async fn ask(&self, port: usize, path: &str) -> Result<Value> {
        http::get(&format!("http://127.0.0.1:{}{path}", self.ports[port])).await?.expect(200)?.json()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "5"]).output();
    }
}

fn succeed(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    let said = String::from_utf8_lossy(&stdout).into_owned();
    ensure!(status.success(), "{command:?} failed:\n{said}{}", String::from_utf8_lossy(&stderr));
    Ok(said)
}

#[tokio::test]
async fn a_new_user_brings_it_up_plays_huawei_and_sees_the_figures() -> Result<()> {
    let stack = Stack::new("shipped")?;
    // Returns once everything the last ones depend on is healthy.
    stack.run(&["up", "--detach", "--no-build"])?;
    wait::until("the demonstration's binding to be registered", PATIENCE, async || {
        let row = stack.ask(2, &format!("/v1/bindings/{}", demo::SUBSCRIPTION_ID)).await?;
        ensure!(row["binding"]["origNum"] == "+8617010000011", "{row}");
        Ok(())
    })
    .await?;
    let huawei = ["run", "--rm", "-T", "huawei", "--calls", "40", "--batch", "4", "--json", "--quiet"];
    let summary = stack.run(&huawei)?;
    let start = summary.find('{').context("no summary")?;
    let summary: Value = serde_json::from_str(&summary[start..])?;
    for (member, expected) in [("pushes", 10), ("cdrs", 40), ("accepted", 10), ("given_up", 0), ("unfinished", 0)] {
        ensure!(summary[member] == expected, "{member} is not {expected}: {summary}");
    }

    wait::until("40 callbacks, answered", PATIENCE, async || {
        let counts = stack.ask(3, "/__control/counts").await?;
        ensure!(counts["total"] == 40 && counts["max_per_call"] == 1, "{counts}");
        let calls = stack.ask(2, "/v1/calls?limit=500&state=delivered").await?;
        let answered = calls["calls"].as_array().map_or(0, Vec::len);
        ensure!(answered == 40, "{answered} answered");
        Ok(())
    })
    .await?;

    for service in SERVICES {
        let container = stack.run(&["ps", "-q", service])?.trim().to_owned();
        wait::until("the container to be healthy", PATIENCE, async || {
            let format = "{{.State.Health.Status}}";
            let health = succeed(Command::new("docker").args(["inspect", "--format", format, &container]))?;
            ensure!(health.trim() == "healthy", "{service} is {health}");
            Ok(())
        })
        .await?;
        let user = succeed(Command::new("docker").args(["exec", &container, "id", "-u"]))?;
        ensure!(user.trim() != "0", "{service} runs as root");
    }

    wait::until("Prometheus to have read both", PATIENCE, async || {
        let up = stack.ask(4, "/api/v1/query?query=sum(up)").await?;
        ensure!(up["data"]["result"][0]["value"][1] == "2", "{up}");
        let claimed = "/api/v1/query?query=sum(privatenumber_cdrs_total%7Bverdict=%22claimed%22%7D)";
        let claimed = stack.ask(4, claimed).await?;
        ensure!(claimed["data"]["result"][0]["value"][1] == "40", "{claimed}");
        // The image holds the module as it is shipped, and says so once.
        let build = stack.ask(4, "/api/v1/query?query=privatenumber_build_info").await?;
        let of_image = &build["data"]["result"][0];
        let (version, profile) = (&of_image["metric"]["version"], &of_image["metric"]["profile"]);
        ensure!(version == env!("CARGO_PKG_VERSION") && profile == "module", "{build}");
        ensure!(of_image["value"][1] == "1" && build["data"]["result"][1].is_null(), "{build}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn callbacks_go_to_the_business_that_env_names() -> Result<()> {
    let mut stack = Stack::new("other-business")?;
    let other = format!("{}-other", stack.name);
    stack.settings = vec![("BUSINESS_ADDRESS", format!("{other}:8092")), ("BUSINESS_PATH", "/calls".to_owned())];
    let business = ["business", "--listen", "0.0.0.0:8092"];
    let other = Container(other);
    stack.run(&[&["run", "--detach", "--no-deps", "-T", "--name", &other.0][..], &["business"], &business].concat())?;
    stack.run(&["up", "--detach", "--no-build", "gateway"])?;
    stack.run(&["run", "--rm", "-T", "huawei", "--calls", "3"])?;
    wait::until("3 calls, answered 200", PATIENCE, async || {
        let calls = stack.ask(2, "/v1/calls?state=answered").await?;
        let statuses = calls["calls"].as_array().context("no calls")?.iter().map(|call| &call["outcome"]["status"]);
        ensure!(statuses.clone().count() == 3 && statuses.clone().all(|status| status == 200), "{calls}");
        Ok(())
    })
    .await?;
    let counts = stack.ask(3, "/__control/counts").await?;
    ensure!(counts["total"] == 0, "the shipped business was called back: {counts}");
    Ok(())
}

/// A container that is removed when dropped.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).output();
    }
}

#[tokio::test]
async fn the_data_outlives_the_containers() -> Result<()> {
    let stack = Stack::new("kept-data")?;
    stack.run(&["up", "--detach", "--no-build", "gateway"])?;
    stack.run(&["run", "--rm", "-T", "huawei", "--calls", "5", "--seed", "1"])?;
    let of_before = wait::until("5 calls, answered", PATIENCE, async || {
        let calls = stack.ask(2, "/v1/calls?state=delivered").await?;
        ensure!(calls["calls"].as_array().is_some_and(|calls| calls.len() == 5), "{calls}");
        Ok(calls)
    })
    .await?;
    stack.run(&["down"])?;
    stack.run(&["up", "--detach", "--no-build", "gateway"])?;
    ensure!(stack.ask(2, "/v1/calls?state=delivered").await? == of_before, "other calls than before");
    // Pushed again after the restart: known, and nobody is called back for it.
    stack.run(&["run", "--rm", "-T", "huawei", "--calls", "5", "--seed", "1"])?;
    let counts = stack.ask(3, "/__control/counts").await?;
    ensure!(counts["total"] == 0, "{counts}");
    Ok(())
}

/// A volume that is removed when dropped.
struct Volume(String);

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["volume", "rm", "--force", &self.0]).output();
    }
}

#[tokio::test]
async fn an_init_container_puts_the_module_into_a_new_volume() -> Result<()> {
    let engine = Engine::find()?;
    let directory = Directory::fresh("init-container")?;
    let image = format!("private-number-gateway/module:{}", images_tag());
    // Compose builds it, for what it has built already is known to it alone.
    let build =
        json!({ "services": { "module": { "image": image, "build": { "context": ".", "target": "module" } } } });
    let file = directory.join("docker-compose.module.json");
    std::fs::write(&file, serde_json::to_vec(&build)?)?;
    succeed(engine.compose().arg("-f").arg(&file).args(["build", "module"]))?;

    let bare = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none"];
    let docker = |more: &[&str]| {
        let mut docker = Command::new("docker");
        docker.args(bare).args(more);
        docker
    };
    let without_volume = docker(&[&image]).output()?;
    let said = String::from_utf8_lossy(&without_volume.stderr).into_owned();
    ensure!(!without_volume.status.success() && said.contains("at /module"), "without a volume it says: {said}");

    let volume = Volume(format!("privatenumber-module-{}", std::process::id()));
    let (write, read) = (format!("{}:/module", volume.0), format!("{}:/module:ro", volume.0));
    // An init container may be run again.
    for _ in 0..2 {
        succeed(&mut docker(&["--volume", &write, &image]))?;
    }
    let gateway = format!("private-number-gateway/gateway:{}", images_tag());
    // As the proxy's own user reads it.
    let proxy = ["--volume", &read, "--entrypoint", "sha256sum", &gateway];
    let sums = [&proxy[..], &["/module/plugin.wasm", "/etc/envoy/private_number_gateway.wasm"]].concat();
    let sums = succeed(&mut docker(&sums))?;
    let sums: Vec<_> = sums.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(sums.len() == 2 && sums[0] == sums[1], "not the gateway's module: {sums:?}");
    Ok(())
}
