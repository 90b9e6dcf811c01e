//! `cargo xtask up`: the stack on the ports of `envoy.yaml` or on others, for as long as it is wanted.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::demo::{self, APP_KEY, SECRET, SECRET_VARIABLE};
use harness::directory::Directory;
use harness::envoy_binary::EnvoyBinary;
use harness::gateway::BusinessAt;
use harness::huawei::{self, Huawei};
use harness::products;
use harness::stack::Stack;
use privatenumber_sim::huawei::push_body;
use tokio::signal::unix::{SignalKind, signal};

use crate::stack::{self, Running};

/// How often the processes are looked after.
const ROUND: Duration = Duration::from_millis(500);

/// The ports of 127.0.0.1 that the stack listens on.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Ports {
    /// The port that Huawei's pushes go to
    #[arg(long = "port", value_name = "PORT", default_value_t = 10000, value_parser = clap::value_parser!(u16).range(1..))]
    gateway: u16,
    /// The port of Envoy's admin interface
    #[arg(long = "admin-port", value_name = "PORT", default_value_t = 9901, value_parser = clap::value_parser!(u16).range(1..))]
    admin: u16,
    /// The port of the store
    #[arg(long = "store-port", value_name = "PORT", default_value_t = 8090, value_parser = clap::value_parser!(u16).range(1..))]
    store: u16,
    /// The port of the business, or with --no-business of yours
    #[arg(long = "business-port", value_name = "PORT", default_value_t = 8091, value_parser = clap::value_parser!(u16).range(1..))]
    business: u16,
}

impl Ports {
    /// Checks that nobody listens on any of them.
    fn check(self, no_business: bool) -> Result<()> {
        let mut ports = vec![
            ("the gateway", self.gateway, "--port"),
            ("Envoy's admin interface", self.admin, "--admin-port"),
            ("the store", self.store, "--store-port"),
        ];
        if !no_business {
            ports.push(("the business", self.business, "--business-port"));
        }
        // All are held until all are checked: a port that is given twice is refused as well.
        let mut held = Vec::new();
        for (what, port, option) in ports {
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => held.push(listener),
                Err(error) => {
                    let business = if option == "--business-port" {
                        ", or say --no-business if it is your business that listens there"
                    } else {
                        ""
                    };
                    bail!(
                        "port {port} of 127.0.0.1, needed for {what}, is not free ({error}). Choose another with {option}, or \
                         find out who has it (`ss -ltnp 'sport = :{port}'`) and stop it{business}"
                    )
                }
            }
        }
        Ok(())
    }
}

/// What `cargo xtask up` is asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Do not start a business: one of your own listens on the business's port
    #[arg(long)]
    no_business: bool,
    /// Where the store keeps its data; it is still there the next time
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Envoy's worker threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    #[command(flatten)]
    ports: Ports,
}

/// Runs everything until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When a port is in use, something does not start, or something ends by itself.
pub fn run(version: Option<&str>, options: &Options) -> Result<()> {
    options.ports.check(options.no_business)?;
    let envoy = stack::prepare(version)?;
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        let mut running = Running::default();
        start(envoy, &mut running, options).await?;
        let ended = until_stopped(&mut running).await?;
        if let Some((name, tail)) = ended {
            bail!("{name} has ended; the rest is stopped. It said:\n{tail}");
        }
        println!("\nstopping");
        running.stop().await
    })
}

async fn start(envoy: EnvoyBinary, running: &mut Running, options: &Options) -> Result<()> {
    let Options { no_business, ref data, concurrency, ports } = *options;
    let stack = Stack::new(Directory::fresh("up")?, envoy);
    let data = products::repository().join(data);
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let file = data.join("privatenumber.sqlite3");
    let store_address = format!("127.0.0.1:{}", ports.store);
    let business_address = format!("127.0.0.1:{}", ports.business);
    let store = stack.store().listen(&store_address).data(file.clone()).start().await?;
    stack::register_demo_binding(&store).await?;
    running.store = Some(store);
    if !no_business {
        let business = stack.business("business").listen(&business_address).arguments(&["--print"]);
        running.business = Some(business.start().await?);
    }
    let gateway = stack
        .gateway_for(&store_address, [BusinessAt::demo(&business_address)])
        .ports(ports.gateway, ports.admin)
        .concurrency(concurrency)
        .start()
        .await?;
    let admin = gateway.admin();
    let url = gateway.url();
    running.gateway = Some(gateway);

    println!("\nThe gateway is up. Ctrl-C stops it.\n");
    println!("  Huawei pushes to  {url}");
    println!("  Envoy's admin     {admin}");
    println!("  store             http://{store_address}   data: {}", file.display());
    let whose = if no_business { "yours" } else { "answers 200, remembers what came" };
    println!("  business          http://{business_address}/callback   ({whose})");
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
    println!("  curl -s http://{store_address}/v1/calls");
    if !no_business {
        println!("  curl -s http://{business_address}/__control/callbacks");
    }
    println!("  curl -s '{admin}/stats/prometheus?usedonly' | grep ^privatenumber_");
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use clap::Parser;

    use super::Options;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Line::try_parse_from([&["up"], arguments].concat()).unwrap().options
    }

    #[test]
    fn the_ports_are_those_of_envoy_yaml_unless_others_are_given() {
        let ports = options(&[]).ports;
        assert_eq!((ports.gateway, ports.admin, ports.store, ports.business), (10000, 9901, 8090, 8091));
        let ports = options(&["--port", "1", "--admin-port", "2", "--store-port", "3", "--business-port", "4"]).ports;
        assert_eq!((ports.gateway, ports.admin, ports.store, ports.business), (1, 2, 3, 4));
        assert!(Line::try_parse_from(["up", "--port", "0"]).is_err(), "nobody would know the port");
    }

    #[test]
    fn a_port_that_is_not_free_is_named_with_the_option_that_changes_it() {
        let free = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [gateway, admin, store, business] = free.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let text = [gateway, admin, store, business].map(|port| port.to_string());
        let [g, a, s, b] = text.each_ref().map(String::as_str);
        let asked = options(&["--port", g, "--admin-port", a, "--store-port", s, "--business-port", b]);
        let [gateway_held, admin_held, store_held, business_held] = free;
        drop((gateway_held, admin_held, store_held));
        let error = asked.ports.check(false).unwrap_err().to_string();
        assert!(error.contains(&format!("port {b} ")) && error.contains("--business-port"), "{error}");
        asked.ports.check(true).unwrap();
        drop(business_held);

        let twice = options(&["--port", g, "--admin-port", a, "--store-port", a, "--no-business"]);
        let error = twice.ports.check(true).unwrap_err().to_string();
        assert!(error.contains("--store-port"), "{error}");
    }
}
