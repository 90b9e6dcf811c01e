//! That every case does the work it is named after.

use core_bench::case::{Bench, Case};
use core_bench::input::{Input, SIZES, Scheme, Setting, Shape};
use core_bench::worker::{Step, Tally, Worker};

fn difference(after: Tally, before: Tally) -> Tally {
    Tally {
        asked: after.asked - before.asked,
        recorded: after.recorded - before.recorded,
        callbacks: after.callbacks - before.callbacks,
        acknowledged: after.acknowledged - before.acknowledged,
        sent_bytes: after.sent_bytes - before.sent_bytes,
    }
}

/// How many pushes a worker has at once in the cases of hold.
fn batch(size: usize) -> usize {
    if size == 1 { 16 } else { 1 }
}

fn tallies(bench: &Bench) -> Vec<Tally> {
    bench.workers().iter().map(Worker::tally).collect()
}

#[test]
fn a_push_is_asked_for_once_answered_once_called_back_once_for_each_call_and_every_outcome_is_acknowledged() {
    for size in SIZES {
        let case: Case = format!("push/{size}").parse().unwrap();
        let mut bench = Bench::new(&case).unwrap();
        assert!(bench.stretch() >= 4, "{case}: {}", bench.stretch());
        for _ in 0..3 {
            let before = tallies(&bench);
            bench.prepare().unwrap();
            assert_eq!(tallies(&bench), before, "nothing of a whole push may happen before it is measured");
            bench.run().unwrap();
            let after = tallies(&bench);
            bench.finish().unwrap();
            assert_eq!(tallies(&bench), after, "nor after it");
            for (after, before) in after.into_iter().zip(before) {
                let Tally { asked, recorded, callbacks, acknowledged, sent_bytes } = difference(after, before);
                let (pushes, calls) = (batch(size), size * batch(size));
                assert_eq!((asked, recorded, callbacks, acknowledged), (pushes, pushes, calls, calls), "{case}");
                // Every call's claim request, record and outcome.
                assert!(sent_bytes > size * 1_000, "{case}: {sent_bytes} bytes");
            }
        }
    }
}

#[test]
fn each_step_does_its_part_and_only_its_part() {
    for size in SIZES {
        let (pushes, calls) = (batch(size), size * batch(size));
        for (name, asked, recorded, callbacks, acknowledged) in [
            ("request", 0, 0, 0, 0),
            ("ask", pushes, 0, 0, 0),
            ("answer", 0, pushes, calls, 0),
            ("answer-signed", 0, pushes, calls, 0),
            ("outcomes", 0, 0, 0, calls),
        ] {
            let case: Case = format!("{name}/{size}").parse().unwrap();
            let mut bench = Bench::new(&case).unwrap();
            bench.prepare().unwrap();
            let before = tallies(&bench);
            bench.run().unwrap();
            for (after, before) in tallies(&bench).into_iter().zip(before) {
                let found = difference(after, before);
                let found = (found.asked, found.recorded, found.callbacks, found.acknowledged);
                assert_eq!(found, (asked, recorded, callbacks, acknowledged), "{case}");
            }
            bench.finish().unwrap();
            assert!(bench.workers().iter().all(Worker::is_idle), "{case}");
        }
    }
}

#[test]
fn every_case_runs_and_leaves_nothing_pending() {
    let mut count = 0;
    for case in Case::all() {
        let mut bench = Bench::new(&case).unwrap();
        for _ in 0..2 {
            bench.prepare().unwrap();
            bench.run().unwrap();
            bench.finish().unwrap();
        }
        assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
        count += 1;
    }
    assert_eq!(count, 28, "a case is missing, or there is a new one that the tests do not know");
}

/// Spoils each input in turn: a case whose work fails must say so, or it would be fast by doing nothing.
#[test]
fn work_that_is_not_done_is_an_error() {
    let config = Setting::SHIPPED.config().unwrap();
    let good = || Input::new(Shape { size: 10, pushes: 1 }, Scheme::Aksk, false).unwrap();
    let signature = good().headers.into_iter().map(|(name, value)| {
        let value = if name == "x-aksk" {
            String::from_utf8(value).unwrap().replace("=\"", "=\"x").into_bytes()
        } else {
            value
        };
        (name, value)
    });
    for (failing, input) in [
        (Step::Headers, Input { headers: signature.collect(), ..good() }),
        (Step::Request, Input { bodies: vec![b"{}"], ..good() }),
        (Step::Answer, Input { answer: br#"{"pushes":[]}"#, ..good() }),
        (Step::Answer, Input { calls: 9, ..good() }),
        (Step::Outcomes, Input { receipt: br#"{"recorded":9,"repeated":0,"refused":0}"#, ..good() }),
    ] {
        let mut worker = Worker::new(&config);
        for step in Step::ALL.into_iter().filter(|step| *step < failing) {
            worker.step(step, &good()).unwrap();
        }
        assert!(worker.step(failing, &input).is_err(), "{failing:?}");
    }
}

#[test]
fn signed_callbacks_and_many_businesses_are_what_they_are_called() {
    let signed = Setting { signed_callbacks: true, ..Setting::SHIPPED }.config().unwrap();
    assert_eq!(signed.businesses.all()[0].signing_secrets.len(), 1);
    assert!(Setting::SHIPPED.config().unwrap().businesses.all()[0].signing_secrets.is_empty());
    assert_eq!(Setting { businesses: 1_000, ..Setting::SHIPPED }.config().unwrap().businesses.all().len(), 1_000);
}
