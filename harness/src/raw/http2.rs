//! HTTP/2 written by hand: requests that are begun and never finished, in header blocks that cost their sender next to nothing.

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
/// The first index of HPACK's dynamic table: what was remembered last.
const REMEMBERED_LAST: u8 = 62;

/// A header block, compressed as HPACK allows: a header that was remembered is one byte from then on.
#[derive(Clone, Debug, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// `POST path`, and nothing else yet.
    pub fn post(path: &str) -> Self {
        Self::default()
            .header(":method", "POST")
            .header(":scheme", "http")
            .header(":authority", "gateway.example.com")
            .header(":path", path)
    }

    /// One more header, spelled out.
    pub fn header(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.literal(0x00, name.as_ref(), value.as_ref())
    }

    /// More headers, spelled out.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        headers.into_iter().fold(self, |block, (name, value)| block.header(name, value))
    }

    /// One more header, which the other side is to remember for this connection.
    pub fn remember(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.literal(0x40, name.as_ref(), value.as_ref())
    }

    /// The header that was remembered last, once more. It takes one byte.
    pub fn remembered(mut self) -> Self {
        self.0.push(0x80 | REMEMBERED_LAST);
        self
    }

    /// How many bytes it has on the wire.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds no header.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn literal(mut self, kind: u8, name: &[u8], value: &[u8]) -> Self {
        self.0.push(kind);
        for text in [name, value] {
            self.length(text.len());
            self.0.extend_from_slice(text);
        }
        self
    }

    /// An integer with a prefix of seven bits (RFC 7541, 5.1).
    fn length(&mut self, length: usize) {
        const PREFIX: usize = 0x7f;
        let Some(mut rest) = length.checked_sub(PREFIX) else {
            self.0.push(u8::try_from(length).unwrap_or_default());
            return;
        };
        self.0.push(0x7f);
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap_or_default();
            rest >>= 7;
            if rest == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(0x80 | low);
        }
    }
}

/// One connection that begins requests and finishes none. What the other side answers stays unread.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    next_stream: u32,
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`, which must take HTTP/2 without being asked.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        let mut connection = Self { stream, next_stream: 1 };
        let mut greeting = PREFACE.to_vec();
        frame(&mut greeting, SETTINGS, 0, 0, &[]);
        connection.stream.write_all(&greeting).await.context("the connection is closed")?;
        Ok(connection)
    }

    /// Begins a request with each of these blocks, in one write.
    ///
    /// # Errors
    ///
    /// When the other side has closed the connection.
    pub async fn begin<'b>(&mut self, blocks: impl IntoIterator<Item = &'b Block>) -> Result<()> {
        let mut frames = Vec::new();
        for Block(block) in blocks {
            frame(&mut frames, HEADERS, END_HEADERS, self.next_stream, block);
            self.next_stream = self.next_stream.saturating_add(2);
        }
        self.stream.write_all(&frames).await.context("the connection is closed")
    }
}

/// Appends a frame; `payload` has at most 16 KiB.
fn frame(frames: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    frames.extend(length.into_iter().skip(1));
    frames.extend([kind, flags]);
    frames.extend(stream.to_be_bytes());
    frames.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::{Block, frame};

    #[test]
    fn a_block_is_what_hpack_says() {
        let block = Block::default().header("a", "1").remember("b", vec![b'2'; 300]).remembered();
        let expected = [b"\x00\x01a\x011\x40\x01b\x7f\xad\x01".as_slice(), &[b'2'; 300], b"\xbe"].concat();
        assert_eq!(block.0, expected);
        assert_eq!(Block::default().header("a", vec![b'2'; 127]).0[3..5], [0x7f, 0x00]);
    }

    #[test]
    fn a_frame_has_its_length_kind_flags_and_stream() {
        let mut frames = Vec::new();
        frame(&mut frames, 1, 4, 3, b"xy");
        assert_eq!(frames, b"\0\0\x02\x01\x04\0\0\0\x03xy");
    }
}
