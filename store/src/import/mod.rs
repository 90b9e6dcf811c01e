//! `privatenumber-store import-cdrs FILE`: sends the CDRs of a file to a running store, batch by batch.
//!
//! It is a client of `POST /v1/cdrs:import`, so the store need not stop. Repeating it is safe: a call that is there already stays as it
//! is.

mod batches;
mod client;
mod csv;
mod file;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use privatenumber_contract::ImportResult;

use crate::settings::token_text;
use batches::{Batch, batches};
use client::{Answer, Client};
use file::Entry;

/// Import CDRs that Huawei pushes no more into a running store
///
/// FILE holds CDRs as Huawei names their fields: a JSON array, JSON lines, bodies of pushes (`feeLst`), or CSV whose first line
/// names the fields, `sessionId` and `icid` among them. UTF-8 or GBK. Without --release the calls are only recorded; they are
/// `skipped` with the reason `imported`, and can be released later. A call that is there already stays as it is, so repeating an
/// import changes nothing. Names unusable CDRs by their lines on standard error and goes on. Exits with 0 only if all CDRs are in
/// the store.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// File with CDRs; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Address of the running store
    #[arg(long, env = "PRIVATENUMBER_STORE_URL", default_value = "http://127.0.0.1:8090", value_name = "URL")]
    store: String,

    /// Environment variable with the store's bearer token [default: none is sent]
    #[arg(long, env = "PRIVATENUMBER_STORE_TOKEN_ENV", value_name = "NAME", conflicts_with = "token_file")]
    token_env: Option<String>,

    /// File with the store's bearer token [default: none is sent]
    #[arg(long, env = "PRIVATENUMBER_STORE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Huawei application of CDRs that have no `appKey`; CDRs of other applications are unusable then
    #[arg(long, value_name = "APP_KEY")]
    app_key: Option<String>,

    /// Business of calls without a binding row
    #[arg(long, value_name = "AK")]
    ak: Option<String>,

    /// Call back for the calls that are new
    #[arg(long)]
    release: bool,
}

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// CDRs whose calls are recorded now.
    pub imported: u64,
    /// CDRs whose calls were there already.
    pub already_there: u64,
    /// CDRs that cannot be used.
    pub unusable: u64,
    /// Whether workers call back for what was imported.
    pub released: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { imported, already_there, unusable, released } = self;
        let then = if *released { "gateways call back for them" } else { "recorded only" };
        write!(formatter, "imported {imported} ({then}), already there {already_there}, unusable {unusable}")
    }
}

impl Import {
    /// Imports the file. Writes the summary to `output` at the end; progress and unusable CDRs to `log`.
    ///
    /// # Errors
    /// The file cannot be read, the store cannot be asked, or a CDR is unusable.
    pub async fn run(&self, output: &mut impl Write, log: &mut impl Write) -> anyhow::Result<()> {
        let bytes = read(&self.file)?;
        let name = self.file.display();
        let text = file::decode(&bytes).with_context(|| format!("{name} cannot be imported"))?;
        let entries = file::entries(&text).with_context(|| format!("{name} cannot be imported"))?;
        let client = Client::new(&self.store, token_text(self.token_env.as_deref(), self.token_file.as_deref())?)?;
        let mut run =
            Run { import: self, client, log, summary: Summary { released: self.release, ..Summary::default() } };
        let total = entries.len();
        let sent = run.send_all(&entries).await;
        let summary = run.summary;
        writeln!(output, "{summary}").context("cannot write the summary to standard output")?;
        sent.with_context(|| {
            let done = summary.imported.saturating_add(summary.already_there).saturating_add(summary.unusable);
            format!(
                "stopped after {done} of {total} CDRs; remove the cause and repeat the command, which changes nothing for the CDRs \
                 that are imported"
            )
        })?;
        if summary.unusable > 0 {
            let number = summary.unusable;
            bail!("{number} of {total} CDRs are unusable; correct the lines named above and repeat the command");
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("{} cannot be read; check its name and permissions", file.display()))
}

/// An import that is under way.
struct Run<'i, W> {
    import: &'i Import,
    client: Client,
    log: &'i mut W,
    summary: Summary,
}

impl<W: Write> Run<'_, W> {
    async fn send_all(&mut self, entries: &[Entry<'_>]) -> anyhow::Result<()> {
        for Entry { line, cdr } in entries {
            if let Err(reason) = cdr {
                self.unusable(*line, reason)?;
            }
        }
        // Batches that are still to be sent, the next one last.
        let mut left: Vec<Batch<'_>> = batches(entries).collect();
        left.reverse();
        while let Some(batch) = left.pop() {
            match self.client.import(&batch.request(self.import)).await? {
                Answer::Done(results) => self.count(&batch, results)?,
                Answer::Refused(detail) => match batch.halves() {
                    Some((first, second)) => left.extend([second, first]),
                    None => {
                        let line = batch.lines().next().unwrap_or_default();
                        self.unusable(line, &format!("the store refuses it: {detail}"))?;
                    }
                },
            }
            let Summary { imported, already_there, unusable, .. } = self.summary;
            let done = imported.saturating_add(already_there).saturating_add(unusable);
            self.say(&format!("{done} of {} CDRs", entries.len()))?;
        }
        Ok(())
    }

    fn count(&mut self, batch: &Batch<'_>, results: Vec<ImportResult<'static>>) -> anyhow::Result<()> {
        let lines: Vec<usize> = batch.lines().collect();
        if lines.len() != results.len() {
            bail!("the store answered for {} CDRs of {}; is it a store of this version?", results.len(), lines.len());
        }
        for (line, result) in lines.into_iter().zip(results) {
            match result {
                ImportResult::Imported { .. } => self.summary.imported = self.summary.imported.saturating_add(1),
                ImportResult::AlreadyThere { .. } => {
                    self.summary.already_there = self.summary.already_there.saturating_add(1);
                }
                ImportResult::Unusable { reason } => self.unusable(line, &reason)?,
            }
        }
        Ok(())
    }

    fn unusable(&mut self, line: usize, reason: &str) -> anyhow::Result<()> {
        self.summary.unusable = self.summary.unusable.saturating_add(1);
        self.say(&format!("line {line}: {reason}"))
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.log, "{text}").context("cannot write to standard error")
    }
}
