//! Spellings of the push path: which of them are the push path, as shipped and where a platform normalises paths.
//!
//! Envoy normalises before filter and router, so both see one path: a spelling either reaches the filter, which then asks for the
//! same credentials as from every push, or is not a push at all. Never does one reach the store past the filter.

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::raw::Connection;
use privatenumber_sim::huawei::push_body;

use crate::table::{Request, Signed};
use crate::world::{World, cdrs};

/// What becomes of a request with such a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// A push: 401 without credentials, 200 with them.
    Push,
    /// Not a push: the route for everything else, 404.
    Other,
    /// A push or not, by Envoy's version: 1.40 reads `..;` as `..`, 1.36 does not.
    Varies,
    /// Nothing that Envoy passes to filters or routes: 400.
    Refused,
}

use Is::{Other, Push, Refused, Varies};

/// How Envoy treats a path before it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    /// `envoy.yaml`: compared as it came.
    AsShipped,
    /// `normalize_path`, as Istio does it unless told otherwise.
    Normalised,
    /// Doubled slashes merged and escaped ones read as slashes as well.
    NormalisedMostly,
}

const ALL_PATHS: [Paths; 3] = [Paths::AsShipped, Paths::Normalised, Paths::NormalisedMostly];

/// Targets of the request line, and what each is for [`ALL_PATHS`] in their order.
const SPELLINGS: [(&str, [Is; 3]); 82] = [
    ("/huawei/fee", [Push, Push, Push]),
    ("/huawei/fee?", [Push, Push, Push]),
    ("/huawei/fee?a=/v1/calls", [Push, Push, Push]),
    ("/huawei/fee??", [Push, Push, Push]),
    ("/huawei/fee?a=%2f", [Push, Push, Push]),
    ("http://g/huawei/fee", [Push, Push, Push]),
    ("HTTP://g/huawei/fee", [Push, Push, Push]),
    ("http://u:p@g/huawei/fee", [Push, Push, Push]),
    ("/huawei/fee\t", [Push, Push, Push]),
    ("/HUAWEI/fee", [Other, Other, Other]),
    ("/huawei/Fee", [Other, Other, Other]),
    ("/huawei/%46ee", [Other, Other, Other]),
    ("/huawei/fee/", [Other, Other, Other]),
    ("/huawei/fee/.", [Other, Other, Other]),
    ("/huawei/fee/x/..", [Other, Other, Other]),
    ("/huawei/fee\\", [Other, Other, Other]),
    ("/huawei/fee.", [Other, Other, Other]),
    ("/huawei/fee%2e", [Other, Other, Other]),
    ("/huawei/fee/%2e", [Other, Other, Other]),
    ("//huawei/fee", [Other, Other, Push]),
    ("/huawei//fee", [Other, Other, Push]),
    ("/\\huawei/fee", [Other, Other, Push]),
    ("///huawei///fee", [Other, Other, Push]),
    ("//g/huawei/fee", [Other, Other, Other]),
    ("/x/..//huawei/fee", [Other, Other, Push]),
    ("/./huawei/fee", [Other, Push, Push]),
    ("/huawei/./fee", [Other, Push, Push]),
    ("/../huawei/fee", [Other, Push, Push]),
    ("/../../huawei/fee", [Other, Push, Push]),
    ("/x/../huawei/fee", [Other, Push, Push]),
    ("/huawei/x/../fee", [Other, Push, Push]),
    ("/huawei/fee/../fee", [Other, Push, Push]),
    ("http://g/x/../huawei/fee", [Other, Push, Push]),
    ("/%2e/huawei/fee", [Other, Push, Push]),
    ("/%2E%2e/huawei/fee", [Other, Push, Push]),
    ("/.%2e/huawei/fee", [Other, Push, Push]),
    ("/x/%2e%2e/huawei/fee", [Other, Push, Push]),
    ("/%252e%252e/huawei/fee", [Other, Other, Other]),
    ("/huawei\\fee", [Other, Push, Push]),
    ("/huawei/.\\fee", [Other, Push, Push]),
    ("/x\\..\\huawei\\fee", [Other, Push, Push]),
    ("\\huawei\\fee", [Refused, Refused, Refused]),
    ("http://g/huawei\\fee", [Other, Push, Push]),
    ("/;/huawei/fee", [Other, Other, Other]),
    ("/.;/huawei/fee", [Other, Varies, Varies]),
    ("/..;/huawei/fee", [Other, Varies, Varies]),
    ("/x/..;/huawei/fee", [Other, Varies, Varies]),
    ("/x/..;a=b/huawei/fee", [Other, Varies, Varies]),
    ("/huawei/..;/huawei/fee", [Other, Varies, Varies]),
    ("/huawei/fee/..;/fee", [Other, Varies, Varies]),
    ("/huawei/fee;", [Other, Other, Other]),
    ("/huawei/fee;a=b", [Other, Other, Other]),
    ("/huawei;a=b/fee", [Other, Other, Other]),
    ("/huawei/%66ee", [Other, Push, Push]),
    ("/%68uawei/fee", [Other, Push, Push]),
    ("/huawei/f%65e", [Other, Push, Push]),
    ("/huawei/f%2565e", [Other, Other, Other]),
    ("/huawei/%u0066ee", [Other, Other, Other]),
    ("/huawei/%c1%a6ee", [Other, Other, Other]),
    ("/huawei%2ffee", [Refused, Refused, Push]),
    ("/huawei%2Ffee", [Refused, Refused, Push]),
    ("/huawei%5cfee", [Refused, Refused, Push]),
    ("/huawei%5Cfee", [Refused, Refused, Push]),
    ("/huawei/..%2fhuawei/fee", [Refused, Refused, Push]),
    ("/x%2f..%2fhuawei/fee", [Refused, Refused, Push]),
    ("/%2fhuawei/fee", [Refused, Refused, Push]),
    ("/huawei/fee%2f", [Refused, Refused, Other]),
    ("/huawei%252ffee", [Other, Other, Other]),
    ("/huawei/fee%20", [Other, Other, Other]),
    ("/huawei/fee%09", [Other, Other, Other]),
    ("/huawei/fee%00", [Other, Refused, Refused]),
    ("/huawei/fee%3f", [Other, Other, Other]),
    ("/huawei/fee%23", [Other, Other, Other]),
    ("/huawei/fee%3b", [Other, Other, Other]),
    ("/huawei/fee%", [Other, Other, Other]),
    ("/huawei/fee%zz", [Other, Other, Other]),
    ("/huawei/fee#", [Refused, Refused, Refused]),
    ("/huawei/fee#x", [Refused, Refused, Refused]),
    ("?/huawei/fee", [Refused, Refused, Refused]),
    ("huawei/fee", [Refused, Refused, Refused]),
    ("http:///huawei/fee", [Refused, Refused, Refused]),
    ("http:/huawei/fee", [Refused, Refused, Refused]),
];

