//! Requests through the tower layer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evergrant::core::verdict::{Cause, Verdict};
use evergrant::reqwest::{self, Body};
use evergrant::{LayerError, Origins, TokenLayer};
use evergrant_sim::Event;
use evergrant_sim::faults::ApiFault;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::support::{call_for, living, start};

/// Sends with reqwest, and insists on being asked whether it is ready before each call.
struct Http {
    inner: reqwest::Client,
    is_ready: bool,
}

impl Clone for Http {
    fn clone(&self) -> Self {
        // Readiness belongs to one value and is not cloned.
        Self { inner: self.inner.clone(), is_ready: false }
    }
}

impl Service<Request<Bytes>> for Http {
    type Response = Response<Body>;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, reqwest::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        let inner = self.inner.clone();
        Box::pin(async move { Ok(inner.execute(reqwest::Request::try_from(request)?).await?.into()) })
    }
}

#[tokio::test]
async fn a_refused_request_is_sent_again_and_a_passed_on_refusal_is_explained() {
    let (sim, source, client) = start(living(3600));
    call_for(&client, Duration::from_millis(50)).await;
    let layer = TokenLayer::new(source, Origins::parse([sim.url()], false).unwrap());
    let mut service = layer.layer(Http { inner: reqwest::Client::new(), is_ready: false });
    let post = || Request::post(format!("{}/api/v2/things", sim.url())).body(Bytes::from_static(b"abc")).unwrap();

    sim.handle().apply(Event::RevokeAll);
    let answer = send(&mut service, post()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(sim.handle().ledger().duplicated_effects(), 0);

    sim.handle().apply(Event::api(ApiFault::MissingPermission));
    let answer = send(&mut service, post()).await.unwrap();
    assert_eq!(answer.extensions().get::<Verdict>().unwrap().cause, Cause::MissingPermission);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());

    let elsewhere = Request::get("https://elsewhere.example/?code=hunter2").body(Bytes::new()).unwrap();
    let error = send(&mut service, elsewhere).await.unwrap_err();
    assert!(matches!(error, LayerError::ForeignOrigin(_)) && !error.to_string().contains("hunter2"), "{error}");
}

async fn send<S: Service<Request<Bytes>>>(service: &mut S, request: Request<Bytes>) -> Result<S::Response, S::Error> {
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}
