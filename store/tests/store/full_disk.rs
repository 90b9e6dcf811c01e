//! P2 and P8: a file system without room. It must be a small one that nobody else uses; `cargo xtask test` provides it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{PUSH_1, PUSH_2, call, call_id, push};

/// What the store has left of the file system, bytes: some hundred pushes.
const ROOM: u64 = 4 << 20;
/// What the whole file system has at most, bytes.
const SMALL: u64 = 64 << 20;

/// Takes all that is left of the file system but [`ROOM`].
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut length = 0;
    loop {
        match file.write(&[0; 65_536]) {
            Ok(written) => length += written as u64,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::StorageFull),
        }
        assert!(length <= SMALL, "this is no small file system");
    }
    file.set_len(length.checked_sub(ROOM).expect("a file system with more room than the store is left")).unwrap();
}

/// Pushes a call; an answer says that it is committed, or nothing about it.
async fn is_taken(process: &Process, push_id: &str, session: &str) -> bool {
    let (status, answer) = process.request("POST", "/v1/pushes", &push(push_id, vec![call(session)])).await.unwrap();
    assert!(status == 200 || (status >= 500 && answer["calls"].is_null()), "{status} {answer}");
    status == 200
}

async fn look_up(process: &Process, session: &str) -> (u16, Value) {
    process.request("GET", &format!("/v1/calls/{}", call_id(session)), &json!(null)).await.unwrap()
}

async fn is_ready(process: &Process) -> bool {
    let (status, answer) = process.request("GET", "/readyz", &json!(null)).await.unwrap();
    assert!(status == 200 || status == 503, "{status} {answer}");
    status == 200
}

#[tokio::test]
#[ignore = "needs a small file system of its own, which `cargo xtask test` mounts"]
async fn p2_a_full_disk_takes_no_push_loses_none_and_is_over_once_there_is_room() {
    let disk = std::env::var_os("PRIVATENUMBER_SMALL_DISK").map(PathBuf::from).expect("$PRIVATENUMBER_SMALL_DISK");
    let (data, other) = (disk.join("store.sqlite3"), disk.join("other"));
    let process = Process::start(&data, &[]).await;
    fill(&other);

    let mut taken = Vec::new();
    let refused = loop {
        let session = format!("s{}", taken.len());
        if !is_taken(&process, PUSH_1, &session).await {
            break session;
        }
        taken.push(session);
        assert!(taken.len() < 2000, "there is still room");
    };
    assert!(taken.len() > 20, "there was room for {} pushes only", taken.len());

    // What a failed commit wrote may be room enough for that of the check, for some times.
    let mut checks = 0;
    while is_ready(&process).await {
        checks += 1;
        assert!(checks < 20, "ready, and no push is taken");
        assert!(!is_taken(&process, PUSH_1, &refused).await);
    }
    process.signal("-KILL");
    let (_, log) = process.end().await;
    assert!(log.contains("database or disk is full"), "{log}");

    let process = Process::start(&data, &[]).await;
    assert!(!is_taken(&process, PUSH_1, &refused).await);
    assert_eq!(look_up(&process, &refused).await.0, 404);
    for session in &taken {
        let (status, view) = look_up(&process, session).await;
        assert_eq!((status, view["record"]["sessionId"].as_str()), (200, Some(session.as_str())));
    }

    fs::remove_file(other).unwrap();
    assert!(is_ready(&process).await);
    assert_eq!(process.push(PUSH_2, &refused).await["verdict"], "claimed");
    for session in &taken {
        assert_eq!(process.push(PUSH_2, session).await["verdict"], "duplicate");
        assert_eq!(process.push(PUSH_1, session).await["verdict"], "claimed");
    }
    process.stop().await;
}
