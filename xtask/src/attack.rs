//! `cargo xtask attack`: what strangers, businesses and stores can do to a gateway, tried on real processes within ten minutes.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::envoy_binary;

use crate::build;
use crate::command::{cargo, run as run_command, succeed};
use crate::test::report::{Tests, start};

/// How long all attacks together may take. Building does not count.
const AT_MOST: Duration = Duration::from_secs(600);

/// One attack, and the tests that make it.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    /// What somebody does, and what must hold meanwhile.
    what: &'static str,
    tests: &'static [Selection],
}

/// Tests of one program.
#[derive(Clone, Copy)]
struct Selection {
    program: Program,
    /// What the names of the tests begin with: a test, or a test in both header modes.
    name: &'static str,
}

/// A program of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Stories,
    Hostile,
    Store,
}

impl Program {
    const ALL: [Self; 3] = [Self::Stories, Self::Hostile, Self::Store];

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Stories => ["-p", "end-to-end", "--test", "stories"],
            Self::Hostile => ["-p", "end-to-end", "--test", "hostile"],
            Self::Store => ["-p", "privatenumber-store", "--test", "store"],
        }
    }
}

const fn stories(name: &'static str) -> Selection {
    Selection { program: Program::Stories, name }
}

const fn hostile(name: &'static str) -> Selection {
    Selection { program: Program::Hostile, name }
}

const fn store(name: &'static str) -> Selection {
    Selection { program: Program::Store, name }
}

/// All attacks. `docs/security.md` lists the same, see the test below.
const ATTACKS: [Attack; 16] = [
    Attack {
        name: "slow-headers",
        what: "3,000 connections send headers with a valid digest and no body",
        tests: &[stories("attacks::p6_headers_without_bodies_trap_nothing_and_keep_nobody_out")],
    },
    Attack {
        name: "slow-bodies",
        what: "2,000 connections send 190 KB of a body and no more",
        tests: &[stories("attacks::p6_bodies_that_never_end_trap_nothing_and_keep_nobody_out")],
    },
    Attack {
        name: "http2-streams",
        what: "330 connections of HTTP/2 begin 42,240 pushes with 14 MB",
        tests: &[stories("attacks::p6_headers_without_bodies_over_http2_trap_nothing_and_keep_nobody_out")],
    },
    Attack {
        name: "stalled-pushers",
        what: "1,200 pushers stall in their bodies, more than the store takes connections",
        tests: &[stories("attacks::p4_stalled_pushers_take_no_connection_to_the_store")],
    },
    Attack {
        name: "half-open-pushers",
        what: "pushers close their half, or hang up in mid-push",
        tests: &[
            stories("wire::p1_a_pusher_that_closes_its_half_early_gets_no_answer_and_one_callback"),
            stories("store_faults::p8_a_pusher_that_leaves_in_mid_push_still_gets_its_call_back"),
        ],
    },
    Attack {
        name: "malformed-pushes",
        what: "every odd or malformed request of the table, each with its exact answer",
        tests: &[hostile("every_answer::")],
    },
    Attack {
        name: "path-spellings",
        what: "other spellings of the push path: none passes the filter by",
        tests: &[hostile("spellings::"), stories("answers::a_route_that_is_not_the_push_path_lets_nobody_in")],
    },
    Attack {
        name: "replayed-pushes",
        what: "the same push again, twenty times at once, and through two gateways: one callback",
        tests: &[stories("once::p1_")],
    },
    Attack {
        name: "odd-cdrs",
        what: "values that cannot be used, GBK, a call twice in one push",
        tests: &[stories("odd_cdrs::")],
    },
    Attack {
        name: "hanging-business",
        what: "a business never answers: nobody else waits",
        tests: &[stories("outcomes::p4_a_business_that_hangs_delays_nobody_else")],
    },
    Attack {
        name: "business-of-megabytes",
        what: "a business answers with megabytes",
        tests: &[hostile("false_business::")],
    },
    Attack {
        name: "false-store",
        what: "a store claims twice, makes up ids, and answers for others",
        tests: &[
            hostile("false_store::"),
            stories("store_faults::p6_trailers_in_place_of_an_answers_body_trap_nothing"),
        ],
    },
    Attack {
        name: "store-headers",
        what: "whoever answers in the store's place sends cookies and names of machines",
        tests: &[stories("store_headers::")],
    },
    Attack {
        name: "store-connections",
        what: "a thousand connections and five thousand streams to the store never end",
        tests: &[hostile("store_process::")],
    },
    Attack {
        name: "malformed-configurations",
        what: "malformed configurations are refused with all their errors, at start and at a reload",
        tests: &[
            hostile("configurations::"),
            stories("reload::a_bad_configuration_is_refused_and_the_former_goes_on_serving"),
        ],
    },
    Attack {
        name: "stores-file",
        what: "the store's file is locked, foreign, newer, or readable by others",
        tests: &[store("failures::")],
    },
];

