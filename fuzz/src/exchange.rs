//! The whole core as a sequence of events: several streams and the root of one worker, in either header mode, with answers that
//! are honest, lost, cut, partial, repeated, foreign or lies, refusals, drains, little room, and clocks that go anywhere.

use arbitrary::{Result, Unstructured};
use private_number_gateway::config::HeadersMode;
use private_number_gateway::dispatcher::{HttpAnswer, Refusal};
use private_number_gateway::now::Now;
use private_number_gateway::streams::StreamId;
use privatenumber_contract::{Push, PushBatch, WorkRequest, paths};
use serde_json::{Value, json};

use super::worker::{self, Setting, Worker};

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

const STREAMS: usize = 8;
const MOST_STEPS: usize = 400;
/// The statuses of answers that are not honest.
const STATUSES: [Option<u16>; 11] = [
    None,
    Some(200),
    Some(200),
    Some(204),
    Some(400),
    Some(404),
    Some(413),
    Some(422),
    Some(500),
    Some(503),
    Some(504),
];
const PROBLEM: &[u8] = b"application/problem+json";

/// A place for one stream after the other.
#[derive(Clone, Default)]
struct Place {
    id: StreamId,
    /// What an honest store has answered to its push, once it has committed.
    answer: Option<Vec<u8>>,
}

struct World {
    worker: Worker,
    places: [Place; STREAMS],
    streams: StreamId,
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let choice: u8 = input.arbitrary().unwrap_or(0);
    let is = |bit: u8| choice & (1 << bit) != 0;
    let setting = Setting {
        headers: if is(0) { HeadersMode::Pass } else { HeadersMode::Hold },
        pending_calls: if is(1) { 5 } else { 10_000 },
        pending_bytes: if is(2) { 100_000 } else { 1_048_576 },
        concurrency: if is(3) { 1 } else { 2 },
        takes_works: is(5),
    };
    let mut world = World { worker: Worker::new(setting), places: Default::default(), streams: 0 };
    for _ in 0..MOST_STEPS {
        if input.is_empty() || world.step(&mut input).is_err() {
            break;
        }
    }
    world.worker.finish(is(4));
}

impl World {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let event = input.int_in_range(0..=16_u8)?;
        let index = input.int_in_range(0..=STREAMS - 1)?;
        let Self { worker, places, streams } = self;
        let Some(place) = places.get_mut(index) else { return Ok(()) };
        let id = place.id;
        match event {
            0 | 14 => {
                worker.end(id);
                *streams += 1;
                *place = Place { id: *streams, answer: None };
                request_headers(worker, place.id, input)?;
                if event == 14 { request_end(worker, place.id, input) } else { Ok(()) }
            }
            1 => {
                let size = if input.arbitrary()? { input.arbitrary()? } else { input.arbitrary::<u16>()?.into() };
                worker.request_body(id, size);
                Ok(())
            }
            2 => request_end(worker, id, input),
            3 => commit(worker, place, input.arbitrary()?),
            4 => response_headers(worker, place, input),
            5 => response_end(worker, place, input),
            6 => {
                worker.end(id);
                Ok(())
            }
            7 => {
                worker.drive();
                Ok(())
            }
            8 => {
                let refusal = if input.arbitrary()? { Refusal::NoCluster } else { Refusal::NoHealthyHost };
                worker.refuse_next(refusal, input.int_in_range(1..=8_u8)?);
                Ok(())
            }
            9 | 10 => answer(worker, input),
            11 | 15 => {
                let pause =
                    if input.ratio(1, 50_u8)? { input.arbitrary::<u64>()? } else { input.arbitrary::<u16>()?.into() };
                let now = worker.driver.now();
                worker.driver.set_now(Now { monotonic_ms: now.monotonic_ms.saturating_add(pause), ..now });
                if event == 15 {
                    worker.drive();
                }
                Ok(())
            }
            12 => {
                let wall_ms = input.arbitrary()?;
                worker.driver.set_now(Now { wall_ms, ..worker.driver.now() });
                Ok(())
            }
            13 => {
                if input.ratio(1, 4_u8)? {
                    worker.drain();
                }
                Ok(())
            }
            _ => {
                worker.has_random.set(input.ratio(7, 8_u8)?);
                Ok(())
            }
        }
    }
}

