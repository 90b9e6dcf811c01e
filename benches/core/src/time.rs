//! Microseconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::case::{Bench, Case};

/// What was measured of a case.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The median of all stretches, microseconds for each push.
    pub median: f64,
    /// The fastest stretch, microseconds for each push.
    pub fastest: f64,
    /// How many stretches there were.
    pub stretches: usize,
    /// How many pushes each had.
    pub pushes_in_a_stretch: usize,
}

/// Runs a case for `warm_up`, so that V8 has compiled what it runs often, and measures it for `measured`.
///
/// # Errors
/// The case did not do its work.
pub fn times(case: &Case, warm_up: Duration, measured: Duration) -> Result<Times> {
    let mut bench = Bench::new(case)?;
    stretches(&mut bench, warm_up)?;
    let mut found = stretches(&mut bench, measured)?;
    found.sort_by(f64::total_cmp);
    let pushes = bench.stretch();
    let median = found.get(found.len() / 2).context("nothing was measured")?;
    let fastest = found.first().context("nothing was measured")?;
    Ok(Times { median: *median, fastest: *fastest, stretches: found.len(), pushes_in_a_stretch: pushes })
}

fn stretches(bench: &mut Bench, length: Duration) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut found = Vec::new();
    while start.elapsed() < length || found.is_empty() {
        bench.prepare()?;
        let from = Instant::now();
        bench.run()?;
        let taken = from.elapsed();
        bench.finish()?;
        found.push(taken.as_secs_f64() * 1e6 / bench.stretch() as f64);
    }
    Ok(found)
}
