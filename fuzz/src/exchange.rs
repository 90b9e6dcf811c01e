//! The whole core as a sequence of events: several streams and the root of one worker, in any order, with answers that are
//! honest, lost, garbled or lies, refusals, drains, and a wall clock that goes anywhere.

use std::rc::Rc;

use arbitrary::{Result, Unstructured};
use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::{HttpAnswer, Refusal, store_answer};
use private_number_gateway::exchange::{AtEnd, AtResponse, Exchange};
use privatenumber_contract::{Push, PushId, paths};

use super::worker::{self, Worker};

/// Bodies that streams bring; what else they bring is raw input.
const BODIES: [&str; 7] = [
    include_str!("../../tests/samples/ax-fee-a-called-answered-recorded.json"),
    include_str!("../../tests/samples/ax-fee-batch-3-mixed.json"),
    include_str!("../../tests/samples/ax-fee-no-binding-direction2-subscriptionId-absent.json"),
    include_str!("../../tests/samples/ax-fee-with-userData.json"),
    include_str!("../../tests/samples/ax-status-5-disconnect-normal.json"),
    r#"{"eventType":"fee","feeLst":[{}]}"#,
    "{",
];

const STREAMS: usize = 4;
const MOST_STEPS: usize = 400;

#[derive(Default)]
struct Stream {
    exchange: Exchange,
    /// What the store was asked by it.
    asked: Option<(PushId, Vec<u8>)>,
    /// What an honest store has answered to that, once it has committed.
    answer: Option<Vec<u8>>,
}

struct World {
    worker: Worker,
    streams: [Stream; STREAMS],
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let config: Rc<Config> =
        if input.arbitrary().unwrap_or(false) { worker::config(50, 1) } else { worker::config(10_000, 2) };
    let mut world = World { worker: Worker::new(&config), streams: Default::default() };
    for _ in 0..MOST_STEPS {
        if input.is_empty() || world.step(&mut input).is_err() {
            break;
        }
        world.worker.check();
    }
    for stream in &mut world.streams {
        stream.exchange.gone(&mut world.worker.dispatcher, world.worker.now);
    }
    world.worker.finish();
}

impl World {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let event = input.int_in_range(0..=13_u8)?;
        let index = input.int_in_range(0..=STREAMS - 1)?;
        let Self { worker, streams } = self;
        let Some(stream) = streams.get_mut(index) else { return Ok(()) };
        match event {
            0 => {
                // Envoy ends a stream before its place can be another's.
                stream.exchange.gone(&mut worker.dispatcher, worker.now);
                *stream = Stream::default();
                request_headers(worker, stream, input)
            }
            1 => {
                let size = input.arbitrary()?;
                let config = Rc::clone(&worker.config);
                stream.exchange.request_body(&config, &mut worker.dispatcher, size);
                Ok(())
            }
            2 => request_end(worker, stream, input),
            3 => commit(worker, stream, input.arbitrary()?),
            4 => response_headers(worker, stream, input),
            5 => response_end(worker, stream, input),
            6 => {
                stream.exchange.gone(&mut worker.dispatcher, worker.now);
                Ok(())
            }
            7 => {
                for _ in 0..input.int_in_range(0..=8_u8)? {
                    worker.depart_one();
                }
                Ok(())
            }
            8 => {
                let refusal = if input.arbitrary()? { Refusal::NoCluster } else { Refusal::NoHealthyHost };
                worker.refuse_one(refusal);
                Ok(())
            }
            9 | 10 => answer(worker, input),
            11 => {
                let pause =
                    if input.ratio(1, 50_u8)? { input.arbitrary::<u64>()? } else { input.arbitrary::<u16>()?.into() };
                worker.now.monotonic_ms = worker.now.monotonic_ms.saturating_add(pause);
                Ok(())
            }
            12 => {
                worker.now.wall_ms = input.arbitrary()?;
                Ok(())
            }
            _ => {
                if input.ratio(1, 4_u8)? {
                    worker.dispatcher.drain();
                }
                worker.dispatcher.take_stirred();
                worker.dispatcher.next_wake_up(worker.now);
                Ok(())
            }
        }
    }
}

