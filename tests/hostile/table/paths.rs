//! Other spellings of the push path, and the store's own paths: nothing of them may reach the store unchecked.

use super::{Row, Signed, cdr, fee};

pub fn rows(signed: &Signed) -> Vec<Row> {
    let body = fee(&[&cdr("paths", &[])]);
    let mut rows = Vec::new();
    for (target, status) in [
        ("/", 404),
        ("/huawei", 404),
        ("/huawei/", 404),
        ("/huawei/fee/", 404),
        ("/huawei/fee/x", 404),
        ("/huawei/feex", 404),
        ("/huawei/FEE", 404),
        ("/Huawei/fee", 404),
        ("//huawei/fee", 404),
        ("/huawei//fee", 404),
        ("/huawei/fee;a=b", 404),
        ("/huawei/fee%20", 404),
        ("/huawei/fee%00", 404),
        ("/huawei/fee%3f", 404),
        ("/huawei/fee%23", 404),
        ("/huawei%2ffee", 400),
        ("/huawei%5cfee", 400),
        ("/huawei/..%2ffee", 400),
        ("/x/%2e%2e%2fhuawei/fee", 400),
        ("/huawei/fee#fragment", 400),
        ("huawei/fee", 400),
        ("*", 400),
        ("/v1/pushes", 404),
        ("/v1/outcomes", 404),
        ("/v1/calls", 404),
        ("/v1/bindings/11111111-2222-4333-8444-555555555501", 404),
        ("/huawei/fee/../../v1/pushes", 404),
        ("/huawei/fee/%2e%2e/%2e%2e/v1/pushes", 404),
        ("/metrics", 404),
        ("/healthz", 404),
    ] {
        let line = format!("POST {target} HTTP/1.1");
        rows.push(Row::envoys_own(&format!("the path {target}"), signed.push().line(&line).body(&body), status));
    }
    // These are the push path, and so need credentials; `spellings.rs` has all spellings.
    for target in ["/huawei/fee?", "/huawei/fee?a=/v1/calls", "http://gateway.example.com/huawei/fee"] {
        let request = signed.push().without("x-aksk").line(&format!("POST {target} HTTP/1.1")).body(&body);
        rows.push(Row::refused(format!("the path {target}"), request, 401, None, "no X-AKSK or X-WSSE header"));
    }
    for (name, value) in [
        ("x-envoy-original-path", "/huawei/fee"),
        ("x-original-url", "/huawei/fee"),
        ("x-rewrite-url", "/huawei/fee"),
        ("privatenumber-authenticated", "true"),
        ("x-http-method-override", "POST"),
    ] {
        let request = signed.push().line("POST /v1/pushes HTTP/1.1").also(name, value).body(&body);
        rows.push(Row::envoys_own(&format!("the store's path with {name}"), request, 404));
    }
    rows
}
