//! A seed is one run, whatever ran before it and however often it is run.

// A test that goes wrong may end as it likes.
#![allow(clippy::panic, clippy::unwrap_used)]

use simulation::{Options, Store, run};

const WHOLE: Options = Options { mutation: None, whole_trace: true };

#[test]
fn the_same_seed_replays_exactly() {
    let used = Store::open().unwrap();
    for seed in 100..110 {
        run(seed, &used, Options::default()).unwrap();
    }
    for seed in 0..10 {
        let first = run(seed, &Store::open().unwrap(), WHOLE).unwrap();
        let second = run(seed, &used, WHOLE).unwrap();
        assert!(first.figures.steps > 10 && !first.trace.is_empty());
        for (first, second) in first.trace.iter().zip(&second.trace) {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.figures, second.figures, "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_run() {
    let store = Store::open().unwrap();
    let mut hashes: Vec<_> = (0..20).map(|seed| run(seed, &store, Options::default()).unwrap().trace_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn the_end_of_a_trace_is_the_end_of_the_whole() {
    let mut shortened = 0;
    for seed in 0..10 {
        let whole = run(seed, &Store::open().unwrap(), WHOLE).unwrap();
        let tail = run(seed, &Store::open().unwrap(), Options::default()).unwrap();
        assert_eq!(whole.trace_hash, tail.trace_hash);
        assert!(whole.trace.ends_with(&tail.trace), "seed {seed}");
        shortened += usize::from(tail.trace.len() < whole.trace.len());
    }
    assert!(shortened > 0);
}
