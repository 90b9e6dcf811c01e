//! The stories against the containers of `docker-compose.yml`.

use harness::containers::Engine;

use super::report::Report;
use super::tests;
use crate::command::succeed;

const NAME: &str = "stories in containers";

/// A story that wants a business to be reachable as soon as it listens again. On a bridge network its address stays
/// unreachable for some seconds after its container was away, and the call is `not_sent`, as it should be.
const ONLY_PROCESSES: &str = "p3_a_business_that_is_away_ends_as_not_sent";

/// Builds the images and tells the stories, where that is `asked` for.
pub fn stories(report: &mut Report, asked: bool, filter: Option<&str>) {
    let engine = match (asked, Engine::find()) {
        (true, Ok(engine)) => engine,
        (true, Err(error)) => return report.fail(NAME, &format!("not run: {error:#}")),
        (false, Ok(_)) => return report.skip(NAME, "not asked for; --compose runs them"),
        (false, Err(_)) => return report.skip(NAME, "no container engine runs here; with one, --compose runs them"),
    };
    if let Some(build) = engine.build()
        && !report.check("build images (some minutes the first time)", || succeed("build images", build))
    {
        return report.fail(NAME, "not run, because there are no images");
    }
    report.tests(NAME, || {
        // Each story has some five containers of its own.
        let more = ["--test-threads", "2", "--skip", ONLY_PROCESSES];
        tests(NAME, &["-p", "end-to-end", "--test", "compose"], filter, None, &more)
    });
}
