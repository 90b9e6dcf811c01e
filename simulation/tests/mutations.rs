//! A simulation that cannot fail proves nothing: every mistake that is made on purpose is found.

// A test that goes wrong may end as it likes.
#![allow(clippy::panic, clippy::unwrap_used)]

use simulation::{Mutation, Options, Promise, Store, run};

/// Every mistake is found within as many seeds, counted from 0.
const SEEDS: u64 = 100;

/// The first seed in which the mistake breaks the promise it is named for; before that it may break others.
fn find(mutation: Mutation) -> Option<u64> {
    let mut store = Store::open().unwrap();
    let options = Options { mutation: Some(mutation), whole_trace: false };
    for seed in 0..SEEDS {
        let Some(violation) = run(seed, &store, options).unwrap().violation else { continue };
        // What waits there still would be handed to the workers of the next seed.
        store = Store::open().unwrap();
        if violation.promise != mutation.breaks() {
            continue;
        }
        let again = run(seed, &Store::open().unwrap(), options).unwrap().violation;
        assert_eq!(again, Some(violation), "{mutation:?}: seed {seed} does not replay");
        let sound = run(seed, &Store::open().unwrap(), Options::default()).unwrap().violation;
        assert_eq!(sound, None, "seed {seed} without the mistake");
        return Some(seed);
    }
    None
}

#[test]
fn every_promise_has_a_mutation() {
    for promise in [
        Promise::P1Once,
        Promise::P2Kept,
        Promise::P3Accounted,
        Promise::P4Apart,
        Promise::P6Standing,
        Promise::P8Finished,
    ] {
        assert!(Mutation::ALL.iter().any(|mutation| mutation.breaks() == promise), "{promise}");
    }
}

#[test]
fn every_mutation_is_found() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL.iter().copied() {
        match find(mutation) {
            Some(seed) => println!("{mutation:?} breaks {} in seed {seed}", mutation.breaks()),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}
