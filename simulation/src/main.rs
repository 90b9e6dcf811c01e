//! Runs seeds and says what came of them.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use simulation::{Mutation, Options, Run, Store, run, run_seeds};

/// Simulates gateways, store, Huawei and businesses, and checks the promises after every step.
///
/// Every seed is one run with its own gateways, calls, configurations and faults. A seed that breaks a promise is printed
/// with the end of its trace, and the exit code is 1; `--seed S --trace` replays it and prints everything.
#[derive(Debug, Parser)]
#[command(name = "simulation", version)]
struct Arguments {
    /// How many seeds to run [default: 1000, or 1 with --seed]
    #[arg(long, value_name = "NUMBER")]
    seeds: Option<u64>,

    /// The first seed, or the only one [default: 0]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Threads to run seeds on [default: as many as there are cores]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,

    /// Print everything that happens in the run; for one seed
    #[arg(long)]
    trace: bool,

    /// Make this mistake on purpose, to see that it is found
    #[arg(long, value_enum, value_name = "MISTAKE")]
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    match simulate(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all promises held.
fn simulate(arguments: &Arguments) -> Result<bool> {
    let first = arguments.seed.unwrap_or(0);
    let count = arguments.seeds.unwrap_or(if arguments.seed.is_some() { 1 } else { 1_000 });
    let options = Options { mutation: arguments.mutation, whole_trace: arguments.trace };
    if arguments.trace && count != 1 {
        anyhow::bail!("--trace prints one run: name it with --seed and leave out --seeds");
    }
    if count == 1 {
        let run = run(first, &Store::open()?, options)?;
        if arguments.trace {
            run.trace.iter().for_each(|line| println!("{line}"));
        }
        print!("{}", run.figures);
        println!("trace hash {:016x}", run.trace_hash);
        return Ok(report(first, &run, arguments));
    }
    let threads =
        arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let begun = Instant::now();
    let sum = run_seeds(first, count, threads, options, |done| {
        if done % 10_000 == 0 {
            eprintln!("{done} of {count} seeds, {:.0} s", begun.elapsed().as_secs_f64());
        }
    })?;
    let took = begun.elapsed().as_secs_f64();
    print!("{}", sum.figures);
    println!("{took:.1} s on {threads} threads, {:.0} seeds a second", sum.figures.seeds as f64 / took.max(0.001));
    match &sum.broken {
        None => {
            println!("all promises held in seeds {first} to {}", first.wrapping_add(count.saturating_sub(1)));
            Ok(true)
        }
        Some((seed, run)) => Ok(report(*seed, run, arguments)),
    }
}

fn report(seed: u64, run: &Run, arguments: &Arguments) -> bool {
    let Some(violation) = &run.violation else {
        println!("seed {seed}: all promises held");
        return true;
    };
    if !arguments.trace {
        println!("seed {seed}: the last that happened:");
        run.trace.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {seed}: {violation}");
    let mutation = arguments.mutation.and_then(|mutation| {
        let name = clap::ValueEnum::to_possible_value(&mutation)?.get_name().to_owned();
        Some(format!(" --mutation {name}"))
    });
    println!("replay: cargo xtask simulate --seed {seed} --trace{}", mutation.unwrap_or_default());
    false
}
