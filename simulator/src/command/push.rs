//! `privatenumber-sim push`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use privatenumber_contract::Private;
use privatenumber_sim::clock;
use privatenumber_sim::huawei::{
    CallGenerator, CallSettings, Push, PushSettings, Pusher, RetrySchedule, Scheme, Signer, Summary, Target,
};
use serde::Serialize;
use tokio::time::Instant;

use super::signals::ended;
use super::{Verdict, environment, output, private, progress, share};

const EXAMPLES: &str = "\
Examples:
  One made-up call to a gateway on this machine:
    privatenumber-sim push
  A file as it stands, to another address:
    privatenumber-sim push cdr.json --url http://gateway.example.com/huawei/fee
  1000 calls in pushes of 20, 50 pushes per second, every tenth push twice:
    privatenumber-sim push --calls 1000 --batch 20 --rate 50 --duplicates 0.1
  Huawei's six retries over five hours, in thirty seconds:
    privatenumber-sim push --time-scale 600
  What would be sent, as a curl command:
    privatenumber-sim push cdr.json --dry-run=curl

Exit codes:
  0  every push was accepted (answered 200)
  1  some push was not accepted
  2  wrong usage, or nothing could be sent at all (such as an unreadable file)";

/// Play Huawei: push call detail records (CDRs)
///
/// Signed and repeated as Huawei does it.
///
/// Without FILES and --calls one made-up call is pushed. A push is accepted when it is answered 200, as at Huawei; anything
/// else is pushed again 1, 4, 9, 106, 203 and 300 minutes after the first attempt. Prints a summary on stdout; of a single
/// push also the last answer's status and body. SIGINT or SIGTERM ends the run early, with the summary so far.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Push bodies to send as they stand, one push each; `-` reads one from stdin
    files: Vec<PathBuf>,

    /// Address to push to
    #[arg(long, default_value = "http://127.0.0.1:10000/huawei/fee")]
    url: Target,
    /// Time limit of an attempt, seconds, connecting included
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    timeout: f64,
    /// Reuse connections; Huawei opens one for each push
    #[arg(long)]
    keep_alive: bool,
    /// Hang up this long after the first attempt of each push was sent, without waiting for its answer
    #[arg(long, value_name = "MILLISECONDS")]
    abandon_after_ms: Option<u64>,
    /// Print the first attempt of each push instead of sending it: as HTTP, or as a `curl` command. It holds a valid
    /// digest of the secret
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "http")]
    dry_run: Option<DryRun>,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress on stderr
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten, next_help_heading = "Credentials")]
    credentials: Credentials,
    #[command(flatten, next_help_heading = "Made-up calls")]
    calls: Calls,
    #[command(flatten, next_help_heading = "Pace and retries")]
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    Http,
    Curl,
}

#[derive(Debug, Args)]
struct Credentials {
    /// APP_Key of the Huawei application
    #[arg(long, value_name = "KEY", default_value = "demoAppKey000000000000000001")]
    app_key: String,
    /// APP_Secret; other users of this machine can see it, so use --secret-env for a real one [default: the demonstration's]
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_env", value_parser = private)]
    secret: Option<Private<String>>,
    /// Environment variable that holds the APP_Secret
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
    /// Which headers carry the credentials
    #[arg(long, value_enum, default_value_t = Scheme::Aksk)]
    scheme: Scheme,
    /// Use this nonce in every attempt instead of a fresh one
    #[arg(long)]
    nonce: Option<String>,
    /// Use this time of signing, such as 2026-01-05T02:30:24Z, instead of the present
    #[arg(long, value_name = "TIME")]
    created: Option<String>,
}

