//! Connections that change their protocol, WebSocket above all.
//!
//! The request for the change travels with a token and may be replayed after a 401 like any other. Once the upstream
//! has answered 101, both sides are raw bytes: they are copied both ways until either side ends, and nothing is ever
//! replayed. A tunnel outlives its HTTP connection, so it counts as work in progress of its own while draining.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::phase::Phases;
use crate::site::Site;

/// A caller's wish to change the protocol.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    caller: OnUpgrade,
}

impl Upgrade {
    pub(crate) fn new(protocol: HeaderValue, caller: OnUpgrade) -> Self {
        Self { protocol, caller }
    }

    /// Asks the upstream for the same protocol.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        name_protocol(headers, self.protocol.clone());
    }

    /// Joins both sides as soon as the caller has its 101.
    pub(crate) fn join(self, upstream: OnUpgrade, site: Arc<Site>, mut phases: Phases) {
        tokio::spawn(async move {
            let _open = Open::new(&site);
            let joined = async {
                let (caller, upstream) = tokio::try_join!(self.caller, upstream)?;
                let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
                // An error here is one side going away, which is how tunnels end.
                _ = tokio::io::copy_bidirectional(&mut caller, &mut upstream).await;
                Ok::<_, hyper::Error>(())
            };
            tokio::select! {
                result = joined => if let Err(error) = result {
                    tracing::debug!(%error, "upgrade was not completed");
                },
                () = phases.closed() => tracing::debug!("tunnel cut at shutdown"),
            }
        });
    }
}

/// Puts the fields of an upgrade into a cleaned head.
pub(crate) fn name_protocol(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Counts a tunnel while it lives.
struct Open(Arc<Site>);

impl Open {
    fn new(site: &Arc<Site>) -> Self {
        site.metrics.tunnel_opened();
        Self(Arc::clone(site))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.tunnel_closed();
    }
}
