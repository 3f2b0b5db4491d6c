//! The connections to the API.
//!
//! HTTP/2 over TLS where the server offers it by ALPN: one connection for all requests, driven by a task of its own. Else
//! HTTP/1.1: a pool of lanes, each driven by the request that uses it. An upgrade takes a new HTTP/1.1 connection
//! and keeps it. Redirects are answers like any other: they go to the caller.
//!
//! A pooled connection may have died unseen. If no byte of the request was sent, the next connection is taken here. If
//! bytes were sent and the connection ends before any answer, the request may have been executed:
//! [`Fault::is_stale_connection`] is true only for a connection that had answered before, and the proxy sends again
//! only what is idempotent (RFC 9110 section 9.2.2), and on a new connection: a server that closes its idle connections
//! closes all of them at about the same time, and the next one from the pool would be as dead.

mod connect;
mod fault;
mod lane;
mod pool;
mod relay;
mod shared;

use std::sync::Arc;

use http::{Request, Response};

use evergrant::tls::{Tls, TlsError};

use self::connect::{Connector, speaks_http2};
use self::lane::{Lane, Unanswered};
use self::pool::Pool;
use self::shared::Shared;
use crate::config::GatewayConfig;
use crate::tee::Outbound;

pub(crate) use self::fault::Fault;
pub(crate) use self::lane::Arriving;

/// Sends requests to the API.
pub(crate) struct Sender {
    connector: Connector,
    /// For upgrades, which HTTP/2 has not, and for interim answers, which it hides.
    http1_connector: Connector,
    lanes: Arc<Pool>,
    http2: Shared,
}

impl Sender {
    /// The ways to the configured upstream; the TLS set-up is read only if it is needed.
    pub(crate) fn new(config: &GatewayConfig, tls: &Tls) -> Result<Self, TlsError> {
        let target = config.upstream.root();
        Ok(Self {
            connector: Connector::new(config, &target, tls, true)?,
            http1_connector: Connector::new(config, &target, tls, false)?,
            lanes: Pool::new(),
            http2: Shared::new(target),
        })
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        mut request: Request<Outbound>,
        needs_http1: bool,
    ) -> Result<Response<Arriving>, Fault> {
        if needs_http1 {
            return Box::pin(self.send_alone(request)).await;
        }
        while let Some(lane) = self.lanes.take() {
            match lane.send(request, &self.lanes).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Unsent(unsent, _)) => request = *unsent,
                Err(Unanswered::Failed(fault)) => return Err(fault),
            }
        }
        if let Some(open) = self.http2.take() {
            match open.send(request).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Unsent(unsent, _)) => request = *unsent,
                Err(Unanswered::Failed(fault)) => return Err(fault),
            }
        }
        // In a box, because connecting needs far more room than the common case.
        Box::pin(self.connect_and_send(request)).await
    }

    /// As [`Sender::send`], on a connection that nothing was sent on before.
    pub(crate) async fn send_anew(
        &self,
        request: Request<Outbound>,
        needs_http1: bool,
    ) -> Result<Response<Arriving>, Fault> {
        if needs_http1 { self.send_alone(request).await } else { self.connect_and_send(request).await }
    }

    async fn connect_and_send(&self, request: Request<Outbound>) -> Result<Response<Arriving>, Fault> {
        let stream = self.connector.connect().await.map_err(Fault::of_connecting)?;
        let sent = if speaks_http2(&stream) {
            self.http2.open(stream).await?.send(request).await
        } else {
            Lane::open(stream).await?.send(request, &self.lanes).await
        };
        sent.map_err(Unanswered::into_fault)
    }

    /// Sends a request for an upgrade, or one that asks first, on an HTTP/1.1 connection of its own.
    async fn send_alone(&self, request: Request<Outbound>) -> Result<Response<Arriving>, Fault> {
        let stream = self.http1_connector.connect().await.map_err(Fault::of_connecting)?;
        let failed = |error| Fault::of_connection(error, false);
        let (mut sender, connection) = lane::builder().handshake(stream).await.map_err(failed)?;
        // How it ended is told to the request, or to the tunnel.
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(lane::in_origin_form(request)).await.map_err(failed)?;
        Ok(response.map(Arriving::driven))
    }
}
