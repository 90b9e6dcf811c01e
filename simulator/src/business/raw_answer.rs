//! Answers that no HTTP library would give: written, or not written, on the bare connection.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

const BODY: &str = r#"{"message":"the business got it"}"#;

/// What to do with the bare connection instead of answering.
///
/// A service returns it as its error: that makes the HTTP library let go of the connection without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawAnswer {
    /// TCP RST.
    Reset,
    /// TCP FIN.
    Close,
    /// Headers that announce the body, half of the body, FIN.
    Truncate(StatusCode),
    /// The first half of the headers, FIN.
    HalfHeaders(StatusCode),
    /// Headers, then the body one byte at a time with this pause before each.
    SlowBody(StatusCode, Duration),
}

impl fmt::Display for RawAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the business misbehaves as told")
    }
}

impl Error for RawAnswer {}

impl RawAnswer {
    /// The one that ended an HTTP connection with `error`.
    pub fn carried_by(error: &hyper::Error) -> Option<Self> {
        error.source().and_then(|source| source.downcast_ref()).copied()
    }

    /// Does it and drops the connection.
    pub async fn perform(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            // Dropped with no linger time, the connection is reset.
            Self::Reset => return stream.set_zero_linger(),
            Self::Close => {}
            Self::Truncate(status) => {
                let (half, _) = BODY.split_at(BODY.len() / 2);
                stream.write_all(format!("{}{half}", head(status)).as_bytes()).await?;
            }
            Self::HalfHeaders(status) => {
                let head = head(status);
                let (half, _) = head.split_at(head.len() / 2);
                stream.write_all(half.as_bytes()).await?;
            }
            Self::SlowBody(status, pause) => {
                stream.write_all(head(status).as_bytes()).await?;
                for byte in BODY.bytes() {
                    sleep(pause).await;
                    stream.write_all(&[byte]).await?;
                }
            }
        }
        stream.shutdown().await
    }
}

fn head(status: StatusCode) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        BODY.len()
    )
}
