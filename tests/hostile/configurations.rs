//! Malformed configurations, each with all the errors it must get and no other. A dozen such go through a real Envoy as well,
//! see `tests/stories/configuration.rs`.

use private_number_gateway::config::Config;
use serde_json::{Value, json};

/// One change to a good configuration to a line: `pointer | value | errors`.
const TABLE: &str = include_str!("configurations.txt");

fn good() -> Value {
    json!({
        "revision": "1",
        "push_path": "/huawei/fee",
        "headers": "hold",
        "authentication": {"schemes": ["aksk", "wsse"], "created_window_seconds": 300, "replay": "report"},
        "applications": [{"app_key": "app", "ak": "A", "secrets": [{"env": "SECRET"}]}],
        "store": {"cluster": "store", "authority": "store", "token": {"env": "SECRET"}},
        "businesses": [{"ak": "A", "cluster": "business", "authority": "business.example.com", "path": "/callback"}],
        "limits": {},
    })
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("fictitious-app-secret-0001".to_owned()),
        "EMPTY" => Some(String::new()),
        "SPACED" => Some("fictitious-app-secret-0001 ".to_owned()),
        _ => None,
    }
}

fn errors(json: &[u8]) -> Vec<String> {
    match Config::from_json(json, &environment) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut config = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(name.to_owned(), value)),
        Value::Array(entries) => entries[name.parse::<usize>().unwrap()] = value,
        other => panic!("{pointer}: nothing can stand in {other}"),
    }
    serde_json::to_vec(&config).unwrap()
}

#[test]
fn the_good_configuration_is_one() {
    assert_eq!(errors(&serde_json::to_vec(&good()).unwrap()), [""; 0]);
}

#[test]
fn each_malformed_configuration_has_its_errors_and_no_other() {
    let rows: Vec<_> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    for row in rows {
        let mut columns = row.splitn(3, " | ");
        let mut column = || columns.next().unwrap_or_else(|| panic!("{row}: three columns"));
        let (pointer, value, expected) = (column(), column(), column());
        let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{row}: {error}"));
        let found = errors(&with(pointer, value));
        let expected: Vec<_> = expected.split(" && ").collect();
        assert_eq!(found.len(), expected.len(), "{row}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            let is_right = if expected.ends_with(':') { found.starts_with(expected) } else { found == expected };
            assert!(is_right, "{row}: {found}");
            assert!(!found.contains("fictitious"), "P7: {found}");
        }
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for (json, place) in [
        ("", "line 1 column 0"),
        ("{", "line 1 column 1"),
        ("push_path: /huawei/fee", "line 1 column 1"),
        ("{'push_path': 1}", "line 1 column 2"),
        ("{\"a\":1}{", "line 1 column 8"),
        ("{\"a\":01}", "line 1 column 7"),
    ] {
        let expected = format!("/: is not JSON, at {place}; give it as google.protobuf.StringValue that holds JSON");
        assert_eq!(errors(json.as_bytes()), [expected], "{json}");
    }
    for (json, kind) in
        [("[]", "a list"), ("null", "null"), ("7", "a number"), ("\"fictitious\"", "a text"), ("true", "a boolean")]
    {
        assert_eq!(errors(json.as_bytes()), [format!("/: must be an object, found {kind}")], "{json}");
    }
    for json in [b"\xff".as_slice(), b"{\"a\":\"\xff\"}", b"\0"] {
        assert_eq!(errors(json).len(), 1);
    }
    assert_eq!(errors("[".repeat(100_000).as_bytes()).len(), 1);
}

#[test]
fn a_key_that_stands_twice_is_refused_with_both_places() {
    let json = r#"{
  "applications": [
    {"app_key": "first", "secrets": [{"env": "SECRET"}], "app_key": "app"}
  ],
  "store": {"cluster": "a",
    "authority": "store", "cluster": "b", "cluster": "c"},
  "businesses": [{"ak": "A", "cluster": "business", "authority": "b", "path": "/", "headers": {"x~/y": "1"}}],
  "businesses": [],
  "headers": "hold", "he\u0061ders": "hold"
}"#;
    let twice = |path: &str, first: &str, second: &str| {
        format!("{path}: stands twice: with a value at {first} and with another at {second}")
    };
    let found = errors(json.as_bytes());
    let expected = [
        twice("/applications/0/app_key", "line 3 column 17", "line 3 column 69"),
        twice("/store/cluster", "line 5 column 24", "line 6 column 38"),
        twice("/store/cluster", "line 5 column 24", "line 6 column 54"),
        twice("/businesses", "line 7 column 17", "line 8 column 17"),
        twice("/headers", "line 9 column 14", "line 9 column 38"),
    ];
    assert_eq!(found, expected);
    let json = r#"{"limits":{"pending_calls":1,"pending_calls":1},"headers":"drop"}"#;
    let found = errors(json.as_bytes());
    assert!(found[0].starts_with("/limits/pending_calls: stands twice:"), "{found:#?}");
    assert!(found.iter().any(|error| error.starts_with("/headers: must be one of")), "the others as well: {found:#?}");
}

