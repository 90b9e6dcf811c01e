//! How the parts of a stack are started so that they find each other: their files in one directory, the gateway by one Envoy.

use anyhow::Result;

use crate::business;
use crate::directory::Directory;
use crate::envoy_binary::{self, EnvoyBinary};
use crate::fault::FaultProxy;
use crate::gateway::{BusinessAt, Options};
use crate::store;

/// Starts a store, a business, a gateway and what may go wrong between them, in any number and order.
///
/// A stack holds nothing that runs: each part ends with the value its start returns.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let stack = harness::stack::Stack::fresh("example")?;
/// let store = stack.store().start().await?;
/// let faults = stack.faults(store.address()).await?;
/// let business = stack.business("business").start().await?;
/// let gateway = stack.gateway(faults.address(), business.address()).concurrency(2).start().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Stack {
    directory: Directory,
    envoy: EnvoyBinary,
}

impl Stack {
    /// A stack in a fresh directory called `name`, with the Envoy that the tests run on.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made, or there is no Envoy.
    pub fn fresh(name: &str) -> Result<Self> {
        Ok(Self::new(Directory::fresh(name)?, envoy_binary::for_tests()?))
    }

    /// A stack in `directory`, with this Envoy.
    pub fn new(directory: Directory, envoy: EnvoyBinary) -> Self {
        Self { directory, envoy }
    }

    /// The same Envoy with another directory: two gateways cannot share one.
    pub fn beside(&self, directory: Directory) -> Self {
        Self { directory, envoy: self.envoy.clone() }
    }

    /// Where configurations, data and logs are.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A store on a free port, its data in the directory.
    pub fn store(&self) -> store::Start {
        store::Start::new(self.directory.join("store.sqlite3"), self.directory.join("store.log"))
    }

    /// A business on a free port, called `name` in messages and for its log.
    pub fn business(&self, name: &str) -> business::Start {
        business::Start::new(&self.directory, name)
    }

    /// A gateway that asks the store at `store` and calls the demonstration's business at `business`; both are `HOST:PORT`.
    pub fn gateway(&self, store: &str, business: &str) -> Options {
        self.gateway_for(store, [BusinessAt::demo(business)])
    }

    /// A gateway that asks the store at `store` and calls these businesses, or the one in `envoy.yaml` if there are none.
    pub fn gateway_for(&self, store: &str, businesses: impl IntoIterator<Item = BusinessAt>) -> Options {
        let options = Options::new(self.envoy.clone(), store).directory(self.directory.clone());
        businesses.into_iter().fold(options, Options::business)
    }

    /// A proxy in front of the store at `store`, which can fail on demand.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn faults(&self, store: &str) -> Result<FaultProxy> {
        FaultProxy::start(store).await
    }
}
