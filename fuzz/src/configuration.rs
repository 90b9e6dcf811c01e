//! Plugin configurations.
//!
//! Input that starts with `/` is a list of changes to a good configuration, one `pointer JSON` to a line, so that the deeper
//! rules are reached; anything else is the configuration itself.

use std::rc::Rc;

use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::Dispatcher;
use serde_json::{Value, json};

/// A good configuration with every section.
pub fn good() -> Value {
    json!({
        "revision": "1",
        "push_path": "/huawei/fee",
        "headers": "hold",
        "authentication": {"schemes": ["aksk", "wsse"], "created_window_seconds": 300, "replay": "report"},
        "applications": [{"app_key": "app", "ak": "A", "secrets": [{"env": "SECRET"}]}],
        "store": {"cluster": "store", "authority": "store", "timeout_ms": 5000, "token": {"env": "TOKEN"}},
        "businesses": [{
            "ak": "A", "cluster": "business", "authority": "business.example.com", "path": "/callback?tenant=1",
            "headers": {"x-tenant": "1"}, "signing_secrets": [{"env": "SIGNING"}], "pending_calls": 50,
        }],
        "limits": {"max_body_bytes": 1024, "pending_calls": 50, "pending_bytes": 1048576},
    })
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("fictitious-app-secret-0001".to_owned()),
        "TOKEN" => Some("fictitious-token-0001".to_owned()),
        "SIGNING" => Some("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned()),
        _ => None,
    }
}

/// Puts `value` where `pointer` leads, making the last step if need be. What leads nowhere changes nothing.
fn put(config: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = config.pointer_mut(pointer) {
        *place = value;
    } else if let Some((parent, name)) = pointer.rsplit_once('/') {
        match config.pointer_mut(parent) {
            Some(Value::Object(object)) => drop(object.insert(name.to_owned(), value)),
            Some(Value::Array(entries)) => entries.push(value),
            _ => {}
        }
    }
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    if !data.starts_with(b"/") {
        return read(data);
    }
    let mut config = good();
    for line in String::from_utf8_lossy(data).lines() {
        let Some((pointer, value)) = line.split_once(' ') else { continue };
        if let Ok(value) = serde_json::from_str(value) {
            put(&mut config, pointer, value);
        }
    }
    read(&serde_json::to_vec(&config).expect("a value can be written"));
}

fn read(json: &[u8]) {
    match Config::from_json(json, &environment) {
        Ok(config) => {
            assert!((1_024..=16_777_216).contains(&config.limits.max_body_bytes));
            assert!(config.push_path.starts_with('/'));
            for business in config.businesses.all() {
                assert!(!business.timeout.is_zero(), "a callback without a time-out");
                let headers = business.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
                super::worker::fit_for_the_wire(headers.chain([("path", business.path.as_ref())]));
                let names: Vec<_> = business.headers.iter().map(|(name, _)| name.as_ref()).collect();
                assert!(!names.iter().any(|name| name.starts_with("x-envoy-")), "P1: {names:?}");
            }
            let debug = format!("{config:?}");
            for secret in ["fictitious-app-secret-0001", "fictitious-token-0001", "C2FVsBQIhrscChlQIMV"] {
                assert!(!debug.contains(secret), "P7: a secret in the debug output");
            }
            assert!(Dispatcher::new(Rc::new(config)).is_idle());
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            for error in errors {
                assert!(error.path.is_empty() || error.path.starts_with('/'), "{error}");
                assert!(!error.message.contains("fictitious-"), "P7: {error}");
            }
        }
    }
}