fn request_headers(worker: &mut Worker, stream: &mut Stream, input: &mut Unstructured<'_>) -> Result<()> {
    let mut headers = worker::headers();
    if input.ratio(1, 4_u8)? {
        let names =
            [":path", ":method", "content-type", "content-length", "x-aksk", "x-wsse", "traceparent", "tracestate"];
        let name = *input.choose(&names)?;
        let length = input.int_in_range(0..=64_usize)?.min(input.len());
        let value = input.bytes(length)?.to_vec();
        if input.arbitrary()? {
            headers.retain(|(other, _)| other != name);
        }
        headers.push((name.to_owned(), value));
    }
    let is_end = input.ratio(1, 20_u8)?;
    let config = Rc::clone(&worker.config);
    stream.exchange.request_headers(&config, &mut worker.dispatcher, &headers, is_end, worker.now);
    Ok(())
}

fn request_end(worker: &mut Worker, stream: &mut Stream, input: &mut Unstructured<'_>) -> Result<()> {
    let raw;
    let body = match BODIES.get(input.int_in_range(0..=BODIES.len())?) {
        Some(body) => {
            // One byte of it may be another; seven sessions make seven different pushes of it.
            let mut text = body.replace("4294967295", &input.int_in_range(1..=7_u8)?.to_string()).into_bytes();
            if input.ratio(1, 8_u8)? {
                let at = input.arbitrary::<usize>()? % text.len();
                if let Some(byte) = text.get_mut(at) {
                    *byte = input.arbitrary()?;
                }
            }
            raw = text;
            raw.as_slice()
        }
        None => {
            let length = input.int_in_range(0..=512_usize)?.min(input.len());
            input.bytes(length)?
        }
    };
    let push_id = worker.draw_push_id();
    let config = Rc::clone(&worker.config);
    if let AtEnd::Forward(body) =
        stream.exchange.request_end(&config, &mut worker.dispatcher, body, push_id, worker.now)
    {
        stream.asked = Some((push_id, body.to_vec()));
        stream.answer = None;
    }
    Ok(())
}

/// The store commits; its answer may be lost on the way.
fn commit(worker: &mut Worker, stream: &mut Stream, is_lost: bool) -> Result<()> {
    if let Some((_, body)) = &stream.asked {
        let answer = worker.commit(body);
        stream.answer = (!is_lost).then_some(answer);
    }
    Ok(())
}

fn response_headers(worker: &mut Worker, stream: &mut Stream, input: &mut Unstructured<'_>) -> Result<()> {
    let is_end = input.ratio(1, 8_u8)?;
    if let (Some((push_id, _)), Some(_)) = (&stream.asked, &stream.answer)
        && input.ratio(3, 4_u8)?
    {
        let id = push_id.to_string();
        let (dispatcher, now) = (&mut worker.dispatcher, worker.now);
        stream.exchange.response_headers(dispatcher, Some(200), None, Some(id.as_bytes()), is_end, now);
        return Ok(());
    }
    let status = *input.choose(&[None, Some(200), Some(204), Some(400), Some(413), Some(422), Some(500), Some(503)])?;
    let content_type = *input.choose(&[None, Some(&b"application/problem+json"[..]), Some(b"text/plain")])?;
    let committed = *input.choose(&[None, Some(&b"00000000000000000000000000000000"[..]), Some(b"\xff")])?;
    let is_incomplete = stream.asked.is_none() && stream.exchange.awaits_response();
    let decision =
        stream.exchange.response_headers(&mut worker.dispatcher, status, content_type, committed, is_end, worker.now);
    let passes = decision == AtResponse::LeaveAlone && status.is_none_or(|status| status < 400);
    assert!(!is_incomplete || !passes, "P2: {status:?} is passed on for a push that nobody was asked about");
    Ok(())
}

