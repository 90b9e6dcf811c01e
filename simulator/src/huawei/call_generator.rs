//! Calls that never took place: reproducible, each with a `sessionId` and `icid` of its own, all numbers fictitious.

use privatenumber_contract::Private;

use super::Cdr;
use crate::clock;
use crate::random::Random;

/// What kind of calls to make up.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// The same seed, with the other settings unchanged, makes the same calls.
    pub seed: u64,
    /// No call starts before this moment; all start within an hour of it. Seconds since 1970.
    pub start: i64,
    /// The Huawei application.
    pub app_key: String,
    /// The binding all calls belong to; `None` makes every call one without binding.
    pub subscription_id: Option<String>,
    /// A.
    pub real_number: Private<String>,
    /// X.
    pub private_number: Private<String>,
    /// The business's own text, sent with every call of the binding.
    pub user_data: Option<Private<String>>,
    /// Which share of the calls is answered, 0 to 1.
    pub answered_share: f64,
    /// Which share of the calls meets no binding, 0 to 1.
    pub no_binding_share: f64,
}

impl Default for CallSettings {
    /// The demonstration binding; seven calls in ten are answered, none is without binding.
    fn default() -> Self {
        Self {
            seed: 0,
            // 2026-01-05 02:30:03
            start: 1_767_580_203,
            app_key: "demoAppKey000000000000000001".to_owned(),
            subscription_id: Some("11111111-2222-4333-8444-555555555501".to_owned()),
            real_number: Private::from("+8617010000011"),
            private_number: Private::from("+8617010000001"),
            user_data: None,
            answered_share: 0.7,
            no_binding_share: 0.0,
        }
    }
}

/// How a call ended, with its codes: `ulFailReason`, `fwdUnaswRsn` (Q.850), `sipStatusCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Answered,
    NoAnswer,
    Busy,
    HungUpBeforeRinging,
    NoTemporaryCallee,
    NoBinding,
}

impl Ending {
    const fn codes(self) -> (u16, u16, u16) {
        match self {
            Self::Answered => (0, 0, 0),
            Self::NoAnswer => (8101, 19, 480),
            Self::Busy => (8102, 17, 486),
            Self::HungUpBeforeRinging => (7501, 0, 487),
            Self::NoTemporaryCallee => (8013, 0, 0),
            Self::NoBinding => (8018, 0, 0),
        }
    }

    /// Whether the platform got as far as calling the other side.
    const fn was_forwarded(self) -> bool {
        !matches!(self, Self::NoTemporaryCallee | Self::NoBinding)
    }
}

/// An endless sequence of calls.
#[derive(Clone, Debug)]
pub struct CallGenerator {
    settings: CallSettings,
    random: Random,
    /// The first number of every `sessionId` of this generator: keeps calls of different seeds apart.
    session_prefix: u32,
    host_name: String,
    /// Counts the calls: keeps those of one seed apart.
    number: u64,
}

impl CallGenerator {
    /// Starts the sequence that `settings` describe.
    pub fn new(settings: CallSettings) -> Self {
        let mut random = Random::new(settings.seed);
        let session_prefix = u32::try_from(random.bits() >> 32).unwrap_or_default();
        let host_name = format!("callenabler{:03}.example.com", random.below(1000));
        Self { settings, random, session_prefix, host_name, number: 0 }
    }

    fn ending(&mut self, a_calls: bool) -> Ending {
        if self.settings.subscription_id.is_none() || self.random.chance(self.settings.no_binding_share) {
            Ending::NoBinding
        } else if self.random.chance(self.settings.answered_share) {
            Ending::Answered
        } else {
            match self.random.below(if a_calls { 4 } else { 3 }) {
                0 => Ending::NoAnswer,
                1 => Ending::Busy,
                2 => Ending::HungUpBeforeRinging,
                // Only a call of A needs the other number to be set beforehand.
                _ => Ending::NoTemporaryCallee,
            }
        }
    }

