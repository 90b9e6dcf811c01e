//! The heads of HTTP requests that the worker sends.

use std::rc::Rc;
use std::time::Duration;

/// A text of a request head; most are fixed or shared, so that a request allocates little.
#[derive(Clone, Debug)]
pub enum Text {
    /// Known when compiled.
    Static(&'static str),
    /// Part of the configuration.
    Shared(Rc<str>),
    /// Made for this request.
    Owned(String),
}

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// Everything of a request but its body.
#[derive(Debug)]
pub struct RequestHead {
    /// Envoy's name of the cluster.
    pub cluster: Rc<str>,
    /// Pseudo headers first. Nothing in here is `x-envoy-*`: Envoy would act upon it.
    pub headers: Vec<(Text, Text)>,
    /// How long it may take.
    pub timeout: Duration,
}

impl RequestHead {
    /// The head of a JSON `POST`.
    pub fn post_json(cluster: &Rc<str>, authority: &Rc<str>, path: Text, timeout: Duration) -> Self {
        let mut headers = Vec::with_capacity(12);
        headers.extend([
            (Text::Static(":method"), Text::Static("POST")),
            (Text::Static(":path"), path),
            (Text::Static(":authority"), Text::Shared(Rc::clone(authority))),
            (Text::Static("content-type"), Text::Static("application/json")),
            (Text::Static("user-agent"), Text::Static(USER_AGENT)),
        ]);
        Self { cluster: Rc::clone(cluster), headers, timeout }
    }

    /// Adds a header.
    pub fn add(&mut self, name: Text, value: Text) {
        self.headers.push((name, value));
    }
}

const USER_AGENT: &str = concat!("private-number-gateway/", env!("CARGO_PKG_VERSION"));
