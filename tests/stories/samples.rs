//! Every sample of what Huawei sends: the right record for a CDR, the right answer for everything else.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::demo;
use harness::{http, products};
use privatenumber_contract::{EventPage, paths};
use serde_json::{Value, json};

use crate::world::World;

in_both_modes!(every_sample_gets_the_right_record_or_answer);

const CALL_IN: i64 = 1_767_580_203_000;
const ANSWER: i64 = 1_767_580_206_000;
const END: i64 = 1_767_580_222_000;
const UNANSWERED_END: i64 = 1_767_580_263_000;

/// The calls of the samples: `sessionId` number, whether the binding is named, and the times of the record.
/// Everything else is the same in all of them.
const CALLS: &[(&str, &[Call])] = &[
    ("ax-fee-a-called-answered-not-recorded.json", &[bound(1803, Some(ANSWER), END)]),
    ("ax-fee-a-called-answered-recorded.json", &[bound(1802, Some(ANSWER), END)]),
    ("ax-fee-a-called-busy.json", &[bound(1805, None, ANSWER)]),
    ("ax-fee-a-called-unanswered.json", &[bound(1804, None, UNANSWERED_END)]),
    ("ax-fee-a-calling-answered-recorded.json", &[bound(1801, Some(ANSWER), END)]),
    ("ax-fee-a-calling-hangup-before-ringing.json", &[bound(1806, None, CALL_IN + 6_000)]),
    ("ax-fee-a-calling-no-temporary-callee.json", &[bound(1807, None, CALL_IN + 2_000)]),
    (
        "ax-fee-batch-3-mixed.json",
        &[bound(1820, Some(ANSWER), END), bound(1821, None, UNANSWERED_END), bound(1822, Some(ANSWER), END)],
    ),
    (
        "ax-fee-no-binding-direction2-subscriptionId-absent.json",
        &[unbound(1808, None, CALL_IN + 2_000, None, None, false)],
    ),
    ("ax-fee-with-userData.json", &[bound(1811, Some(ANSWER), END)]),
    ("axb-fee-answered-recorded.json", &[bound(1840, Some(ANSWER), END)]),
    ("axe-fee-a-called-answered-recorded.json", &[bound(1841, Some(ANSWER), END)]),
    ("axyb-fee-answered-recorded.json", &[bound(1843, Some(ANSWER), END)]),
    (
        "x-fee-answered-recorded.json",
        &[unbound(1842, Some(ANSWER), END, Some("+8617010000011"), Some("userflag001"), true)],
    ),
];

struct Call {
    session: u32,
    answer: Option<i64>,
    disconnect: i64,
    /// What a record without a binding takes from the CDR: the A side, the user data, whether it was recorded.
    unbound: Option<(Option<&'static str>, Option<&'static str>, bool)>,
}

const fn bound(session: u32, answer: Option<i64>, disconnect: i64) -> Call {
    Call { session, answer, disconnect, unbound: None }
}

const fn unbound(
    session: u32,
    answer: Option<i64>,
    disconnect: i64,
    a_side: Option<&'static str>,
    user_data: Option<&'static str>,
    recorded: bool,
) -> Call {
    Call { session, answer, disconnect, unbound: Some((a_side, user_data, recorded)) }
}

impl Call {
    fn session_id(&self) -> String {
        format!("1200_{}_4294967295_20260105023003@callenabler001.example.com", self.session)
    }