    fn cdr(&mut self) -> Cdr {
        self.number += 1;
        let number = self.number;
        let a_calls = self.random.chance(0.3);
        let ending = self.ending(a_calls);
        let other = Private::new(format!("+861701000{:04}", 1000 + self.random.below(9000)));
        let times = Times::draw(&mut self.random, self.settings.start, ending);
        let icid_head = (u128::from(self.random.bits()) << 64) | u128::from(self.random.bits());
        let recording = Recording::draw(&mut self.random, ending, &times, &self.settings.app_key, number);

        let settings = &self.settings;
        let bound = ending != Ending::NoBinding;
        let subscription_id = settings.subscription_id.clone().filter(|_| bound);
        let a = settings.real_number.clone();
        let x = settings.private_number.clone();
        let (direction, caller, called) = match (bound, a_calls) {
            (false, _) => (2, other, None),
            (true, true) => (1, a, Some(other)),
            (true, false) => (0, other, Some(a)),
        };
        let (ul_fail_reason, fwd_unasw_rsn, sip_status_code) = ending.codes();
        Cdr {
            direction,
            sp_id: "demo_sp_01".to_owned(),
            app_key: settings.app_key.clone(),
            icid: format!("{icid_head:032x}.{}.{}.5", 3_900_000_000 + number, 100_000_000 + number),
            bind_num: x.clone(),
            session_id: Private::new(format!(
                "{}_{number}_4294967295_{}@{}",
                self.session_prefix,
                clock::compact_time(times.incoming),
                self.host_name
            )),
            mpty_id: subscription_id.clone(),
            subscription_id,
            caller_num: caller,
            callee_num: x.clone(),
            fwd_display_num: ending.was_forwarded().then_some(x),
            fwd_dst_num: called.filter(|_| ending.was_forwarded()),
            call_in_time: clock::cdr_time(times.incoming),
            fwd_start_time: times.forwarded.map(clock::cdr_time),
            fwd_alerting_time: times.alerting.map(clock::cdr_time),
            fwd_answer_time: times.answered.map(clock::cdr_time),
            call_end_time: clock::cdr_time(times.end),
            fwd_unasw_rsn,
            ul_fail_reason,
            sip_status_code,
            call_out_unasw_rsn: 0,
            record_flag: u8::from(recording.is_some()),
            record_start_time: recording.as_ref().map(|recording| recording.start.clone()),
            record_domain: recording.as_ref().and_then(|recording| recording.domain.clone()),
            record_bucket_name: recording.as_ref().and_then(|recording| recording.bucket.clone()),
            record_object_name: recording.as_ref().and_then(|recording| recording.object.clone()),
            record_file_download_url: recording.and_then(|recording| recording.url),
            tts_play_times: 0,
            tts_trans_duration: 0,
            service_type: "003".to_owned(),
            host_name: self.host_name.clone(),
            user_data: settings.user_data.clone().filter(|_| bound),
            fail_time: times.answered.is_none().then(|| clock::cdr_time(times.end)),
        }
    }
}

impl Iterator for CallGenerator {
    type Item = Cdr;

    fn next(&mut self) -> Option<Cdr> {
        Some(self.cdr())
    }
}

/// The moments of one call, seconds since 1970.
struct Times {
    incoming: i64,
    forwarded: Option<i64>,
    alerting: Option<i64>,
    answered: Option<i64>,
    end: i64,
}

impl Times {
    fn draw(random: &mut Random, start: i64, ending: Ending) -> Self {
        let mut between = |least: u32, most: u32| i64::from(least) + random.below(u64::from(most - least) + 1) as i64;
        let incoming = start + between(0, 3599);
        let forwarded = incoming + between(0, 1);
        let alerting = forwarded + between(1, 4);
        let answered = alerting + between(1, 25);
        let (alerting, answered, end) = match ending {
            Ending::Answered => (Some(alerting), Some(answered), answered + between(1, 600)),
            Ending::NoAnswer => (Some(alerting), None, alerting + between(45, 60)),
            Ending::Busy => (None, None, forwarded + between(2, 5)),
            Ending::HungUpBeforeRinging => (None, None, forwarded + between(1, 8)),
            Ending::NoTemporaryCallee | Ending::NoBinding => (None, None, incoming + between(1, 3)),
        };
        Self { incoming, forwarded: ending.was_forwarded().then_some(forwarded), alerting, answered, end }
    }
}

/// Where the recording lies: either the three parts of its name or a ready address.
struct Recording {
    start: String,
    domain: Option<String>,
    bucket: Option<String>,
    object: Option<String>,
    url: Option<Private<String>>,
}