fn request_headers(worker: &mut Worker, id: StreamId, input: &mut Unstructured<'_>) -> Result<()> {
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
    worker.request_headers(id, &headers, is_end);
    Ok(())
}

fn request_end(worker: &mut Worker, id: StreamId, input: &mut Unstructured<'_>) -> Result<()> {
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
            if input.ratio(1, 8_u8)? {
                // A large one, for little room.
                text.resize(text.len() + usize::from(input.arbitrary::<u16>()?), b' ');
            }
            raw = text;
            raw.as_slice()
        }
        None => {
            let length = input.int_in_range(0..=512_usize)?.min(input.len());
            input.bytes(length)?
        }
    };
    worker.request_end(id, body);
    Ok(())
}

fn asked(worker: &Worker, id: StreamId) -> Option<Vec<u8>> {
    worker.stream(id)?.asked.clone()
}

/// The store commits what a stream asked by itself; its answer may be lost on the way.
fn commit(worker: &mut Worker, place: &mut Place, is_lost: bool) -> Result<()> {
    if let Some(body) = asked(worker, place.id) {
        let push: Push<'_> = serde_json::from_slice(&body).expect("what the filter wrote");
        let answer = json!({"calls": worker.commit(&push)}).to_string().into_bytes();
        place.answer = (!is_lost).then_some(answer);
    }
    Ok(())
}

fn response_headers(worker: &mut Worker, place: &Place, input: &mut Unstructured<'_>) -> Result<()> {
    let is_end = input.ratio(1, 8_u8)?;
    let push_id = worker.stream(place.id).and_then(|stream| stream.push_id);
    if let (Some(push_id), Some(_)) = (push_id, &place.answer)
        && input.ratio(3, 4_u8)?
    {
        worker.response_headers(place.id, Some(200), None, Some(&push_id.to_hex()), is_end);
        return Ok(());
    }
    let status = *input.choose(&STATUSES)?;
    let content_type = *input.choose(&[None, Some(PROBLEM), Some(b"text/plain")])?;
    let committed = *input.choose(&[None, Some(&b"00000000000000000000000000000000"[..]), Some(b"\xff")])?;
    worker.response_headers(place.id, status, content_type, committed, is_end);
    Ok(())
}

fn response_end(worker: &mut Worker, place: &Place, input: &mut Unstructured<'_>) -> Result<()> {
    let body = match &place.answer {
        Some(answer) if input.ratio(3, 4_u8)? => cut(answer.clone(), input)?,
        _ => {
            let asked = asked(worker, place.id);
            let push = asked.as_ref().and_then(|body| serde_json::from_slice::<Push<'_>>(body).ok());
            false_answer(push.as_ref(), input)?
        }
    };
    worker.response_end(place.id, &body);
    Ok(())
}

/// One answer in four is cut off.
fn cut(mut answer: Vec<u8>, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1, 4_u8)? {
        answer.truncate(input.arbitrary::<usize>()? % answer.len().max(1));
    }
    Ok(answer)
}

/// Raw input, or an answer of the right form that says what it likes.
fn false_answer(push: Option<&Push<'_>>, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match push {
        Some(push) if input.arbitrary()? => Ok(json!({"calls": false_calls(push, input)?}).to_string().into_bytes()),
        _ => {
            let length = input.int_in_range(0..=128_usize)?.min(input.len());
            Ok(input.bytes(length)?.to_vec())
        }
    }
}

fn false_calls(push: &Push<'_>, input: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let mut calls = Vec::new();
    for call in &push.calls {
        let verdict = *input.choose(&["claimed", "claimed", "duplicate", "parked", "held", "erased", "unheard-of"])?;
        let id = match input.int_in_range(0..=7_u8)? {
            0 => "0123456789abcdef0123456789abcdef".to_owned(),
            1 => input.arbitrary::<String>()?,
            _ => call.key().id(),
        };
        let ak = *input.choose(&[None, Some(worker::AK), Some("nobody")])?;
        calls.push(json!({"verdict": verdict, "callId": id, "ak": ak, "record": {"id": 1}}));
    }
    Ok(calls)
}

