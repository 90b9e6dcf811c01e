//! Instructions that a push costs inside the filter's core: counted by valgrind, compared with what is recorded.
//!
//! Instructions, not times: they are the same on a busy machine. What is counted is the program of `benches/core`, compiled
//! as the module is shipped, but for this machine; SHA-256 is the portable one, as in wasm, and whatever the C library would
//! choose by the processor is fixed. [`crate::core_times`] has the microseconds.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use harness::products;
use serde_json::Value;

use crate::command::{cargo, succeed};

/// The package that is measured.
const PACKAGE: &str = "core-bench";
/// Where the counts are recorded, from the repository's root.
const RECORDED: &str = "benches/core/instructions.json";
/// The function whose callees are counted.
const COUNTED: &str = "--toggle-collect=*core_bench*case*counted*";
/// How far a count may be above, or below, what is recorded before it is told.
const TOLERANCE: f64 = 0.05;
/// How many stretches of pushes the two runs have whose difference is counted. What happens but once cancels out.
const STRETCHES: [u64; 2] = [1, 3];
/// glibc's simplest string functions: the same on every x86-64 processor.
const GLIBC_TUNABLES: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";
/// What tells how to record anew.
const REMEDY: &str = "make it cheaper, or record anew with `cargo xtask bench --record-instructions` and give the reason in the commit message";

/// What is measured: a part of a push's way, and how many CDRs the push has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// The part, such as `push`.
    pub name: String,
    /// How many CDRs the push has.
    pub size: u64,
}

impl Case {
    /// As `core-bench` takes it.
    pub fn argument(&self) -> String {
        format!("{}/{}", self.name, self.size)
    }

    /// From a line of `core-bench --list` or `--time`.
    pub fn read(line: &Value) -> Result<Self> {
        let name = line.get("case").and_then(Value::as_str).context("no `case`")?;
        let size = line.get("size").and_then(Value::as_u64).context("no `size`")?;
        Ok(Self { name: name.to_owned(), size })
    }
}

/// What a push costs in one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The case.
    pub case: Case,
    /// Instructions for each push, rounded down.
    pub instructions: u64,
}

/// Counts every case.
///
/// # Errors
///
/// There is no valgrind, the program does not compile, or it does not do its work.
pub fn measure() -> Result<Vec<Count>> {
    let valgrind = valgrind().ok_or_else(|| anyhow!("valgrind is not on the PATH; your distribution has it"))?;
    let program = build()?;
    cases(&program)?
        .into_iter()
        .map(|(case, stretch)| {
            let [few, many] = STRETCHES.map(|stretches| collect(&valgrind, &program, &case, stretches * stretch));
            let [fewer, more] = STRETCHES;
            let instructions = many?.saturating_sub(few?) / ((more - fewer) * stretch).max(1);
            ensure!(instructions > 0, "valgrind counted nothing in {}", case.argument());
            Ok(Count { case, instructions })
        })
        .collect()
}

/// Why nothing can be compared here, if so.
///
/// # Errors
///
/// The recorded counts cannot be read.
pub fn reason_to_skip() -> Result<Option<String>> {
    if valgrind().is_none() {
        return Ok(Some("valgrind is not installed; your distribution has it".to_owned()));
    }
    let recorded = Recorded::read()?.architecture;
    Ok((recorded != env::consts::ARCH).then(|| format!("recorded on {recorded}, and this is {}", env::consts::ARCH)))
}

/// Compares every case with what is recorded. Returns those that got cheaper and are worth recording, a line each.
///
/// # Errors
///
/// A case is more expensive than recorded, is not recorded, or is recorded and no longer there; or what [`measure`] says.
pub fn check() -> Result<Vec<String>> {
    let recorded = Recorded::read()?;
    let rustc = rustc()?;
    ensure!(
        recorded.rustc == rustc,
        "the counts in {RECORDED} were taken with {}, and this is {rustc}: they do not compare. Record anew with \
         `cargo xtask bench --record-instructions`",
        recorded.rustc,
    );
    compare(&recorded.counts, &measure()?)
}

/// Records what is counted now. Returns what changed, one line for each case.
///
/// # Errors
///
/// What [`measure`] says, or the file cannot be written.
pub fn record() -> Result<Vec<String>> {
    let before = Recorded::read().map(|recorded| recorded.counts).unwrap_or_default();
    let counts = measure()?;
    let path = products::repository().join(RECORDED);
    fs::write(&path, written(&rustc()?, env::consts::ARCH, &counts))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let line = |count: &Count| match before.get(&count.case) {
        Some(old) => told(&count.case, *old, count.instructions),
        None => format!("{}: {}, new", count.case.argument(), count.instructions),
    };
    Ok(counts.iter().map(line).collect())
}

