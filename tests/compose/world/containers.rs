//! Where a story takes place: containers. Between gateway and store there is nothing but their network.

use anyhow::{Context, Result};
use harness::business::Business;
use harness::containers::{GatewayService, Project};
use harness::directory::Directory;
use harness::gateway::Options;
use harness::store::Store;

use super::World;

/// As the containers know each other.
const STORE: &str = "store:8090";
const BUSINESS: &str = "business:8091";
const ANOTHER_BUSINESS: &str = "business-2:8091";

pub type Between = Project;

/// Everything but the gateway.
pub struct Started {
    pub store: Store,
    pub business: Business,
    /// What is to run the gateway, and where that finds the others.
    pub gateway: GatewayService,
    pub store_address: String,
    pub business_address: String,
    /// Last, as it removes what the others have stopped.
    pub faults: Between,
}

pub async fn start(directory: &Directory, business_arguments: &[&str]) -> Result<Started> {
    let project = Project::create(directory, business_arguments)?;
    let store = Store::start_in(project.store()).await?;
    let business = Business::start_in(project.business(false)).await?;
    let gateway = project.gateway(false);
    let (store_address, business_address) = (STORE.to_owned(), BUSINESS.to_owned());
    Ok(Started { store, business, gateway, store_address, business_address, faults: project })
}

/// What one more gateway is to be, and where it finds the business.
pub fn another_gateway(world: &World) -> Result<(Options, String)> {
    Ok((Options::new(world.faults.gateway(true), STORE), BUSINESS.to_owned()))
}

/// A second business, and where the gateway finds it.
pub async fn another_business(_: &Directory, project: &Between) -> Result<(Business, String)> {
    Ok((Business::start_in(project.business(true)).await?, ANOTHER_BUSINESS.to_owned()))
}

/// How many pushes and outcomes of the gateway the store has taken.
pub async fn requests_at_the_store(world: &World) -> Result<usize> {
    const COUNTERS: [&str; 2] = ["privatenumber_store_pushes_total{", "privatenumber_store_outcomes_total{"];
    let metrics = world.store.metrics().await?;
    let lines = metrics.lines().filter(|line| COUNTERS.iter().any(|counter| line.starts_with(counter)));
    let counts = lines.map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()));
    counts.sum::<Option<usize>>().context("the store's metrics are not counts")
}
