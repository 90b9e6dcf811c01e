//! The one pass over a usual push and the thorough reading come to the same.

use proptest::prelude::*;

use super::{APP_KEY, READER, read, to_read};
use crate::charset::Charset;
use crate::push::decode;

const SAMPLES: [&str; 3] = [
    include_str!("../../../../tests/samples/ax-fee-a-called-answered-recorded.json"),
    include_str!("../../../../tests/samples/ax-fee-batch-3-mixed.json"),
    include_str!("../../../../tests/samples/ax-fee-no-binding-direction2-subscriptionId-absent.json"),
];

/// Whether the push was usual; if so, both ways of reading it agree.
fn is_usual(body: &[u8]) -> bool {
    let body = decode(body, Charset::Utf8);
    let Some(usual) = READER.read_usual(&body) else { return false };
    assert_eq!(to_read(Ok(usual)), to_read(READER.read_thoroughly(&body)));
    true
}

#[test]
fn the_samples_are_usual() {
    for sample in SAMPLES {
        assert!(is_usual(sample.as_bytes()), "{sample}");
    }
}

#[test]
fn what_must_be_read_thoroughly_is_not_usual() {
    let cdr = |more: &str| {
        format!(r#"{{"direction":0,"spId":"s","appKey":"{APP_KEY}","bindNum":"+8617010000001","sessionId":"1"{more}}}"#)
    };
    let fee = |list: &str| format!(r#"{{"eventType":"fee","feeLst":{list}}}"#);
    assert!(is_usual(fee(&format!("[{}]", cdr(""))).as_bytes()));
    let good = cdr("");
    for usual in [
        fee(&format!("[{good},{good}]")),
        fee(&format!("[{good},[0,\"s\",\"{APP_KEY}\",\"i\",\"b\",\"2\"]]")),
        fee(&format!("[{good},null]")),
        fee(&format!("[{}]", cdr(r#","callInTime":"never""#))),
        fee(&format!("[{}]", cdr(r#","sessionId":"2""#))),
    ] {
        assert!(is_usual(usual.as_bytes()), "{usual}");
    }
    for unusual in [
        fee(&good),
        fee("[]"),
        fee(&format!("[{}]", vec![good.as_str(); 51].join(","))),
        format!(r#"{{"eventType":"fee","eventType":"fee","feeLst":[{good}]}}"#),
        format!(r#"{{"eventType":"fee","numInfo":1,"numInfo":2,"feeLst":[{good}]}}"#),
        format!(r#"{{"eventType":"answer","feeLst":[{good}]}}"#),
        format!(r#"["fee",[{good}]]"#),
        format!("{} x", fee(&format!("[{good}]"))),
    ] {
        assert!(!is_usual(unusual.as_bytes()), "{unusual}");
    }
    assert!(!is_usual(fee(&format!("[{good}]")).replace("\"s\"", "\"\u{0}\"").as_bytes()));
}

proptest! {
    /// Pushes with something put in the place of something else, anywhere.
    #[test]
    fn both_ways_of_reading_agree(
        sample in prop::sample::select(SAMPLES.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(vec![
            "", "\"", "\\", "\\u0000", "\\ud800", "{}", "[]", "null", "0", "1", "2", ",", ":", "\"direction\":1,",
            "\"feeLst\":[],", "\"eventType\":\"fee\",", "+8617010000001", " ", "\u{fffd}", "é", "1e9", "true",
        ])), 0..4),
    ) {
        let mut text = sample.to_owned();
        for (place, length, put) in changes {
            let ends: Vec<_> = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect();
            let start = place.index(ends.len());
            let end = (start + length).min(ends.len() - 1);
            text.replace_range(ends[start]..ends[end], put);
        }
        is_usual(text.as_bytes());
    }
}

#[test]
fn a_usual_push_of_fifty_is_read_in_one_pass() {
    let cdrs: Vec<_> = (0..50)
        .map(|number| {
            format!(
                r#"{{"direction":0,"spId":"s","appKey":"{APP_KEY}","bindNum":"+8617010000001","sessionId":"{number}","x":[{{}}]}}"#
            )
        })
        .collect();
    let body = format!(r#"{{"eventType":"FEE","feeLst":[{}]}}"#, cdrs.join(","));
    assert!(is_usual(body.as_bytes()));
    assert_eq!(read(body).calls.len(), 50);
}