/// Builds the program that is measured, for this machine. Returns where it is.
///
/// # Errors
///
/// It does not compile.
pub fn build() -> Result<PathBuf> {
    let mut command = cargo(["build", "--profile", "module", "-p", PACKAGE, "--bin", PACKAGE]);
    // Valgrind finds the counted function by its name.
    command.args(["--config", "profile.module.strip=false"]);
    // The portable SHA-256, which is the one that wasm has; flags of whoever calls would change the counts.
    command.env("RUSTFLAGS", r#"--cfg sha2_backend="soft""#).env_remove("CARGO_ENCODED_RUSTFLAGS");
    succeed("build core-bench", command)?;
    let program = products::target_directory()?.join("module").join(PACKAGE);
    ensure!(program.is_file(), "cargo did not make {}", program.display());
    Ok(program)
}

/// The cases that a program has, each with how many pushes it takes at a stretch.
///
/// # Errors
///
/// The program does not answer as expected.
pub fn cases(program: &Path) -> Result<Vec<(Case, u64)>> {
    let mut command = Command::new(program);
    command.arg("--list");
    let read = |line: &str| -> Result<_> {
        let line: Value = serde_json::from_str(line)?;
        let stretch = line.get("stretch").and_then(Value::as_u64).context("no `stretch`")?;
        Ok((Case::read(&line)?, stretch))
    };
    let cases: Vec<_> = output(command)?.0.lines().map(read).collect::<Result<_>>().context("core-bench --list")?;
    ensure!(!cases.is_empty(), "core-bench has no cases");
    Ok(cases)
}

/// What a command prints to its two outputs; that it fails is an error.
///
/// # Errors
///
/// It cannot be run, or it fails.
pub fn output(mut command: Command) -> Result<(String, String)> {
    let name = command.get_program().display().to_string();
    let done = command.output().with_context(|| format!("cannot run {name}"))?;
    let [stdout, stderr] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(done.status.success(), "{name} failed ({}):\n{stderr}", done.status);
    Ok((stdout, stderr))
}

/// The first executable of that name on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn valgrind() -> Option<PathBuf> {
    on_path("valgrind")
}

fn rustc() -> Result<String> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("--version").current_dir(products::repository());
    Ok(output(command)?.0.trim().to_owned())
}

/// How many instructions the counted function executes in a run of `iterations` pushes.
fn collect(valgrind: &Path, program: &Path, case: &Case, iterations: u64) -> Result<u64> {
    let directory = program.parent().context("the program has no directory")?;
    let mut command = Command::new(valgrind);
    // Where the stack begins depends on environment and arguments: the program is called the same wherever it is.
    command.env_clear().env("GLIBC_TUNABLES", GLIBC_TUNABLES).current_dir(directory);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", COUNTED]);
    command.arg(Path::new(".").join(program.file_name().unwrap_or(OsStr::new(PACKAGE))));
    command.arg(case.argument()).arg(iterations.to_string());
    let (_, told) = output(command)?;
    collected(&told).with_context(|| format!("valgrind names no count for {}:\n{told}", case.argument()))
}

