//! The database file: removed, replaced, damaged, of another application, used by another store, open to others.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, call, push};

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("store.sqlite3");
    (directory, data)
}

fn beside(data: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", data.display()).into()
}

/// Runs the program until it ends by itself.
async fn output(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privatenumber-store"));
    command.args(arguments).env_remove("RUST_LOG").kill_on_drop(true);
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// Starts a store that must refuse; returns what it says.
async fn refusal(data: &Path, flags: &[&str]) -> String {
    let mut arguments = vec!["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    arguments.extend(flags);
    let output = output(&arguments).await;
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{log}");
    log
}

async fn status(process: &Process, method: &str, path: &str) -> u16 {
    process.request(method, path, &push(PUSH_1, vec![call("lost")])).await.unwrap().0
}

/// Neither ready nor taking or answering anything.
async fn assert_unusable(process: &Process) {
    for (method, path) in [("POST", "/v1/pushes"), ("GET", "/v1/calls"), ("GET", "/readyz")] {
        assert_eq!(status(process, method, path).await, 503, "{method} {path}");
    }
    assert_eq!(status(process, "GET", "/healthz").await, 200);
}

#[tokio::test]
async fn p2_a_database_file_that_is_removed_takes_no_push_until_it_is_back() {
    for removed in [vec![""], vec!["-wal"], vec!["", "-wal", "-shm"]] {
        let (_directory, data) = directory();
        let process = Process::start(&data, &[]).await;
        process.push(PUSH_1, "kept").await;
        for suffix in &removed {
            fs::rename(beside(&data, suffix), beside(&data, &format!("{suffix}.away"))).unwrap();
        }
        assert_unusable(&process).await;
        for suffix in &removed {
            fs::rename(beside(&data, &format!("{suffix}.away")), beside(&data, suffix)).unwrap();
        }
        assert_eq!(status(&process, "GET", "/readyz").await, 200);
        process.push(PUSH_1, "kept").await;
        let log = process.stop().await;
        assert!(log.contains("was removed while the store runs; put the same file back"), "{log}");
    }
}

#[tokio::test]
async fn p2_a_database_file_that_is_replaced_takes_no_push() {
    let (_directory, data) = directory();
    let process = Process::start(&data, &[]).await;
    process.push(PUSH_1, "kept").await;
    let copy = beside(&data, ".copy");
    fs::copy(&data, &copy).unwrap();
    fs::rename(&copy, &data).unwrap();
    assert_unusable(&process).await;
    process.signal("-KILL");
    let (_, log) = process.end().await;
    assert!(log.contains("was replaced by another file while the store runs"), "{log}");
}

#[tokio::test]
async fn another_applications_file_is_refused_and_left_as_it_is() {
    let (_directory, data) = directory();
    for sql in ["CREATE TABLE notes (text TEXT)", "PRAGMA application_id = 7; CREATE TABLE calls (x); DROP TABLE calls"]
    {
        let _ = fs::remove_file(&data);
        Connection::open(&data).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&data).unwrap();
        let log = refusal(&data, &[]).await;
        assert!(log.contains("is a database of another application"), "{log}");
        assert_eq!(fs::read(&data).unwrap(), before);
    }
}

#[tokio::test]
async fn p7_files_that_others_can_read_are_mended_and_the_log_says_so() {
    let (directory, data) = directory();
    let process = Process::start(&data, &[]).await;
    process.push(PUSH_1, "kept").await;
    process.signal("-KILL");
    process.end().await;
    let suffixes = ["", "-wal", "-shm", ".lock"];
    for suffix in suffixes {
        fs::set_permissions(beside(&data, suffix), Permissions::from_mode(0o644)).unwrap();
    }
    let process = Process::start(&data, &[]).await;
    let files: Vec<PathBuf> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), suffixes.len());
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let log = process.stop().await;
    assert_eq!(log.matches("others could use a file with personal data").count(), suffixes.len(), "{log}");
    assert!(log.contains("was=644"), "{log}");
}

