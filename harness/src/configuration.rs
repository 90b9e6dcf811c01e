//! The shipped `envoy.yaml`, and the few changes a run makes to it: ports, paths, and what a story is about.
//!
//! There is no second configuration for tests: what is tested is what users start from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::products;

/// The name of the listener, the filter and its plugin's VM in `envoy.yaml`.
pub const LISTENER: &str = "gateway";
/// The filter's name in `envoy.yaml`.
pub const FILTER: &str = "private-number-gateway";
/// The name of the route for pushes in `envoy.yaml`.
const PUSH_ROUTE: &str = "push";

/// The name of Envoy's buffer filter in `deploy/envoy/pass-route.yaml`.
const BUFFER: &str = "envoy.filters.http.buffer";
/// What routes and hosts say of filters.
const PER_FILTER: &str = "typed_per_filter_config";

const TEXT_TYPE: &str = "type.googleapis.com/google.protobuf.StringValue";
const WASM_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// The two ways of the filter with a push's headers; each needs its own setting of Envoy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadersMode {
    /// They wait for the body; `allow_on_headers_stop_iteration` is set. As shipped.
    #[default]
    Hold,
    /// They go ahead; the flag is not set.
    Pass,
}

/// An Envoy configuration, changed step by step.
#[derive(Clone, Debug)]
pub struct Configuration {
    value: Value,
    /// Where the filter's own configuration is, once it is read from a file.
    discovered: Option<Discovered>,
}

#[derive(Clone, Debug)]
struct Discovered {
    file: PathBuf,
    filter: Value,
}

impl Configuration {
    /// The repository's `envoy.yaml`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn shipped() -> Result<Self> {
        let path = products::repository().join("envoy.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let value = serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
        let mut shipped = Self { value, discovered: None };
        let plugin = shipped.plugin()?;
        let json = plugin.as_str().context("envoy.yaml's plugin configuration is no text")?;
        *plugin = serde_json::from_str(json).context("envoy.yaml's plugin configuration is not JSON")?;
        Ok(shipped)
    }

    /// All of it, for changes that have no name here.
    pub fn value(&mut self) -> &mut Value {
        &mut self.value
    }

    /// What the admin interface listens on; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When the configuration has no such part; so for all that follow.
    pub fn admin_port(&mut self, port: u16) -> Result<()> {
        let address = at(&mut self.value, "/admin/address/socket_address")?;
        put(address, "port_value", port.into())
    }