impl Recording {
    fn draw(random: &mut Random, ending: Ending, times: &Times, app_key: &str, number: u64) -> Option<Self> {
        let recorded = ending == Ending::Answered && random.chance(0.5);
        let answered = times.answered.filter(|_| recorded)?;
        let named = random.chance(0.75);
        let object: String = clock::compact_time(answered).chars().skip(2).collect();
        let object = format!("{object}{number:08}.wav");
        let url = format!("https://recstore.example.com/{object}?signature={:016x}", random.bits());
        Some(Self {
            start: clock::cdr_time(answered),
            domain: named.then(|| "recstore.example.com".to_owned()),
            bucket: named.then(|| format!("sp-{}", app_key.to_lowercase())),
            object: named.then_some(object),
            url: (!named).then(|| Private::new(url)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use serde_json::Value;

    use super::{CallGenerator, CallSettings};
    use crate::huawei::{Cdr, push_body};

    fn calls(settings: CallSettings, number: usize) -> Vec<Cdr> {
        CallGenerator::new(settings).take(number).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_calls_and_another_seed_others() {
        let one = push_body(&calls(CallSettings::default(), 50)).unwrap();
        assert_eq!(one, push_body(&calls(CallSettings::default(), 50)).unwrap());
        assert_ne!(one, push_body(&calls(CallSettings { seed: 1, ..CallSettings::default() }, 50)).unwrap());
    }

    #[test]
    fn no_two_calls_share_a_session_id_or_icid_not_even_over_seeds() {
        let mut seen = HashSet::new();
        for seed in 0..20 {
            for call in calls(CallSettings { seed, ..CallSettings::default() }, 500) {
                assert!(seen.insert(call.session_id.into_exposed()) && seen.insert(call.icid));
            }
        }
        assert_eq!(seen.len(), 20 * 500 * 2);
    }

    #[test]
    fn a_push_has_huaweis_members_in_huaweis_order() {
        let answered = CallSettings { answered_share: 1.0, ..CallSettings::default() };
        // The first call A took that was recorded by name has every member that the official example has.
        let call = CallGenerator::new(answered).find(|call| call.record_object_name.is_some()).unwrap();
        let text = String::from_utf8(push_body(&[call]).unwrap()).unwrap();
        let order = [
            "eventType",
            "feeLst",
            "direction",
            "spId",
            "appKey",
            "icid",
            "bindNum",
            "sessionId",
            "subscriptionId",
            "callerNum",
            "calleeNum",
            "fwdDisplayNum",
            "fwdDstNum",
            "callInTime",
            "fwdStartTime",
            "fwdAlertingTime",
            "fwdAnswerTime",
            "callEndTime",
            "fwdUnaswRsn",
            "ulFailReason",
            "sipStatusCode",
            "callOutUnaswRsn",
            "recordFlag",
            "recordStartTime",
            "recordDomain",
            "recordBucketName",
            "recordObjectName",
            "ttsPlayTimes",
            "ttsTransDuration",
            "mptyId",
            "serviceType",
            "hostName",
        ];
        let found: Vec<&str> = text.split('"').skip(1).step_by(2).filter(|part| order.contains(part)).collect();
        assert_eq!(found, order);
        assert_eq!(text.matches("\":").count(), order.len(), "no member beyond the official example's");
    }

    #[test]
    fn calls_are_of_every_kind_and_agree_with_themselves() {
        let settings = CallSettings { no_binding_share: 0.1, answered_share: 0.5, ..CallSettings::default() };
        let (a, x) = (settings.real_number.clone(), settings.private_number.clone());
        let mut kinds = BTreeMap::new();
        for call in calls(settings, 2000) {
            *kinds.entry((call.direction, call.ul_fail_reason)).or_insert(0) += 1;
            assert!(call.session_id.expose().len() <= 256 && call.icid.len() <= 64);
            assert_eq!((&call.bind_num, &call.callee_num), (&x, &x));
            assert_eq!(call.fwd_answer_time.is_some(), call.ul_fail_reason == 0);
            assert_eq!(call.fail_time.is_some(), call.fwd_answer_time.is_none());
            assert_eq!(call.fwd_dst_num.is_some(), call.fwd_start_time.is_some());
            match call.direction {
                0 => assert_eq!(call.fwd_dst_num.as_ref(), Some(&a)),
                1 => assert_eq!(call.caller_num, a),
                _ => assert!(call.subscription_id.is_none() && call.fwd_dst_num.is_none()),
            }
            let given = [&call.fwd_start_time, &call.fwd_alerting_time, &call.fwd_answer_time];
            let mut times: Vec<&String> = given.into_iter().flatten().collect();
            times.insert(0, &call.call_in_time);
            times.push(&call.call_end_time);
            assert!(times.is_sorted(), "{times:?}");
            let by_name = call.record_object_name.is_some();
            let by_address = call.record_file_download_url.is_some();
            assert_eq!(u8::from(by_name) + u8::from(by_address), call.record_flag);
        }
        let found: Vec<_> = kinds.keys().copied().collect();
        assert_eq!(
            found,
            [(0, 0), (0, 7501), (0, 8101), (0, 8102), (1, 0), (1, 7501), (1, 8013), (1, 8101), (1, 8102), (2, 8018)]
        );
    }

    #[test]
    fn without_a_subscription_id_every_call_is_one_without_binding() {
        let settings =
            CallSettings { subscription_id: None, user_data: Some("order".into()), ..CallSettings::default() };
        let body: Value = serde_json::from_slice(&push_body(&calls(settings, 50)).unwrap()).unwrap();
        let cdrs = body["feeLst"].as_array().unwrap();
        assert_eq!(cdrs.len(), 50);
        for cdr in cdrs {
            assert_eq!(cdr["direction"], 2);
            for absent in ["subscriptionId", "mptyId", "userData", "fwdDstNum"] {
                assert_eq!(cdr.get(absent), None);
            }
        }
    }
}
