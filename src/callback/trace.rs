//! The trace of a push, carried on to its callbacks: W3C Trace Context, which Envoy does not add to a filter's own requests.

/// Longest `tracestate` that is passed on, in bytes; the specification's own limit for what must be.
const MAX_TRACESTATE: usize = 512;
/// `sampled` and `random`: the flags that have a meaning. The others must be sent as zero.
const KNOWN_FLAGS: u8 = 0b11;

/// The trace that a push belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// Reads the headers of a push. `None` where there is no trace to carry on: no `traceparent`, or one that is not valid.
    ///
    /// Version 00 has exactly four parts. A later version is read as if it were 00, whatever follows its fourth part. A
    /// header that is there more than once is not valid: give `None` for it. A `tracestate` that is not printable ASCII or is
    /// too long is left out.
    pub fn parse(traceparent: Option<&[u8]>, tracestate: Option<&[u8]>) -> Option<Self> {
        let parent = std::str::from_utf8(traceparent?).ok()?.trim_ascii();
        let mut parts = parent.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let parent_id = hex(parts.next()?, 16)?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace_id == 0 || parent_id == 0 {
            return None;
        }
        Some(Self { trace_id, flags: flags & KNOWN_FLAGS, state: tracestate.and_then(read_state) })
    }

    /// The headers of a request made on behalf of the push: `traceparent` and, if there is one, `tracestate`.
    ///
    /// `span_id`: random, a new one for each request. Zero, which is not valid, becomes one.
    pub fn child(&self, span_id: [u8; 8]) -> (String, Option<&str>) {
        let span_id = u64::from_be_bytes(span_id).max(1);
        (format!("00-{:032x}-{span_id:016x}-{:02x}", self.trace_id, self.flags), self.state.as_deref())
    }
}

/// Exactly `digits` lower-case hex digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == digits && text.bytes().all(is_digit) { u128::from_str_radix(text, 16).ok() } else { None }
}

fn read_state(value: &[u8]) -> Option<String> {
    let state = std::str::from_utf8(value).ok()?.trim_ascii();
    let fit =
        !state.is_empty() && state.len() <= MAX_TRACESTATE && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    fit.then(|| state.to_owned())
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const SPAN: [u8; 8] = [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

    fn child_of(traceparent: &str, tracestate: Option<&str>) -> Option<(String, Option<String>)> {
        let context = TraceContext::parse(Some(traceparent.as_bytes()), tracestate.map(str::as_bytes))?;
        let (parent, state) = context.child(SPAN);
        Some((parent, state.map(str::to_owned)))
    }

    #[test]
    fn a_callback_carries_the_trace_of_its_push_under_a_span_of_its_own() {
        let expected = (format!("00-{TRACE}-00f067aa0ba902b7-01"), Some("vendor=1,other=2".to_owned()));
        assert_eq!(child_of(PARENT, Some("vendor=1,other=2")), Some(expected));
    }

    #[test]
    fn flags_without_a_meaning_are_sent_as_zero() {
        for (sent, expected) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("fd", "01"), ("fc", "00")] {
            let (parent, _) = child_of(&format!("00-{TRACE}-b7ad6b7169203331-{sent}"), None).unwrap();
            assert_eq!(parent, format!("00-{TRACE}-00f067aa0ba902b7-{expected}"), "{sent}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_the_first_one() {
        for parent in [
            format!("01-{TRACE}-b7ad6b7169203331-01"),
            format!("cc-{TRACE}-b7ad6b7169203331-01-what-the-future-will-be-like"),
            format!("cc-{TRACE}-b7ad6b7169203331-01-"),
        ] {
            assert_eq!(child_of(&parent, None), Some((format!("00-{TRACE}-00f067aa0ba902b7-01"), None)), "{parent}");
        }
    }

    #[test]
    fn what_is_not_a_traceparent_starts_no_trace() {
        for parent in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-b7ad6b7169203331-01-"),
            format!("00-{TRACE}-b7ad6b7169203331-01-x"),
            format!("00-{TRACE}-b7ad6b7169203331-010"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("cc-{TRACE}-b7ad6b7169203331-01.x"),
            format!("0-{TRACE}-b7ad6b7169203331-01"),
            format!("000-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-B7AD6B7169203331-01"),
            format!("00-{TRACE}-b7ad6b716920333g-01"),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            format!("00_{TRACE}_b7ad6b7169203331_01"),
            format!("{PARENT},{PARENT}"),
        ] {
            assert_eq!(child_of(&parent, Some("vendor=1")), None, "{parent}");
        }
        assert_eq!(TraceContext::parse(None, Some(b"vendor=1")), None);
        assert_eq!(TraceContext::parse(Some(b"\xff"), None), None);
    }

    #[test]
    fn a_tracestate_that_cannot_be_a_header_is_left_out() {
        let (fits, too_long) = ("v".repeat(512), "v".repeat(513));
        for (state, expected) in [
            ("", None),
            ("  ", None),
            (" vendor=1 ", Some("vendor=1")),
            ("vendor=1\r\nx-injected: 1", None),
            ("vendor=é", None),
            (&fits, Some(fits.as_str())),
            (&too_long, None),
        ] {
            assert_eq!(child_of(PARENT, Some(state)).unwrap().1.as_deref(), expected, "{state:?}");
        }
    }

    #[test]
    fn a_span_id_is_never_zero() {
        let context = TraceContext::parse(Some(PARENT.as_bytes()), None).unwrap();
        assert_eq!(context.child([0; 8]).0, format!("00-{TRACE}-0000000000000001-01"));
    }

    proptest::proptest! {
        #[test]
        fn p6_no_header_makes_it_panic_and_every_child_is_a_valid_parent(
            parent in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
            id: u128,
            span: [u8; 8],
        ) {
            let _ = TraceContext::parse(Some(&parent), Some(&parent));
            let traceparent = format!("00-{:032x}-b7ad6b7169203331-01", id.max(1));
            let context = TraceContext::parse(Some(traceparent.as_bytes()), None).unwrap();
            let (child, _) = context.child(span);
            proptest::prop_assert_eq!(TraceContext::parse(Some(child.as_bytes()), None), Some(context));
        }
    }
}
