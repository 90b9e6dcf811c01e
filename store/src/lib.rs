//! The store behind the Private Number Gateway: remembers calls, grants claims, keeps outcomes.
//!
//! From the outside in: [`server`] accepts connections, [`http`] reads requests and answers, [`writer`] groups what is to be
//! committed, [`database`] decides and keeps. Below [`http`] nothing knows of HTTP; below [`writer`] nothing reads a clock. [`import`] is a client of
//! a running store.

pub mod clock;
pub mod cursor;
pub mod database;
mod gb18030;
pub mod http;
pub mod import;
pub mod metrics;
pub mod open_files;
pub mod record;
pub mod server;
pub mod settings;
pub mod tls;
pub mod writer;