#[tokio::test]
async fn p2_a_second_store_waits_and_then_names_the_first_whichever_way_leads_to_the_file() {
    let (directory, data) = directory();
    let first = Process::start(&data, &[]).await;
    let linked = directory.path().join("linked.sqlite3");
    std::os::unix::fs::symlink(&data, &linked).unwrap();
    for path in [&data, &linked] {
        let begun = Instant::now();
        let log = refusal(path, &["--lock-wait", "0.3"]).await;
        assert!(begun.elapsed() >= Duration::from_millis(300));
        let pid = format!("is used by process {} on ", first.id());
        assert!(log.contains(&pid) && log.contains("stop that store, or name another file with --data"), "{log}");
    }
    assert_eq!(first.push(PUSH_1, "kept").await["verdict"], "claimed");

    // One that waits long enough takes over, also from one that was killed.
    let (second, ()) = tokio::join!(Process::start(&data, &[]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.signal("-KILL");
    });
    assert_eq!(second.push("00000000000000000000000000000002", "kept").await["verdict"], "duplicate");
    let log = second.stop().await;
    assert!(log.contains("waiting for another store to let go of the database file"), "{log}");
}

#[tokio::test]
async fn a_store_that_waits_for_another_stops_when_it_is_told_to() {
    let (_directory, data) = directory();
    let first = Process::start(&data, &[]).await;
    let mut second = crate::process::command(&data, &[]).spawn().unwrap();
    let mut log = tokio::io::BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    timeout(PATIENCE, tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line)).await.unwrap().unwrap();
    assert!(line.contains("waiting for another store"), "{line}");
    let pid = second.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(timeout(Duration::from_secs(5), second.wait()).await.unwrap().unwrap().success());
    first.stop().await;
}

/// A killed store with a write-ahead log, and a backup from before its last pushes.
async fn killed_with_a_backup(data: &Path) -> PathBuf {
    let process = Process::start(data, &[]).await;
    process.push(PUSH_1, "in the backup").await;
    let backup = beside(data, ".backup");
    Connection::open(data).unwrap().execute_batch(&format!("VACUUM INTO '{}'", backup.display())).unwrap();
    process.push(PUSH_1, "after the backup").await;
    process.signal("-KILL");
    process.end().await;
    assert!(fs::metadata(beside(data, "-wal")).unwrap().len() > 0);
    backup
}

