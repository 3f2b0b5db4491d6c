//! A proxy that does nothing, on the libraries that the gateway stands on: the floor of what they cost.
//!
//! One thread, one upstream connection for each caller's connection, driven by the same task, a head read, a field set,
//! a head written, a small body copied. No pool, no limits, no checks, no time-outs, no copy for a replay, no counting:
//! what the gateway costs above it is the gateway's own, what this costs above nginx is hyper's and tokio's.
//!
//! It is this program again, in a process of its own, so that its CPU time can be told apart.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::Failure;
use crate::peers::{TOKEN, answered, free_port};
use crate::process::Process;

/// The word that makes this program the proxy.
pub(crate) const WORD: &str = "bare-proxy";

/// The proxy in a process of its own.
pub(crate) struct Bare {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Bare {
    /// In front of the API on this port.
    pub(crate) fn before(api: u16) -> Result<Self, Failure> {
        let port = free_port()?;
        let args = [WORD.to_owned(), port.to_string(), api.to_string()];
        let process = Process::start(Command::new(std::env::current_exe()?).args(args).stdin(Stdio::null()))?;
        answered(port)?;
        Ok(Self { process, port })
    }
}

/// Is the proxy, until it is killed.
pub(crate) fn run(port: &str, api: &str) -> Result<(), Failure> {
    let (port, api) = (local(port)?, local(api)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(port).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A caller that goes away ends its connection with an error, which is how the load generator ends.
            tokio::spawn(async move { serve(stream, api).await.ok() });
        }
    })
}

fn local(port: &str) -> Result<SocketAddr, Failure> {
    Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
}

async fn serve(stream: TcpStream, api: SocketAddr) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let to_api = TcpStream::connect(api).await?;
    to_api.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(to_api)).await?;
    let fields = [(HOST, api.to_string()), (AUTHORIZATION, format!("Bearer {TOKEN}"))];
    let fields = fields.map(|(name, text)| HeaderValue::try_from(text).map(|value| (name, value)));
    let lane = Mutex::new(Lane { sender, connection, fields: fields.into_iter().collect::<Result<_, _>>()? });
    let service = service_fn(async |request| Ok::<_, Infallible>(lane.lock().await.pass_on(request).await));
    http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

/// The upstream connection of one caller's connection.
struct Lane {
    sender: client::SendRequest<Empty<Bytes>>,
    connection: client::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
    /// What is set in each request.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Lane {
    async fn pass_on(&mut self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Self { sender, connection, fields } = self;
        let mut request = request.map(|_| Empty::new());
        for (name, value) in fields {
            request.headers_mut().insert(&*name, value.clone());
        }
        let mut answer = pin!(async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
        });
        let answer = poll_fn(|cx| {
            let first = answer.as_mut().poll(cx);
            // How the connection ended is told to whoever waits for an answer.
            if first.is_ready() || Pin::new(&mut *connection).poll(cx).is_ready() {
                return first;
            }
            answer.as_mut().poll(cx)
        });
        answer.await.unwrap_or_else(|error| {
            let mut response = Response::new(Full::new(error.to_string().into()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }
}
