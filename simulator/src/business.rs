//! Plays the business: takes callbacks, checks and counts them, and behaves well or badly on demand.
//!
//! One process can play many businesses: the first segment of the callback's path chooses the temper, see
//! [`Business::set_temper_for`].

mod answer;
mod callback;
mod control;
mod ledger;
mod raw_answer;
mod record_check;
mod server;
mod state;
mod temper;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use callback::Callback;
pub use ledger::Counts;
pub use record_check::{RecordProblem, check_record};
pub use state::{CallbackObserver, Settings};
pub use temper::{Mode, Temper, TemperError};

use state::State;

/// A running business. Dropping it closes its address and every connection.
#[derive(Debug)]
pub struct Business {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Business {
    /// Starts a business of this temper at `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the temper cannot be acted out.
    pub async fn start(address: impl ToSocketAddrs, temper: Temper) -> io::Result<Self> {
        Self::start_with(address, Settings { temper, ..Settings::default() }).await
    }

    /// Starts a business that also verifies signatures, keeps more or fewer callbacks, or is observed.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the temper cannot be acted out.
    pub async fn start_with(address: impl ToSocketAddrs, settings: Settings) -> io::Result<Self> {
        settings.temper.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let listener = TcpListener::bind(addresses.as_slice()).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(settings));
        let accepting = tokio::spawn(server::accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The callbacks still kept, oldest first.
    pub fn callbacks(&self) -> Vec<Arc<Callback>> {
        self.state.ledger().callbacks_since(0)
    }

    /// The callbacks still kept that came after the one numbered `number`.
    pub fn callbacks_since(&self, number: u64) -> Vec<Arc<Callback>> {
        self.state.ledger().callbacks_since(number)
    }

    /// All callbacks, counted.
    pub fn counts(&self) -> Counts {
        self.state.ledger().counts()
    }

    /// Waits until at least `total` callbacks came since the start or the last [`Business::forget`]; whether they did
    /// within `time`.
    pub async fn received(&self, total: u64, time: Duration) -> bool {
        let mut totals = self.state.totals();
        let reached = tokio::time::timeout(time, totals.wait_for(|so_far| *so_far >= total)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// Changes the temper for callbacks whose path has no temper of its own.
    ///
    /// # Errors
    ///
    /// See [`TemperError`]; the temper then stays as it was.
    pub fn set_temper(&self, temper: Temper) -> Result<(), TemperError> {
        self.state.set_temper(None, temper)
    }

    /// Changes the temper for callbacks whose path starts with this segment, such as `business-a` for
    /// `/business-a/callback`.
    ///
    /// # Errors
    ///
    /// See [`TemperError`]; the temper then stays as it was.
    pub fn set_temper_for(&self, segment: &str, temper: Temper) -> Result<(), TemperError> {
        self.state.set_temper(Some(segment), temper)
    }

    /// Forgets all callbacks and counts.
    pub fn forget(&self) {
        self.state.forget();
    }

    /// Closes the address and every connection, whatever is going on on them.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The listener is closed once the task has ended.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Business {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
