//! Answers of the store to pushes of three calls: to the stream that asked, to the worker that asks for a push by itself, and to
//! the worker that asks for a batch of one or two pushes.
//!
//! The input's first line is the head: status, content type and committed id, separated by `|`, where `ID` stands for the push
//! id. What follows is the body; `CALL0` to `CALL2` in it stand for the calls' ids. Of a second push they are `OTHER` and `CALL3` to
//! `CALL5`.

use private_number_gateway::config::HeadersMode;
use private_number_gateway::dispatcher::HttpAnswer;
use private_number_gateway::driver::Action;
use private_number_gateway::now::Now;
use privatenumber_contract::{Push, PushBatch, paths};

use super::worker::{self, Setting, Worker};

const BATCH: &str = include_str!("../../tests/samples/ax-fee-batch-3-mixed.json");

struct Answer {
    status: Option<u16>,
    content_type: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl Answer {
    fn read(data: &[u8], pushes: &[Push<'_>]) -> Self {
        let newline = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let (head, body) = data.split_at(newline);
        let mut parts = head.split(|byte| *byte == b'|');
        let status = parts.next().and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let mut text = || parts.next().filter(|text| !text.is_empty()).map(|text| fill_in(text, pushes));
        let (content_type, committed) = (text(), text());
        Self { status, content_type, committed, body: fill_in(body.get(1..).unwrap_or_default(), pushes) }
    }

    fn http(&self) -> HttpAnswer<'_> {
        HttpAnswer {
            status: self.status,
            from_upstream: true,
            content_type: self.content_type.as_deref(),
            committed: self.committed.as_deref(),
            body: &self.body,
        }
    }
}

/// Puts ids where `text` has their stand-ins.
fn fill_in(text: &[u8], pushes: &[Push<'_>]) -> Vec<u8> {
    let calls = pushes.iter().flat_map(|push| &push.calls).enumerate();
    let calls = calls.map(|(index, call)| (format!("CALL{index}"), call.key().id()));
    let names = ["ID", "OTHER"].into_iter().zip(pushes).map(|(name, push)| (name.to_owned(), push.push_id.to_string()));
    calls.chain(names).fold(text.to_vec(), |text, (from, to)| replace(&text, &from, &to))
}

fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        let (before, after) = rest.split_at(at);
        replaced.extend_from_slice(before);
        replaced.extend_from_slice(to.as_bytes());
        rest = after.get(from.len()..).unwrap_or_default();
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    to_the_stream(data);
    to_a_push_by_itself(data);
    to_a_batch(data, 1);
    to_a_batch(data, 2);
}

fn to_the_stream(data: &[u8]) {
    let mut worker = Worker::new(Setting::roomy(HeadersMode::Pass));
    worker.request_headers(1, &worker::headers(), false);
    let Action::Forward(body) = worker.request_end(1, BATCH.as_bytes()) else { panic!("the batch is a push") };
    let answer = Answer::read(data, &[serde_json::from_slice(&body).expect("what the filter wrote")]);
    let (content_type, committed) = (answer.content_type.as_deref(), answer.committed.as_deref());
    worker.response_headers(1, answer.status, content_type, committed, answer.body.is_empty());
    worker.response_end(1, &answer.body);
    worker.end(1);
    end(worker, 3);
}

/// The store does not know batches.
fn to_a_push_by_itself(data: &[u8]) {
    let mut worker = Worker::new(Setting::roomy(HeadersMode::Hold));
    push(&mut worker, 1, BATCH);
    let (token, _) = asks(&mut worker, paths::PUSH_BATCHES);
    worker.answered(
        token,
        &HttpAnswer { status: Some(404), content_type: None, committed: None, body: b"", from_upstream: true },
    );
    let (token, body) = asks(&mut worker, paths::PUSHES);
    let answer = Answer::read(data, &[serde_json::from_slice(&body).expect("what the filter wrote")]);
    worker.answered(token, &answer.http());
    end(worker, 3);
}

fn to_a_batch(data: &[u8], pushes: u8) {
    let mut worker = Worker::new(Setting::roomy(HeadersMode::Hold));
    for number in 1..=pushes {
        push(&mut worker, number.into(), &BATCH.replace("4294967295", &number.to_string()));
    }
    let (token, body) = asks(&mut worker, paths::PUSH_BATCHES);
    let batch: PushBatch<'_> = serde_json::from_slice(&body).expect("what the filter wrote");
    assert_eq!(batch.pushes.len(), usize::from(pushes));
    let answer = Answer::read(data, &batch.pushes);
    worker.answered(token, &answer.http());
    end(worker, 3 * usize::from(pushes));
}

fn push(worker: &mut Worker, id: u32, body: &str) {
    worker.request_headers(id, &worker::headers(), false);
    assert_eq!(worker.request_end(id, body.as_bytes()), Action::Hold, "the batch is a push");
}

/// Waits for the next request to the store. Returns its token and its body.
fn asks(worker: &mut Worker, path: &str) -> (u32, Vec<u8>) {
    while worker.in_flight.is_empty() {
        let at = worker.driver.time().expect("the worker has something to do");
        worker.driver.set_now(Now { monotonic_ms: at, ..worker.driver.now() });
        worker.drive();
    }
    let (token, sent) = worker.in_flight.first_key_value().expect("the store is asked");
    assert_eq!(sent.path, path);
    (*token, sent.body.clone())
}

fn end(mut worker: Worker, calls: usize) {
    let callbacks = worker.finish(false);
    assert!(callbacks <= calls, "{callbacks} callbacks for {calls} calls");
    // Whatever a store says, it was asked once for each call.
    assert!(worker.most_callbacks_for_one_call() <= 1, "P1: a second callback for one call");
}
