//! A business that answers with more than anybody wants.

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use privatenumber_contract::{MaybeSent, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, cdrs};

/// How large its answers are: above what `envoy.yaml` lets Envoy keep of one, and below what Envoy keeps otherwise.
const MEGABYTES: usize = 16;

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = vec![0; 64 * 1024];
    let mut length = 0;
    // A head, and the body, whose end is that of the record.
    while !request[..length].ends_with(b"}") {
        match stream.read(&mut request[length..]).await? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MEGABYTES << 20);
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..MEGABYTES {
        stream.write_all(&[b'x'; 1 << 20]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn p4_a_business_that_answers_with_megabytes_is_not_listened_to() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let changed = |business: &mut harness::gateway::BusinessAt| business.address = address.clone();
    let world = World::with_business("false-business", HeadersMode::Hold, &[], changed, |options| options).await?;
    world.push(&cdrs(880, 3)).await?;
    let settled = world.settled_calls(3).await?;
    let outcome = Some(Outcome::MaybeSent { reason: MaybeSent::Truncated });
    ensure!(settled.iter().all(|call| call.outcome == outcome), "{settled:?}");
    world.ends_well().await
}
