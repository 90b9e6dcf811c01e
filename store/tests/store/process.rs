//! The real process: starts, survives being killed, stops in good order.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::{PUSH_1, PUSH_2, call, call_id, push};

/// Nothing here takes longer unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
    /// What was read of its log so far.
    log: Vec<u8>,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privatenumber-store"));
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).args(flags);
    prepare(&mut command);
    command
}

fn prepare(command: &mut Command) {
    command
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
}

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

impl Process {
    pub async fn start(data: &Path, flags: &[&str]) -> Self {
        Self::run(command(data, flags)).await
    }

    /// Starts it where the system allows so many open files; `limit` is an argument of the shell's `ulimit`.
    async fn start_with_open_files(limit: &str, data: &Path, flags: &[&str]) -> Self {
        let store = command(data, flags);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
        shell.arg(store.as_std().get_program()).args(store.as_std().get_args());
        prepare(&mut shell);
        Self::run(shell).await
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, stdout.next_line()).await.unwrap().unwrap().unwrap();
        let address = line.strip_prefix("privatenumber-store listening on http").unwrap();
        let address = address.strip_prefix('s').unwrap_or(address).strip_prefix("://").unwrap().parse().unwrap();
        Self { child, stdout, address, log: Vec::new(), client: client(false) }
    }

    /// From now on requests are made over one connection of HTTP/2.
    pub fn by_http2(self) -> Self {
        Self { client: client(true), ..self }
    }

    pub async fn request(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), String> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time".to_owned())?
    }

    pub async fn push(&self, push_id: &str, session: &str) -> Value {
        let (status, answer) = self.request("POST", "/v1/pushes", &push(push_id, vec![call(session)])).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["calls"][0].clone()
    }

    /// Waits until the log says `text`.
    pub async fn logged(&mut self, text: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let log = &mut self.log;
        let said = async {
            while !String::from_utf8_lossy(log).contains(text) {
                assert!(stderr.read_buf(log).await.unwrap() > 0, "{text}: {}", String::from_utf8_lossy(log));
            }
        };
        timeout(PATIENCE, said).await.unwrap();
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Stops it in good order; returns the log.
    pub async fn stop(self) -> String {
        self.signal("-TERM");
        let (code, log) = self.end().await;
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// Waits for the end; returns the exit code and the log.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert_eq!(self.stdout.next_line().await.unwrap(), None, "one line on standard output and no more");
        self.child.stderr.take().unwrap().read_to_end(&mut self.log).await.unwrap();
        (status.code(), String::from_utf8(self.log).unwrap())
    }
}

#[tokio::test]
async fn p2_what_was_answered_survives_a_kill_in_the_midst_of_pushes() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let mut process = Process::start(&data, &[]).await;
    let mut answered = Vec::new();
    {
        let pusher = async {
            for number in 0.. {
                let session = format!("s{number}");
                let body = push(PUSH_1, vec![call(&session)]);
                match process.request("POST", "/v1/pushes", &body).await {
                    Ok((200, answer)) => answered.push((session, answer["calls"][0].clone())),
                    _ => break,
                }
                if number == 40 {
                    process.signal("-KILL");
                }
            }
        };
        timeout(PATIENCE, pusher).await.unwrap();
    }
    assert!(answered.len() > 40);
    timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();

    let process = Process::start(&data, &[]).await;
    for (session, claim) in &answered {
        let (status, view) =
            process.request("GET", &format!("/v1/calls/{}", call_id(session)), &json!(null)).await.unwrap();
        assert_eq!((status, &view["record"]), (200, &claim["record"]));
        // The claim still belongs to its push and to no other.
        assert_eq!(process.push(PUSH_2, session).await["verdict"], "duplicate");
        assert_eq!(&process.push(PUSH_1, session).await, claim);
    }
}

