//! The one request of a callback.

use std::rc::Rc;

use super::{TraceContext, sign};
use crate::config::Business;
use crate::now::Now;
use crate::request::{RequestHead, Text};

/// The head of the callback for the call `call_id` with the body `record`.
///
/// `trace`: the trace that the push belongs to, and the span id of the callback in it.
pub fn head(
    business: &Business,
    call_id: &str,
    record: &[u8],
    trace: Option<(&TraceContext, [u8; 8])>,
    now: Now,
) -> RequestHead {
    let path = Text::Shared(Rc::clone(&business.path));
    let mut head = RequestHead::post_json(&business.cluster, &business.authority, path, business.timeout);
    let timestamp = now.wall_ms.div_euclid(1_000);
    head.add(Text::Static("webhook-id"), Text::Owned(call_id.to_owned()));
    head.add(Text::Static("webhook-timestamp"), Text::Owned(timestamp.to_string()));
    if !business.signing_secrets.is_empty() {
        let signature = sign(&business.signing_secrets, call_id, timestamp, record);
        head.add(Text::Static("webhook-signature"), Text::Owned(signature));
    }
    if let Some((trace, span_id)) = trace {
        let (traceparent, tracestate) = trace.child(span_id);
        head.add(Text::Static("traceparent"), Text::Owned(traceparent));
        if let Some(tracestate) = tracestate {
            head.add(Text::Static("tracestate"), Text::Owned(tracestate.to_owned()));
        }
    }
    for (name, value) in &business.headers {
        head.add(Text::Shared(Rc::clone(name)), Text::Shared(Rc::clone(value)));
    }
    head
}
