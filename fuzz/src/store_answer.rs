//! Answers of the store to a push of three calls: to the stream that asked and, where it was missed, to the root.
//!
//! The input's first line is the head: status, content type and committed id, divided by `|`, where `ID` stands for the push
//! id. What follows is the body; `CALL0` to `CALL2` in it stand for the calls' ids.

use private_number_gateway::dispatcher::HttpAnswer;

use super::worker::{self, Asked, Worker};

const BATCH: &[u8] = include_bytes!("../../tests/samples/ax-fee-batch-3-mixed.json");

struct Answer {
    status: Option<u16>,
    content_type: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl Answer {
    fn read(data: &[u8], asked: &Asked) -> Self {
        let newline = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let (head, body) = data.split_at(newline);
        let mut parts = head.split(|byte| *byte == b'|');
        let status = parts.next().and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let mut text = || parts.next().filter(|text| !text.is_empty()).map(|text| asked.fill_in(text));
        Self { status, content_type: text(), committed: text(), body: asked.fill_in(body.get(1..).unwrap_or_default()) }
    }
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    for is_missed in [false, true] {
        let mut worker = Worker::new(&worker::config(50, 2));
        let asked = worker.push(BATCH).expect("the batch is a push");
        let answer = Answer::read(data, &asked);
        worker.is_store_lying = true;
        let mut exchange = asked.exchange;
        if is_missed {
            // The root asks; it is given the answer once, and then an honest store's.
            exchange.gone(&mut worker.dispatcher, worker.now);
            let (token, sent) = worker.depart_one().expect("the root asks at once");
            assert_eq!(sent.path, privatenumber_contract::paths::PUSHES);
            worker.answered(
                token,
                &HttpAnswer {
                    status: answer.status,
                    from_upstream: true,
                    content_type: answer.content_type.as_deref(),
                    committed: answer.committed.as_deref(),
                    body: &answer.body,
                },
            );
        } else {
            let is_end = answer.body.is_empty();
            let (content_type, committed) = (answer.content_type.as_deref(), answer.committed.as_deref());
            exchange.response_headers(
                &mut worker.dispatcher,
                answer.status,
                content_type,
                committed,
                is_end,
                worker.now,
            );
            let is_awaited = exchange.awaits_response_body();
            let body = exchange.response_end(&mut worker.dispatcher, &answer.body, worker.now);
            assert_eq!(body.is_some(), is_awaited, "the body is replaced exactly where it is awaited");
            exchange.gone(&mut worker.dispatcher, worker.now);
        }
        let callbacks = worker.finish();
        assert!(callbacks <= 3, "{callbacks} callbacks for three calls");
        // Whatever a store says, it was asked once for each call.
        assert!(worker.most_callbacks_for_one_call() <= 1, "P1: a second callback for one call");
    }
}
