//! Holds every exchange of the tests against the OpenAPI document, and the document against the router.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use jsonschema::Validator;
use privatenumber_store::http::{OPENAPI, served_paths};
use serde_json::{Value, json};

use crate::support::{Answer, Oddities, PUSH_1, Store, call, call_id, cdr, push, with_json};

pub static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::read);

pub struct Document {
    root: Value,
    validators: BTreeMap<String, Validator>,
}

impl Document {
    fn read() -> Self {
        let root: Value = serde_json::from_str(OPENAPI).unwrap();
        let names = root["components"]["schemas"].as_object().unwrap().keys();
        let validators = names.map(|name| {
            let reference = format!("#/components/schemas/{name}");
            let schema = json!({"$ref": reference, "components": root["components"]});
            (reference, jsonschema::draft202012::new(&schema).unwrap())
        });
        Self { validators: validators.collect(), root }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    fn path_item(&self, path: &str) -> Option<&Value> {
        let paths = self.root["paths"].as_object().unwrap();
        let matches = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            // What follows what varies, such as `:pause`.
            let end = |part: &str| part.split_once('}').map(|(_, end)| end.to_owned());
            let same = |(part, given): (&&str, &&str)| {
                part == given || (end(part).is_some_and(|end| given.ends_with(&end)) && !given.is_empty())
            };
            template.len() == path.len() && template.iter().zip(&path).all(same)
        };
        // The longest one says most.
        paths
            .iter()
            .filter(|(template, _)| matches(template))
            .max_by_key(|(template, _)| template.len())
            .map(|(_, item)| item)
    }

    fn assert_valid(&self, schema: &Value, value: &Value, what: &str) {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let errors: Vec<_> = self.validators[reference]
                    .iter_errors(value)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{what} is not what the document says: {errors:#?}\n{value:#}");
            }
            None => assert!(jsonschema::is_valid(schema, value), "{what} is not what the document says: {value:#}"),
        }
    }

    /// The answer must be one that the document describes; a request that was served too.
    pub fn check(&self, method: &str, path: &str, sent: Option<&[u8]>, answer: &Answer) {
        let what = format!("{method} {path} → {}", answer.status);
        let operation = self.path_item(path).and_then(|item| item.get(method.to_lowercase()));
        let Some(operation) = operation else {
            let status = answer.status.as_u16();
            assert!(matches!(status, 401 | 404 | 405), "{what}: served, but not in the document");
            return self.assert_valid(&json!({"$ref": "#/components/schemas/Problem"}), &answer.json(), &what);
        };
        if let (true, Some(schema)) =
            (answer.status.is_success(), operation.pointer("/requestBody/content/application~1json/schema"))
        {
            let sent: Value = serde_json::from_slice(sent.expect("a body that is served is whole")).unwrap();
            self.assert_valid(schema, &sent, &format!("{what}: the request"));
        }
        let response = &operation["responses"][answer.status.as_str()];
        assert!(!response.is_null(), "{what}: the document has no such answer");
        if answer.text.is_empty() {
            assert_eq!(answer.status.as_u16(), 500, "{what}: empty");
            assert!(
                answer.headers.get("content-type").is_none(),
                "{what}: an empty answer must be no problem document"
            );
            return;
        }
        let content_type = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
        let content = &self.resolve(response)["content"][content_type];
        assert!(!content.is_null(), "{what}: the document has no {content_type} here");
        let value = match content_type {
            "application/openmetrics-text" => Value::String(answer.text.clone()),
            _ => serde_json::from_str(&answer.text).unwrap(),
        };
        self.assert_valid(&content["schema"], &value, &what);
    }
}

/// Calls `visit` with every schema inside `value`.
fn each_object_schema(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            if members.contains_key("properties") {
                visit(value);
            }
            members.values().for_each(|member| each_object_schema(member, visit));
        }
        Value::Array(entries) => entries.iter().for_each(|entry| each_object_schema(entry, visit)),
        _ => {}
    }
}

#[test]
fn every_schema_of_an_object_is_closed() {
    let mut seen = 0;
    each_object_schema(&DOCUMENT.root["components"]["schemas"], &mut |schema| {
        seen += 1;
        assert_eq!(schema["additionalProperties"], false, "{schema:#}");
    });
    assert!(seen >= 20, "{seen}");
}

