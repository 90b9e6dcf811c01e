use privatenumber_contract::OnReplay;
use serde_json::{Value, json};

use super::{Config, HeadersMode};

fn environment(name: &str) -> Option<String> {
    (name == "SECRET").then(|| "fictitious-app-secret-0001".to_owned())
}

fn smallest() -> Value {
    json!({"applications": [{"app_key": "demoAppKey000000000000000001", "secrets": [{"env": "SECRET"}]}]})
}

fn read(value: &Value) -> Result<Config, Vec<String>> {
    let json = serde_json::to_vec(value).unwrap();
    Config::from_json(&json, &environment).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The errors of the smallest configuration with `value` put at `path`.
fn errors_with(path: &str, value: Value) -> Vec<String> {
    let mut config = smallest();
    let mut place = &mut config;
    for name in path.split('/').skip(1) {
        place = match name.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[name],
        };
    }
    *place = value;
    read(&config).expect_err("must be refused")
}

fn business() -> Value {
    json!({"ak": "A", "cluster": "business", "authority": "business.example.com", "path": "/callback"})
}

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let config = read(&smallest()).unwrap();
    assert_eq!(config.push_path, "/huawei/fee");
    assert_eq!(config.headers, HeadersMode::Hold);
    assert_eq!(&*config.store.cluster, "store");
    assert_eq!(config.limits.max_body_bytes, 262_144);
    assert!(config.businesses.all().is_empty());
    assert_eq!(config.on_replay, OnReplay::Report);
}

#[test]
fn what_a_replay_comes_to_is_read() {
    let mut config = smallest();
    config["authentication"] = json!({"replay": "park"});
    assert_eq!(read(&config).unwrap().on_replay, OnReplay::Park);
}

#[test]
fn numbers_may_be_doubles_as_a_protobuf_struct_makes_them() {
    let mut config = smallest();
    config["limits"] = json!({"max_body_bytes": 2048.0});
    assert_eq!(read(&config).unwrap().limits.max_body_bytes, 2048);
}

#[test]
fn all_errors_are_reported_at_once_each_with_its_path() {
    let config = json!({
        "push_path": "huawei",
        "headers": "drop",
        "applications": [{"secrets": [{"env": "MISSING"}, {}]}],
        "businesses": [{"ak": 7, "cluster": "c", "authority": "a", "path": "/p", "timeout_ms": 0, "headers": {"x-envoy-retry-on": "5xx"}}],
        "store": {"outcome_batch_size": 1.5, "retry_initial_ms": 500, "retry_max_ms": 100},
        "limit": {},
    });
    let errors = read(&config).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/push_path",
            "/headers",
            "/applications/0/app_key",
            "/applications/0/secrets/0/env",
            "/applications/0/secrets/1",
            "/store/outcome_batch_size",
            "/store/retry_max_ms",
            "/businesses/0/ak",
            "/businesses/0/timeout_ms",
            "/businesses/0/headers/x-envoy-retry-on",
            "/limit",
        ],
        "{errors:#?}"
    );
}

/// What one bad value is answered with. The same table is run against a real Envoy's `--mode validate`.
#[test]
fn each_bad_value_gets_an_error_that_names_its_path_and_what_would_be_right() {
    let mut with_business = smallest();
    with_business["businesses"] = json!([business()]);
    let table = [
        (
            "/push_path",
            json!("/huawei?x"),
            "/push_path: must be a path as it is on the wire: starts with /, no query or fragment, no spaces, no //, no . or .. between slashes, no escapes of letters, digits or -._~/\\",
        ),
        (
            "/push_path",
            json!(true),
            "/push_path: must be a path as it is on the wire: starts with /, no query or fragment, no spaces, no //, no . or .. between slashes, no escapes of letters, digits or -._~/\\, found a boolean; quote it",
        ),
        ("/applications", json!([]), "/applications: must have 1 to 1000 entries, found 0"),
        ("/applications", json!({}), "/applications: must be a list, found an object"),
        (
            "/applications/0/app_key",
            json!("with blank"),
            "/applications/0/app_key: must be 1 to 256 printable ASCII characters without blanks",
        ),
        (
            "/applications/0/secrets/0",
            json!({"value": "a", "env": "SECRET"}),
            "/applications/0/secrets/0: must have exactly one of: value, env",
        ),
        (
            "/applications/0/without_binding",
            json!("hold"),
            "/applications/0/without_binding: must be one of: deliver, skip; or an object",
        ),
        (
            "/applications/0/without_binding",
            json!({}),
            "/applications/0/without_binding: must have exactly one of: hold_seconds",
        ),
        (
            "/applications/0/without_binding",
            json!({"hold_seconds": 86_401}),
            "/applications/0/without_binding/hold_seconds: must be a whole number from 1 to 86400, found 86401",
        ),
        (
            "/applications/0/without_binding",
            json!({"hold_seconds": 60, "then": "skip"}),
            "/applications/0/without_binding/then: is not a field; the fields here are: hold_seconds",
        ),
        ("/authentication", json!({"schemes": []}), "/authentication/schemes: must not be empty"),
        (
            "/authentication",
            json!({"schemes": ["aksk", "off"]}),
            "/authentication/schemes/1: must be one of: aksk, wsse",
        ),
        (
            "/authentication",
            json!({"schemes": ["aksk", "aksk"]}),
            "/authentication/schemes: must not name anything twice",
        ),
        (
            "/authentication",
            json!({"created_window_seconds": 5}),
            "/authentication/created_window_seconds: must be a whole number from 60 to 86400, found 5",
        ),
        ("/authentication", json!({"replay": "drop"}), "/authentication/replay: must be one of: report, park"),
        (
            "/limits",
            json!({"max_body_bytes": -1}),
            "/limits/max_body_bytes: must be a whole number from 1024 to 16777216, found -1",
        ),
        ("/limits", json!([]), "/limits: must be an object, found a list"),
        ("/businesses", json!([business(), business()]), "/businesses/1/ak: stands in an earlier entry already"),
    ];
    for (path, value, expected) in table {
        assert_eq!(errors_with(path, value), [expected]);
    }
}

