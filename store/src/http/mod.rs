//! The store's contract over HTTP: reads requests, has them committed or answered, answers.

mod batches;
mod bindings;
pub mod body;
mod businesses;
mod calls;
mod imports;
mod operations;
pub mod problem;
mod pushes;
mod query;
mod registration;
mod releases;
pub mod slow;
pub mod token;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use serde::Serialize;
use tokio::sync::Semaphore;

pub use operations::OPENAPI;

use crate::clock::Clock;
use crate::database::Database;
use crate::metrics::Metrics;
use crate::writer::Writer;
use body::BodyLimits;
use problem::{Kind, Refusal};
use token::Token;

/// What the handlers share.
pub struct App {
    /// Answers queries.
    pub database: Database,
    /// Commits.
    pub writer: Writer,
    /// Tells the time by which calls read as unknown.
    pub clock: Clock,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// What the body of a request may cost.
    pub body_limits: BodyLimits,
    /// How long the readiness check waits for its commit.
    pub ready_timeout: Duration,
    /// What requests to `/v1/` must carry, if anything.
    pub token: Option<Token>,
    /// Room for requests at the same time. HTTP/2 has many of them on one connection.
    pub room: Semaphore,
    /// Set once the store is stopping.
    pub stopping: AtomicBool,
}

impl App {
    /// Whether the store is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// All that is served.
fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 20] {
    [
        ("/v1/pushes", post(pushes::push)),
        ("/v1/push-batches", post(batches::push_batch)),
        ("/v1/work:take", post(work::take)),
        ("/v1/outcomes", post(pushes::outcomes)),
        ("/v1/bindings/{subscriptionId}", put(bindings::put).get(bindings::get)),
        (BUSINESS, get(businesses::get).post(businesses::pause_or_resume)),
        (BUSINESS_PAUSE, MethodRouter::new()),
        (BUSINESS_RESUME, MethodRouter::new()),
        ("/v1/calls", get(calls::list)),
        ("/v1/calls/{callId}", get(calls::one)),
        ("/v1/calls:release", post(releases::calls)),
        ("/v1/cdrs:import", post(imports::cdrs)),
        ("/v1/parked", get(calls::parked)),
        (PARKED_RELEASE, post(releases::parked)),
        ("/v1/events", get(calls::events)),
        ("/v1/replays", get(calls::replays)),
        ("/healthz", get(operations::health)),
        ("/readyz", get(operations::ready)),
        ("/metrics", get(operations::metrics)),
        ("/openapi.json", get(operations::openapi)),
    ]
}

/// Paths in which something follows what varies. The router knows only whole parts.
const PARKED_RELEASE: &str = "/v1/parked/{number}:release";
/// The path as the router knows it.
const PARKED_RELEASE_ROUTE: &str = "/v1/parked/{release}";

/// One business; the router takes the two below it for this one.
const BUSINESS: &str = "/v1/businesses/{ak}";
const BUSINESS_PAUSE: &str = "/v1/businesses/{ak}:pause";
const BUSINESS_RESUME: &str = "/v1/businesses/{ak}:resume";

/// What needs no room: it is answered from memory, or soon.
const AT_ONCE: [&str; 3] = ["/healthz", "/metrics", "/openapi.json"];

/// The paths that are served, with `{}` around what varies.
pub fn served_paths() -> [&'static str; 20] {
    static PATHS: LazyLock<[&str; 20]> = LazyLock::new(|| routes().map(|(path, _)| path));
    *PATHS
}

/// The store's HTTP side.
pub fn router(app: Arc<App>) -> Router {
    routes()
        .into_iter()
        .filter(|(path, _)| ![BUSINESS_PAUSE, BUSINESS_RESUME].contains(path))
        .fold(Router::new(), |router, (path, methods)| {
            router.route(if path == PARKED_RELEASE { PARKED_RELEASE_ROUTE } else { path }, methods)
        })
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

async fn unknown_path() -> Refusal {
    Refusal::new(Kind::NotFound, "no such path; /openapi.json describes those there are")
}

async fn unknown_method() -> Refusal {
    Refusal::new(Kind::MethodNotAllowed, "the `allow` header names the methods of this path")
}

/// The path that is served, as it is described.
fn route(request: &Request) -> Option<&'static str> {
    let matched = request.extensions().get::<MatchedPath>()?.as_str();
    if matched == PARKED_RELEASE_ROUTE {
        return request.uri().path().ends_with(releases::RELEASE).then_some(PARKED_RELEASE);
    }
    if matched == BUSINESS && request.method() == Method::POST {
        let path = request.uri().path();
        let ends = [(businesses::PAUSE, BUSINESS_PAUSE), (businesses::RESUME, BUSINESS_RESUME)];
        return ends.into_iter().find(|(end, _)| path.ends_with(end)).map(|(_, path)| path);
    }
    served_paths().into_iter().find(|path| *path == matched)
}

/// Whether the router takes the path for a release, see [`PARKED_RELEASE`].
fn is_below_parked(request: &Request) -> bool {
    request.extensions().get::<MatchedPath>().is_some_and(|matched| matched.as_str() == PARKED_RELEASE_ROUTE)
}

/// Checks the token and whether there is room, and counts the answer.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let refused = match &app.token {
        Some(token) if request.uri().path().starts_with("/v1/") => token.check(request.headers()).err(),
        _ => None,
    };
    let response = match (refused, app.room.try_acquire()) {
        (Some(refusal), _) => refusal.into_response(),
        (None, _) if route.is_none() && is_below_parked(&request) => unknown_path().await.into_response(),
        (None, Ok(_room)) => next.run(request).await,
        // A store that is merely busy is not to be taken for dead, nor to be invisible.
        (None, Err(_)) if route.is_some_and(|path| AT_ONCE.contains(&path)) => next.run(request).await,
        (None, Err(_)) => {
            let detail = "too many requests at the same time; try again later, or raise --requests if this lasts";
            Refusal::new(Kind::Overloaded, detail).into_response()
        }
    };
    app.metrics.request_answered(route.unwrap_or("other"), response.status());
    response
}

/// A JSON answer.
fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Refusal> {
    // An answer that cannot be written says nothing of what was committed.
    let body = serde_json::to_string(value).map_err(|_| Refusal::Unknown)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::paths;

    #[test]
    fn all_paths_of_the_contract_are_served() {
        let contract = [
            paths::PUSHES,
            paths::PUSH_BATCHES,
            paths::OUTCOMES,
            paths::WORK_TAKE,
            paths::CALLS,
            paths::CALLS_RELEASE,
            paths::CDRS_IMPORT,
            paths::PARKED,
            paths::EVENTS,
            paths::REPLAYS,
            paths::HEALTH,
            paths::READY,
            paths::METRICS,
        ];
        for path in contract {
            assert!(super::served_paths().contains(&path), "{path}");
        }
        for collection in [paths::BINDINGS, paths::CALLS, paths::BUSINESSES] {
            let below = format!("{collection}/{{");
            assert!(super::served_paths().iter().any(|path| path.starts_with(&below)), "{collection}");
        }
    }
}
