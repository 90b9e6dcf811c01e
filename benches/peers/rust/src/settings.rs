//! Flags and environment.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::http::Uri;
use clap::Parser;
use privatenumber_contract::Private;

/// What the filter does, as a service behind Envoy: a peer to measure the filter against.
///
/// Says `peer-service listening on http://ADDRESS` on standard output once it serves. Stops on SIGTERM or SIGINT once the
/// callbacks under way are over.
#[derive(Debug, Parser)]
#[command(name = "peer-service", version)]
pub struct Settings {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The store
    #[arg(long, value_name = "http://HOST:PORT", value_parser = origin)]
    pub store: Uri,
    /// The business; its callback address is /callback there
    #[arg(long, value_name = "http://HOST:PORT", value_parser = origin)]
    pub business: Uri,
    /// Ask the store for many pushes in one request, and report many outcomes in one
    #[arg(long)]
    pub batch: bool,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub workers: u8,
    /// APP_Key of the Huawei application
    #[arg(long, env = "HUAWEI_APP_KEY", value_name = "KEY")]
    pub app_key: String,
    /// APP_Secret; other users of this machine can see a flag, so set the environment variable
    #[arg(long, env = "HUAWEI_APP_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = private)]
    pub app_secret: Private<String>,
    /// The `ak` of the business: its bindings', and that of calls without a binding
    #[arg(long, env = "AK", value_name = "AK")]
    pub ak: String,
}

/// Takes a secret as it is, so that no error of the parser shows it.
fn private(text: &str) -> Result<Private<String>, Infallible> {
    Ok(Private::from(text))
}

fn origin(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "an address such as http://127.0.0.1:8090 belongs here".to_owned())?;
    if uri.scheme_str() == Some("http") && uri.authority().is_some() && uri.path() == "/" && uri.query().is_none() {
        Ok(uri)
    } else {
        Err("an address without a path, such as http://127.0.0.1:8090, belongs here".to_owned())
    }
}
