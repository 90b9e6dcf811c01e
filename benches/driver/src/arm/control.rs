//! Envoy with nothing but its router, which mirrors requests.

use anyhow::{Context, Result};
use end_to_end::configuration::Configuration;
use serde_json::{Value, json};

use crate::pushes::{CONTROL_BATCHES, CONTROL_PUSH, PUSH_PATH, control_callbacks};

/// Takes the filter out and lets the router mirror. One call: a push goes to the store, and copies of it to the business and,
/// `with_outcomes`, once more to the store. Many calls: the push goes to the store alone, and a request of a callback's size
/// is mirrored until the business has had one for each call, and, `with_outcomes`, the store as well.
pub fn without_filter(configuration: &mut Configuration, with_outcomes: bool) -> Result<()> {
    let mut routes =
        vec![route(PUSH_PATH, "store", &mirrors(1, usize::from(with_outcomes))), route(CONTROL_PUSH, "store", &[])];
    for calls in CONTROL_BATCHES {
        let outcomes = if with_outcomes { calls } else { 0 };
        routes.push(route(&control_callbacks(calls), "business", &mirrors(calls - 1, outcomes)));
    }
    routes_only(configuration, routes, None)
}

/// Leaves of the connection manager's work these routes, and at most one filter before the router.
pub fn routes_only(configuration: &mut Configuration, routes: Vec<Value>, filter: Option<Value>) -> Result<()> {
    let manager = configuration.connection_manager()?;
    let known = manager.pointer_mut("/route_config/virtual_hosts/0/routes").context("envoy.yaml has no routes")?;
    *known = Value::Array(routes);
    let filters = manager.get_mut("http_filters").and_then(Value::as_array_mut).context("envoy.yaml has no filters")?;
    filters.retain(|entry| entry.get("name").is_some_and(|name| name == "envoy.filters.http.router"));
    if let Some(filter) = filter {
        filters.insert(0, filter);
    }
    Ok(())
}

fn mirrors(callbacks: usize, outcomes: usize) -> Vec<Value> {
    let to = |cluster: &'static str| json!({ "cluster": cluster });
    let callbacks = std::iter::repeat_with(|| to("business")).take(callbacks);
    callbacks.chain(std::iter::repeat_with(|| to("store")).take(outcomes)).collect()
}

fn route(path: &str, cluster: &str, mirrors: &[Value]) -> Value {
    json!({
        "match": { "path": path },
        "route": { "cluster": cluster, "timeout": "60s", "request_mirror_policies": mirrors },
    })
}