/// The number behind `Collected :` in what callgrind says.
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("Collected :"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Fails for every case that became more expensive, all of them named at once. Returns those that became cheaper.
fn compare(recorded: &BTreeMap<Case, u64>, measured: &[Count]) -> Result<Vec<String>> {
    let (mut worse, mut cheaper) = (Vec::new(), Vec::new());
    for Count { case, instructions } in measured {
        let Some(before) = recorded.get(case) else {
            worse.push(format!("{}: {instructions}, not recorded", case.argument()));
            continue;
        };
        let ratio = ratio(*before, *instructions);
        if ratio > 1.0 + TOLERANCE {
            worse.push(told(case, *before, *instructions));
        } else if ratio < 1.0 - TOLERANCE {
            cheaper.push(told(case, *before, *instructions));
        }
    }
    let gone = recorded.keys().filter(|case| !measured.iter().any(|count| count.case == **case));
    worse.extend(gone.map(|case| format!("{}: recorded, and no longer there", case.argument())));
    if !worse.is_empty() {
        bail!("instructions per push of the filter's core, against {RECORDED}:\n  {}\n{REMEDY}", worse.join("\n  "));
    }
    Ok(cheaper)
}

fn told(case: &Case, before: u64, now: u64) -> String {
    format!("{}: recorded {before}, measured {now}, ratio {:.3}", case.argument(), ratio(before, now))
}

fn ratio(before: u64, now: u64) -> f64 {
    now as f64 / before as f64
}

/// What the file of recorded counts says.
struct Recorded {
    rustc: String,
    architecture: String,
    counts: BTreeMap<Case, u64>,
}

impl Recorded {
    fn read() -> Result<Self> {
        let path = products::repository().join(RECORDED);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{RECORDED} is not as `--record-instructions` writes it"))
    }

    fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let text = |name: &str| -> Result<String> {
            Ok(value.get(name).and_then(Value::as_str).with_context(|| format!("no `{name}`"))?.to_owned())
        };
        let counts = value.get("counts").and_then(Value::as_array).context("no `counts`")?.iter().map(|count| {
            let instructions = count.get("instructions").and_then(Value::as_u64).filter(|number| *number > 0);
            Ok((Case::read(count)?, instructions.context("no `instructions`")?))
        });
        Ok(Self { rustc: text("rustc")?, architecture: text("architecture")?, counts: counts.collect::<Result<_>>()? })
    }
}

/// The file, a line for each case, so that a difference shows what changed.
fn written(rustc: &str, architecture: &str, counts: &[Count]) -> String {
    let mut text = format!("{{\n  \"rustc\": \"{rustc}\",\n  \"architecture\": \"{architecture}\",\n  \"counts\": [");
    for (index, Count { case, instructions }) in counts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let Case { name, size } = case;
        // Writing into a String cannot fail.
        let _ =
            write!(text, "{comma}\n    {{ \"case\": \"{name}\", \"size\": {size}, \"instructions\": {instructions} }}");
    }
    text.push_str("\n  ]\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{Case, Count, Recorded, collected, compare, written};

    fn counts(of: &[(&str, u64, u64)]) -> Vec<Count> {
        of.iter()
            .map(|(name, size, instructions)| Count {
                case: Case { name: (*name).to_owned(), size: *size },
                instructions: *instructions,
            })
            .collect()
    }

    fn compared(recorded: &[(&str, u64, u64)], measured: &[(&str, u64, u64)]) -> anyhow::Result<Vec<String>> {
        let recorded = counts(recorded).into_iter().map(|count| (count.case, count.instructions)).collect();
        compare(&recorded, &counts(measured))
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let counts = counts(&[("push", 1, 97_070), ("push", 50, 3_385_545)]);
        let read = Recorded::parse(&written("rustc 1.95.0", "x86_64", &counts)).unwrap();
        assert_eq!((read.rustc.as_str(), read.architecture.as_str()), ("rustc 1.95.0", "x86_64"));
        let read: Vec<_> = read.counts.into_iter().map(|(case, instructions)| Count { case, instructions }).collect();
        assert_eq!(read, counts);
    }

    #[test]
    fn the_gate_opens_up_to_five_percent_and_names_what_goes_beyond() {
        let recorded = [("push", 1, 1_000), ("push", 50, 100_000)];
        let kept = compared(&recorded, &[("push", 1, 1_050), ("push", 50, 95_000)]).unwrap();
        assert!(kept.is_empty(), "{kept:?}");
        let error = compared(&recorded, &[("push", 1, 1_051), ("push", 50, 100_000)]).unwrap_err().to_string();
        assert!(error.contains("push/1: recorded 1000, measured 1051, ratio 1.051"), "{error}");
        assert!(!error.contains("push/50") && error.contains("--record-instructions"), "{error}");
    }

    #[test]
    fn what_got_cheaper_is_told_and_no_failure() {
        let cheaper = compared(&[("push", 1, 1_000)], &[("push", 1, 949)]).unwrap();
        assert_eq!(cheaper, ["push/1: recorded 1000, measured 949, ratio 0.949"]);
    }

    #[test]
    fn a_case_that_is_on_one_side_only_is_a_failure() {
        let error = compared(&[("push", 1, 1_000)], &[("push", 10, 1_000)]).unwrap_err().to_string();
        assert!(error.contains("push/10: 1000, not recorded"), "{error}");
        assert!(error.contains("push/1: recorded, and no longer there"), "{error}");
    }

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 58241251\n==1== \n"), Some(58_241_251));
        assert_eq!(collected("==1== Events    : Ir\n"), None);
    }
}
