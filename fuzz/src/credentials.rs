//! Header lists against the authenticator.
//!
//! The input is a header list, one `name: value` to a line; a line without a colon is an `x-aksk` of its own.

use private_number_gateway::authentication::{Application, Authenticator, Scheme, Secret};

const APP_KEY: &str = "demoAppKey000000000000000001";
/// The only digests that anybody who does not know the secret can have seen: those of the corpus.
const DIGESTS: [&str; 4] = [
    "z0ytACClB36QnftE0n6/Zc9t/I88SqTPwoGVykpBLcQ=",
    "tmkRGaCOqqDNG+Gwvigzv/2/tKv+npeUtFrEVSwaNaA=",
    "zssa7heDbEpoQtc553Z+b0L7pJQs8N+UzejeoF1f0tA=",
    "daLw3clNtaK72mVQEa1b2QFbJShd8k9EgSM+rWjRX24=",
];
const NOW_MS: i64 = 1_767_580_224_000;

fn authenticator(schemes: &[Scheme], window: Option<u32>) -> Authenticator {
    let secrets = vec![Secret::new(b"fictitious-app-secret-0000"), Secret::new(b"fictitious-app-secret-0001")];
    let demo = Application::new(APP_KEY.to_owned(), Some("business".to_owned()), secrets);
    let silent = Application::new("demoAppKey000000000000000002".to_owned(), None, Vec::new());
    Authenticator::new(schemes.iter().copied(), window, [demo, silent])
}

/// See the [module](self).
pub fn run(data: &[u8]) {
    let headers: Vec<(String, &[u8])> = data
        .split(|byte| *byte == b'\n')
        .map(|line| match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (name, value) = line.split_at(colon);
                (String::from_utf8_lossy(name).to_ascii_lowercase(), value.get(1..).unwrap_or_default().trim_ascii())
            }
            None => ("x-aksk".to_owned(), line),
        })
        .collect();
    let both = authenticator(&[Scheme::Aksk, Scheme::Wsse], None);
    let accepted = |authenticator: &Authenticator, now| {
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), *value));
        let result = authenticator.authenticate(pairs, now);
        if let Err(refusal) = &result {
            super::shows_nothing_private(&refusal.to_string());
        }
        result.map(|authenticated| authenticated.application.app_key.clone()).ok()
    };
    let by_both = accepted(&both, NOW_MS);
    if let Some(app_key) = &by_both {
        assert_eq!(app_key, APP_KEY, "an application without a secret was accepted");
        let text = String::from_utf8_lossy(data);
        assert!(
            DIGESTS.iter().any(|digest| text.contains(digest)),
            "accepted without a digest that anybody could know"
        );
        let named = |wanted: &str| headers.iter().filter(|(name, _)| name == wanted).count();
        assert!(named("x-aksk") <= 1 && named("x-wsse") <= 1 && named("authorization") <= 1, "accepted a duplicate");
    }
    // Each further demand can only refuse more.
    for (schemes, window) in [(&[Scheme::Aksk][..], None), (&[Scheme::Aksk, Scheme::Wsse][..], Some(300))] {
        for now in [NOW_MS, i64::MIN, i64::MAX, 0] {
            let stricter = accepted(&authenticator(schemes, window), now);
            assert!(stricter.is_none() || stricter == by_both, "a stricter configuration accepted more");
        }
    }
}
