//! Starts the store: reads its settings, logs, listens to signals. Or reads a database file and says what is wrong with it; or imports CDRs into a running store.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use privatenumber_store::clock::Clock;
use privatenumber_store::database::Database;
use privatenumber_store::server;
use privatenumber_store::settings::{Arguments, Command, LogFormat, Settings};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { settings, command } = Arguments::parse();
    let result = match command {
        None => start(settings).await,
        Some(Command::Check { data }) => return check(&data),
        Some(Command::ImportCdrs(import)) => import.run(&mut io::stdout(), &mut io::stderr()).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "privatenumber-store: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Checks the database file; the verdict is the last line.
fn check(data: &Path) -> ExitCode {
    let findings = Database::check(data, &mut |progress| {
        let _ = writeln!(io::stderr(), "{progress}");
    });
    let mut stdout = io::stdout().lock();
    for finding in &findings {
        let _ = writeln!(stdout, "{finding}");
    }
    let data = data.display();
    if findings.is_empty() {
        let _ = writeln!(stdout, "OK: all of {data} was read and nothing is wrong");
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(stdout, "NOT OK: {} findings in {data}, see above", findings.len());
    ExitCode::FAILURE
}

async fn start(settings: Settings) -> anyhow::Result<()> {
    log_to_stderr(settings.log_format)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let stop = async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            let _ = writeln!(io::stderr(), "privatenumber-store: second signal, stopping at once");
            std::process::exit(1);
        });
    };
    let scheme = if settings.tls().is_some() { "https" } else { "http" };
    server::run(settings, Clock::system(), stop, |address| {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "privatenumber-store listening on {scheme}://{address}")
            .and_then(|()| stdout.flush())
            .context("cannot write the address to standard output")
    })
    .await
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn log_to_stderr(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .context("RUST_LOG cannot be understood; give a level such as `info` or `debug`")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