#[tokio::test]
async fn p2_a_backup_beside_an_older_write_ahead_log_is_refused_with_the_remedy() {
    is_refused_until_the_log_is_removed(|backup, data| fs::rename(backup, data).unwrap()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn p2_a_backup_that_is_written_over_the_file_is_refused_too() {
    let copy = |backup: &Path, data: &Path| assert!(fs::copy(backup, data).unwrap() > 0);
    is_refused_until_the_log_is_removed(copy).await;
}

async fn is_refused_until_the_log_is_removed(restore: impl FnOnce(&Path, &Path)) {
    let (_directory, data) = directory();
    let backup = killed_with_a_backup(&data).await;
    restore(&backup, &data);
    let before = fs::read(&data).unwrap();
    let log = refusal(&data, &[]).await;
    assert!(log.contains("is not the file that") && log.contains("If both were moved here together"), "{log}");
    assert_eq!(fs::read(&data).unwrap(), before);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(beside(&data, suffix)).unwrap();
    }
    let process = Process::start(&data, &[]).await;
    let (_, page) = process.request("GET", "/v1/calls", &json!(null)).await.unwrap();
    assert_eq!(page["calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn p2_a_file_that_was_moved_with_its_log_is_taken_up_once_the_lock_file_is_removed() {
    let (directory, data) = directory();
    killed_with_a_backup(&data).await;
    let moved = directory.path().join("moved.sqlite3");
    for suffix in ["", "-wal", ".lock"] {
        fs::copy(beside(&data, suffix), beside(&moved, suffix)).unwrap();
    }
    assert!(refusal(&moved, &[]).await.contains("is not the file that"));
    fs::remove_file(beside(&moved, ".lock")).unwrap();
    let process = Process::start(&moved, &[]).await;
    let (_, page) = process.request("GET", "/v1/calls", &json!(null)).await.unwrap();
    assert_eq!(page["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn p2_a_store_killed_at_any_time_takes_its_own_log_up() {
    let (_directory, data) = directory();
    // The log is brought into the file at 64 MiB, in the last round.
    for round in 0..3 {
        let process = Process::start(&data, &[]).await;
        for number in 0..30 {
            let mut push = push(PUSH_1, vec![]);
            push["event"] = json!({"eventType": "callin", "raw": format!("{round} {number} {}", "x".repeat(1 << 20))});
            assert_eq!(process.request("POST", "/v1/pushes", &push).await.unwrap().0, 200);
        }
        process.signal("-KILL");
        process.end().await;
    }
    assert!(fs::metadata(&data).unwrap().len() > 32 << 20);
    Process::start(&data, &[]).await.stop().await;
}

/// A file with some pages overwritten, and a store on it.
async fn damaged(data: &Path) {
    let process = Process::start(data, &[]).await;
    for number in 0..20 {
        let calls = (0..20).map(|call_number| call(&format!("{number}-{call_number}"))).collect();
        process.request("POST", "/v1/pushes", &push(PUSH_1, calls)).await.unwrap();
    }
    process.stop().await;
    let mut bytes = fs::read(data).unwrap();
    assert!(bytes.len() > 4096 * 60, "{}", bytes.len());
    // Nothing in the pages after the schema's makes sense any more.
    bytes[4096 * 40..].fill(0xa5);
    fs::write(data, bytes).unwrap();
}

#[tokio::test]
async fn p8_a_damaged_database_is_not_ready_until_the_store_is_restarted() {
    let (_directory, data) = directory();
    damaged(&data).await;
    let process = Process::start(&data, &[]).await;
    assert_eq!(status(&process, "POST", "/v1/pushes").await, 503);
    assert_unusable(&process).await;
    process.signal("-TERM");
    let (_, log) = process.end().await;
    assert!(log.contains("the database file is damaged"), "{log}");
}

async fn check(data: &Path) -> (bool, String) {
    let output = output(&["check", "--data", data.to_str().unwrap()]).await;
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_check_reads_a_good_file_while_it_is_used_and_after() {
    let (_directory, data) = directory();
    let process = Process::start(&data, &[]).await;
    process.push(PUSH_1, "kept").await;
    let verdict = format!("OK: all of {} was read and nothing is wrong\n", data.display());
    assert_eq!(check(&data).await, (true, verdict.clone()));
    process.stop().await;
    let before = fs::read(&data).unwrap();
    assert_eq!(check(&data).await, (true, verdict));
    assert_eq!(fs::read(&data).unwrap(), before);
}

#[tokio::test]
async fn a_check_finds_damage_wrong_values_foreign_files_and_open_modes() {
    let (directory, data) = directory();
    damaged(&data).await;
    let (ok, text) = check(&data).await;
    assert!(!ok && text.contains("findings in"), "{text}");

    let other = directory.path().join("other.sqlite3");
    let process = Process::start(&other, &[]).await;
    process.push(PUSH_1, "kept").await;
    process.stop().await;
    Connection::open(&other).unwrap().execute_batch("UPDATE calls SET record = '{'").unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o640)).unwrap();
    let (ok, text) = check(&other).await;
    assert!(!ok && text.contains("NOT OK: 2 findings in"), "{text}");
    assert!(text.contains("1 values in calls are not the JSON they should be"), "{text}");
    assert!(text.contains("has mode 640, so others can use it; run `chmod 600"), "{text}");

    let foreign = directory.path().join("foreign.sqlite3");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    assert!(check(&foreign).await.1.contains("is a database of another application"));
    let absent = directory.path().join("absent.sqlite3");
    assert!(check(&absent).await.1.contains("cannot be found; name the database file with --data"));
    assert!(!absent.exists());
}

#[tokio::test]
async fn a_check_says_which_file_a_log_does_not_belong_to() {
    let (_directory, data) = directory();
    let backup = killed_with_a_backup(&data).await;
    fs::rename(&backup, &data).unwrap();
    let (ok, text) = check(&data).await;
    assert!(!ok && text.contains("is not the file that"), "{text}");
}