/// Makes all attacks, one after the other, and says which of them were withstood.
pub fn run(version: Option<&str>) -> ExitCode {
    match prepared(version).and_then(|version| attack_all(&version)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds what the attacks need; the version of Envoy they are made on.
fn prepared(version: Option<&str>) -> Result<String> {
    println!("building the module, the store, the simulator and the attacks (some minutes the first time)");
    build::wasm_target()?;
    build::module()?;
    build::programs()?;
    for program in Program::ALL {
        let mut command = cargo(["test", "--no-run"]);
        command.args(program.arguments());
        succeed("build attacks", command)?;
    }
    let asked = std::env::var(envoy_binary::VERSION_VARIABLE).ok().filter(|version| !version.is_empty());
    let envoy = envoy_binary::find(version.or(asked.as_deref()), |what| println!("{what}"))?;
    Ok(envoy.version)
}

fn attack_all(envoy: &str) -> Result<ExitCode> {
    println!("{} attacks on Envoy {envoy}", ATTACKS.len());
    let began = Instant::now();
    let mut broken = Vec::new();
    for attack in &ATTACKS {
        let started = start(&format!("{:<24} {}", attack.name, attack.what));
        let tests = attack.make(envoy)?;
        let seconds = started.elapsed().as_secs_f32();
        if tests.all_passed() {
            println!("withstood ({} tests, {seconds:.1} s)", tests.passed());
        } else {
            println!("BROKEN ({seconds:.1} s)\n{}", tests.trouble().unwrap_or("no test has this name"));
            broken.push(attack.name);
        }
    }
    let took = began.elapsed();
    if took > AT_MOST {
        println!("too slow: {} s, at most {} s", took.as_secs(), AT_MOST.as_secs());
    }
    let withstood = ATTACKS.len().saturating_sub(broken.len());
    let names = if broken.is_empty() { String::new() } else { format!(": {}", broken.join(", ")) };
    println!("attack: {withstood} withstood, {} broken{names} ({} s, Envoy {envoy})", broken.len(), took.as_secs());
    Ok(if broken.is_empty() && took <= AT_MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Attack {
    /// Runs its tests. None at all is a failure, because a renamed test must not pass unnoticed.
    fn make(&self, envoy: &str) -> Result<Tests> {
        let mut all = Tests::default();
        for selection in self.tests {
            let mut command: Command = cargo(["test"]);
            command.args(selection.program.arguments()).args(["--", selection.name, "--test-threads", "2"]);
            command.env(envoy_binary::VERSION_VARIABLE, envoy);
            let done = run_command(&format!("attack {}", self.name), command)?;
            let mut tests = Tests::read(&done.output);
            if !done.success || tests.passed() == 0 {
                tests.told_by(&done);
            }
            all.add(tests);
        }
        ensure!(!self.tests.is_empty(), "{} has no tests", self.name);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use harness::products;

    use super::ATTACKS;

    /// Each row of the table begins with `| ` and the attack's name as code.
    #[test]
    fn the_documents_list_each_attack_with_the_tests_that_make_it() {
        let text = std::fs::read_to_string(products::repository().join("docs/security.md")).unwrap();
        let (_, section) = text.split_once("\n## The attacks, one by one\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let listed: Vec<&str> = rows.iter().map(|row| row.split('`').nth(1).unwrap()).collect();
        let made: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(listed, made);
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), made.len(), "a name stands twice");
        for (row, attack) in rows.iter().zip(&ATTACKS) {
            for selection in attack.tests {
                assert!(
                    row.contains(&format!("`{}`", selection.name)),
                    "{}: {} is not listed",
                    attack.name,
                    selection.name
                );
            }
        }
    }
}