#[derive(Debug, Args)]
struct Calls {
    /// How many calls to make up [default: 1, or 0 with FILES]
    #[arg(long, value_name = "N", conflicts_with = "files", value_parser = clap::value_parser!(u32).range(1..))]
    calls: Option<u32>,
    /// CDRs in each push; Huawei merges up to 50
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=50))]
    batch: u8,
    /// The same seed makes the same calls; their times then start at 2026-01-05T02:30:03Z unless --start says otherwise
    /// [default: a random one, shown in the summary]
    #[arg(long)]
    seed: Option<u64>,
    /// All calls start within an hour after this time [default: two hours ago]
    #[arg(long, value_name = "TIME", value_parser = start)]
    start: Option<i64>,
    /// Binding that the calls belong to; `none` makes calls without a binding
    #[arg(long, value_name = "ID", default_value = "11111111-2222-4333-8444-555555555501")]
    subscription_id: String,
    /// A, the protected number
    #[arg(long, value_name = "NUMBER", default_value = "+8617010000011")]
    real_number: String,
    /// X, the privacy number
    #[arg(long, value_name = "NUMBER", default_value = "+8617010000001")]
    private_number: String,
    /// userData of the binding
    #[arg(long, value_name = "TEXT")]
    user_data: Option<String>,
    /// Share of the calls that are answered
    #[arg(long, value_name = "SHARE", default_value_t = 0.7, value_parser = share)]
    answered_share: f64,
    /// Share of the calls that meet no binding
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    no_binding_share: f64,
}

#[derive(Debug, Args)]
struct Pace {
    /// Pushes begun per second, whether or not earlier ones were answered; 0 is as fast as --concurrency allows
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    rate: f64,
    /// Attempts under way at once
    #[arg(long, value_name = "C", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Share of the pushes sent twice, the copy right after the original
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    duplicates: f64,
    /// Run Huawei's retry schedule this many times as fast: with 600 a minute lasts 0.1 s
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = positive)]
    time_scale: f64,
    /// Do not push again what was not accepted
    #[arg(long, conflicts_with = "time_scale")]
    no_retry: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number above 0 belongs here".to_owned())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("a number above 0 belongs here".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "pushes per second belong here, such as 50 or 0.5".to_owned())?;
    if rate == 0.0 || (0.001..=1_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("a rate is 0, or from 0.001 to 1000000 pushes per second".to_owned())
    }
}

fn start(text: &str) -> Result<i64, String> {
    clock::parse_created_time(text).ok_or_else(|| "a UTC time such as 2026-01-05T02:30:03Z belongs here".to_owned())
}

impl Credentials {
    fn signer(&self) -> anyhow::Result<Signer> {
        let secret = match (&self.secret, &self.secret_env) {
            (Some(secret), _) => secret.clone(),
            (None, Some(name)) => Private::new(environment("secret-env", name)?),
            (None, None) => Private::from("fictitious-app-secret-0001"),
        };
        Ok(Signer::new(self.scheme, &self.app_key, &secret)?)
    }
}

impl Options {
    fn seed(&self) -> anyhow::Result<u64> {
        self.calls.seed.map_or_else(|| Ok(getrandom::u64()?), Ok)
    }

    fn generator(&self, seed: u64) -> CallGenerator {
        let Calls { subscription_id, real_number, private_number, user_data, .. } = &self.calls;
        let usual = CallSettings::default();
        let two_hours_ago = clock::epoch_seconds() - 2 * 60 * 60;
        let start = if self.calls.seed.is_some() { usual.start } else { two_hours_ago };
        CallGenerator::new(CallSettings {
            seed,
            start: self.calls.start.unwrap_or(start),
            app_key: self.credentials.app_key.clone(),
            subscription_id: (subscription_id != "none").then(|| subscription_id.clone()),
            real_number: Private::new(real_number.clone()),
            private_number: Private::new(private_number.clone()),
            user_data: user_data.clone().map(Private::new),
            answered_share: self.calls.answered_share,
            no_binding_share: self.calls.no_binding_share,
        })
    }

