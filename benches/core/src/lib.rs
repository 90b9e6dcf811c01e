//! What a push costs inside the filter's core, apart from Envoy, network, store and business.
//!
//! What runs is the shipped worker; [`worker::Worker`] tells it what Envoy's adapter would, in the same order. What Huawei, the store and the business send is prepared in `fixtures/`: a push as the simulator signs and writes
//! it, and the answers of the real store to it. Nothing is random and the clock is set by hand, so that the same program
//! executes the same instructions every time.
//!
//! [`case`] says what is measured, [`time`] measures microseconds; instructions are counted from outside, by valgrind, in
//! whatever is called by [`case::counted`].

pub mod case;
pub mod input;
pub mod time;
pub mod worker;
