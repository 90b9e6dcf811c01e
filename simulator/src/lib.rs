//! Plays the two parties around the gateway: Huawei, which pushes CDRs, and the business, which is called back.
//!
//! The binary `privatenumber-sim` is a thin layer over this library, so that tests can do in-process whatever the tool
//! does: sign and send pushes ([`huawei`]), run a business that behaves well or badly ([`business`]), and sign or verify
//! callbacks ([`signature`]).
//!
//! Everything is written from the interfaces' descriptions and shares no code with the gateway, except the record's type:
//! a mistake in the gateway's signing or reshaping is not repeated here.

pub mod business;
pub mod clock;
pub mod huawei;
pub mod random;
pub mod signature;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the mutex guards, also after a panic of another holder: every value here is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
