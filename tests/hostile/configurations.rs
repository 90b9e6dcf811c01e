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
