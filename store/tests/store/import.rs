//! CDRs that no push brings any more, imported over HTTP.

use privatenumber_contract::limits;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, PUSH_2, Store, WORKER_1, WORKER_2, answered, call, call_id, cdr, metric};

const IMPORT: &str = "/v1/cdrs:import";

/// Imports CDRs; returns what became of each.
async fn import(store: &Store, request: Value) -> Vec<Value> {
    let answer = store.post(IMPORT, request).await.expect(200);
    answer["cdrs"].as_array().unwrap().clone()
}

fn imported(session_id: &str) -> Value {
    json!({"result": "imported", "callId": call_id(session_id)})
}

fn already_there(session_id: &str) -> Value {
    json!({"result": "already_there", "callId": call_id(session_id)})
}

/// A CDR with one member changed.
fn changed(session_id: &str, name: &str, value: Value) -> Value {
    let mut cdr = cdr(session_id);
    cdr[name] = value;
    cdr
}

fn without(session_id: &str, name: &str) -> Value {
    let mut cdr = cdr(session_id);
    cdr.as_object_mut().unwrap().remove(name);
    cdr
}

async fn bind(store: &Store) {
    let binding = json!({"id": 7, "ak": "BOUND", "origNum": "+8617010000011", "remark": "vip"});
    store.put("/v1/bindings/binding-1", binding).await.expect(201);
}

#[tokio::test]
async fn p3_an_imported_cdr_is_recorded_and_waits_for_an_operator() {
    let store = Store::in_memory().await;
    bind(&store).await;
    let text = r#"{"cdrs":[{ "appKey":"app","sessionId":"s1","icid":"icid","subscriptionId":"binding-1","callInTime":"2027-01-15 07:58:30"}]}"#;
    assert_eq!(import(&store, serde_json::from_str(text).unwrap()).await, [imported("s1")]);
    let call = store.call(&call_id("s1")).await;
    assert_eq!(call["state"], "skipped");
    assert_eq!(call["outcome"], json!({"class": "skipped", "reason": "imported"}));
    assert_eq!(call["record"]["ak"], "BOUND");
    assert_eq!(call["record"]["remark"], "vip");
    assert_eq!(call["record"]["callinTime"], 1_800_000_000_000_i64 - 90_000);
    assert_eq!(call["cdr"]["subscriptionId"], "binding-1");
    assert_eq!(store.take(WORKER_1, 10).await["calls"], json!([]), "nobody asked for a callback");

    assert_eq!(store.release(&[&call_id("s1")]).await["released"], 1);
    let works = store.take(WORKER_2, 10).await;
    assert_eq!(works["calls"][0]["verdict"], "claimed");
    assert_eq!(works["calls"][0]["record"]["remark"], "vip");
}

#[tokio::test]
async fn p1_a_released_import_is_called_back_once_however_often_it_comes() {
    let store = Store::in_memory().await;
    bind(&store).await;
    let request = json!({"release": true, "cdrs": [cdr("s1"), cdr("s1")]});
    assert_eq!(import(&store, request.clone()).await, [imported("s1"), already_there("s1")]);
    assert_eq!(store.call(&call_id("s1")).await["state"], "waiting");
    assert_eq!(import(&store, request.clone()).await, [already_there("s1"), already_there("s1")]);
    // Huawei pushes it after all.
    assert_eq!(store.push(PUSH_1, vec![call("s1")]).await[0]["verdict"], "duplicate");
    let works = store.take(WORKER_1, 10).await;
    assert_eq!(works["calls"].as_array().unwrap().len(), 1);
    store.report(&call_id("s1"), WORKER_1, answered(200)).await;
    assert_eq!(import(&store, request).await, [already_there("s1"), already_there("s1")]);
    assert_eq!(store.take(WORKER_2, 10).await["calls"], json!([]));
    assert_eq!(store.call(&call_id("s1")).await["state"], "answered");
    assert_eq!(metric(&store, "privatenumber_store_imports_total{result=\"imported\"}"), 1.0);
    assert_eq!(metric(&store, "privatenumber_store_imports_total{result=\"already_there\"}"), 5.0);
}

