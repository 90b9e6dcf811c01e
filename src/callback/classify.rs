//! What the answer to a callback means. The one place where that is decided.

use privatenumber_contract::{MaybeSent, NotSent, Outcome};

/// What Envoy hands over as the answer to a callback that was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// `:status`; `None` where there are no headers, which is how Envoy shows an answer that was cut off.
    pub status: Option<u16>,
    /// Whether `x-envoy-upstream-service-time` is there. Envoy's router adds it to what the business answered and not to
    /// what it makes up itself.
    pub from_upstream: bool,
    /// The body, or as much of its beginning as [`Answer::BODY`].
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// How many bytes of a body are looked at.
    pub const BODY: usize = 256;
}

/// How Envoy's own 503 begins where the request was tried once. Where it was tried again, an earlier try may have arrived,
/// and the text is another.
const RESET: &[u8] = b"upstream connect error or disconnect/reset before headers. reset reason: ";
/// Envoy's own 503 where there is no host to send to.
const NO_HEALTHY_HOST: &[u8] = b"no healthy upstream";

/// The outcome that an answer stands for.
///
/// `NotSent` only for what Envoy says happens before the first byte of a request: the texts of its `StreamResetReason`. What
/// it does not say for certain is `MaybeSent`.
pub fn classify(answer: &Answer<'_>) -> Outcome {
    match answer.status {
        None => Outcome::MaybeSent { reason: MaybeSent::Truncated },
        Some(status) if answer.from_upstream => Outcome::of_status(status),
        Some(504) => Outcome::MaybeSent { reason: MaybeSent::Timeout },
        Some(503) => match not_sent(answer.body) {
            Some(reason) => Outcome::NotSent { reason },
            None => Outcome::MaybeSent { reason: MaybeSent::Reset },
        },
        Some(_) => Outcome::MaybeSent { reason: MaybeSent::Reset },
    }
}

fn not_sent(body: &[u8]) -> Option<NotSent> {
    if body == NO_HEALTHY_HOST {
        return Some(NotSent::NoHealthyHost);
    }
    // Behind a comma stands what the transport has to say.
    match body.strip_prefix(RESET)?.split(|byte| *byte == b',').next()? {
        b"remote connection failure" | b"local connection failure" | b"connection timeout" => {
            Some(NotSent::ConnectionFailed)
        }
        b"overflow" => Some(NotSent::Overflow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::{MaybeSent, NotSent, Outcome};

    use super::{Answer, classify};

    const TIMEOUT: Outcome = Outcome::MaybeSent { reason: MaybeSent::Timeout };
    const RESET: Outcome = Outcome::MaybeSent { reason: MaybeSent::Reset };
    const TRUNCATED: Outcome = Outcome::MaybeSent { reason: MaybeSent::Truncated };
    const CONNECTION_FAILED: Outcome = Outcome::NotSent { reason: NotSent::ConnectionFailed };
    const OVERFLOW: Outcome = Outcome::NotSent { reason: NotSent::Overflow };
    const NO_HEALTHY_HOST: Outcome = Outcome::NotSent { reason: NotSent::NoHealthyHost };

    fn envoys_own(status: u16, body: &str) -> Outcome {
        classify(&Answer { status: Some(status), from_upstream: false, body: body.as_bytes() })
    }

    #[test]
    fn p3_what_envoy_says_of_a_reset_tells_whether_the_callback_left() {
        for (reason, expected) in [
            ("remote connection failure", CONNECTION_FAILED),
            (
                "remote connection failure, transport failure reason: delayed connect error: Connection refused",
                CONNECTION_FAILED,
            ),
            (
                "remote connection failure, transport failure reason: TLS_error:|268435703:SSL routines",
                CONNECTION_FAILED,
            ),
            ("local connection failure", CONNECTION_FAILED),
            ("connection timeout", CONNECTION_FAILED),
            ("overflow", OVERFLOW),
            ("connection termination", RESET),
            ("local reset", RESET),
            ("remote reset", RESET),
            ("remote refused stream reset", RESET),
            ("local refused stream reset", RESET),
            ("protocol error", RESET),
            ("overload manager reset", RESET),
            ("connection termination, transport failure reason: remote connection failure", RESET),
            ("remote connection failure of a kind that does not exist yet", RESET),
            ("", RESET),
        ] {
            let body = format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}");
            assert_eq!(envoys_own(503, &body), expected, "{reason}");
        }
    }

    #[test]
    fn p3_a_callback_that_envoy_tried_again_may_have_left_the_first_time() {
        let body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
                    remote connection failure";
        assert_eq!(envoys_own(503, body), RESET);
    }

    #[test]
    fn p3_every_other_answer_of_envoys_own_has_its_class() {
        for (status, body, expected) in [
            (503, "no healthy upstream", NO_HEALTHY_HOST),
            (503, "no healthy upstream, says the business", RESET),
            (503, "maintenance mode", RESET),
            (503, "", RESET),
            (504, "upstream request timeout", TIMEOUT),
            (504, "", TIMEOUT),
            (502, "upstream connect error or disconnect/reset before headers. reset reason: protocol error", RESET),
            (502, "upstream connect error or disconnect/reset before headers. reset reason: overflow", RESET),
            (500, "", RESET),
            (200, "", RESET),
        ] {
            assert_eq!(envoys_own(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn p3_what_the_business_answers_is_its_answer_whatever_it_says() {
        for status in [200, 204, 302, 400, 404, 500, 503, 504] {
            for body in [
                "",
                "no healthy upstream",
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            ] {
                let answer = Answer { status: Some(status), from_upstream: true, body: body.as_bytes() };
                assert_eq!(classify(&answer), Outcome::of_status(status), "{status} {body}");
            }
        }
    }

    #[test]
    fn p3_an_answer_without_headers_was_cut_off() {
        for from_upstream in [false, true] {
            assert_eq!(classify(&Answer { status: None, from_upstream, body: b"no healthy upstream" }), TRUNCATED);
        }
    }
}