#[tokio::test]
async fn p3_the_time_of_a_stop_is_recorded_and_the_next_start_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    process.stop().await;
    let file = rusqlite::Connection::open(&data).unwrap();
    let recorded: i64 = file.query_row("SELECT checked_at FROM readiness", [], |row| row.get(0)).unwrap();
    assert!(i128::from(recorded) >= i128::try_from(before).unwrap());

    // As if the clock had been an hour ahead then.
    let ahead = recorded + 3_600_000;
    file.execute("UPDATE readiness SET checked_at = ?1", [ahead]).unwrap();
    drop(file);
    let process = Process::start(&data, &[]).await;
    process.push(PUSH_1, "after").await;
    let path = format!("/v1/calls/{}", call_id("after"));
    let (_, view) = process.request("GET", &path, &json!(null)).await.unwrap();
    assert!(view["recordedAt"].as_i64().unwrap() >= ahead, "{view}");
    let log = process.stop().await;
    assert_eq!(log.matches("this machine's clock was set back").count(), 1, "{log}");
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted_and_leaves_one_file_and_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let process = Process::start(&data, &[]).await;
    process.push(PUSH_1, "before").await;

    // A push whose body is still under way when the signal comes.
    let body = push(PUSH_1, vec![call("under way")]).to_string();
    let (begin, rest) = body.split_at(20);
    let mut slow = TcpStream::connect(process.address).await.unwrap();
    let head = format!(
        "POST /v1/pushes HTTP/1.1\r\nhost: store\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{begin}",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Once another connection is served, the first one was accepted before it.
    process.request("GET", "/healthz", &json!(null)).await.unwrap();
    process.signal("-TERM");
    let refused = async {
        while TcpStream::connect(process.address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    slow.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("claimed"), "{answer}");

    let (code, log) = process.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");
    let mut files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["store.sqlite3", "store.sqlite3.lock"]);
    let process = Process::start(&data, &[]).await;
    for session in ["before", "under way"] {
        assert_eq!(process.push(PUSH_2, session).await["verdict"], "duplicate");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_for_a_client_and_a_second_signal_does_not_wait_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let half =
        b"POST /v1/pushes HTTP/1.1\r\nhost: store\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    for (flags, signals, expected) in
        [(["--shutdown-timeout", "0.4"], vec!["-INT"], 0), (["--shutdown-timeout", "600"], vec!["-INT", "-TERM"], 1)]
    {
        let process = Process::start(&directory.path().join("store.sqlite3"), &flags).await;
        let mut slow = TcpStream::connect(process.address).await.unwrap();
        slow.write_all(half).await.unwrap();
        process.request("GET", "/healthz", &json!(null)).await.unwrap();
        for signal in signals {
            process.signal(signal);
            // The listener closes once the first signal was seen.
            let refused = async {
                while TcpStream::connect(process.address).await.is_ok() {
                    tokio::task::yield_now().await
                }
            };
            timeout(PATIENCE, refused).await.unwrap();
        }
        let (code, log) = process.end().await;
        assert_eq!(code, Some(expected), "{log}");
    }
}

#[tokio::test]
async fn slow_clients_are_cut_and_do_not_keep_others_out() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--connections", "1", "--header-timeout", "0.3", "--body-timeout", "0.3"];
    let process = Process::start(&directory.path().join("store.sqlite3"), &flags).await;
    for half in [
        "GET /healthz HTTP/1.1\r\nhost: st",
        "POST /v1/pushes HTTP/1.1\r\nhost: store\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut slow = TcpStream::connect(process.address).await.unwrap();
        slow.write_all(half.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(process.request("GET", "/readyz", &json!(null)).await.unwrap().0, 200);
}

#[tokio::test]
async fn p7_the_log_names_no_number_session_or_recording() {
    the_log_is_clean(false).await;
    the_log_is_clean(true).await;
}

async fn the_log_is_clean(http2: bool) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory.path().join("store.sqlite3"), &["--log-format", "json"]);
    let mut child = command.env("RUST_LOG", "trace").spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, stdout.next_line()).await.unwrap().unwrap().unwrap();
    let address = line.rsplit('/').next().unwrap().parse().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut log = String::new();
        stderr.read_to_string(&mut log).await.unwrap();
        log
    });
    let process = Process { child, stdout, address, log: Vec::new(), client: client(http2) };
    process.push(PUSH_1, "+8617010000033-session").await;
    process.push(PUSH_2, "+8617010000033-session").await;
    let report = json!({"callId": "+8617010000033", "pushId": PUSH_1, "outcome": {"class": "answered", "status": 200}});
    process.request("POST", "/v1/outcomes", &json!({"outcomes": [report]})).await.unwrap();
    process.request("PUT", "/v1/bindings/binding-1", &json!({"origNum": "+8617010000022"})).await.unwrap();
    process.request("PUT", "/v1/bindings/binding-1", &json!({"maxDuration": "+8617010000022"})).await.unwrap();
    process.request("GET", "/v1/calls?ak=%2B8617010000022", &json!(null)).await.unwrap();
    let (_, metrics) = process.request("GET", "/metrics", &json!(null)).await.unwrap();
    assert!(!metrics.to_string().contains("86170"));
    process.signal("-TERM");
    let Process { mut child, .. } = process;
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    let log = log.await.unwrap();
    assert!(
        log.lines().any(|line| line.contains("an outcome was refused") && line.contains("(not a call id)")),
        "{log}"
    );
    for private in ["86170", "recordings.example", "order 7"] {
        assert!(!log.contains(private), "{private}: {log}");
    }
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_said_with_its_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    let in_file = format!("{empty}/store.sqlite3");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy_address = busy.local_addr().unwrap().to_string();
    for (flags, expected) in [
        (vec!["--listen", &busy_address], "is another process there? --listen takes another"),
        (vec!["--data", &in_file], "create it, or name another file with --data"),
        (vec!["--token-env", "PRIVATENUMBER_TEST_UNSET"], "PRIVATENUMBER_TEST_UNSET is not set"),
        (vec!["--token-file", empty], "is empty; put the token there"),
        (vec!["--body-timeout", "0"], "give seconds, from 0.001 to 1000000"),
        (vec!["--busy-timeout", "3000000"], "give seconds, from 0.001 to 1000000"),
        (vec!["--requests", "0"], "give a whole number, at least 1"),
        (vec!["--buffer-bytes", "1000"], "--buffer-bytes (1000) is less than --body-bytes (4194304)"),
    ] {
        // A flag that is given twice is an error of its own, so each attempt names all it needs once.
        let mut command = Command::new(env!("CARGO_BIN_EXE_privatenumber-store"));
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !flags.contains(&"--data") {
            command.arg("--data").arg(&data);
        }
        let output = timeout(PATIENCE, command.args(&flags).kill_on_drop(true).output()).await.unwrap().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(log.contains(expected), "{flags:?}: {log}");
    }
}

