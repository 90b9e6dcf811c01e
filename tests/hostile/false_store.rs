//! A store that does not keep its contract can lose what it alone knows; it cannot make the gateway call twice, write into a
//! callback's head, or trap.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::demo;
use harness::huawei::Huawei;
use harness::stack::Stack;
use harness::wait;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use privatenumber_contract::{Outcomes, Private, Push, PushBatch, Record, paths};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{PATIENCE, cdrs};

/// What the store says of claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// The truth.
    Honest,
    /// Each call's id goes on into the next line of a head.
    IdsBreakTheirLine,
    /// Every claim is the first one.
    OneCallForAll,
    /// The truth, and 3 MiB more than anybody needs: larger than Envoy's buffer.
    Huge,
    /// Nested beyond any stack.
    Deep,
    /// As many claims as were never asked for.
    TooMany,
}

/// Answers the filter's requests without keeping anything.
struct FalseStore {
    address: String,
    temper: Arc<Mutex<Temper>>,
}

impl FalseStore {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let temper = Arc::new(Mutex::new(Temper::Honest));
        let shared = Arc::clone(&temper);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let temper = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let temper = *temper.lock().unwrap();
                    async move { answer(request, temper).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { address, temper })
    }

    fn behave(&self, temper: Temper) {
        *self.temper.lock().unwrap() = temper;
    }
}

async fn answer(request: Request<Incoming>, temper: Temper) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let response = Response::builder().header("content-type", "application/json");
    if path == paths::PUSH_BATCHES {
        let batch: PushBatch<'_> = serde_json::from_slice(&body)?;
        let pushes: Vec<_> = batch
            .pushes
            .iter()
            .map(|push| {
                let id = push.push_id;
                // What is said of its calls, as a member of what is said of the push.
                format!(r#"{{"pushId":"{id}","verdict":"committed",{}"#, &claims(push, temper)[1..])
            })
            .collect();
        return Ok(response.body(Full::from(format!(r#"{{"pushes":[{}]}}"#, pushes.join(","))))?);
    }
    if path == paths::WORK_TAKE {
        return Ok(response.status(404).body(Full::default())?);
    }
    if path != paths::PUSHES {
        let recorded = serde_json::from_slice::<Outcomes>(&body)?.outcomes.len();
        let answer = json!({"recorded": recorded, "repeated": 0, "refused": 0});
        return Ok(response.body(Full::from(answer.to_string()))?);
    }
    let push: Push<'_> = serde_json::from_slice(&body)?;
    let response = response.header(paths::COMMITTED_HEADER, push.push_id.to_string());
    Ok(response.body(Full::from(claims(&push, temper)))?)
}

fn claims(push: &Push<'_>, temper: Temper) -> String {
    let claim = |id: String| {
        let record = Record {
            ak: Some(demo::AK.to_owned()),
            session_id: Some(Private::new("s".to_owned())),
            ..Record::default()
        };
        json!({"verdict": "claimed", "callId": id, "ak": demo::AK, "record": record})
    };
    let ids: Vec<_> = push.calls.iter().map(|call| call.key().id()).collect();
    let honest: Vec<Value> = ids.iter().cloned().map(claim).collect();
    match temper {
        Temper::Honest => json!({"calls": honest}).to_string(),
        Temper::IdsBreakTheirLine => {
            let calls: Vec<_> = ids.iter().map(|id| claim(format!("{id}\r\nx-smuggled: yes"))).collect();
            json!({"calls": calls}).to_string()
        }
        Temper::OneCallForAll => {
            let calls: Vec<_> = ids.iter().map(|_| honest[0].clone()).collect();
            json!({"calls": calls}).to_string()
        }
        Temper::Huge => json!({"calls": honest, "more": "x".repeat(3 * 1024 * 1024)}).to_string(),
        Temper::Deep => format!(r#"{{"calls":{}"#, "[".repeat(200_000)),
        Temper::TooMany => json!({"calls": vec![honest[0].clone(); 100]}).to_string(),
    }
}

#[tokio::test]
async fn p1_a_false_store_brings_no_second_callback_and_no_header_of_its_own_hold() -> Result<()> {
    a_false_store_brings_no_second_callback_and_no_header_of_its_own(HeadersMode::Hold).await
}

#[tokio::test]
async fn p1_a_false_store_brings_no_second_callback_and_no_header_of_its_own_pass() -> Result<()> {
    a_false_store_brings_no_second_callback_and_no_header_of_its_own(HeadersMode::Pass).await
}

async fn a_false_store_brings_no_second_callback_and_no_header_of_its_own(mode: HeadersMode) -> Result<()> {
    let stack = Stack::fresh(&format!("hostile-store-{mode:?}").to_lowercase())?;
    let store = FalseStore::start().await?;
    let business = stack.business("business").start().await?;
    let gateway = stack.gateway(&store.address, business.address()).headers(mode).start().await?;
    let tempers =
        [Temper::IdsBreakTheirLine, Temper::OneCallForAll, Temper::Huge, Temper::Deep, Temper::TooMany, Temper::Honest];
    for (round, temper) in tempers.into_iter().enumerate() {
        store.behave(temper);
        // In `pass` the store says by a header that it has committed, and what else it says cannot be believed: Huawei's part is
        // done, the worker's is not. In `hold` the push waits until what is said of it can be believed.
        let cdrs = cdrs(900 + round as u64, 3);
        let (huawei, url) = (Huawei::demo()?, gateway.url());
        let push = tokio::spawn(async move { huawei.push_cdrs(&url, &cdrs).await });
        let before = 3 * round as u64;
        if !matches!(temper, Temper::Honest | Temper::Huge) {
            wait::until("the root to ask again", PATIENCE, async || {
                let missed = gateway.statistics().await?.filter("privatenumber_claims_outstanding");
                ensure!(missed == 1, "{missed} pushes are asked for again");
                Ok(())
            })
            .await?;
            ensure!(business.counts().await?.total == before, "{temper:?}: a callback for a claim that is none");
        }
        store.behave(Temper::Honest);
        // Only an answer that is larger than Envoy's buffer may be cut off on its way to the pusher.
        let answer = push.await?;
        ensure!(temper == Temper::Huge || answer?.status == 200, "{temper:?}");
        wait::until("the callbacks of this push", PATIENCE, async || {
            let counts = business.counts().await?;
            ensure!(counts.total == before + 3, "{temper:?}: {} callbacks", counts.total);
            Ok(())
        })
        .await?;
    }
    let counts = business.counts().await?;
    ensure!(counts.max_per_call == 1 && counts.calls == 18, "{counts:?}");
    let callbacks = business.callbacks().await?;
    ensure!(callbacks.iter().all(|callback| callback.header("x-smuggled").is_none()), "a store wrote a header");
    wait::until("nothing to be pending", PATIENCE, async || {
        let statistics = gateway.statistics().await?;
        ensure!(statistics.filter("privatenumber_pending_calls") == 0);
        ensure!(statistics.filter("privatenumber_pending_bytes") == 0);
        ensure!(statistics.sum_of(|name| name.contains("vm_reload")) == 0, "a VM trapped");
        Ok(())
    })
    .await
}
