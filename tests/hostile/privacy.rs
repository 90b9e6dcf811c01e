//! Promise P7 after everything: no number, secret or address in a log, a metric, an admin page or an answer.

use anyhow::{Context, Result, ensure};
use harness::configuration::{Configuration, FILTER, HeadersMode};
use harness::demo;
use harness::http;
use serde_json::{Value, json};

use crate::table::Signed;
use crate::world::World;

pub const TOKEN: &str = "fictitious-store-token-0001";
pub const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// What every number, `sessionId`, address and secret of these stories contains.
const PRIVATE: [&str; 8] = [
    "1701000",
    "callenabler001",
    "recordings.example.com",
    "order-private",
    "fictitious-",
    "whsec_",
    "C2FVsBQIhrscChlQIMV",
    "DROP TABLE",
];

/// All that Envoy's admin interface shows.
const ADMIN_PAGES: [&str; 15] = [
    "/",
    "/certs",
    "/clusters",
    "/clusters?format=json",
    "/config_dump?include_eds",
    "/contention",
    "/help",
    "/init_dump",
    "/listeners?format=json",
    "/memory",
    "/runtime",
    "/server_info",
    "/stats",
    "/stats/prometheus",
    "/stats/recentlookups",
];

/// Shows the plugin these variables of Envoy's environment.
pub fn show_environment(configuration: &mut Configuration, names: &[&str]) -> Result<()> {
    let filters = configuration.connection_manager()?.get_mut("http_filters").and_then(Value::as_array_mut);
    let filter = filters.and_then(|filters| filters.iter_mut().find(|filter| filter["name"] == FILTER));
    let filter = filter.context("there is no such filter")?;
    filter["typed_config"]["config"]["vm_config"]["environment_variables"] = json!({ "host_env_keys": names });
    Ok(())
}

/// Looks everywhere.
pub async fn nothing_private_is_anywhere(world: &World, signed: &Signed, answers: &[String]) -> Result<()> {
    let mut places = vec![
        ("Envoy's log".to_owned(), world.gateway.logs().join("\n")),
        ("an answer".to_owned(), answers.join("\n")),
        ("the store's metrics".to_owned(), world.store.metrics().await?),
    ];
    for log in ["store.log", "business.log"] {
        places.push((log.to_owned(), std::fs::read_to_string(world.directory.join(log)).unwrap_or_default()));
    }
    for page in ADMIN_PAGES {
        let text = http::get(&format!("{}{page}", world.gateway.admin())).await?.expect(200)?.text();
        places.push((format!("Envoy's {page}"), text));
    }
    let digest = signed.value("x-aksk").split_once("PasswordDigest=\"").map_or("", |(_, rest)| rest);
    let digest = digest.split('"').next().filter(|digest| digest.len() == 44).context("the push has no digest")?;
    for (place, text) in &places {
        for private in PRIVATE.into_iter().chain([digest]) {
            let line = text.lines().find(|line| line.contains(private));
            ensure!(line.is_none(), "{private} is in {place}: {:.300}", line.unwrap_or_default());
        }
    }
    // The look itself sees: the same names that are found where they may stand.
    let dump = places.iter().find(|(place, _)| place.contains("config_dump")).map_or("", |(_, text)| text);
    ensure!(dump.contains("SIGNING_SECRET") && dump.contains("business.example.com"), "the dump is not one");
    Ok(())
}

/// What `docs/security.md` warns of: a secret given by `value` can be read by whoever reaches the admin interface.
#[tokio::test]
async fn a_secret_given_by_value_is_in_the_configuration_dump() -> Result<()> {
    let world = World::with("hostile-value", HeadersMode::Hold, &[], |options| {
        options.change(|configuration| {
            configuration.plugin()?["applications"][0]["secrets"] = json!([{"value": demo::SECRET}]);
            Ok(())
        })
    })
    .await?;
    let dump = http::get(&format!("{}/config_dump", world.gateway.admin())).await?.expect(200)?.text();
    ensure!(dump.contains(demo::SECRET), "security.md warns of what is no longer so");
    ensure!(!world.gateway.logs().join("\n").contains(demo::SECRET));
    Ok(())
}