#[tokio::test]
async fn p1_a_call_that_a_push_brought_stays_as_it_is() {
    let store = Store::in_memory().await;
    store.push(PUSH_1, vec![call("s1")]).await;
    store.report(&call_id("s1"), PUSH_1, answered(200)).await;
    let before = store.call(&call_id("s1")).await;
    let other = changed("s1", "userData", json!("something else"));
    assert_eq!(import(&store, json!({"release": true, "cdrs": [other]})).await, [already_there("s1")]);
    assert_eq!(store.call(&call_id("s1")).await, before);
    assert_eq!(store.take(WORKER_1, 10).await["calls"], json!([]));
    // A push of an imported call is a duplicate as well.
    assert_eq!(import(&store, json!({"cdrs": [cdr("s2")]})).await, [imported("s2")]);
    assert_eq!(store.push(PUSH_2, vec![call("s2")]).await[0]["verdict"], "duplicate");
}

#[tokio::test]
async fn p4_an_unusable_cdr_names_its_field_and_does_not_hinder_the_others() {
    let store = Store::in_memory().await;
    let reasons = |results: &[Value]| -> Vec<String> {
        results.iter().map(|result| result["reason"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let cdrs = [
        cdr("s1"),
        without("+8617010000001", "sessionId"),
        changed("+8617010000002", "subscriptionId", json!({"a": 1})),
        without("s2", "appKey"),
        changed("s3", "callEndTime", json!("some day")),
    ];
    let results = import(&store, json!({"cdrs": cdrs})).await;
    assert_eq!((&results[0], &results[4]), (&imported("s1"), &imported("s3")));
    let reasons = reasons(&results);
    for (index, start) in [(1, "/sessionId: expected"), (2, "/subscriptionId: expected"), (3, "/appKey: missing; ")] {
        assert!(reasons[index].starts_with(start), "{reasons:?}");
    }
    assert!(!format!("{reasons:?}").contains("8617010"), "{reasons:?}");
    assert_eq!(store.call(&call_id("s3")).await["warnings"][0]["field"], "callEndTime");
    assert_eq!(metric(&store, "privatenumber_store_imports_total{result=\"unusable\"}"), 3.0);
    assert_eq!(store.get("/v1/parked").await.expect(200)["parked"], json!([]), "nothing of it is kept");
}

#[tokio::test]
async fn p1_a_cdr_without_its_application_has_the_key_of_the_call_that_a_push_would_bring() {
    let store = Store::in_memory().await;
    let request = json!({"appKey": "app", "cdrs": [without("s1", "appKey"), cdr("s2")]});
    assert_eq!(import(&store, request).await, [imported("s1"), imported("s2")]);
    assert_eq!(store.call(&call_id("s1")).await["cdr"], without("s1", "appKey"), "the CDR is kept as it came");
    let results = import(&store, json!({"appKey": "another", "cdrs": [cdr("s3")]})).await;
    assert!(results[0]["reason"].as_str().unwrap().starts_with("/appKey: not the application"), "{results:?}");
}

#[tokio::test]
async fn a_release_needs_somebody_to_call_back() {
    let store = Store::in_memory().await;
    let request = json!({"release": true, "cdrs": [cdr("s1")]});
    let results = import(&store, request.clone()).await;
    assert!(results[0]["reason"].as_str().unwrap().starts_with("/subscriptionId: no binding row"), "{results:?}");
    store.get(&format!("/v1/calls/{}", call_id("s1"))).await.expect(404);
    let with_ak = json!({"release": true, "ak": "GIVEN", "cdrs": [cdr("s1")]});
    assert_eq!(import(&store, with_ak).await, [imported("s1")]);
    assert_eq!(import(&store, request).await, [already_there("s1")]);
    let works = store.take(WORKER_1, 10).await;
    assert_eq!(works["calls"][0]["ak"], "GIVEN");
}

#[tokio::test]
async fn a_cdr_in_gbk_is_imported_by_its_bytes() {
    let store = Store::in_memory().await;
    // "userData" is two characters of GBK; the whole as Base64.
    let cdr = b"{\"appKey\":\"app\",\"sessionId\":\"s1\",\"icid\":\"icid\",\"userData\":\"\xd6\xd0\xce\xc4\"}";
    let cdr = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, cdr);
    assert_eq!(import(&store, json!({"appKey": "app", "cdrs": [cdr]})).await, [imported("s1")]);
    let call = store.call(&call_id("s1")).await;
    assert_eq!((&call["record"]["userData"], &call["cdr"]), (&json!("中文"), &json!(cdr)));
}

#[tokio::test]
async fn an_import_that_is_too_large_or_misspelt_is_refused_as_a_whole() {
    let store = Store::in_memory().await;
    let many = vec![json!({}); limits::IMPORT_CDRS + 1];
    let detail = store.post(IMPORT, json!({"cdrs": many})).await.problem(422, "invalid-body");
    assert_eq!(detail, "`cdrs`: has 501 entries, may have 500; split the import");
    for (body, start) in [
        (json!({"cdrs": [1]}), "`cdrs[0]`: wrong type"),
        (json!({"cdr": []}), "`cdr`: there is no member"),
        (json!({"ak": "", "cdrs": []}), "`ak`: empty"),
    ] {
        let detail = store.post(IMPORT, body).await.problem(422, "invalid-body");
        assert!(detail.starts_with(start), "{detail}");
    }
    assert_eq!(import(&store, json!({"cdrs": []})).await, Vec::<Value>::new());
}

/// What the store of 0.1.0 goes by: the class, and an outcome whose reason it knows.
#[tokio::test]
async fn p3_a_store_of_0_1_0_can_read_an_imported_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store");
    let store = Store::at(&file).await;
    assert_eq!(import(&store, json!({"cdrs": [cdr("s1")]})).await, [imported("s1")]);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let read = "SELECT outcome_class, outcome ->> 'class', outcome ->> 'reason' FROM calls";
    let texts = connection.query_row(read, [], |row| Ok([row.get::<_, String>(0)?, row.get(1)?, row.get(2)?])).unwrap();
    assert_eq!(texts, ["skipped", "skipped", "no_callback"]);

    assert_eq!(store.call(&call_id("s1")).await["outcome"]["reason"], "imported");
    store.release(&[&call_id("s1")]).await;
    assert_eq!(store.call(&call_id("s1")).await["history"][0]["outcome"]["reason"], "imported");
}

/// What the command prints: its exit status, standard output and standard error.
struct Printed {
    success: bool,
    output: String,
    log: String,
}

/// Imports a file of these bytes into the store at `address`.
async fn import_file(address: &str, bytes: &[u8], flags: &[&str]) -> Printed {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cdrs");
    std::fs::write(&file, bytes).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_privatenumber-store"));
    command.arg("import-cdrs").arg(&file).args(["--store", address]).args(flags).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed { success: output.status.success(), output: text(output.stdout), log: text(output.stderr) }
}

#[tokio::test]
async fn p1_a_file_is_imported_beside_the_running_store_and_again_without_effect() {
    let directory = tempfile::tempdir().unwrap();
    let store = Process::start(&directory.path().join("store"), &[]).await;
    let address = format!("http://{}", store.address);
    // More than one request takes, and a bad line among them.
    let mut lines: Vec<String> = (0..1200).map(|number| cdr(&format!("s{number}")).to_string()).collect();
    lines.insert(700, without("+8617010000001", "sessionId").to_string());
    lines.insert(3, "{\"sessionId\":+8617010000001}".to_owned());
    let file = lines.join("\n");
    let first = import_file(&address, file.as_bytes(), &["--ak", "A", "--release"]).await;
    assert_eq!(
        first.output, "imported 1200 (gateways call back for them), already there 0, unusable 2\n",
        "{}",
        first.log
    );
    assert!(!first.success, "a CDR is not in the store");
    assert!(first.log.contains("line 4: not JSON (column 14)"), "{}", first.log);
    assert!(first.log.contains("line 702: /sessionId: expected a text"), "{}", first.log);
    assert!(first.log.contains("2 of 1202 CDRs are unusable; correct the lines named above"), "{}", first.log);
    assert!(!first.log.contains("8617010000001"), "{}", first.log);

    lines.retain(|line| !line.contains("8617010000001\"}") && !line.starts_with("{\"sessionId\":+"));
    lines.retain(|line| line.contains("\"sessionId\""));
    let again = import_file(&address, format!("[{}]", lines.join(",\n")).as_bytes(), &["--ak", "B"]).await;
    assert_eq!(again.output, "imported 0 (recorded only), already there 1200, unusable 0\n", "{}", again.log);
    assert!(again.success);
    let (_, works) =
        store.request("POST", "/v1/work:take", &json!({"pushId": WORKER_1, "most": 50, "ttlMs": 1000})).await.unwrap();
    assert_eq!((works["calls"].as_array().unwrap().len(), &works["worksWaiting"]), (50, &json!(1000)));
    store.stop().await;
}

#[tokio::test]
async fn a_table_in_gbk_is_imported_for_its_application() {
    let directory = tempfile::tempdir().unwrap();
    let store = Process::start(&directory.path().join("store"), &[]).await;
    let address = format!("http://{}", store.address);
    let table = b"sessionId,icid,userData,callInTime,direction,callerNum\n\
                  s1,icid,\xd6\xd0\xce\xc4,2027-01-15 07:58:30,1,+8617010000011\n";
    let printed = import_file(&address, table, &["--app-key", "app", "--ak", "A"]).await;
    assert_eq!(printed.output, "imported 1 (recorded only), already there 0, unusable 0\n", "{}", printed.log);
    let (_, call) = store.request("GET", &format!("/v1/calls/{}", call_id("s1")), &Value::Null).await.unwrap();
    let record = &call["record"];
    assert_eq!(
        (&record["userData"], &record["ak"], &record["origNum"], &record["callinTime"]),
        (&json!("中文"), &json!("A"), &json!("+8617010000011"), &json!(1_800_000_000_000_i64 - 90_000))
    );
    let printed = import_file(&address, "会话,icid\ns1,i".as_bytes(), &[]).await;
    assert!(printed.log.contains("line 1: no column `sessionId`"), "{}", printed.log);
    store.stop().await;
}

#[tokio::test]
async fn an_import_that_the_store_does_not_take_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let token = token.to_str().unwrap();
    let store = Process::start(&directory.path().join("store"), &["--token-file", token]).await;
    let address = format!("http://{}", store.address);
    let file = cdr("s1").to_string();
    let refused = import_file(&address, file.as_bytes(), &[]).await;
    assert!(refused.log.contains("give the store's token with --token-file"), "{}", refused.log);
    assert!(refused.log.contains("stopped after 0 of 1 CDRs"), "{}", refused.log);
    assert!(!refused.success);
    let taken = import_file(&address, file.as_bytes(), &["--token-file", token]).await;
    assert_eq!(taken.output, "imported 1 (recorded only), already there 0, unusable 0\n", "{}", taken.log);
    assert!(taken.success);
    let misspelt = import_file("https://store.example", file.as_bytes(), &[]).await;
    assert!(misspelt.log.contains("--store: not an address like http://127.0.0.1:8090"), "{}", misspelt.log);
    store.stop().await;
}
