//! Where a story takes place: processes on 127.0.0.1, with a proxy between gateway and store that can strike.

use anyhow::Result;
use harness::business::Business;
use harness::directory::Directory;
use harness::envoy_binary::{self, EnvoyBinary};
use harness::fault::FaultProxy;
use harness::gateway::Options;
use harness::stack::Stack;
use harness::store::Store;

use super::World;

pub type Between = FaultProxy;

/// Everything but the gateway.
pub struct Started {
    pub store: Store,
    pub faults: Between,
    pub business: Business,
    /// What is to run the gateway, and where that finds the others.
    pub gateway: EnvoyBinary,
    pub store_address: String,
    pub business_address: String,
}

pub async fn start(directory: &Directory, business_arguments: &[&str]) -> Result<Started> {
    let gateway = envoy_binary::for_tests()?;
    let stack = Stack::new(directory.clone(), gateway.clone());
    let store = stack.store().start().await?;
    let faults = stack.faults(store.address()).await?;
    let business = stack.business("business").arguments(business_arguments).start().await?;
    let (store_address, business_address) = (faults.address().to_owned(), business.address().to_owned());
    Ok(Started { store, faults, business, gateway, store_address, business_address })
}

/// What one more gateway is to be, and where it finds the business.
pub fn another_gateway(world: &World) -> Result<(Options, String)> {
    Ok((Options::new(envoy_binary::for_tests()?, world.faults.address()), world.business.address().to_owned()))
}

/// A second business, and where the gateway finds it.
pub async fn another_business(directory: &Directory, _: &Between) -> Result<(Business, String)> {
    let business = harness::business::Start::new(directory, "another-business").start().await?;
    let address = business.address().to_owned();
    Ok((business, address))
}

/// How many requests of the gateway have reached the store.
pub async fn requests_at_the_store(world: &World) -> Result<usize> {
    Ok(world.faults.seen().len())
}