    /// What the gateway listens on; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn gateway_port(&mut self, port: u16) -> Result<()> {
        let address = at(self.listener()?, "/address/socket_address")?;
        put(address, "port_value", port.into())
    }

    /// Where the filter's module is.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn module(&mut self, path: &Path) -> Result<()> {
        let path = path.to_str().context("the module's path is not UTF-8")?;
        let local = at(self.filter()?, "/config/vm_config/code/local")?;
        put(local, "filename", path.into())
    }

    /// As the image's Dockerfile changes it: addresses, the module's place, and what shows the statistics to others.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn move_into_container(&mut self) -> Result<()> {
        put(at(self.listener()?, "/address/socket_address")?, "address", "0.0.0.0".into())?;
        self.module("/etc/envoy/private_number_gateway.wasm".as_ref())?;
        for (file, list) in [("metrics-listener.yaml", "listeners"), ("admin-cluster.yaml", "clusters")] {
            let path = products::repository().join("deploy/containers").join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let more: Vec<Value> =
                serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no YAML list", path.display()))?;
            let entries = at(&mut self.value, &format!("/static_resources/{list}"))?;
            more.into_iter().try_for_each(|entry| push(entries, entry))?;
        }
        Ok(())
    }

    /// How the filter treats a push's headers, with all that Envoy needs for it. The shipped file is made for
    /// [`Hold`](HeadersMode::Hold).
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn headers(&mut self, mode: HeadersMode) -> Result<()> {
        let (name, stop) = match mode {
            HeadersMode::Hold => ("hold", true),
            HeadersMode::Pass => {
                self.take_pushes_to_the_store()?;
                ("pass", false)
            }
        };
        put(self.plugin()?, "headers", name.into())?;
        put(at(self.filter()?, "/config")?, "allow_on_headers_stop_iteration", stop.into())
    }

    /// Does what `deploy/envoy/pass-route.yaml` tells its reader to do.
    fn take_pushes_to_the_store(&mut self) -> Result<()> {
        let path = products::repository().join("deploy/envoy/pass-route.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut addition: Value =
            serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?;
        let buffer = at(&mut addition, "/per_connection_buffer_limit_bytes")?.clone();
        put(at(&mut self.value, "/static_resources/listeners/0")?, "per_connection_buffer_limit_bytes", buffer)?;
        let manager = self.connection_manager()?;
        let extension = named(at(manager, "/early_header_mutation_extensions")?, "no-instructions-from-outside")?;
        let mutations = list(at(extension, "/typed_config/mutations")?)?;
        for mutation in list(at(&mut addition, "/mutations")?)? {
            if !mutations.contains(mutation) {
                mutations.push(mutation.clone());
            }
        }
        let filters = list(at(manager, "/http_filters")?)?;
        let place = filters.iter().position(|filter| filter.get("name").is_some_and(|name| name == FILTER));
        let behind = place.context("envoy.yaml has no filter")?.saturating_add(1);
        filters.splice(behind..behind, list(at(&mut addition, "/http_filters")?)?.drain(..));
        let elsewhere = at(&mut addition, "/typed_per_filter_config")?.clone();
        put(at(manager, "/route_config/virtual_hosts/0")?, PER_FILTER, elsewhere)?;
        let routes = list(at(manager, "/route_config/virtual_hosts/0/routes")?)?;
        routes.retain(|route| route.get("name").is_none_or(|name| name != PUSH_ROUTE));
        routes.splice(..0, list(at(&mut addition, "/routes")?)?.drain(..));
        Ok(())
    }

    /// Where the route for pushes leads, if it leads anywhere: only for [`Pass`](HeadersMode::Pass) it has to.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn push_route(&mut self) -> Result<Option<&mut Value>> {
        let routes = at(self.connection_manager()?, "/route_config/virtual_hosts/0/routes")?;
        Ok(named(routes, PUSH_ROUTE)?.get_mut("route"))
    }

    /// Takes out Envoy's buffer filter, which holds pushes in [`Pass`](HeadersMode::Pass) until they are complete: for platforms that
    /// lack it, where somebody upstream may answer earlier.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn without_buffer(&mut self) -> Result<()> {
        let manager = self.connection_manager()?;
        let filters = list(at(manager, "/http_filters")?)?;
        filters.retain(|filter| filter.get("name").is_none_or(|name| name != BUFFER));
        let host = at(manager, "/route_config/virtual_hosts/0")?;
        let routes = list(at(host, "/routes")?)?.iter_mut().filter_map(Value::as_object_mut);
        routes.for_each(|route| drop(route.remove(PER_FILTER)));
        host.as_object_mut().map(|host| drop(host.remove(PER_FILTER))).context("the virtual host is no object")
    }

    /// Takes the filter out, as somebody might who looks for the cause of a fault.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn without_filter(&mut self) -> Result<()> {
        let filters = list(at(self.connection_manager()?, "/http_filters")?)?;
        filters.retain(|filter| filter.get("name").is_none_or(|name| name != FILTER));
        Ok(())
    }

    /// The largest body of a push that is taken, bytes, as the plugin's configuration says.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn max_body_bytes(&mut self) -> Result<usize> {
        let limit = at(self.plugin()?, "/limits/max_body_bytes")?.as_u64();
        usize::try_from(limit.context("limits.max_body_bytes is not a number")?).context("limits.max_body_bytes")
    }

    /// How many bytes a worker's pushes and calls may take, as the plugin's configuration says.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn pending_bytes(&mut self) -> Result<u64> {
        whole(at(self.plugin()?, "/limits/pending_bytes")?)
    }

    /// How many bytes the headers of one request may have.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn max_request_headers_bytes(&mut self) -> Result<u64> {
        Ok(whole(at(self.connection_manager()?, "/max_request_headers_kb")?)?.saturating_mul(1_024))
    }

    /// How many bytes Envoy buffers for one connection before it stops reading.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn per_connection_buffer_bytes(&mut self) -> Result<u64> {
        whole(at(self.listener()?, "/per_connection_buffer_limit_bytes")?)
    }

    /// The plugin's own configuration: `applications`, `businesses`, `limits` … Kept as an object here; Envoy is given it as
    /// the text it takes.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn plugin(&mut self) -> Result<&mut Value> {
        at(self.filter()?, "/config/configuration/value")
    }

    /// Where the cluster `name` is, as `127.0.0.1:PORT`.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn cluster(&mut self, name: &str, address: &str) -> Result<()> {
        let cluster = named(at(&mut self.value, "/static_resources/clusters")?, name)?;
        place(cluster, address)
    }

    /// One more endpoint of the cluster `name`, at `address`: a second instance of what is there.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn another_endpoint(&mut self, name: &str, address: &str) -> Result<()> {
        let mut other = named(at(&mut self.value, "/static_resources/clusters")?, name)?.clone();
        place(&mut other, address)?;
        let endpoint = at(&mut other, "/load_assignment/endpoints/0/lb_endpoints/0")?.clone();
        let cluster = named(at(&mut self.value, "/static_resources/clusters")?, name)?;
        push(at(cluster, "/load_assignment/endpoints/0/lb_endpoints")?, endpoint)
    }

    /// One more cluster, at `address`, otherwise like the shipped one for a business.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn add_cluster(&mut self, name: &str, address: &str) -> Result<()> {
        let clusters = at(&mut self.value, "/static_resources/clusters")?;
        let mut cluster = named(clusters, "business")?.clone();
        put(&mut cluster, "name", name.into())?;
        put(at(&mut cluster, "/load_assignment")?, "cluster_name", name.into())?;
        place(&mut cluster, address)?;
        push(clusters, cluster)
    }

    /// One more listener, as Envoy describes it.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn add_listener(&mut self, listener: Value) -> Result<()> {
        push(at(&mut self.value, "/static_resources/listeners")?, listener)
    }

    /// Sends what is not a push to `cluster` instead of answering 404: what the filter must leave untouched.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn pass_everything_else_to(&mut self, cluster: &str) -> Result<()> {
        let routes = at(self.connection_manager()?, "/route_config/virtual_hosts/0/routes")?;
        let route = named(routes, "everything-else")?;
        *route = json!({ "name": "everything-else", "match": { "prefix": "/" }, "route": { "cluster": cluster } });
        Ok(())
    }

    /// Passes trailers of HTTP/1.1 on instead of dropping them.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn keep_trailers(&mut self) -> Result<()> {
        put(at(self.connection_manager()?, "/http_protocol_options")?, "enable_trailers", true.into())
    }

    /// Takes HTTP/2 as well as HTTP/1.1, with the bounds that go with it.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn http2_as_well(&mut self) -> Result<()> {
        let window = at(self.listener()?, "/per_connection_buffer_limit_bytes")?.clone();
        let manager = self.connection_manager()?;
        put(manager, "codec_type", "AUTO".into())?;
        if manager.get("http2_protocol_options").is_none() {
            let options = json!({
                "max_concurrent_streams": 128,
                "initial_stream_window_size": window,
                "initial_connection_window_size": window,
            });
            put(manager, "http2_protocol_options", options)?;
        }
        Ok(())
    }

    /// Takes HTTP/2 only.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn http2_only(&mut self) -> Result<()> {
        put(self.connection_manager()?, "codec_type", "HTTP2".into())
    }

    /// Keeps the pushers' connections, as behind a load balancer. As shipped each answer closes its own.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn keep_connections(&mut self) -> Result<()> {
        let options = at(self.connection_manager()?, "/common_http_protocol_options")?;
        let options = options.as_object_mut().context("common_http_protocol_options is no object")?;
        options.remove("max_requests_per_connection").map(drop).context("envoy.yaml keeps connections already")
    }

    /// Speaks HTTP/2 with the store, on one connection for each worker. As shipped it is HTTP/1.1.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn http2_to_the_store(&mut self) -> Result<()> {
        let store = named(at(&mut self.value, "/static_resources/clusters")?, "store")?;
        let options =
            at(store, "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions")?;
        put(options, "explicit_http_config", json!({ "http2_protocol_options": {} }))
    }

    /// The listener's connection manager.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn connection_manager(&mut self) -> Result<&mut Value> {
        at(self.listener()?, "/filter_chains/0/filters/0/typed_config")
    }

    /// Lets Envoy read the filter's configuration from `file` and follow its changes (ECDS), so that a reload is the
    /// replacement of that file.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn discover_filter(&mut self, file: &Path) -> Result<()> {
        let filter = self.filter()?.clone();
        let path = file.to_str().context("the file's path is not UTF-8")?;
        let discovery = json!({
            "name": FILTER,
            "config_discovery": {
                "config_source": { "path_config_source": { "path": path }, "resource_api_version": "V3" },
                "type_urls": [WASM_TYPE],
            },
        });
        *named(at(self.connection_manager()?, "/http_filters")?, FILTER)? = discovery;
        self.discovered = Some(Discovered { file: file.to_owned(), filter });
        Ok(())
    }

    /// Whether the filter's configuration is read from a file, see [`discover_filter`](Self::discover_filter).
    pub fn is_discovered(&self) -> bool {
        self.discovered.is_some()
    }

    /// Writes everything: Envoy's configuration to `file` as JSON, and the filter's to the file it is discovered from.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        self.write_discovered()?;
        replace(file, &self.value)
    }

    /// Writes the filter's own configuration anew: what makes Envoy reload it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_discovered(&self) -> Result<()> {
        let Some(discovered) = &self.discovered else { return Ok(()) };
        let mut resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": FILTER,
        });
        put(&mut resource, "typed_config", discovered.filter.clone())?;
        replace(&discovered.file, &json!({ "resources": [resource] }))
    }

    fn listener(&mut self) -> Result<&mut Value> {
        named(at(&mut self.value, "/static_resources/listeners")?, LISTENER)
    }

    /// The wasm filter's `typed_config`, wherever it is kept.
    ///
    /// # Errors
    ///
    /// See [`admin_port`](Self::admin_port).
    pub fn filter(&mut self) -> Result<&mut Value> {
        if self.discovered.is_none() {
            let filters = at(self.connection_manager()?, "/http_filters")?;
            return at(named(filters, FILTER)?, "/typed_config");
        }
        self.discovered.as_mut().map(|discovered| &mut discovered.filter).context("the filter is not discovered")
    }
}

