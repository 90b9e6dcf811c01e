//! Measures how many pushes of one call each the store commits durably per second, and what CPU time a push costs it. Each call
//! carries the text of its CDR, which is kept.
//!
//! In process, without HTTP: `cargo run --release -p privatenumber-store --example throughput -- [PUSHES] [AT_A_TIME] [DIRECTORY]`
//!
//! Over HTTP, in batches of 16, the program `privatenumber-store` of the same build measured by itself:
//! `cargo build --release -p privatenumber-store --examples --bins`, then
//! `target/release/examples/throughput http [PUSHES] [AT_A_TIME] [DIRECTORY]`

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use privatenumber_contract::{Binding, Private, Push, PushId};
use privatenumber_store::clock::Clock;
use privatenumber_store::database::{BindingWork, Database, OpenOptions, PushWork};
use privatenumber_store::metrics::Metrics;
use privatenumber_store::writer::Writer;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

/// Bindings that the calls are spread over.
const BINDINGS: u64 = 1000;
/// Pushes of a batch.
const BATCH: u64 = 16;

/// What to measure.
#[derive(Clone, Debug)]
struct Task {
    pushes: u64,
    at_a_time: u64,
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let over_http = arguments.first().is_some_and(|first| first == "http");
    if over_http {
        arguments.remove(0);
    }
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let pushes = number(0, 100_000).context("PUSHES is not a number")?;
    let at_a_time = number(1, 256).context("AT_A_TIME is not a number")?;
    let directory = tempfile::tempdir_in(arguments.get(2).map_or_else(std::env::temp_dir, PathBuf::from))?;
    let task = Task { pushes, at_a_time, directory: directory.path().to_owned() };
    if over_http { measure_over_http(task).await } else { measure_in_process(task).await }
}

async fn measure_in_process(task: Task) -> anyhow::Result<()> {
    let database = Database::open(&task.directory.join("throughput.sqlite3"), &OpenOptions::default()).await?;
    let metrics = Arc::new(Metrics::default());
    let (writer, end) = Writer::start(database.clone(), Clock::system(), Arc::clone(&metrics), 10_000);
    for number in 0..BINDINGS {
        writer.binding(BindingWork { subscription_id: format!("binding-{number}"), binding: binding() }, None).await?;
    }
    let next = Arc::new(AtomicU64::new(0));
    let begun = Beginning::of("self")?;
    let mut tasks = JoinSet::new();
    for _ in 0..task.at_a_time {
        let (writer, next, pushes) = (writer.clone(), Arc::clone(&next), task.pushes);
        tasks.spawn(async move {
            let mut slowest = 0.0_f64;
            let text = push(0);
            let template: Push<'_> = serde_json::from_str(&text)?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= pushes {
                    return anyhow::Ok(slowest);
                }
                let work = work(&template, number)?;
                let asked = Instant::now();
                writer.push(work, None).await?;
                slowest = slowest.max(asked.elapsed().as_secs_f64());
            }
        });
    }
    let slowest = slowest(tasks).await?;
    begun.report(&task, slowest)?;
    for line in metrics.text()?.lines() {
        if line.contains("group_size_sum") || line.contains("group_size_count") || line.contains("commit_seconds_sum") {
            println!("{line}");
        }
    }
    drop(writer);
    end.await??;
    database.close().await;
    Ok(())
}