#[test]
fn p3_what_cannot_be_called_back_while_its_claims_last_is_refused_with_both_figures() {
    let with = |changes: Value| {
        let mut business = business();
        business.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let mut config = smallest();
        config["businesses"] = json!([business]);
        config
    };
    let refused = |config: &Value, takes: u64, lasts: u64| {
        let errors = read(config).unwrap_err();
        let expected = format!("/businesses/0/pending_calls: so many calls may take {takes} s to call back");
        assert!(
            errors[0].starts_with(&expected) && errors[0].contains(&format!("claims last {lasts} s")),
            "{errors:?}"
        );
        assert_eq!(errors.len(), 1);
    };
    refused(&with(json!({"concurrency": 10})), 2_000, 900);
    refused(&with(json!({"concurrency": 22})), 910, 900);
    refused(&with(json!({"rate": 4})), 1_000, 900);
    let mut short = with(json!({}));
    short["store"] = json!({"claim_deadline_seconds": 199});
    refused(&short, 200, 199);
    short["store"] = json!({"claim_deadline_seconds": 200});
    for fits in
        [short, with(json!({"concurrency": 23})), with(json!({"concurrency": 1, "pending_calls": 50, "rate": 1}))]
    {
        read(&fits).unwrap();
    }
}

#[test]
fn p6_a_worst_case_beyond_the_memory_there_is_is_refused_with_both_figures() {
    let mut config = smallest();
    config["businesses"] = json!([business()]);
    let errors_of = |config: &Value, envoy: Value| {
        let mut config = config.clone();
        config["envoy"] = envoy;
        read(&config).err().unwrap_or_default()
    };
    let buffer = 1_048_576;
    let fits = json!({"workers": 4, "response_buffer_bytes": buffer, "memory_bytes": 2_147_483_648_u64});
    assert!(errors_of(&config, fits).is_empty());
    let errors =
        errors_of(&config, json!({"workers": 8, "response_buffer_bytes": buffer, "memory_bytes": 2_147_483_648_u64}));
    let expected = "/envoy/memory_bytes: is 2147483648, but 8 workers may take 2392850432 bytes, 299106304 each";
    assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}");
    let errors = errors_of(&config, json!({"workers": 4, "memory_bytes": 2_147_483_648_u64}));
    assert!(errors[0].contains("4 workers may take"), "Envoy's default of 32 MiB: {errors:?}");
    assert!(errors_of(&config, json!({"workers": 1_024})).is_empty(), "nothing to check it against");

    config["limits"] = json!({"max_body_bytes": 1_048_576});
    let errors = errors_of(&config, json!({"response_buffer_bytes": buffer}));
    let expected =
        "/envoy/response_buffer_bytes: is 1048576, but the store's answer to one push may have 2557952 bytes";
    assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}");
}

#[test]
fn p1_no_header_that_makes_envoy_repeat_a_callback_can_be_configured() {
    for name in [
        "x-envoy-retry-on",
        "X-Envoy-Retry-On",
        "x-envoy-max-retries",
        "webhook-id",
        "host",
        ":path",
        "content-length",
        "a b",
    ] {
        let mut entry = business();
        entry["headers"] = json!({name: "5xx"});
        let errors = errors_with("/businesses", json!([entry]));
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert!(errors[0].starts_with("/businesses/0/headers/"), "{errors:?}");
    }
}

#[test]
fn p7_no_error_and_no_debug_output_shows_a_secret() {
    let mut config = smallest();
    config["applications"][0]["secrets"] = json!([{"value": "fictitious-app-secret-0001"}]);
    config["store"] = json!({"token": {"value": "fictitious-token-0001"}});
    let mut signed = business();
    signed["signing_secrets"] = json!([{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}]);
    config["businesses"] = json!([signed]);
    let debug = format!("{:?}", read(&config).unwrap());
    config["businesses"][0]["signing_secrets"] = json!([{"value": "whsec_fictitious!"}]);
    let errors = read(&config).unwrap_err().join("\n");
    for text in [debug, errors] {
        assert!(!text.contains("fictitious") && !text.contains("C2FVsBQIhrscChlQIMV"), "{text}");
    }
}

#[test]
fn what_is_not_an_object_is_refused() {
    for json in ["", "{", "[]", "null", "7"] {
        assert_eq!(Config::from_json(json.as_bytes(), &environment).unwrap_err().len(), 1, "{json}");
    }
}
