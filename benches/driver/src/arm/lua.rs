//! The same job as a script for Envoy's Lua filter.

use std::fs;

use anyhow::{Context, Result};
use harness::configuration::Configuration;
use harness::demo;
use harness::products;
use serde_json::json;

use super::control::replace_filter;
use crate::pushes::PUSH_PATH;

/// Puts the script where the filter was; the route's upstream is the store for it, too.
pub fn instead_of_the_filter(configuration: &mut Configuration) -> Result<()> {
    let path = products::repository().join("benches/peers/lua/filter.lua");
    let script = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let script =
        script.replace("@APP_KEY@", demo::APP_KEY).replace("@APP_SECRET@", demo::SECRET).replace("@AK@", demo::AK);
    let filter = json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": script },
        },
    });
    let route = json!({
        "match": {
            "path": PUSH_PATH,
            "headers": [{ "name": "privatenumber-authenticated", "string_match": { "exact": "true" } }],
        },
        "route": { "cluster": "store", "prefix_rewrite": "/v1/pushes", "timeout": "60s" },
    });
    replace_filter(configuration, Some(filter), vec![route])
}