/// Written beside and moved into place: who watches the file sees it whole.
fn replace(file: &Path, value: &Value) -> Result<()> {
    let mut value = value.clone();
    make_texts(&mut value);
    let text = serde_json::to_vec_pretty(&value).context("cannot write the configuration as JSON")?;
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, file).with_context(|| format!("cannot replace {}", file.display()))
}

/// Makes a text of the plugin's configuration: Envoy passes a `StringValue` on to the plugin as it stands.
fn make_texts(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("@type").is_some_and(|kind| kind == TEXT_TYPE)
                && let Some(inner) = members.get_mut("value").filter(|inner| inner.is_object())
            {
                *inner = Value::String(inner.to_string());
            }
            members.values_mut().for_each(make_texts);
        }
        Value::Array(entries) => entries.iter_mut().for_each(make_texts),
        _ => {}
    }
}

fn place(cluster: &mut Value, address: &str) -> Result<()> {
    let (host, port) = address.rsplit_once(':').with_context(|| format!("{address} is not HOST:PORT"))?;
    let port: u16 = port.parse().with_context(|| format!("{address} is not HOST:PORT"))?;
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    *at(cluster, endpoint)? = json!({ "address": host, "port_value": port });
    Ok(())
}

fn at<'v>(value: &'v mut Value, pointer: &str) -> Result<&'v mut Value> {
    value.pointer_mut(pointer).with_context(|| format!("envoy.yaml has no {pointer} where one is expected"))
}

