//! The promises hold under every fault, and the faults were there.

// A test that goes wrong may end as it likes.
#![allow(clippy::panic, clippy::unwrap_used)]

use simulation::{Fault, Figures, Options, Sum, UnknownCause, run_seeds};

/// Optimised code is some ten times as fast.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 5_000 };

fn check_not_vacuous(figures: &Figures) {
    assert_eq!(figures.seeds, SEEDS);
    for (fault, count) in Fault::ALL.iter().zip(&figures.faults) {
        assert!(*count > 0, "no seed had the fault: {}", fault.name());
    }
    for state in ["delivered", "rejected", "not_sent", "maybe_sent", "skipped", "unknown"] {
        assert!(figures.calls.get(state).is_some_and(|count| *count > 0), "no call ended {state}");
    }
    for cause in [UnknownCause::BeforeTheCommit, UnknownCause::BeforeTheCallback, UnknownCause::AfterTheCallback] {
        assert!(figures.unknown.get(&cause).is_some_and(|count| *count > 0), "no gateway died {cause:?}");
    }
    for status in [0, 200, 503] {
        assert!(figures.pushes.get(&status).is_some_and(|count| *count > 0), "no push was answered {status}");
    }
    assert!(figures.parked > 0 && figures.route_retries > 0 && figures.asked_again > 0);
    assert!(figures.held > 0 && figures.released > 0 && figures.works_taken > 0 && figures.works_asked_again > 0);
    assert!(figures.holds_ended_early > 0 && figures.skipped_released > 0 && figures.parked_released > 0);
    assert!(figures.retried_as_before > 0 && figures.replays > 0 && figures.parked_as_replays > 0);
    assert!(figures.paused > 0 && figures.reconciliations > 0);
    let replied: u64 = ["delivered", "rejected"].iter().filter_map(|state| figures.calls.get(state)).sum();
    assert!(figures.callbacks >= replied && figures.departures >= figures.callbacks);
}

#[test]
fn p1_p2_p3_p4_p8_hold_whatever_goes_wrong() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Sum { figures, broken } = run_seeds(0, SEEDS, threads, Options::default(), |_| ()).unwrap();
    if let Some((seed, run)) = broken {
        let violation = run.violation.unwrap();
        panic!(
            "{}\nseed {seed}: {violation}\nreplay: cargo xtask simulate --seed {seed} --trace",
            run.trace.join("\n")
        );
    }
    check_not_vacuous(&figures);
}

/// A gateway's death is the one thing that may leave a call unknown.
#[test]
fn p3_no_call_is_unknown_where_no_gateway_died() {
    let mut without_a_death = 0;
    let store = simulation::Store::open().unwrap();
    for seed in 0..if cfg!(debug_assertions) { 40 } else { 1_000 } {
        let figures = simulation::run(seed, &store, Options::default()).unwrap().figures;
        let deaths = figures.faults.get(Fault::GatewayKilled as usize).copied().unwrap_or(0);
        if deaths == 0 {
            without_a_death += 1;
            assert!(figures.unknown.is_empty(), "seed {seed}: {:?}", figures.unknown);
        }
    }
    assert!(without_a_death > 5);
}
