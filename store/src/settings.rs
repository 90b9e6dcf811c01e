//! Flags and environment.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::database::Keeping;
use crate::http::token::Token;
use crate::import::Import;
use crate::tls::TlsFiles;

/// The store behind the Private Number Gateway.
///
/// Without a command it serves. Keeps calls, grants each call's claim once, keeps outcomes and bindings, in one SQLite file. Says `privatenumber-store
/// listening on http://ADDRESS` (https:// with --tls-cert) on standard output once it serves; logs to standard error, as much as RUST_LOG says
/// (default: info). Stops on SIGTERM or SIGINT once everything accepted is committed; a second signal stops it at once.
#[derive(Clone, Debug, Parser)]
#[command(name = "privatenumber-store", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub settings: Settings,

    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: Option<Command>,
}

// No doc comment for clap: it would replace that of the program.
#[allow(missing_docs)]
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, env = "PRIVATENUMBER_STORE_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// SQLite file; it and its directory are made if need be
    #[arg(long, env = "PRIVATENUMBER_STORE_DATA", default_value = "./data/privatenumber.sqlite3", value_name = "FILE")]
    pub data: PathBuf,

    /// Form of log lines
    #[arg(long, env = "PRIVATENUMBER_STORE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Environment variable with the bearer token that requests to /v1/ must carry [default: none is needed]
    #[arg(long, env = "PRIVATENUMBER_STORE_TOKEN_ENV", value_name = "NAME", conflicts_with = "token_file")]
    pub token_env: Option<String>,

    /// File with the bearer token that requests to /v1/ must carry [default: none is needed]
    #[arg(long, env = "PRIVATENUMBER_STORE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// File with the certificate of the store, then those that lead to its CA, as PEM: serve https [default: http]
    #[arg(long, env = "PRIVATENUMBER_STORE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// File with the key of the certificate, as PEM
    #[arg(long, env = "PRIVATENUMBER_STORE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// File with the CAs whose clients may connect, as PEM [default: clients need no certificate]
    #[arg(long, env = "PRIVATENUMBER_STORE_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,

    /// Largest request body
    #[arg(long, env = "PRIVATENUMBER_STORE_BODY_BYTES", default_value_t = 4 * 1024 * 1024, value_name = "BYTES")]
    pub body_bytes: usize,

    /// Most bytes of request bodies held at a time, all requests together
    #[arg(long, env = "PRIVATENUMBER_STORE_BUFFER_BYTES", default_value_t = 256 * 1024 * 1024, value_name = "BYTES")]
    pub buffer_bytes: usize,

    /// Most connections at a time; further ones wait
    #[arg(long, env = "PRIVATENUMBER_STORE_CONNECTIONS", default_value_t = 1024, value_parser = at_least_one, value_name = "NUMBER")]
    pub connections: usize,

    /// Most requests at a time, of which HTTP/2 has many on a connection; further ones are answered 503
    #[arg(long, env = "PRIVATENUMBER_STORE_REQUESTS", default_value_t = 8192, value_parser = at_least_one, value_name = "NUMBER")]
    pub requests: usize,

    /// Most works that wait for the writer; further ones are answered 503
    #[arg(long, env = "PRIVATENUMBER_STORE_QUEUE", default_value_t = 10_000, value_parser = at_least_one, value_name = "NUMBER")]
    pub queue: usize,

    /// Whole days for which signatures of pushes are remembered, to recognise replays; 0 remembers none and recognises none
    #[arg(long, env = "PRIVATENUMBER_STORE_REPLAY_DAYS", default_value_t = Keeping::default().replay_days, value_parser = replay_days(), value_name = "DAYS")]
    pub replay_days: u32,

    /// Most bytes of events kept, their bodies and 256 for each; the oldest are dropped first
    #[arg(long, env = "PRIVATENUMBER_STORE_EVENT_BYTES", default_value_t = Keeping::default().event_bytes, value_name = "BYTES")]
    pub event_bytes: u64,

    /// Time for the head of a request, counted from the end of the one before: also how long a connection may be idle
    #[arg(long, env = "PRIVATENUMBER_STORE_HEADER_TIMEOUT", default_value = "75", value_parser = seconds, value_name = "SECONDS")]
    pub header_timeout: Duration,

    /// Time for the body of a request
    #[arg(long, env = "PRIVATENUMBER_STORE_BODY_TIMEOUT", default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub body_timeout: Duration,

    /// Time in which a client must take some bytes of an answer
    #[arg(long, env = "PRIVATENUMBER_STORE_WRITE_TIMEOUT", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub write_timeout: Duration,

    /// Time to wait for a lock that another process holds on the file
    #[arg(long, env = "PRIVATENUMBER_STORE_BUSY_TIMEOUT", default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub busy_timeout: Duration,

    /// Time to wait at the start for another store to let go of the file
    #[arg(long, env = "PRIVATENUMBER_STORE_LOCK_WAIT", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub lock_wait: Duration,

    /// Time in which /readyz must be able to commit
    #[arg(long, env = "PRIVATENUMBER_STORE_READY_TIMEOUT", default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub ready_timeout: Duration,

    /// Time in which the store must have stopped after a signal
    #[arg(long, env = "PRIVATENUMBER_STORE_SHUTDOWN_TIMEOUT", default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub shutdown_timeout: Duration,
}

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read the whole database file and say what is wrong with it
    ///
    /// Checks modes, to whom the file belongs, its structure, references, and every value. Changes nothing, and may run while the store
    /// serves. Says what it does on standard error and the verdict on standard output; the exit status is 0 where all is well.
    Check {
        /// SQLite file
        #[arg(
            long,
            env = "PRIVATENUMBER_STORE_DATA",
            default_value = "./data/privatenumber.sqlite3",
            value_name = "FILE"
        )]
        data: PathBuf,
    },
    #[allow(missing_docs)]
    ImportCdrs(Import),
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