    /// The record, member by member as the README's table "The record" has it; `updatedAt` is the store's.
    fn record(&self, updated_at: &Value) -> Value {
        let (session_id, answer, disconnect) = (self.session_id(), self.answer, self.disconnect);
        match self.unbound {
            None => json!({
                "id": 1, "ak": demo::AK, "origNum": "+8617010000011", "privateNum": "+8617010000001", "recordFlag": true,
                "recordHintTone": "recordHintTone.wav", "maxDuration": 60, "lastMinVoice": null,
                "userData": "1499268874687315968", "callDirection": 0, "subscriptionId": demo::SUBSCRIPTION_ID, "status": 1,
                "businessType": null, "bindResponse": "{\"resultcode\":\"0\",\"resultdesc\":\"Success\"}",
                "unbindResponse": null, "bindingDuration": 5, "bindTime": 1_767_578_000_000_i64, "unbindTime": null,
                "sessionId": session_id, "callinTime": CALL_IN, "answerTime": answer, "disconnectTime": disconnect,
                "recordUrl": null, "createdAt": 1_767_578_000_000_i64, "updatedAt": updated_at, "remark": "demo",
            }),
            Some((a_side, user_data, recorded)) => json!({
                "id": null, "ak": demo::AK, "origNum": a_side, "privateNum": "+8617010000001", "recordFlag": recorded,
                "recordHintTone": null, "maxDuration": null, "lastMinVoice": null, "userData": user_data,
                "callDirection": null, "subscriptionId": null, "status": null, "businessType": null, "bindResponse": null,
                "unbindResponse": null, "bindingDuration": null, "bindTime": null, "unbindTime": null,
                "sessionId": session_id, "callinTime": CALL_IN, "answerTime": answer, "disconnectTime": disconnect,
                "recordUrl": null, "createdAt": null, "updatedAt": updated_at, "remark": null,
            }),
        }
    }
}

async fn every_sample_gets_the_right_record_or_answer(mode: HeadersMode) -> Result<()> {
    let world = World::start("samples", mode).await?;
    world.register_demo_binding().await?;
    let directory = products::repository().join("tests/samples");
    let mut calls: BTreeMap<_, _> = CALLS.iter().copied().collect();
    let (mut expected, mut events) = (BTreeMap::new(), 0);

    for entry in std::fs::read_dir(&directory)? {
        let name = entry?.file_name().into_string().ok().context("an odd file name")?;
        if !name.ends_with(".json") {
            continue;
        }
        let body = std::fs::read(directory.join(&name))?;
        let answer = world.huawei.push(&world.gateway.url(), body).await?;
        if let Some(calls) = calls.remove(name.as_str()) {
            ensure!(answer.status == 200, "{name}: {}", answer.status);
            expected.extend(calls.iter().map(|call| (call.session_id(), call)));
            continue;
        }
        // Status events are kept; SMS pushes, and answers that are no pushes at all, are not what this address takes.
        let is_event = (name.contains("-status-") || name.starts_with("number-status")) && !name.contains("response");
        events += u32::from(is_event);
        let status = if is_event { 200 } else { 400 };
        ensure!(answer.status == status, "{name}: {} instead of {status}: {}", answer.status, answer.text());
    }
    ensure!(calls.is_empty(), "samples that are not there: {:?}", calls.keys());

    let callbacks = world.callbacks(expected.len()).await?;
    ensure!(callbacks.len() == expected.len(), "{} callbacks for {} calls", callbacks.len(), expected.len());
    for callback in callbacks {
        ensure!(callback.record_valid, "not 26 members in their order: {}", callback.body);
        let record: Value = serde_json::from_str(&callback.body)?;
        let session_id = record["sessionId"].as_str().context("no sessionId")?;
        let call = expected.remove(session_id).context("a callback for a call that was not pushed")?;
        let updated_at = &record["updatedAt"];
        ensure!(updated_at.as_i64().is_some_and(|time| time > END), "updatedAt is {updated_at}");
        let wanted = call.record(updated_at);
        ensure!(record == wanted, "the record of call {} is\n{record:#}\ninstead of\n{wanted:#}", call.session);
    }
    let kept: EventPage =
        http::get(&world.store.url(&format!("{}?limit=500", paths::EVENTS))).await?.expect(200)?.json()?;
    ensure!(kept.events.len() == events as usize, "{} of {events} status events were kept", kept.events.len());
    ensure!(world.store.parked().await?.parked.is_empty());
    world.ends_well().await
}