async fn measure_over_http(task: Task) -> anyhow::Result<()> {
    let programs = std::env::current_exe()?;
    let programs = programs.parent().and_then(Path::parent).context("the program is in no directory")?;
    let mut store = Command::new(programs.join("privatenumber-store"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(task.directory.join("throughput.sqlite3"))
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("build the program privatenumber-store first")?;
    let process = store.id().context("the store ended at once")?.to_string();
    let mut line = String::new();
    BufReader::new(store.stdout.take().context("no standard output")?).read_line(&mut line).await?;
    let address = line.trim().rsplit_once("http://").context("the store did not start")?.1.to_owned();

    let mut client = Client::connect(&address).await?;
    for number in 0..BINDINGS {
        let path = format!("/v1/bindings/binding-{number}");
        client.send("PUT", &path, &serde_json::to_string(&binding())?).await?;
    }
    let next = Arc::new(AtomicU64::new(0));
    let begun = Beginning::of(&process)?;
    let mut tasks = JoinSet::new();
    for _ in 0..task.at_a_time.div_ceil(BATCH) {
        let (address, next, pushes) = (address.clone(), Arc::clone(&next), task.pushes);
        tasks.spawn(async move {
            let mut client = Client::connect(&address).await?;
            let mut slowest = 0.0_f64;
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= pushes {
                    return anyhow::Ok(slowest);
                }
                let batch: Vec<String> = (first..first + BATCH).map(push).collect();
                let batch = format!(r#"{{"pushes":[{}]}}"#, batch.join(","));
                let asked = Instant::now();
                let answer = client.send("POST", "/v1/push-batches", &batch).await?;
                slowest = slowest.max(asked.elapsed().as_secs_f64());
                ensure!(answer.matches(r#""verdict":"claimed""#).count() as u64 == BATCH, "not claimed: {answer}");
            }
        });
    }
    let slowest = slowest(tasks).await?;
    begun.report(&task, slowest)?;
    let metrics = client.send("GET", "/metrics", "").await?;
    for line in metrics.lines().filter(|line| line.contains("group_size_sum") || line.contains("group_size_count")) {
        println!("{line}");
    }
    Ok(())
}

async fn slowest(mut tasks: JoinSet<anyhow::Result<f64>>) -> anyhow::Result<f64> {
    let mut slowest = 0.0_f64;
    while let Some(result) = tasks.join_next().await {
        slowest = slowest.max(result??);
    }
    Ok(slowest)
}

/// When a measurement began, by the clock and by the CPU time of the process.
struct Beginning {
    process: String,
    time: Instant,
    cpu_seconds: f64,
}

impl Beginning {
    fn of(process: &str) -> anyhow::Result<Self> {
        Ok(Self { process: process.to_owned(), time: Instant::now(), cpu_seconds: cpu_seconds(process)? })
    }

    fn report(&self, task: &Task, slowest: f64) -> anyhow::Result<()> {
        let (seconds, cpu) = (self.time.elapsed().as_secs_f64(), cpu_seconds(&self.process)? - self.cpu_seconds);
        let pushes = task.pushes as f64;
        println!(
            "{} pushes, {} at a time: {:.0} pushes/s, {:.1} µs CPU a push, slowest {:.1} ms",
            task.pushes,
            task.at_a_time,
            pushes / seconds,
            cpu * 1e6 / pushes,
            slowest * 1e3
        );
        Ok(())
    }
}

/// CPU time of all threads of a process, of users and of the system, as Linux counts it: in hundredths of a second.
fn cpu_seconds(process: &str) -> anyhow::Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{process}/stat")).context("CPU time is measured on Linux only")?;
    // The name before may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc is not what it should be")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map_while(|ticks| ticks.parse().ok()).collect();
    ensure!(ticks.len() == 2, "/proc is not what it should be");
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// A connection that costs as little as possible.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(65_536, stream)))
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: store\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.0.write_all((head + body).as_bytes()).await?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                bail!("the store closed the connection");
            }
            if line.starts_with("HTTP/1.1 ") {
                ensure!(line.starts_with("HTTP/1.1 20"), "{method} {path}: {line}");
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse()?;
            } else if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer)?)
    }
}