impl Settings {
    /// Whether the settings fit together.
    ///
    /// # Errors
    /// When one rules out another.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.buffer_bytes < self.body_bytes {
            bail!(
                "--buffer-bytes ({}) is less than --body-bytes ({}), so the largest body could never be taken; raise the \
                 first or lower the second",
                self.buffer_bytes,
                self.body_bytes
            );
        }
        Ok(())
    }

    /// How long the store keeps what it may forget.
    pub fn keeping(&self) -> Keeping {
        Keeping { replay_days: self.replay_days, event_bytes: self.event_bytes }
    }

    /// The files of TLS, if it is asked for.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(TlsFiles { certificate, key, client_ca: self.client_ca.clone() })
    }

    /// The token that requests must carry, if one is set.
    ///
    /// # Errors
    /// When it is set and cannot be read, or is empty.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        let token = token_text(self.token_env.as_deref(), self.token_file.as_deref())?;
        Ok(token.map(|token| Token::new(&token)))
    }
}

/// The token of the environment variable `token_env` or of `token_file`, if either is given.
///
/// # Errors
/// When it is given and cannot be read, or is empty.
pub(crate) fn token_text(token_env: Option<&str>, token_file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let (token, place) = if let Some(name) = token_env {
        let token = std::env::var(name)
            .with_context(|| format!("--token-env: the environment variable {name} is not set to a text"))?;
        (token, format!("--token-env: the environment variable {name}"))
    } else if let Some(file) = token_file {
        let place = format!("--token-file: {}", file.display());
        (std::fs::read_to_string(file).with_context(|| format!("{place} cannot be read"))?, place)
    } else {
        return Ok(None);
    };
    let token = token.trim();
    if token.is_empty() {
        bail!("{place} is empty; put the token there, or leave the flag out to need none");
    }
    Ok(Some(token.to_owned()))
}

/// A signature is looked for in as many tables.
fn replay_days() -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(0..=31)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "give a whole number, at least 1".to_owned())
}

/// What a time may be.
const SECONDS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1_000_000);

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match duration {
        // SQLite counts milliseconds in 31 bits.
        Some(duration) if SECONDS.contains(&duration) => Ok(duration),
        _ => Err("give seconds, from 0.001 to 1000000, such as 10 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, seconds};

    #[test]
    fn the_flags_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_seconds_and_never_zero() {
        assert_eq!(seconds("0.5"), Ok(std::time::Duration::from_millis(500)));
        for bad in ["", "0", "0.0009", "1000001", "-1", "nan", "inf", "1e300", "10s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
