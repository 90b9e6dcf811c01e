//! HTTP/1.1 written by hand, byte by byte: what no client library would send, and pushers that leave in the middle.

pub mod http2;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LARGEST: usize = 64 * 1024 * 1024;

/// The head of a request, written as it is given: in this order, duplicates and odd bytes included.
#[derive(Clone, Debug)]
pub struct Head(Vec<u8>);

impl Head {
    /// `POST path HTTP/1.1` and nothing else yet, not even a `host`.
    pub fn post(path: &str) -> Self {
        Self::line(&format!("POST {path} HTTP/1.1"))
    }

    /// Any first line.
    pub fn line(line: &str) -> Self {
        Self(format!("{line}\r\n").into_bytes())
    }

    /// One more header, of any bytes.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(name.as_ref());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// More headers.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        headers.into_iter().fold(self, |head, (name, value)| head.header(name, value))
    }

    /// The bytes, with the empty line that ends a head.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

/// One chunk of a chunked body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The end of a chunked body, with these trailers.
pub fn last_chunk(trailers: &[(&str, &str)]) -> Vec<u8> {
    let trailers: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("0\r\n{trailers}\r\n").into_bytes()
}

/// An answer, read off the wire.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers in their order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, chunks joined.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true).context("cannot switch off Nagle's algorithm")?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends these bytes.
    ///
    /// # Errors
    ///
    /// When the other side has closed the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await.context("the connection is closed")
    }

    /// Reads one answer; the connection can be used again after it.
    ///
    /// # Errors
    ///
    /// When no complete answer comes.
    pub async fn answer(&mut self) -> Result<RawAnswer> {
        let answer = tokio::time::timeout(LIMIT, self.read_answer()).await;
        answer.map_err(|_| anyhow!("no answer within {LIMIT:?}")).and_then(|answer| answer)
    }

    /// Whether the other side closes the connection, without another byte, within `within`.
    pub async fn is_closed_within(&mut self, within: Duration) -> bool {
        let mut byte = [0];
        matches!(tokio::time::timeout(within, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    /// Sends no more (FIN), and goes on reading.
    ///
    /// # Errors
    ///
    /// When the other side has closed the connection.
    pub async fn close_half(&mut self) -> Result<()> {
        self.stream.shutdown().await.context("the connection is closed")
    }

    /// Leaves in the ordinary way (FIN).
    pub async fn leave(mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Leaves at once (RST).
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    async fn read_answer(&mut self) -> Result<RawAnswer> {
        let (status, headers, length) = loop {
            if let Some(head) = parse_head(&self.received)? {
                break head;
            }
            self.more().await?;
        };
        self.received.drain(..length);
        let named = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        let body = if named("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
            self.read_chunks().await?
        } else {
            let length = named("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            self.take(length.unwrap_or(0)).await?
        };
        Ok(RawAnswer { status, headers, body })
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let (head, size) = loop {
                match httparse::parse_chunk_size(&self.received) {
                    Ok(httparse::Status::Complete((head, size))) => break (head, usize::try_from(size)?),
                    Ok(httparse::Status::Partial) => self.more().await?,
                    Err(_) => bail!("the answer's chunks cannot be read"),
                }
            };
            self.received.drain(..head);
            let chunk = self.take(size.saturating_add(2)).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend(chunk.into_iter().take(size));
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.received.len() < length {
            self.more().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<()> {
        if self.received.len() > LARGEST {
            bail!("the answer is longer than {LARGEST} bytes");
        }
        let read = self.stream.read_buf(&mut self.received).await.context("the connection was reset")?;
        if read == 0 {
            bail!("the connection was closed after {} bytes of an answer", self.received.len());
        }
        Ok(())
    }
}

type ParsedHead = (u16, Vec<(String, Vec<u8>)>, usize);

fn parse_head(bytes: &[u8]) -> Result<Option<ParsedHead>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = answer.parse(bytes).context("the answer's head cannot be read")? else {
        return Ok(None);
    };
    let status = answer.code.context("the answer has no status")?;
    let headers = answer.headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()));
    Ok(Some((status, headers.collect(), length)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::{Connection, Head, chunk, last_chunk};

    #[test]
    fn a_head_is_written_as_it_is_given() {
        let head = Head::post("/x").header("a", "1").header("a", b"\xff").end();
        assert_eq!(head, b"POST /x HTTP/1.1\r\na: 1\r\na: \xff\r\n\r\n");
        assert_eq!([chunk(b"abc"), last_chunk(&[("t", "1")])].concat(), b"3\r\nabc\r\n0\r\nt: 1\r\n\r\n");
    }

    #[tokio::test]
    async fn answers_of_both_kinds_are_read_from_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                HTTP/1.1 503 Away\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
            for part in answers.chunks(7) {
                stream.write_all(part).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let mut connection = Connection::open(&address).await.unwrap();
        let first = connection.answer().await.unwrap();
        assert_eq!(
            (first.status, first.body.as_slice(), first.header("content-length")),
            (200, &b"ok"[..], Some(&b"2"[..]))
        );
        let second = connection.answer().await.unwrap();
        assert_eq!((second.status, second.body.as_slice()), (503, &b"abcd"[..]));
        server.await.unwrap();
        assert!(connection.answer().await.is_err());
    }
}