fn binding() -> Binding {
    Binding {
        id: Some(7),
        ak: Some("A".to_owned()),
        orig_num: Some("+8617010000011".into()),
        private_num: Some("+8617010000001".into()),
        record_flag: Some(false),
        max_duration: Some(60),
        user_data: Some("order 7".into()),
        call_direction: Some(0),
        status: Some(1),
        bind_response: Some(r#"{"resultcode":"0","resultdesc":"Success"}"#.into()),
        binding_duration: Some(5),
        bind_time: Some(1_700_000_000_000),
        created_at: Some(1_700_000_000_000),
        ..Binding::default()
    }
}

/// What is to be committed of `template`, as a push and a call of its own.
fn work(template: &Push<'_>, number: u64) -> anyhow::Result<PushWork> {
    let mut push = template.clone();
    push.push_id = PushId::from_bytes(u128::from(number).to_be_bytes());
    for call in &mut push.calls {
        call.session_id = Private::new(session(number).into());
        call.subscription_id = Some(format!("binding-{}", number % BINDINGS).into());
    }
    PushWork::new(&push).ok().context("the push does not keep the contract")
}

fn session(number: u64) -> String {
    format!("1200_366_4294967295_20261122{number:012}@callenabler.example")
}

/// A push of one call as the filter sends it.
fn push(number: u64) -> String {
    let push_id = PushId::from_bytes(u128::from(number).to_be_bytes());
    let session = session(number);
    let icid = "ba171f34e6953fcd751edc77127748f4.3757223714.337238282.9";
    let binding = number % BINDINGS;
    let url = "https://recordings.example/1200_366_4294967295_20261122/0.wav?token=0123456789abcdef0123456789abcdef";
    let cdr = format!(
        "{{\"direction\":0,\"spId\":\"huawei_sp\",\"appKey\":\"app\",\"icid\":\"{icid}\",\"bindNum\":\"+8617010000001\",\
         \"sessionId\":\"{session}\",\"callerNum\":\"+8617010000002\",\"calleeNum\":\"+8617010000001\",\
         \"fwdDisplayNum\":\"+8617010000001\",\"fwdDstNum\":\"+8617010000011\",\"callInTime\":\"2026-11-22 02:13:20\",\
         \"fwdStartTime\":\"2026-11-22 02:13:21\",\"fwdAlertingTime\":\"2026-11-22 02:13:23\",\
         \"fwdAnswerTime\":\"2026-11-22 02:13:25\",\"callEndTime\":\"2026-11-22 02:14:25\",\"fwdUnaswRsn\":0,\
         \"ulFailReason\":0,\"sipStatusCode\":0,\"callOutUnaswRsn\":0,\"recordFlag\":1,\
         \"recordStartTime\":\"2026-11-22 02:13:25\",\"recordObjectName\":\"{session}.wav\",\
         \"recordBucketName\":\"privatenumber-recordings\",\"recordDomain\":\"recordings.example\",\
         \"recordFileDownloadUrl\":\"{url}\",\"ttsPlayTimes\":0,\"ttsTransDuration\":0,\"serviceType\":\"004\",\
         \"hostName\":\"callenabler.example\",\"subscriptionId\":\"binding-{binding}\",\"userData\":\"order 7\",\
         \"notifyMode\":\"Block\",\"partnerPlayInfo\":\"none\",\"callerLocation\":\"north\",\"calleeLocation\":\"south\"}}"
    );
    format!(
        "{{\"pushId\":\"{push_id}\",\"appKey\":\"app\",\"receivedAt\":1700000066000,\"ageMs\":3,\"application\":{{\"ak\":\"A\"}},\
         \"signature\":{{\"scheme\":\"aksk\",\"hash\":\"{push_id}\"}},\"calls\":[{{\"appKey\":\"app\",\
         \"sessionId\":\"{session}\",\"icid\":\"{icid}\",\"claimDeadline\":1800000000000,\"ttlMs\":600000,\
         \"callinTime\":1700000000000,\"answerTime\":1700000005000,\"disconnectTime\":1700000065000,\
         \"recordUrl\":\"{url}\",\"subscriptionId\":\"binding-{binding}\",\"privateNum\":\"+8617010000001\",\
         \"origNum\":\"+8617010000011\",\"userData\":\"order 7\",\"ak\":\"A\",\"recordFlag\":true,\"cdr\":{cdr}}}]}}"
    )
}