in_both_modes!(p5_a_spelling_is_a_push_with_the_rights_of_a_push_or_none_at_all);

async fn p5_a_spelling_is_a_push_with_the_rights_of_a_push_or_none_at_all(mode: HeadersMode) -> Result<()> {
    for (column, paths) in ALL_PATHS.into_iter().enumerate() {
        let world = World::with(&format!("spellings-{column}"), mode, &[], |options| {
            options.change(move |configuration| {
                let manager = configuration.connection_manager()?;
                if paths != Paths::AsShipped {
                    manager["normalize_path"] = true.into();
                }
                if paths == Paths::NormalisedMostly {
                    manager["merge_slashes"] = true.into();
                    manager["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD".into();
                }
                Ok(())
            })
        })
        .await?;
        let signed = Signed(world.huawei.headers()?);
        let body = push_body(&cdrs(880, 1))?;
        let (mut wrong, mut pushes) = (Vec::new(), 0);
        for (target, expected) in SPELLINGS {
            let expected = expected[column];
            let push = signed.push().line(&format!("POST {target} HTTP/1.1"));
            let unsigned = answered(&world, push.clone().without("x-aksk"), &body).await?;
            let with_credentials = answered(&world, push, &body).await?;
            let found = (unsigned, with_credentials);
            pushes += usize::from(with_credentials == 200);
            let statuses: &[(u16, u16)] = match expected {
                Push => &[(401, 200)],
                Other => &[(404, 404)],
                Varies => &[(401, 200), (404, 404)],
                Refused => &[(400, 400)],
            };
            if !statuses.contains(&found) {
                wrong.push(format!("{target}: {found:?} instead of {expected:?}"));
            }
        }
        ensure!(wrong.is_empty(), "{paths:?}:\n{}", wrong.join("\n"));
        // All carried one call.
        world.callbacks(1).await?;
        let calls = world.settled_calls(1).await?;
        ensure!(calls[0].duplicates as usize == pushes - 1, "{} duplicates of {pushes} pushes", calls[0].duplicates);
        world.ends_well().await?;
    }
    Ok(())
}

async fn answered(world: &World, request: Request, body: &[u8]) -> Result<u16> {
    let mut connection = Connection::open(world.gateway.address()).await?;
    // Envoy may answer, and close, before it has read everything.
    let _ = connection.send(request.body(body)).await;
    Ok(connection.answer().await?.status)
}
