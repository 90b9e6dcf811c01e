//! Connections of the business: HTTP/1.1 as long as it behaves, the bare socket when it does not.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::raw_answer::RawAnswer;
use super::state::State;
use super::{answer, control};

/// No record comes near it.
const MAX_CALLBACK_BYTES: usize = 1024 * 1024;

/// Takes connections for ever. Dropping the future closes them all.
pub async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&state)));
                }
                // Too many open files, mostly: waiting is all that helps.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    // Whatever goes wrong on a connection concerns only its other end, which notices.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(respond(request, Arc::clone(&state))));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let raw = ended.err().and_then(|error| RawAnswer::carried_by(&error));
    let mut stream = connection.into_parts().io.into_inner();
    let _ = match raw {
        Some(raw) => raw.perform(stream).await,
        None => stream.shutdown().await,
    };
}

async fn respond(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, RawAnswer> {
    let (head, body) = request.into_parts();
    let is_control = head.uri.path().starts_with(control::PREFIX);
    if !is_control && head.method != Method::POST {
        let mut response = Response::new(Full::from("callbacks come by POST\n"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let body = match Limited::new(body, MAX_CALLBACK_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            if !is_control {
                state.ledger().incomplete();
            }
            let too_long = error.is::<http_body_util::LengthLimitError>();
            let mut response = Response::new(Full::from("the body was not read in full\n"));
            *response.status_mut() = if too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            return Ok(response);
        }
    };
    if is_control {
        return Ok(control::respond(&state, &head.method, &head.uri, &body));
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let act = state.receive(path, head.headers, body);
    answer::give(act).await
}
