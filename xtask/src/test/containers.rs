//! The stories against the containers of `docker-compose.yml`.

use end_to_end::containers::Engine;

use super::report::Report;
use super::tests;
use crate::command::succeed;

const NAME: &str = "stories in containers";

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
        // Each story has some six containers of its own.
        tests(NAME, &["-p", "end-to-end", "--test", "compose"], filter, None, &["--test-threads", "2"])
    });
}
