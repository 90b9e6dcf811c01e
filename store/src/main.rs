//! Starts the store: reads its settings, logs, listens to signals. Or imports CDRs into a running one.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use privatenumber_store::clock::Clock;
use privatenumber_store::server;
use privatenumber_store::settings::{Command, LogFormat, Settings, Task};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let Command { task, settings } = Command::parse();
    let result = match task {
        None => start(settings).await,
        Some(Task::ImportCdrs(import)) => import.run(&mut io::stdout(), &mut io::stderr()).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "privatenumber-store: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    server::run(settings, Clock::system(), stop, |address| {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "privatenumber-store listening on http://{address}")
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
