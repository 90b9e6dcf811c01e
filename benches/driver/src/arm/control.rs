//! Envoy with nothing but its router, which mirrors requests.

use anyhow::{Context, Result};
use harness::configuration::Configuration;
use serde_json::{Value, json};

use crate::pushes::{CONTROL_BATCHES, CONTROL_PUSH, PUSH_PATH, control_callbacks};

/// Takes the filter out and lets the router mirror. One call: a push goes to the store, and copies of it to the business and,
/// `with_outcomes`, once more to the store. Many calls: the push goes to the store alone, and a request of a callback's size
/// is mirrored until the business has had one for each call, and, `with_outcomes`, the store as well.
pub fn without_filter(configuration: &mut Configuration, with_outcomes: bool) -> Result<()> {
    replace_filter(configuration, None, mirroring(with_outcomes))
}

/// The same without outcomes, behind a filter that these requests do not concern.
pub fn beside_filter(configuration: &mut Configuration) -> Result<()> {
    let plugin = configuration.plugin()?.as_object_mut().context("the plugin's configuration is no object")?;
    plugin.insert("push_path".to_owned(), "/elsewhere".into());
    set_routes(configuration, mirroring(false))
}

fn mirroring(with_outcomes: bool) -> Vec<Value> {
    let mut routes =
        vec![route(PUSH_PATH, "store", &mirrors(1, usize::from(with_outcomes))), route(CONTROL_PUSH, "store", &[])];
    for calls in CONTROL_BATCHES {
        let outcomes = if with_outcomes { calls } else { 0 };
        routes.push(route(&control_callbacks(calls), "business", &mirrors(calls - 1, outcomes)));
    }
    routes
}

/// Replaces the filter by another, or by none, and the routes by these.
pub fn replace_filter(configuration: &mut Configuration, filter: Option<Value>, routes: Vec<Value>) -> Result<()> {
    let filters = filters(configuration)?;
    filters.retain(is_router);
    filters.splice(..0, filter);
    set_routes(configuration, routes)
}

fn filters(configuration: &mut Configuration) -> Result<&mut Vec<Value>> {
    let filters = configuration.connection_manager()?.get_mut("http_filters").and_then(Value::as_array_mut);
    filters.context("envoy.yaml has no filters")
}

fn is_router(filter: &Value) -> bool {
    filter.get("name").is_some_and(|name| name == "envoy.filters.http.router")
}

fn set_routes(configuration: &mut Configuration, routes: Vec<Value>) -> Result<()> {
    let known = configuration.connection_manager()?.pointer_mut("/route_config/virtual_hosts/0/routes");
    *known.context("envoy.yaml has no routes")? = Value::Array(routes);
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
