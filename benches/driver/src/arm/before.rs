//! The filter of 0.1.0, with as much room as the other arms have.

use anyhow::{Context, Result};
use harness::before;
use harness::configuration::Configuration;
use serde_json::{Value, json};

use super::{ROOM, TIMEOUT_MS};

pub use harness::before::is_there;

/// Replaces all of `configuration` by that of 0.1.0, in front of these addresses.
pub fn as_it_was(configuration: &mut Configuration, store: &str, business: &str) -> Result<()> {
    before::as_it_was(configuration, store, business)?;
    let entry = configuration.plugin()?.pointer_mut("/businesses/0").and_then(Value::as_object_mut);
    let entry = entry.context("the configuration of 0.1.0 has no business")?;
    entry.insert("timeout_ms".to_owned(), TIMEOUT_MS.into());
    for name in ["pending_calls", "concurrency"] {
        entry.insert(name.to_owned(), json!(ROOM));
    }
    Ok(())
}