/// Connections on which nothing is said.
async fn idle(process: &Process, number: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..number {
        idle.push(timeout(PATIENCE, TcpStream::connect(process.address)).await.unwrap().unwrap());
    }
    idle
}

#[tokio::test]
async fn p4_a_system_that_allows_few_open_files_is_asked_for_more() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_with_open_files("-S -n 100", &directory.path().join("store.sqlite3"), &[]).await;
    let idle = idle(&process, 200).await;
    assert_eq!(process.push(PUSH_1, "s1").await["verdict"], "claimed");
    drop(idle);
    let log = process.stop().await;
    assert!(!log.contains("open files"), "{log}");
}

#[tokio::test]
async fn p4_a_system_that_allows_no_more_open_files_gets_fewer_connections_and_keeps_its_calls() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    let flags = ["--header-timeout", "1", "--busy-timeout", "1"];
    let process = Process::start_with_open_files("-n 100", &data, &flags).await;
    let idle = idle(&process, 80).await;
    // They hold every place, by turns; the push waits for its own.
    assert_eq!(process.push(PUSH_1, "s1").await["verdict"], "claimed");
    drop(idle);
    let log = process.stop().await;
    assert!(log.contains("raise the hard limit (ulimit -Hn) or lower --connections"), "{log}");
    assert!(!log.contains("could not be accepted"), "{log}");
}

#[tokio::test]
async fn a_token_file_guards_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "secret\n").unwrap();
    let flags = ["--token-file", file.to_str().unwrap()];
    let process = Process::start(&directory.path().join("store.sqlite3"), &flags).await;
    assert_eq!(process.request("GET", "/v1/calls", &json!(null)).await.unwrap().0, 401);
    let request = hyper::Request::get(format!("http://{}/v1/calls", process.address));
    let request = request.header("authorization", "Bearer secret").body(Full::default()).unwrap();
    assert_eq!(process.client.request(request).await.unwrap().status(), 200);
}
