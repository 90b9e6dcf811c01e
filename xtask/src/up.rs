//! `cargo xtask up`: the stack on the ports of `envoy.yaml`, for as long as it is wanted.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::demo::{self, APP_KEY, SECRET, SECRET_VARIABLE};
use harness::directory::Directory;
use harness::envoy_binary::EnvoyBinary;
use harness::huawei::{self, Huawei};
use harness::products;
use harness::stack::Stack;
use privatenumber_sim::huawei::push_body;
use tokio::signal::unix::{SignalKind, signal};

use crate::stack::{self, Running};

const GATEWAY: u16 = 10000;
const ADMIN: u16 = 9901;
const STORE: u16 = 8090;
const BUSINESS: u16 = 8091;

/// How often the processes are looked after.
const ROUND: Duration = Duration::from_millis(500);

/// Runs everything until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When a port is in use, something does not start, or something ends by itself.
pub fn run(version: Option<&str>, no_business: bool, data: &Path, concurrency: u32) -> Result<()> {
    let ports = [("the gateway", GATEWAY), ("Envoy's admin interface", ADMIN), ("the store", STORE)];
    for (what, port) in ports.into_iter().chain((!no_business).then_some(("the business", BUSINESS))) {
        check_port(what, port)?;
    }
    let envoy = stack::prepare(version)?;
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        let mut running = Running::default();
        start(envoy, &mut running, no_business, data, concurrency).await?;
        let ended = until_stopped(&mut running).await?;
        if let Some((name, tail)) = ended {
            bail!("{name} has ended; the rest is stopped. It said:\n{tail}");
        }
        println!("\nstopping");
        running.stop().await
    })
}

fn check_port(what: &str, port: u16) -> Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let business =
                if port == BUSINESS { ", or say --no-business if it is your business that listens there" } else { "" };
            bail!(
                "port {port} of 127.0.0.1, needed for {what}, cannot be had ({error}). Find out who has it \
                 (`ss -ltnp 'sport = :{port}'`) and stop it{business}"
            )
        }
    }
}

async fn start(
    envoy: EnvoyBinary,
    running: &mut Running,
    no_business: bool,
    data: &Path,
    concurrency: u32,
) -> Result<()> {
    let stack = Stack::new(Directory::fresh("up")?, envoy);
    let data = products::repository().join(data);
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let file = data.join("privatenumber.sqlite3");
    let store_address = format!("127.0.0.1:{STORE}");
    let store = stack.store().listen(&store_address).data(file.clone()).start().await?;
    stack::register_demo_binding(&store).await?;
    running.store = Some(store);
    if !no_business {
        let business = stack.business("business").listen(&format!("127.0.0.1:{BUSINESS}")).arguments(&["--print"]);
        running.business = Some(business.start().await?);
    }
    let gateway = stack.gateway_for(&store_address, []).ports_as_shipped().concurrency(concurrency).start().await?;
    let url = gateway.url();
    running.gateway = Some(gateway);

    println!("\nThe gateway is up. Ctrl-C stops it.\n");
    println!("  Huawei pushes to  {url}");
    println!("  Envoy's admin     http://127.0.0.1:{ADMIN}");
    println!("  store             http://127.0.0.1:{STORE}   data: {}", file.display());
    let whose = if no_business { "yours" } else { "answers 200, remembers what came" };
    println!("  business          http://127.0.0.1:{BUSINESS}/callback   ({whose})");
    println!("  logs              {}", stack.directory().path().display());
    println!("  credentials       app key {APP_KEY}, secret {SECRET} ({SECRET_VARIABLE})");
    println!("  binding           subscriptionId {}", demo::SUBSCRIPTION_ID);
    println!("\nPush ten made-up calls, and any push of your own:\n");
    let simulator = "cargo run --quiet -p privatenumber-sim -- push";
    let credentials = format!("--url {url} --app-key {APP_KEY} --secret {SECRET}");
    println!("  {simulator} {credentials} --calls 10 --seed $RANDOM\n  {simulator} {credentials} my-push.json");
    println!("\nOne push without the simulator (the digest does not cover the body):\n");
    println!("{}", curl(&url)?);
    println!("\nLook at what became of it:\n");
    println!("  curl -s http://127.0.0.1:{STORE}/v1/calls");
    if !no_business {
        println!("  curl -s http://127.0.0.1:{BUSINESS}/__control/callbacks");
    }
    println!("  curl -s 'http://127.0.0.1:{ADMIN}/stats/prometheus?usedonly' | grep ^privatenumber_");
    Ok(())
}

/// A signed push as a command for a shell.
fn curl(url: &str) -> Result<String> {
    let cdrs: Vec<_> = huawei::calls(stack::fresh_seed()).take(1).collect();
    let body = String::from_utf8(push_body(&cdrs)?).context("the push is not UTF-8")?;
    let headers = Huawei::demo()?.headers()?;
    let headers = headers.iter().map(|(name, value)| format!("    -H '{name}: {value}' \\\n")).collect::<String>();
    Ok(format!("  curl -s {url} \\\n{headers}    -d '{body}'"))
}

/// Waits for a signal (`None`) or for a process that ends by itself.
async fn until_stopped(running: &mut Running) -> Result<Option<(&'static str, String)>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(None),
            _ = terminate.recv() => return Ok(None),
            () = tokio::time::sleep(ROUND) => {
                if let Some(ended) = running.ended() {
                    return Ok(Some(ended));
                }
            }
        }
    }
}
