//! `privatenumber-sim business`

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use privatenumber_contract::Private;
use privatenumber_sim::business::{Business, Callback, CallbackObserver, Counts, Mode, Settings, Temper};
use privatenumber_sim::signature::SigningSecret;

use super::signals::ended;
use super::{Verdict, environment, output, private, share};

const EXAMPLES: &str = "\
Inspection and control while it runs, as JSON:
  GET    /__control/callbacks[?since=NUMBER]   the callbacks still kept, oldest first
  GET    /__control/counts[?by_webhook_id=false]
  DELETE /__control/callbacks                  forget callbacks and counts
  GET    /__control/temper
  PUT    /__control/temper                     {\"mode\": \"error\", \"status\": 503, \"delay_ms\": 50}
  PUT    /__control/temper/business-a          only for callbacks to /business-a/…; DELETE takes it back
  A temper's members: mode, status, delay_ms, fail_share, hang_ms, slow_body_ms. Those left out take their
  defaults.

Examples:
  A business that checks signatures and shows every callback:
    export BUSINESS_SIGNING_SECRET=whsec_…
    privatenumber-sim business --signing-secret-env BUSINESS_SIGNING_SECRET --print
  One that answers 503 to every tenth callback:
    privatenumber-sim business --mode error --status 503 --fail-share 0.1
  One that turns bad while it runs:
    curl -X PUT http://127.0.0.1:8091/__control/temper -d '{\"mode\": \"reset\"}'

Exit codes, once ended by SIGTERM or SIGINT:
  0  no call was called back twice and every signature checked holds
  1  some call was called back more than once, or a signature does not hold
  2  wrong usage, or the address cannot be listened on";

/// Play a business: take callbacks, check and count them
///
/// They come by POST on any path, and are answered well or badly, as told.
///
/// Prints one line on stdout once it listens, and on SIGTERM or SIGINT a summary. The control addresses show callbacks in
/// full to anybody who can reach them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
    /// How many callbacks to keep in full for /__control/callbacks; all are counted
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keep: usize,
    /// Print a line for each callback on stdout, without anything private
    #[arg(long)]
    print: bool,
    /// With --print: also print the body, phone numbers and all
    #[arg(long, requires = "print")]
    show_private: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Signatures (Standard Webhooks)")]
    signatures: Signatures,
    #[command(flatten, next_help_heading = "Temper")]
    temper: TemperOptions,
}

#[derive(Debug, Args)]
struct Signatures {
    /// Secret `whsec_…` that callbacks are signed with; several while they are rotated. Without one signatures are not
    /// checked. Other users of this machine can see it, so use --signing-secret-env for a real one
    #[arg(long, value_name = "SECRET", value_parser = private)]
    signing_secret: Vec<Private<String>>,
    /// Environment variable that holds such a secret; may be given several times
    #[arg(long, value_name = "NAME")]
    signing_secret_env: Vec<String>,
    /// How far `webhook-timestamp` may be from now, seconds; 0 is any distance
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timestamp_tolerance: u64,
}

#[derive(Debug, Args)]
struct TemperOptions {
    /// What becomes of a callback that was read in full
    #[arg(long, value_enum, default_value_t = Mode::Ok)]
    mode: Mode,
    /// Status of the answer, 200 to 599 [default: 200, or 500 in mode error]
    #[arg(long, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// Wait this long before doing anything
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    delay_ms: u64,
    /// Share of the callbacks that meet --mode (mode error where it is ok); the others are answered well [default: all]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail_share: Option<f64>,
    /// How long mode hang keeps the connection open
    #[arg(long, value_name = "MILLISECONDS", default_value_t = Temper::default().hang_ms)]
    hang_ms: u64,
    /// Pause between two bytes in mode slow-body
    #[arg(long, value_name = "MILLISECONDS", default_value_t = Temper::default().slow_body_ms)]
    slow_body_ms: u64,
}

impl Options {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut signing_secrets: Vec<SigningSecret> = Vec::new();
        for secret in &self.signatures.signing_secret {
            signing_secrets.push(secret.expose().parse().context("--signing-secret")?);
        }
        for name in &self.signatures.signing_secret_env {
            let secret = environment("signing-secret-env", name)?;
            signing_secrets.push(secret.parse().with_context(|| format!("--signing-secret-env {name}"))?);
        }
        let tolerance = self.signatures.timestamp_tolerance;
        let TemperOptions { mode, status, delay_ms, fail_share, hang_ms, slow_body_ms } = self.temper;
        let show_private = self.show_private;
        Ok(Settings {
            temper: Temper { mode, status, delay_ms, fail_share, hang_ms, slow_body_ms },
            signing_secrets,
            timestamp_tolerance: (tolerance > 0).then(|| Duration::from_secs(tolerance)),
            keep: self.keep,
            observer: self
                .print
                .then(|| -> CallbackObserver { Box::new(move |callback| output::say(&line(callback, show_private))) }),
        })
    }
}

/// A callback in one line. Times are epoch milliseconds, as in the record.
fn line(callback: &Callback, show_private: bool) -> String {
    let record = callback.record.as_ref().ok();
    let time = |value: Option<i64>| value.map_or("-".to_owned(), |millis| millis.to_string());
    let signature = match callback.signature {
        None => "not checked".to_owned(),
        Some(Ok(())) => "valid".to_owned(),
        Some(Err(error)) => format!("invalid ({error})"),
    };
    let validity = match &callback.record {
        Ok(_) => "valid".to_owned(),
        Err(problem) => format!("invalid ({problem})"),
    };
    let outcome = match callback.mode {
        Mode::Ok | Mode::Error => callback.status.to_string(),
        mode => mode.to_string(),
    };
    let mut line = format!(
        "callback {} at {}: webhook-id {} ak {} callinTime {} answerTime {} disconnectTime {} signature {signature} record {validity} -> {outcome}",
        callback.number,
        callback.received_at,
        callback.webhook_id().unwrap_or("-"),
        record.and_then(|record| record.ak.as_deref()).unwrap_or("-"),
        time(record.and_then(|record| record.callin_time)),
        time(record.and_then(|record| record.answer_time)),
        time(record.and_then(|record| record.disconnect_time)),
    );
    if show_private {
        line.push(' ');
        line.push_str(&String::from_utf8_lossy(&callback.body));
    }
    line
}

pub async fn run(options: Options) -> anyhow::Result<Verdict> {
    let settings = options.settings()?;
    // Before the line that says it is ready: whoever waits for that line may end the process right after it.
    let ended = ended()?;
    let business = Business::start_with(options.listen, settings)
        .await
        .with_context(|| format!("--listen {}: cannot listen there; port 0 takes a free one", options.listen))?;
    if !business.address().ip().is_loopback() {
        output::complain("warning: /__control/ shows phone numbers to everybody who can reach this address");
    }
    output::say(&format!("privatenumber-sim business listening on {}", business.url()));
    ended.await;
    let counts = business.counts();
    business.stop().await;
    let clean = counts.is_clean();
    let summary = Counts { by_webhook_id: None, ..counts };
    output::say(&if options.json { serde_json::to_string(&summary)? } else { summary.to_string() });
    Ok(if clean { Verdict::Good } else { Verdict::Bad })
}