    fn files(&self) -> anyhow::Result<Vec<Push>> {
        let read = |path: &PathBuf| {
            let body = if path.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin()).map(String::into_bytes)
            } else {
                std::fs::read(path)
            };
            body.map(Push::as_it_stands).with_context(|| format!("cannot read {}", path.display()))
        };
        self.files.iter().map(read).collect()
    }

    fn settings(&self, seed: u64) -> anyhow::Result<PushSettings> {
        let mut settings = PushSettings::new(self.url.clone(), self.credentials.signer()?);
        settings.nonce.clone_from(&self.credentials.nonce);
        settings.created.clone_from(&self.credentials.created);
        let retries = RetrySchedule::faster(self.pace.time_scale).context("--time-scale: a number above 0")?;
        settings.retries = (!self.pace.no_retry).then_some(retries);
        settings.timeout = Duration::try_from_secs_f64(self.timeout).context("--timeout: too long")?;
        settings.keep_alive = self.keep_alive;
        settings.concurrency = self.pace.concurrency.into();
        settings.rate = (self.pace.rate > 0.0).then_some(self.pace.rate);
        settings.duplicates = self.pace.duplicates;
        settings.seed = seed;
        settings.abandon_after = self.abandon_after_ms.map(Duration::from_millis);
        Ok(settings)
    }
}

/// Pushes made up one after the other, `batch` CDRs each, so that a million of them need no memory.
fn made_up(mut calls: CallGenerator, number: usize, batch: usize) -> impl Iterator<Item = Push> {
    (0..number.div_ceil(batch)).filter_map(move |index| {
        let cdrs: Vec<_> = calls.by_ref().take(batch.min(number - index * batch)).collect();
        Push::of(&cdrs).ok()
    })
}

pub async fn run(options: Options) -> anyhow::Result<Verdict> {
    let seed = options.seed()?;
    let pusher = Pusher::new(options.settings(seed)?);
    // What is wrong with the nonce or the time should come up before anything is sent.
    pusher.request(&Push::as_it_stands(""))?;
    let (pushes, expected): (Box<dyn Iterator<Item = Push> + Send>, usize) = if options.files.is_empty() {
        let number = options.calls.calls.map_or(Ok(1), usize::try_from)?;
        let batch = usize::from(options.calls.batch);
        (Box::new(made_up(options.generator(seed), number, batch)), number.div_ceil(batch))
    } else {
        let files = options.files()?;
        let number = files.len();
        (Box::new(files.into_iter()), number)
    };
    if let Some(form) = options.dry_run {
        return dry_run(&pusher, pushes, form);
    }

    let ended = ended()?;
    let started = Instant::now();
    let mut interrupted = false;
    tokio::select! {
        ended = pusher.run(pushes) => ended?,
        () = progress::report(pusher.tally(), expected), if !options.quiet => {}
        () = ended => interrupted = true,
    }
    let summary = pusher.tally().summary(started.elapsed());
    let answer = pusher.tally().last_answer().filter(|_| expected == 1);
    let made_up_with = options.files.is_empty().then_some(seed);
    report(&summary, answer, made_up_with, options.json)?;
    if interrupted {
        output::complain("interrupted before all pushes were sent and answered");
    }
    let all_begun = summary.pushes - summary.copies == expected as u64;
    Ok(if summary.all_accepted() && all_begun { Verdict::Good } else { Verdict::Bad })
}

fn dry_run(pusher: &Pusher, pushes: impl Iterator<Item = Push>, form: DryRun) -> anyhow::Result<Verdict> {
    for push in pushes {
        let request = pusher.request(&push)?;
        output::say(&match form {
            DryRun::Http => String::from_utf8_lossy(&request.to_wire()).replace("\r\n", "\n"),
            DryRun::Curl => request.to_curl(),
        });
    }
    Ok(Verdict::Good)
}

fn report(
    summary: &Summary,
    answer: Option<(u16, impl AsRef<[u8]>)>,
    seed: Option<u64>,
    json: bool,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        seed: Option<u64>,
        answer: Option<AnswerText>,
    }
    #[derive(Serialize)]
    struct AnswerText {
        status: u16,
        body: String,
    }
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    let answer = answer.map(|(status, body)| AnswerText { status, body: text(body.as_ref()) });
    if json {
        output::say(&serde_json::to_string(&Report { summary, seed, answer })?);
        return Ok(());
    }
    if let Some(AnswerText { status, body }) = answer {
        output::say(&format!("answer    {status} {}", if body.is_empty() { "(no body)" } else { &body }));
    }
    output::say(&summary.to_string());
    if let Some(seed) = seed {
        output::say(&format!("seed      {seed}"));
    }
    Ok(())
}
