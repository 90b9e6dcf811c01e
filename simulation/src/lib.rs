//! Deterministic simulation: the filter's own core and the store's own claim logic under one virtual clock and one seed.
//!
//! A run plays gateways with several workers each, Huawei with its retry schedule, businesses that answer well, slowly or never,
//! and operators who reload and restart, and lets go wrong what the seed draws. The promises P1, P2, P3, P4 and P8, and of P6 the
//! bound on memory, are checked after every step. The same seed replays exactly. Real are the filter's worker with all that it owns
//! (wake-ups, timer, metrics, draining), each with its own host, and the store's HTTP router, writer and SQLite database; Envoy, the
//! network and the others are played.
//!
//! What it does not do: it runs no wasm, no sockets and no threads of the gateway, so it shows nothing of the adapter to
//! Envoy, of timing on real machines, or of durability on real disks. Promises P5 (untouched), P7 (private) and the rest of P6
//! (standing) are shown elsewhere.

mod fault;
mod figures;
mod mutation;
mod promise;
mod queue;
mod random;
mod runner;
mod scenario;
mod store;
mod trace;
mod world;

pub use fault::Fault;
pub use figures::{Figures, UnknownCause};
pub use mutation::Mutation;
pub use promise::{Promise, Violation};
pub use runner::{Sum, run_seeds};
pub use store::Store;
pub use world::{Options, Run, run};
