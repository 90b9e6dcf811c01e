//! Microseconds that a push costs inside the filter's core, on this machine and in V8.
//!
//! The program is that of [`crate::instructions`]. For V8 it is compiled as the module is shipped and run by Node, whose V8 is
//! of another version than Envoy's: it shows what wasm costs, not what one Envoy does to the last digit.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::products;
use serde_json::Value;

use crate::build::WASM_TARGET;
use crate::command::{cargo, succeed};
use crate::instructions::{self, Case, cases, on_path, output};

/// Runs the program in Node, from the repository's root.
const RUNNER: &str = "benches/core/run-wasi.mjs";

/// How long one push takes in one case.
#[derive(Clone, Debug)]
pub struct Time {
    /// The case.
    pub case: Case,
    /// The median on this machine, microseconds for each push.
    pub native: f64,
    /// The median in V8; `None` without Node.
    pub v8: Option<f64>,
}

/// Measures every case; takes about two seconds for each.
///
/// # Errors
///
/// The program does not compile or does not do its work. That there is no Node is no error.
pub fn times() -> Result<Vec<Time>> {
    let native = instructions::build()?;
    let node = on_path("node");
    let wasm = node.as_deref().map(|node| Ok::<_, anyhow::Error>((node, build_wasm()?))).transpose()?;
    let measure = |case: Case| {
        let argument = case.argument();
        let time = |mut command: Command| {
            command.args([argument.as_str(), "--time"]);
            microseconds(command).with_context(|| format!("core-bench {argument} --time"))
        };
        let in_v8 = |(node, wasm): &(&Path, std::path::PathBuf)| {
            let mut command = Command::new(node);
            command.arg("--no-warnings").arg(products::repository().join(RUNNER)).arg(wasm);
            time(command)
        };
        Ok(Time { native: time(Command::new(&native))?, v8: wasm.as_ref().map(in_v8).transpose()?, case })
    };
    cases(&native)?.into_iter().map(|(case, _)| measure(case)).collect()
}

fn build_wasm() -> Result<std::path::PathBuf> {
    let arguments =
        ["build", "--profile", "module", "--target", WASM_TARGET, "-p", "core-bench", "--bin", "core-bench"];
    succeed("build core-bench for wasm", cargo(arguments))?;
    let program = products::target_directory()?.join(WASM_TARGET).join("module/core-bench.wasm");
    ensure!(program.is_file(), "cargo did not make {}", program.display());
    Ok(program)
}

fn microseconds(command: Command) -> Result<f64> {
    let (line, _) = output(command)?;
    let line: Value = serde_json::from_str(line.trim())?;
    line.get("microseconds").and_then(Value::as_f64).context("no `microseconds`")
}
