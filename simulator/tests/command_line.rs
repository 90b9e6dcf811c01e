//! The tool as it is used from a shell.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privatenumber-sim"));
    command.args(arguments).env("TEST_APP_SECRET", "fictitious-app-secret-0001");
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tool(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A business in a process of its own, ended when the test ends.
struct Business {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Business {
    fn start(arguments: &[&str]) -> Self {
        let arguments = [&["business", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut process = tool(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("privatenumber-sim business listening on ").unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"));
        Self { process, stdout, url }
    }

    fn wait_for_callbacks(&self, total: u64) {
        let started = Instant::now();
        loop {
            let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
            write!(stream, "GET /__control/counts HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let counts: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            if counts["total"].as_u64().unwrap() >= total {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{total} callbacks were expected: {counts}");
        }
    }

    /// SIGTERM; the exit code and what else was printed.
    fn end(mut self) -> (Option<i32>, String) {
        terminate(&self.process);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

/// SIGTERM.
fn terminate(process: &Child) {
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
}

impl Drop for Business {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_single_push_shows_its_answer_and_a_run_its_summary() {
    let business = Business::start(&[]);
    let (code, stdout, stderr) = output(&["push", "--url", &business.url, "--secret-env", "TEST_APP_SECRET"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("answer    200 (no body)\npushes    1 in "), "{stdout}");

    let arguments = ["push", "--url", &business.url, "--calls", "45", "--batch", "20", "--seed", "7", "--json"];
    let (code, stdout, _) = output(&arguments);
    assert_eq!(code, Some(0));
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    let numbers = ["pushes", "cdrs", "attempts", "accepted", "given_up", "seed"].map(|name| summary[name].as_u64());
    assert_eq!(numbers, [3, 45, 3, 3, 0, 7].map(Some));
    assert_eq!(summary["answers"]["200"], 3);

    let (code, rest) = business.end();
    assert_eq!(code, Some(0));
    assert!(rest.starts_with("callbacks           4\n"), "{rest}");
}

#[test]
fn p1_a_business_called_back_twice_for_a_call_ends_with_exit_code_1() {
    let business = Business::start(&["--json", "--print"]);
    let address = business.url.strip_prefix("http://").unwrap();
    let body = r#"{"privateNum":"+8617010000001"}"#;
    let head = "POST /callback HTTP/1.1\r\nhost: a\r\nwebhook-id: call-1\r\nconnection: close\r\n";
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let (code, rest) = business.end();
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = rest.lines().collect();
    assert_eq!(lines.len(), 3, "{rest}");
    assert!(lines[0].contains("webhook-id call-1") && lines[0].ends_with("-> 200"), "{rest}");
    assert!(!rest.contains("8617010000001"), "P7: no number without --show-private");
    let counts: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!((&counts["total"], &counts["repeated"]), (&2.into(), &1.into()));
}

#[test]
fn a_push_that_is_not_accepted_ends_with_exit_code_1() {
    let business = Business::start(&["--mode", "error", "--status", "503"]);
    let (code, stdout, _) = output(&["push", "--url", &business.url, "--no-retry"]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("answers   503: 1\naccepted  0\ngiven up  1\n"), "{stdout}");
}

#[test]
fn a_push_that_is_ended_early_still_shows_its_summary() {
    let business = Business::start(&["--mode", "error"]);
    let mut push = tool(&["push", "--url", &business.url, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    // The next attempt is a minute away.
    business.wait_for_callbacks(1);
    terminate(&push);
    let mut summary = String::new();
    push.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert_eq!(push.wait().unwrap().code(), Some(1));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["pushes"], &summary["unfinished"]), (&1.into(), &1.into()));
}

#[test]
fn a_dry_run_shows_the_signed_push_and_sends_nothing() {
    let arguments = ["push", "--dry-run", "--seed", "1", "--nonce", "00112233445566778899aabbccddeeff"];
    let created = ["--created", "2026-01-05T02:30:24Z"];
    let (code, stdout, _) = output(&[&arguments[..], &created].concat());
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("POST /huawei/fee HTTP/1.1\nhost: 127.0.0.1:10000\n"), "{stdout}");
    assert!(stdout.contains(r#"PasswordDigest="z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=""#), "{stdout}");
    assert!(stdout.contains("\n\n{\"eventType\":\"fee\",\"feeLst\":[{\"direction\":"), "{stdout}");
    assert_eq!(output(&[&arguments[..], &created].concat()).1, stdout, "the same seed, the same push");
    assert!(output(&["push", "--dry-run=curl"]).1.starts_with("curl -i 'http://127.0.0.1:10000/huawei/fee' \\\n"));
}

#[test]
fn wrong_usage_ends_with_exit_code_2_and_says_what_to_do() {
    for (arguments, words) in [
        (&["push", "no-such-file.json"][..], "cannot read no-such-file.json"),
        (&["push", "--url", "https://gateway.example.com/"], "only http:// can be pushed to"),
        (&["push", "--batch", "51"], "1..=50"),
        (&["push", "--duplicates", "2"], "a share is from 0 to 1"),
        (&["push", "--secret-env", "NO_SUCH_VARIABLE"], "`export NO_SUCH_VARIABLE=…` first"),
        (&["push", "--nonce", "not-alphanumeric"], "a nonce is"),
        (&["push", "a.json", "--calls", "1"], "cannot be used with"),
        (&["business", "--listen", "127.0.0.1"], "--listen"),
        (&["business", "--signing-secret", "topsecret"], "--signing-secret: a signing secret starts with `whsec_`"),
        (&["business", "--show-private"], "--print"),
    ] {
        let (code, _, stderr) = output(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("topsecret"), "P7: {stderr}");
    }
}