/// What a store says of a batch, each push by itself: honest, partial, repeated, foreign or a lie; then in another order, and cut.
fn batch_answer(worker: &mut Worker, batch: &PushBatch<'_>, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut results = Vec::new();
    for push in &batch.pushes {
        let id = push.push_id;
        match input.int_in_range(0..=11_u8)? {
            0..=3 => results.push(worker.result(push)),
            // Committed and not said, or not committed.
            4 => drop(worker.commit(push)),
            5 => {}
            6 => results.push(json!({"pushId": id, "verdict": "retry"})),
            7 => {
                let verdict = *input.choose(&["refused", "expired", "unheard-of"])?;
                results.push(json!({"pushId": id, "verdict": verdict}));
            }
            8 => results.push(json!({"pushId": id, "verdict": "committed", "calls": false_calls(push, input)?})),
            9 => {
                let mut result = worker.result(push);
                if let Some(Value::Array(calls)) = result.get_mut("calls") {
                    calls.pop();
                }
                results.push(result);
            }
            10 => {
                let result = worker.result(push);
                results.extend([result.clone(), result]);
            }
            _ => {
                // Another push's id: nobody's, or one that was drawn for somebody else.
                let mut result = worker.result(push);
                let foreign = format!("{:032x}", input.arbitrary::<u8>()?);
                if let Some(name) = result.get_mut("pushId") {
                    *name = foreign.into();
                }
                results.push(result);
            }
        }
    }
    if !results.is_empty() {
        let by = input.arbitrary::<usize>()? % results.len();
        results.rotate_left(by);
    }
    cut(json!({"pushes": results, "worksWaiting": 1}).to_string().into_bytes(), input)
}

/// What a store says of a request for works: honest, for another, with a call twice, a lie; then cut.
fn works_answer(worker: &mut Worker, request: &WorkRequest, input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(&worker.hand_out(request)).expect("what the store wrote");
    match input.int_in_range(0..=7_u8)? {
        0..=2 => {}
        3 => answer["pushId"] = format!("{:032x}", input.arbitrary::<u8>()?).into(),
        4 => {
            if let Some(calls) = answer["calls"].as_array_mut() {
                let again = calls.first().cloned();
                calls.extend(again);
            }
        }
        5 => answer["worksWaiting"] = input.arbitrary::<u64>()?.into(),
        _ => {
            let mut calls = Vec::new();
            for _ in 0..input.int_in_range(0..=60_u8)? {
                let verdict = *input.choose(&["claimed", "claimed", "claimed", "erased", "held", "unheard-of"])?;
                let id = format!("{:032x}", input.arbitrary::<u8>()?);
                let ak = *input.choose(&[None, Some(worker::AK), Some("nobody")])?;
                calls.push(json!({"verdict": verdict, "callId": id, "ak": ak, "record": {"id": 1}}));
            }
            answer["calls"] = calls.into();
        }
    }
    cut(answer.to_string().into_bytes(), input)
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
    let (status, content_type) = (*input.choose(&STATUSES)?, *input.choose(&[None, Some(PROBLEM)])?);
    let from_upstream = input.arbitrary()?;
    let sent = worker.in_flight.get(&token).cloned();
    let mut committed = None;
    let body = match &sent {
        Some(sent) if sent.path == paths::PUSH_BATCHES && status == Some(200) && input.ratio(7, 8_u8)? => {
            let batch: PushBatch<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
            batch_answer(worker, &batch, input)?
        }
        Some(sent) if sent.path == paths::WORK_TAKE && status == Some(200) && input.ratio(7, 8_u8)? => {
            let request = serde_json::from_slice(&sent.body).expect("what the filter wrote");
            works_answer(worker, &request, input)?
        }
        Some(sent) if sent.path == paths::PUSHES => {
            let push: Push<'_> = serde_json::from_slice(&sent.body).expect("what the filter wrote");
            committed = Some(push.push_id.to_string()).filter(|_| status == Some(200));
            false_answer(Some(&push), input)?
        }
        _ => {
            let length = input.int_in_range(0..=128_usize)?.min(input.len());
            input.bytes(length)?.to_vec()
        }
    };
    let committed = committed.as_ref().map(String::as_bytes);
    worker.answered(token, &HttpAnswer { status, from_upstream, content_type, committed, body: &body });
    Ok(())
}