#[tokio::test]
async fn the_document_describes_what_is_served_and_nothing_else() {
    let paths = DOCUMENT.root["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(described, served_paths().into_iter().collect());

    let store = Store::in_memory().await;
    for path in paths.keys() {
        // What follows what varies, such as `:pause`, is decided behind the router: it allows what any of those paths does.
        let until = |path: &str| path.split_once('}').map_or(path.to_owned(), |(until, _)| until.to_owned());
        let alike = paths.iter().filter(|(other, _)| until(other) == until(path));
        let method_names = ["get", "put", "post", "delete", "patch", "options", "head", "trace"];
        let mut described: BTreeSet<String> =
            alike.flat_map(|(_, item)| item.as_object().unwrap().keys()).map(|key| key.to_uppercase()).collect();
        described.retain(|name| method_names.contains(&name.to_lowercase().as_str()));
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let path = path.replace(['{', '}'], "");
        let answer = store.send(Request::builder().method("TRACE").uri(&path).body(Body::empty()).unwrap()).await;
        answer.problem(405, "method-not-allowed");
        let served = answer.headers["allow"].to_str().unwrap().split(',').map(|name| name.trim().to_owned()).collect();
        assert_eq!(described, served, "{path}");
    }
    assert_eq!(store.get("/openapi.json").await.expect(200), DOCUMENT.root);
}

/// Every answer that the document promises is brought about here or, the unknown commit, in `failures`.
#[tokio::test]
async fn every_answer_of_the_document_comes_about() {
    let mut missing: BTreeSet<(String, u16)> = BTreeSet::new();
    for (path, item) in DOCUMENT.root["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for status in operation.get("responses").and_then(Value::as_object).into_iter().flat_map(|all| all.keys()) {
                missing.insert((format!("{} {path}", method.to_uppercase()), status.parse().unwrap()));
            }
        }
    }
    missing.retain(|(_, status)| *status != 500);
    assert!(missing.len() > 40, "{}", missing.len());
    let mut came = |operation: &str, answer: Answer| {
        missing.remove(&(operation.to_owned(), answer.status.as_u16()));
    };

    let small = Oddities { body_bytes: 2000, body_time: Duration::from_millis(50), ..Oddities::default() };
    let store = Store::odd(small).await;
    let guarded = Store::odd(Oddities { token: Some("secret"), ..Oddities::default() }).await;
    let stopped = Store::in_memory().await;
    stopped.writer_task.abort();
    stopped.app.writer.readiness().await.unwrap_err();
    stopped.app.database.close().await;

    let writes = [
        ("POST /v1/pushes", "POST", "/v1/pushes", push(PUSH_1, vec![call("session")])),
        ("POST /v1/push-batches", "POST", "/v1/push-batches", json!({"pushes": [push(PUSH_1, vec![call("session")])]})),
        ("POST /v1/outcomes", "POST", "/v1/outcomes", json!({"outcomes": []})),
        ("PUT /v1/bindings/{subscriptionId}", "PUT", "/v1/bindings/binding-1", json!({"ak": "A"})),
        ("POST /v1/work:take", "POST", "/v1/work:take", json!({"pushId": PUSH_1, "most": 1, "ttlMs": 1})),
        ("POST /v1/calls:release", "POST", "/v1/calls:release", json!({"callIds": [call_id("session")]})),
        ("POST /v1/cdrs:import", "POST", "/v1/cdrs:import", json!({"cdrs": [cdr("imported")]})),
        ("POST /v1/parked/{number}:release", "POST", "/v1/parked/1:release", json!({"cdr": cdr("parked")})),
    ];
    let mut with_parked = push(PUSH_1, vec![]);
    with_parked["parked"] = json!([{"reason": "r", "raw": "{}"}, {"reason": "r", "raw": "{ }"}]);
    store.post("/v1/pushes", &with_parked).await.expect(200);
    for (operation, method, path, body) in writes {
        came(operation, store.send(with_json(method, path, &body)).await);
        came(operation, store.send(with_json(method, path, &body)).await);
        came(operation, store.send(with_json(method, path, "{")).await);
        came(operation, store.send(with_json(method, path, r#"{"pushId":1,"outcomes":1,"status":"x","ak":1}"#)).await);
        came(operation, store.send(with_json(method, path, " ".repeat(2001))).await);
        let plain = Request::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        came(operation, store.send(plain).await);
        let mut endless = with_json(method, path, "");
        *endless.body_mut() = Body::new(NeverEnding);
        came(operation, store.send(endless).await);
        came(operation, guarded.send(with_json(method, path, &body)).await);
        came(operation, stopped.send(with_json(method, path, &body)).await);
    }
    let pending = json!({"filter": {"state": "pending", "most": 1}});
    came("POST /v1/calls:release", store.post("/v1/calls:release", pending).await);
    for number in [2, 3] {
        let path = format!("/v1/parked/{number}:release");
        came("POST /v1/parked/{number}:release", store.post(&path, "{}").await);
    }
    for verb in ["pause", "resume"] {
        let (operation, path) = (format!("POST /v1/businesses/{{ak}}:{verb}"), format!("/v1/businesses/A:{verb}"));
        came(&operation, store.post(&path, "").await);
        came(&operation, store.post(&format!("{path}?colour=red"), "").await);
        came(&operation, guarded.post(&path, "").await);
        came(&operation, stopped.post(&path, "").await);
    }
    let call_path = format!("/v1/calls/{}", call_id("session"));
    let reads = [
        ("GET /v1/bindings/{subscriptionId}", "/v1/bindings/binding-1", "/v1/bindings/none"),
        ("GET /v1/businesses/{ak}", "/v1/businesses/A", "/v1/businesses/none"),
        ("GET /v1/calls", "/v1/calls", "/v1/calls"),
        ("GET /v1/calls/{callId}", call_path.as_str(), "/v1/calls/none"),
        ("GET /v1/parked", "/v1/parked", "/v1/parked"),
        ("GET /v1/events", "/v1/events", "/v1/events"),
        ("GET /v1/replays", "/v1/replays", "/v1/replays"),
        ("GET /healthz", "/healthz", "/healthz"),
        ("GET /readyz", "/readyz", "/readyz"),
        ("GET /metrics", "/metrics", "/metrics"),
        ("GET /openapi.json", "/openapi.json", "/openapi.json"),
    ];
    for (operation, path, absent) in reads {
        came(operation, store.get(path).await);
        came(operation, store.get(absent).await);
        came(operation, store.get(&format!("{path}?colour=red")).await);
        came(operation, guarded.get(path).await);
        came(operation, stopped.get(path).await);
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A body that says it is coming and never does.
struct NeverEnding;

impl http_body::Body for NeverEnding {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}
