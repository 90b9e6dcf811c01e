//! Every input that fuzzing has kept, through the same functions, without a fuzzer.

use std::fs;

use anyhow::{Context, Result, ensure};
use harness::products;

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)]
mod fuzz;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 5] = [
    ("configuration", fuzz::configuration::run),
    ("credentials", fuzz::credentials::run),
    ("exchange", fuzz::exchange::run),
    ("push_body", fuzz::push_body::run),
    ("store_answer", fuzz::store_answer::run),
];

#[test]
fn p6_no_input_that_fuzzing_has_kept_breaks_a_promise() -> Result<()> {
    let corpus = products::repository().join("fuzz/corpus");
    for (name, run) in TARGETS {
        let directory = corpus.join(name);
        let entries = fs::read_dir(&directory).with_context(|| format!("no corpus at {}", directory.display()))?;
        let mut count = 0;
        for entry in entries {
            let path = entry?.path();
            let input = fs::read(&path)?;
            // Shown only where it fails.
            println!("{}", path.display());
            run(&input);
            count += 1;
        }
        ensure!(count >= 8, "only {count} inputs for {name}");
    }
    Ok(())
}
