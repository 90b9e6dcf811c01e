//! A store that wants a token: with the right one all goes well; with the wrong one Huawei is told to push again, and once it
//! is put right nothing is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::directory::Directory;
use harness::huawei::Huawei;
use harness::process::{Process, Start};
use harness::stack::Stack;
use harness::{http, products, wait};
use serde_json::json;

use crate::privacy::{TOKEN, show_environment};
use crate::world::{PATIENCE, cdrs};

/// A store that is started with a token.
struct Guarded {
    process: Process,
    address: String,
}

impl Guarded {
    async fn start(directory: &Directory, listen: &str, token: &str) -> Result<Self> {
        let mut process = Start::new("privatenumber-store", products::store()?, directory.join("store.log"))
            .arguments(["--listen", listen, "--token-env", "TOKEN", "--data"])
            .argument(directory.join("store.sqlite3"))
            .environment("TOKEN", token)
            .run()?;
        let address = process.line("privatenumber-store listening on http://", PATIENCE).await?.trim().to_owned();
        Ok(Self { process, address })
    }
}

#[tokio::test]
async fn p8_a_wrong_token_is_503_to_huawei_until_it_is_put_right_hold() -> Result<()> {
    a_wrong_token_is_503_to_huawei_until_it_is_put_right(HeadersMode::Hold).await
}

#[tokio::test]
async fn p8_a_wrong_token_is_503_to_huawei_until_it_is_put_right_pass() -> Result<()> {
    a_wrong_token_is_503_to_huawei_until_it_is_put_right(HeadersMode::Pass).await
}

async fn a_wrong_token_is_503_to_huawei_until_it_is_put_right(mode: HeadersMode) -> Result<()> {
    let stack = Stack::fresh(&format!("hostile-token-{mode:?}").to_lowercase())?;
    let directory = stack.directory();
    let store = Guarded::start(directory, "127.0.0.1:0", "fictitious-other-token").await?;
    let business = stack.business("business").start().await?;
    let options =
        stack.gateway(&store.address, business.address()).headers(mode).environment("STORE_TOKEN", TOKEN).change(
            |configuration| {
                configuration.plugin()?["store"]["token"] = json!({"env": "STORE_TOKEN"});
                show_environment(configuration, &["HUAWEI_APP_SECRET", "STORE_TOKEN"])
            },
        );
    let gateway = options.start().await?;
    let huawei = Huawei::demo()?;
    let (first, second) = (cdrs(800, 2), cdrs(801, 1));

    let refused = huawei.push_cdrs(&gateway.url(), &first).await?.expect(503)?;
    ensure!(refused.headers.contains_key("retry-after"));
    // What a pusher says of itself is not what the filter says to the store.
    let mut headers = huawei.headers()?;
    for (name, value) in &mut headers {
        if name.eq_ignore_ascii_case("authorization") {
            "Bearer fictitious-other-token".clone_into(value);
        }
    }
    let body = privatenumber_sim::huawei::push_body(&second)?;
    http::send(hyper::Method::POST, &gateway.url(), &headers, body).await?.expect(503)?;
    ensure!(business.counts().await?.total == 0, "a callback without a commit");

    // The operator gives the store the right token. The root is asking still: nobody has to push again.
    let address = store.address.clone();
    drop(store);
    let mut store = Guarded::start(directory, &address, TOKEN).await?;
    wait::until("the callbacks of what was pushed before", PATIENCE, async || {
        let counts = business.counts().await?;
        ensure!(counts.total == 3 && counts.max_per_call == 1, "{counts:?}");
        Ok(())
    })
    .await?;
    huawei.push_cdrs(&gateway.url(), &first).await?.expect(200)?;
    wait::until("nothing to be pending", PATIENCE, async || {
        let pending = gateway.statistics().await?.filter("privatenumber_pending_calls");
        ensure!(pending == 0, "{pending} calls are pending");
        Ok(())
    })
    .await?;
    ensure!(business.counts().await?.total == 3, "P1: a call was called back again");
    http::get(&format!("http://{address}/v1/calls")).await?.expect(401)?;
    for log in [gateway.logs().join("\n"), store.process.lines().join("\n")] {
        ensure!(!log.contains("fictitious-"), "P7: a token is in a log");
    }
    ensure!(store.process.terminate(Duration::from_secs(20)).await?.success());
    Ok(())
}
