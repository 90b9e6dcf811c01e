//! The demonstration: one application at Huawei, one business, one binding between them. All of it is fictitious.

use privatenumber_contract::Binding;

/// The application at Huawei, as in `envoy.yaml`.
pub const APP_KEY: &str = "demoAppKey000000000000000001";
/// The application's secret.
pub const SECRET: &str = "fictitious-app-secret-0001";
/// The environment variable in which `envoy.yaml` expects the secret.
pub const SECRET_VARIABLE: &str = "HUAWEI_APP_SECRET";
/// The name of the business in bindings, as in `envoy.yaml`.
pub const AK: &str = "AC5A23CF0E42435C9FF52E401EE897BC";
/// The binding that the simulator's calls and Huawei's samples name.
pub const SUBSCRIPTION_ID: &str = "11111111-2222-4333-8444-555555555501";

/// The row of [`SUBSCRIPTION_ID`], as a binding service registers it after Huawei's answer.
pub fn binding() -> Binding {
    Binding {
        id: Some(1),
        ak: Some(AK.to_owned()),
        orig_num: Some("+8617010000011".into()),
        private_num: Some("+8617010000001".into()),
        record_flag: Some(true),
        record_hint_tone: Some("recordHintTone.wav".to_owned()),
        max_duration: Some(60),
        last_min_voice: None,
        user_data: Some("1499268874687315968".into()),
        call_direction: Some(0),
        subscription_id: Some(SUBSCRIPTION_ID.to_owned()),
        status: Some(1),
        business_type: None,
        bind_response: Some(r#"{"resultcode":"0","resultdesc":"Success"}"#.into()),
        unbind_response: None,
        binding_duration: Some(5),
        // 2026-01-05 01:53:20 UTC, before the calls of the simulator.
        bind_time: Some(1_767_578_000_000),
        unbind_time: None,
        created_at: Some(1_767_578_000_000),
        remark: Some("demo".to_owned()),
    }
}
