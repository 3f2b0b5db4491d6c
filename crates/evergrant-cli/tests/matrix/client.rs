//! A small HTTP client without opinions: it keeps connections open, follows nothing and repeats nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client of one version of HTTP.
#[derive(Clone)]
pub(crate) struct Client(Pool<HttpConnector, Full<Bytes>>);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// HTTP/1.1.
    pub(crate) fn http1() -> Self {
        Self::new(false)
    }

    /// HTTP/2 with prior knowledge.
    pub(crate) fn http2() -> Self {
        Self::new(true)
    }

    fn new(is_http2: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut pool = Pool::builder(TokioExecutor::new());
        pool.http2_only(is_http2).retry_canceled_requests(false);
        Self(pool.build(connector))
    }

    /// Sends a request and reads the whole answer; the error is in words.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|error| in_words(&error))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| in_words(&error))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")))
    }

    /// GET without ceremony.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, String> {
        self.send(Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap()).await
    }
}

impl Answer {
    /// The body as text, and what the gateway says about a refusal.
    pub(crate) fn words(&self) -> String {
        let verdict = self.headers.get("evergrant-verdict").map(|verdict| String::from_utf8_lossy(verdict.as_bytes()));
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {} {body}", self.status.as_u16(), verdict.unwrap_or_default())
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Longer than any call may take: a call that is still waiting has failed.
const PATIENCE: Duration = Duration::from_secs(40);