/// Rules that a schema cannot state: about several values at once, what the environment holds, how long a decoded text is.
const BEYOND_A_SCHEMA: [&str; 9] = [
    "so many calls may take",
    "workers may take",
    "but the store's answer to one push may have",
    "must be at least 8 times max_body_bytes",
    "must not be below retry_initial_ms",
    "must be below patience_ms",
    "environment variable ",
    "stands in an earlier entry already",
    "must have exactly one of: value, env",
];

#[test]
fn the_json_schema_refuses_what_the_reader_refuses() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/configuration.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(schema.is_valid(&good()));
    for row in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = row.splitn(3, " | ").collect();
        let beyond = BEYOND_A_SCHEMA.iter().any(|rule| columns[2].contains(rule));
        let value = serde_json::from_str(columns[1]).unwrap();
        let config = serde_json::from_slice(&with(columns[0], value)).unwrap();
        assert!(beyond || !schema.is_valid(&config), "the schema takes {row}");
    }
}

#[test]
fn the_json_schema_takes_what_the_reader_takes() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/configuration.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for (pointer, value) in [
        ("/push_path", json!("/")),
        ("/push_path", json!("/a/b/")),
        ("/push_path", json!("/~a_b-c.d/..x/.y/...;v=1,2:@!$&'()*+")),
        ("/push_path", json!("/%E5%8D%8E%e4%b8%ba/%20%3F%25%40")),
        ("/push_path", json!(format!("/{}", "a".repeat(1_023)))),
        ("/applications/0/secrets/0", json!({"value": "a b"})),
        ("/applications/0/secrets/0", json!({"value": "a"})),
        ("/businesses/0/headers", json!({"x-a": "a b", "hostname": "1", "te-x": "1"})),
        ("/businesses/0/signing_secrets", json!([{"value": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}])),
        ("/businesses/0/signing_secrets", json!([{"value": format!("whsec_{}==", "A".repeat(86))}])),
        ("/store/patience_ms", json!(30_000)),
    ] {
        let json = with(pointer, value);
        assert_eq!(errors(&json), [""; 0], "{}", String::from_utf8_lossy(&json));
        assert!(schema.is_valid(&serde_json::from_slice(&json).unwrap()), "{}", String::from_utf8_lossy(&json));
    }
}

#[test]
fn an_application_whose_ak_no_business_has_is_warned_of() {
    let warnings = |json: &[u8]| -> Vec<String> {
        Config::from_json(json, &environment).unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warnings(&serde_json::to_vec(&good()).unwrap()), [""; 0]);
    let expected = "/applications/0/ak: no business has this ak; calls of this application without a binding are recorded and skipped";
    assert_eq!(warnings(&with("/applications/0/ak", json!("a"))), [expected]);
    assert_eq!(warnings(&with("/applications/0/ak", json!(null))), [""; 0], "it names none");
    let many: Vec<_> = (0..30)
        .map(|number| json!({"app_key": format!("app{number}"), "ak": "B", "secrets": [{"env": "SECRET"}]}))
        .collect();
    let found = warnings(&with("/applications", json!(many)));
    assert_eq!(found.len(), 11);
    assert_eq!(found[10], "/applications: no business has the ak of 20 more applications");
}