fn whole(value: &Value) -> Result<u64> {
    value.as_u64().context("envoy.yaml has no number where one is expected")
}

fn named<'v>(list: &'v mut Value, name: &str) -> Result<&'v mut Value> {
    let entries = list.as_array_mut().with_context(|| format!("envoy.yaml has no list where `{name}` is expected"))?;
    let found = entries.iter_mut().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    found.with_context(|| format!("envoy.yaml has nothing named `{name}` where it is expected"))
}

fn put(object: &mut Value, key: &str, value: Value) -> Result<()> {
    let Some(members) = object.as_object_mut() else { bail!("envoy.yaml has no object around `{key}`") };
    members.insert(key.to_owned(), value);
    Ok(())
}

fn list(value: &mut Value) -> Result<&mut Vec<Value>> {
    value.as_array_mut().context("envoy.yaml has no list where one is expected")
}

fn push(entries: &mut Value, value: Value) -> Result<()> {
    list(entries)?.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{BUFFER, Configuration, FILTER, HeadersMode, PER_FILTER};
    use crate::directory::Directory;

    #[test]
    fn pass_has_one_route_for_pushes_and_removes_the_header_that_selects_it() {
        let mut configuration = Configuration::shipped().unwrap();
        configuration.headers(HeadersMode::Pass).unwrap();
        assert_eq!(configuration.push_route().unwrap().unwrap()["prefix_rewrite"], "/v1/pushes");
        let manager = configuration.connection_manager().unwrap();
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap();
        let named = routes.iter().filter(|route| route["name"] == "push");
        assert_eq!((named.count(), &routes[0]["name"]), (1, &json!("push")));
        let mutations = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
        let removals = mutations.as_array().unwrap().iter();
        let removals = removals.filter(|mutation| mutation["remove"] == "privatenumber-authenticated");
        assert_eq!(removals.count(), 1);
    }

    #[test]
    fn pass_holds_a_push_behind_the_filter_until_it_is_complete_and_nothing_else() {
        let mut configuration = Configuration::shipped().unwrap();
        configuration.headers(HeadersMode::Pass).unwrap();
        let buffered = configuration.per_connection_buffer_bytes().unwrap();
        let manager = configuration.connection_manager().unwrap();
        let filters = manager["http_filters"].as_array().unwrap();
        let names: Vec<_> = filters.iter().map(|filter| filter["name"].as_str().unwrap()).collect();
        assert_eq!(names, [FILTER, BUFFER, "envoy.filters.http.router"]);
        assert_eq!(filters[1]["typed_config"]["max_request_bytes"], 1, "nothing is kept of what no route takes");
        let host = &manager["route_config"]["virtual_hosts"][0];
        assert_eq!(host[PER_FILTER][BUFFER]["disabled"], true);
        let push = &host["routes"][0][PER_FILTER][BUFFER];
        assert_eq!(push["buffer"]["max_request_bytes"], buffered);

        configuration.without_buffer().unwrap();
        assert!(!configuration.value().to_string().contains("buffer\""), "it is still there");
    }

    #[test]
    fn the_shipped_configuration_can_be_changed_in_every_way() {
        let directory = Directory::fresh("configuration").unwrap();
        let mut configuration = Configuration::shipped().unwrap();
        configuration.admin_port(0).unwrap();
        configuration.gateway_port(0).unwrap();
        configuration.module("/module.wasm".as_ref()).unwrap();
        configuration.cluster("store", "127.0.0.1:1").unwrap();
        configuration.add_cluster("other", "127.0.0.1:2").unwrap();
        configuration.pass_everything_else_to("other").unwrap();
        configuration.keep_trailers().unwrap();
        configuration.discover_filter(&directory.join("filter.json")).unwrap();
        configuration.headers(HeadersMode::Pass).unwrap();
        configuration.plugin().unwrap()["limits"] = json!({ "pending_calls": 1 });
        configuration.write(&directory.join("envoy.json")).unwrap();

        let read =
            |name: &str| -> Value { serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap() };
        let (envoy, filter) = (read("envoy.json"), read("filter.json"));
        let config = &filter["resources"][0]["typed_config"]["config"];
        assert_eq!(config["allow_on_headers_stop_iteration"], false);
        let plugin: Value = serde_json::from_str(config["configuration"]["value"].as_str().unwrap()).unwrap();
        assert_eq!(plugin["headers"], "pass");
        assert_eq!(plugin["limits"], json!({ "pending_calls": 1 }));
        assert_eq!(config["vm_config"]["code"]["local"]["filename"], "/module.wasm");
        assert!(!envoy.to_string().contains("vm_config"), "the filter is configured in one place");
        let ports: Vec<_> = envoy["static_resources"]["clusters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cluster| {
                let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
                (cluster["name"].as_str().unwrap(), endpoint["address"]["socket_address"]["port_value"].as_u64())
            })
            .collect();
        assert_eq!(ports, [("store", Some(1)), ("business", Some(8091)), ("other", Some(2))]);
    }
}
