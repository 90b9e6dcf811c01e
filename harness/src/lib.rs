//! The parts a whole gateway is put together from: the real Envoy, the module as it is shipped, the store, a business,
//! somebody who plays Huawei, and something to go wrong between them.
//!
//! `cargo xtask demo`, `cargo xtask up`, the tests and the benchmark's driver start what they need with it, see
//! [`stack::Stack`]. Everything listens on 127.0.0.1, on free ports unless told otherwise, and ends with the value that
//! started it.

pub mod before;
pub mod business;
pub mod configuration;
pub mod containers;
pub mod demo;
pub mod directory;
pub mod envoy_binary;
pub mod fault;
pub mod gateway;
pub mod http;
pub mod huawei;
mod in_both_modes;
pub mod memory;
pub mod open_files;
pub mod process;
pub mod products;
pub mod raw;
pub mod stack;
pub mod store;
pub mod wait;