fn response_end(worker: &mut Worker, stream: &mut Stream, input: &mut Unstructured<'_>) -> Result<()> {
    let body = match &stream.answer {
        Some(answer) if input.ratio(3, 4_u8)? => {
            let mut answer = answer.clone();
            if input.ratio(1, 4_u8)? {
                answer.truncate(input.arbitrary::<usize>()? % answer.len());
            }
            answer
        }
        _ => {
            let body = false_answer(stream.asked.as_ref().map(|(_, body)| body.as_slice()), input)?;
            worker.is_store_lying |= is_believable(stream.asked.as_ref().map(|(_, body)| body.as_slice()), &body);
            body
        }
    };
    stream.exchange.response_end(&mut worker.dispatcher, &body, worker.now);
    Ok(())
}

/// Raw input, or an answer of the right form that says what it likes.
fn false_answer(asked: Option<&[u8]>, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if !input.arbitrary()? {
        let length = input.int_in_range(0..=128_usize)?.min(input.len());
        return Ok(input.bytes(length)?.to_vec());
    }
    let Some(push) = asked.and_then(|body| serde_json::from_slice::<Push<'_>>(body).ok()) else {
        return Ok(Vec::new());
    };
    let mut calls = Vec::new();
    for call in &push.calls {
        let verdict = *input.choose(&["claimed", "claimed", "duplicate", "parked", "unheard-of"])?;
        let id = match input.int_in_range(0..=3_u8)? {
            0 => "0123456789abcdef0123456789abcdef".to_owned(),
            1 => input.arbitrary::<String>()?,
            _ => call.key().id(),
        };
        let ak = *input.choose(&[None, Some(worker::AK), Some("nobody")])?;
        calls.push(serde_json::json!({"verdict": verdict, "callId": id, "ak": ak, "record": {"id": 1}}));
    }
    Ok(serde_json::to_vec(&serde_json::json!({ "calls": calls })).unwrap_or_default())
}

fn is_believable(asked: Option<&[u8]>, body: &[u8]) -> bool {
    let push = asked.and_then(|body| serde_json::from_slice::<Push<'_>>(body).ok());
    push.is_some_and(|push| !push.calls.is_empty() && store_answer::body(body, push.calls.len()).is_some())
}

/// An answer to one of the root's requests, or to one there never was.
fn answer(worker: &mut Worker, input: &mut Unstructured<'_>) -> Result<()> {
    let place = input.arbitrary::<usize>()?;
    let token = worker.in_flight.keys().nth(place % (worker.in_flight.len() + 1)).copied();
    let token = token.unwrap_or(input.arbitrary::<u32>()? | 0x8000_0000);
    if input.arbitrary()? {
        worker.answered_honestly(token);
        return Ok(());
    }
    let (asked, is_claims, committed) = match worker.in_flight.get(&token) {
        Some(sent) if sent.path == paths::PUSHES => {
            let push: Option<Push<'_>> = serde_json::from_slice(&sent.body).ok();
            (Some(sent.body.clone()), true, push.map(|push| push.push_id.to_string()))
        }
        Some(sent) => (Some(sent.body.clone()), false, None),
        None => (None, false, None),
    };
    let status = *input.choose(&[None, Some(200), Some(204), Some(400), Some(413), Some(503), Some(504)])?;
    let content_type = *input.choose(&[None, Some(&b"application/problem+json"[..])])?;
    let from_upstream = input.arbitrary()?;
    let body =
        if is_claims { false_answer(asked.as_deref(), input)? } else { input.bytes(input.len().min(8))?.to_vec() };
    let committed = committed.filter(|_| status == Some(200));
    if is_claims {
        worker.is_store_lying |= committed.is_some() && is_believable(asked.as_deref(), &body);
    }
    let answer = HttpAnswer {
        status,
        from_upstream,
        content_type,
        committed: committed.as_ref().map(String::as_bytes),
        body: &body,
    };
    worker.answered(token, &answer);
    Ok(())
}
