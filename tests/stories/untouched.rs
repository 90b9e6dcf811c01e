//! Promise P5: requests outside the push path are byte-for-byte what they would be without the filter.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use harness::configuration::{FILTER, HeadersMode};
use harness::http;
use harness::raw::{Connection, Head, chunk, last_chunk};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::World;

in_both_modes!(p5_other_paths_are_untouched_byte_for_byte, p5_a_route_may_leave_the_filter_out);

/// Takes whatever comes, keeps its bytes, and answers with odd ones.
struct Witness {
    address: String,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

const ANSWER: &[u8] = b"HTTP/1.1 218 This is fine\r\ncontent-type: application/json\r\nx-odd: \xc3\xa9\r\n\
    privatenumber-committed: 00000000000000000000000000000000\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"odd\": true}";

impl Witness {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
                    // Every request ends with this marker, so that no HTTP has to be understood here.
                    while !bytes.windows(3).any(|window| window == b"END") {
                        match stream.read(&mut buffer).await {
                            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
                            _ => break,
                        }
                    }
                    kept.lock().unwrap().push(bytes);
                    let _ = stream.write_all(ANSWER).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Ok(Self { address, seen })
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.seen.lock().unwrap().pop()
    }
}

/// Leaves out what differs from one request to the next by design.
fn comparable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let changing = ["x-request-id:", "date:", "x-envoy-upstream-service-time:"];
    let lines = text.split("\r\n").filter(|line| !changing.iter().any(|name| line.starts_with(name)));
    lines.collect::<Vec<_>>().join("\r\n")
}

async fn p5_other_paths_are_untouched_byte_for_byte(mode: HeadersMode) -> Result<()> {
    let witness = Witness::start().await?;
    let address = witness.address.clone();
    let world = World::with("untouched", mode, &[], |options| {
        options.change(move |configuration| {
            configuration.add_cluster("witness", &address)?;
            configuration.pass_everything_else_to("witness")?;
            configuration.keep_trailers()?;
            // The control: the same listener without the filter.
            let listeners = configuration.value()["static_resources"]["listeners"].clone();
            let mut control = listeners[0].clone();
            control["name"] = json!("control");
            let filters = &mut control["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
            filters.as_array_mut().context("no filters")?.retain(|filter: &Value| filter["name"] != FILTER);
            configuration.add_listener(control)
        })
    })
    .await?;
    let control = world.gateway.listener("control").await?;

    let signed = world.huawei.headers()?;
    let base = |line: &str| Head::line(line).header("host", "gateway.example.com");
    let length = "content-length";
    let requests: Vec<Vec<u8>> = vec![
        [base("GET /?END HTTP/1.1").end()].concat(),
        [base("GET /huawei/feeEND HTTP/1.1").header("accept-encoding", "gzip, br").end()].concat(),
        [base("POST /huawei/fee/ HTTP/1.1").headers(signed.clone()).header(length, "10").end(), b"{\"a\":1}END".into()]
            .concat(),
        [base("POST /v1/pushes HTTP/1.1").header(length, "3").end(), b"END".into()].concat(),
        [
            base("PUT /v1/bindings/x HTTP/1.1").header("authorization", "Bearer x").header(length, "3").end(),
            b"END".into(),
        ]
        .concat(),
        [
            base("POST /other HTTP/1.1").header("x-aksk", b"\xff\xfe").header("x-aksk", "b").header(length, "6").end(),
            b"\x00\xff\xfeEND".into(),
        ]
        .concat(),
        [
            base("POST /chunked HTTP/1.1").header("transfer-encoding", "chunked").header("te", "trailers").end(),
            // One chunk: how Envoy forwards several depends on when it reads them.
            chunk(b"one END"),
            last_chunk(&[("x-trailer", "no")]),
        ]
        .concat(),
        [base("DELETE /gone HTTP/1.1").header(length, "3").end(), b"END".into()].concat(),
        [base("POST /large HTTP/1.1").header(length, "3000003").end(), vec![b'x'; 3_000_000], b"END".into()].concat(),
    ];
    let mut passed = 0;
    for request in &requests {
        let mut found = Vec::new();
        for address in [world.gateway.address(), control.as_str()] {
            let mut connection = Connection::open(address).await?;
            connection.send(request).await?;
            let answer = connection.answer().await?;
            let answer = format!("{} {:?} {:?}", answer.status, answer.headers, String::from_utf8_lossy(&answer.body));
            // Envoy itself may refuse an odd request; then it must do so with the filter as without it.
            found.push((witness.take().map_or("nothing".to_owned(), |bytes| comparable(&bytes)), answer));
        }
        passed += usize::from(found[0].0 != "nothing");
        let line = String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned();
        ensure!(found[0].0 == found[1].0, "{line}:\n{:#?}\nwithout the filter:\n{:#?}", found[0], found[1]);
        let (with, without) = (date_free(&found[0].1), date_free(&found[1].1));
        ensure!(with == without, "{line}: answered\n{with}\nwithout the filter\n{without}");
    }
    ensure!(passed + 1 >= requests.len(), "only {passed} of {} requests were passed on", requests.len());
    ensure!(world.store.calls("").await?.is_empty());
    world.no_vm_trapped().await
}

/// An answer's text without its date and its time at the upstream.
fn date_free(answer: &str) -> String {
    let mut text = answer.to_owned();
    for name in ["\"date\", ", "\"x-envoy-upstream-service-time\", "] {
        if let Some(start) = text.find(name) {
            let end = text[start + name.len()..].find(')').map_or(text.len(), |end| start + name.len() + end);
            text.replace_range(start..end, "");
        }
    }
    text
}

/// As docs/operations.md says it: what costs other routes nothing at all.
async fn p5_a_route_may_leave_the_filter_out(mode: HeadersMode) -> Result<()> {
    let witness = Witness::start().await?;
    let address = witness.address.clone();
    let world = World::with("left-out", mode, &[], |options| {
        options.change(move |configuration| {
            configuration.add_cluster("witness", &address)?;
            let routes = configuration.connection_manager()?.pointer_mut("/route_config/virtual_hosts/0/routes");
            let routes = routes.and_then(Value::as_array_mut).context("no routes")?;
            // The push path itself: were the filter there, it would refuse what is not signed.
            let route = json!({
                "match": { "path": "/huawei/fee" },
                "route": { "cluster": "witness" },
                "typed_per_filter_config": {
                    FILTER: { "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true },
                },
            });
            routes.insert(0, route);
            Ok(())
        })
    })
    .await?;
    let answer = http::send(Method::POST, &world.gateway.url(), &[], "not signed END").await?;
    ensure!(answer.status == 218, "{} {}", answer.status, answer.text());
    ensure!(witness.take().is_some_and(|seen| seen.ends_with(b"not signed END")));
    world.ends_well().await
}
