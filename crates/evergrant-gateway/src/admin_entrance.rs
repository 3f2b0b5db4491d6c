//! A listener for status and metrics, and its connections.
//!
//! It is open until the gateway ends: who watches a drain wants to see its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use crate::address::Address;
use crate::admin::{Admin, Cut};
use crate::config::Limits;
use crate::connection::http1_builder;
use crate::inherited::Inherited;
use crate::listen::{BindError, Listener};
use crate::peer::Peer;

/// A listener for status and metrics; closed when dropped.
#[derive(Debug)]
pub(crate) struct AdminEntrance {
    /// Its address as configured.
    pub(crate) wanted: Address,
    /// Its address with the real port.
    pub(crate) bound: Address,
    listener: Option<Listener>,
    /// At most one task, which holds those of its connections.
    task: JoinSet<()>,
}

impl AdminEntrance {
    /// Binds an address and accepts nothing yet.
    pub(crate) async fn bind(wanted: &Address, inherited: &Inherited) -> Result<Self, BindError> {
        let (listener, bound) = Listener::bind(wanted, inherited).await?;
        Ok(Self { wanted: wanted.clone(), bound, listener: Some(listener), task: JoinSet::new() })
    }

    /// Lets callers in.
    pub(crate) fn open(mut self, admin: &Arc<Admin>, limits: &Limits) -> Self {
        if let Some(listener) = self.listener.take() {
            self.task.spawn(serve(listener, Arc::clone(admin), limits.clone()));
        }
        self
    }
}

/// Answers status and metrics; the tasks of its connections end with it.
async fn serve(listener: Listener, admin: Arc<Admin>, limits: Limits) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let admin = Arc::clone(&admin);
                let builder = builder(&limits);
                connections.spawn(async move {
                    let peer = Peer::of(&stream);
                    let cut = Cut::default();
                    let service = service_fn(|request| {
                        let response = admin.answer(&peer, &request, &cut);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    tokio::select! {
                        // An error here is a caller that went away.
                        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                        () = cut.wanted() => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1_builder(limits);
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
}

const MAX_CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(15);
