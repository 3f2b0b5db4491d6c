//! A lane: a provider of its own, callers before it, and a meter. Both lanes differ in [`Way`] alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant::core::profile::{Profile, Region};
use evergrant::tls::Tls;
use evergrant::{Credential, TokenSource};
use evergrant_gateway::{Callers, Gateway, GatewayConfig, Upstream};
use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use reqwest::Client;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::meter::{Meter, Outcome};
use super::plan::Plan;
use super::report::LaneReport;
use super::snippet::Snippet;
use crate::exit;
use crate::failure::Failure;

/// One lane of the demo.
pub(super) struct Lane {
    name: &'static str,
    provider: SimServer,
    way: Way,
    meter: Mutex<Meter>,
}

/// How a lane's calls are sent.
enum Way {
    /// By the snippet, straight to the provider.
    Snippet { snippet: Snippet, url: String },
    /// Without a token, to a gateway in this process.
    Gateway { http: Client, url: String, source: TokenSource, _running: oneshot::Sender<()> },
}

impl Lane {
    /// The lane of the snippet.
    pub(super) async fn snippet(plan: &Plan) -> Result<Arc<Self>, Failure> {
        let provider = provider(plan)?;
        let snippet = Snippet::start(http()?, &provider).await.map_err(cannot_start)?;
        let url = format!("{}{PATH}", provider.url());
        Ok(Self::new("snippet", provider, Way::Snippet { snippet, url }, plan))
    }

    /// The lane of Evergrant.
    pub(super) async fn evergrant(plan: &Plan) -> Result<Arc<Self>, Failure> {
        let provider = provider(plan)?;
        let profile = Profile {
            token_url: Some(provider.token_url()),
            api_url: Some(provider.url()),
            ..Profile::genesys(Region::parse("us-east-1").map_err(cannot_start)?)
        };
        let credential = Credential::client_credentials(CLIENT_ID, CLIENT_SECRET.into());
        let source = TokenSource::builder(profile, credential).build().map_err(cannot_start)?;
        let mut config = GatewayConfig::new(Upstream::parse(&provider.url()).map_err(cannot_start)?);
        config.take_free_ports();
        config.admin_listen = Vec::new();
        // Its tokens are worth nothing, and not every system knows who calls.
        config.callers = Callers::Any;
        config.timeouts.drain = Duration::from_secs(1);
        let gateway = Gateway::bind(config, source.clone(), Arc::new(Tls::new(None))).await.map_err(cannot_start)?;
        let url = format!("http://{}{PATH}", gateway.gateway_addr());
        let (running, ended) = oneshot::channel();
        tokio::spawn(gateway.run(async {
            // Nothing is ever sent: the channel closes when the lane is dropped.
            let _closed = ended.await;
        }));
        // The other lane has its first token when the demo starts, so this one has too.
        source.token().await.map_err(cannot_start)?;
        let way = Way::Gateway { http: http()?, url, source, _running: running };
        Ok(Self::new("evergrant", provider, way, plan))
    }

    fn new(name: &'static str, provider: SimServer, way: Way, plan: &Plan) -> Arc<Self> {
        Arc::new(Self { name, provider, way, meter: Mutex::new(Meter::new(plan.duration)) })
    }

    /// Starts the plan's events now.
    pub(super) fn play(&self, plan: &Plan) {
        self.provider.handle().play(plan.events());
    }

    /// Sends one call and counts what its caller saw.
    pub(super) async fn call(&self, start: Instant) {
        let began = Instant::now();
        let status = tokio::time::timeout(PATIENCE, self.status()).await.ok().flatten();
        let outcome = status.map_or(Outcome::Failed, Outcome::of);
        self.meter().note(outcome, began - start, began.elapsed());
    }

    /// The status that the caller of one call sees.
    async fn status(&self) -> Option<u16> {
        match &self.way {
            Way::Snippet { snippet, url } => snippet.call(url).await.ok(),
            Way::Gateway { http, url, .. } => get(http, url).await.ok(),
        }
    }

    /// How it stands now.
    pub(super) fn report(&self) -> LaneReport {
        let meter = self.meter();
        let (token_requests, refused) = self.provider.handle().with(|provider, _| {
            let ledger = provider.ledger();
            (ledger.token.requests, ledger.api.refused.clone())
        });
        let verdicts = match &self.way {
            Way::Snippet { .. } => None,
            Way::Gateway { source, .. } => Some(source.status().report.verdicts),
        };
        LaneReport {
            name: self.name,
            calls: meter.calls(),
            visible_401: meter.visible_401(),
            other_failures: meter.other_failures(),
            token_requests,
            p99_ms: (meter.p99_ms() * 10.0).round() / 10.0,
            refused,
            verdicts,
            course: meter.course(),
        }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        // A call that panicked has printed its message; the counts before it are still right.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn get(http: &Client, url: &str) -> Result<u16, reqwest::Error> {
    let response = http.get(url).send().await?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

fn provider(plan: &Plan) -> Result<SimServer, Failure> {
    SimServer::start(plan.provider()).map_err(cannot_start)
}

/// A client for loopback: no proxy, and no certificates to load.
fn http() -> Result<Client, Failure> {
    let builder = Client::builder().no_proxy().tls_certs_only([]);
    builder.build().map_err(cannot_start)
}

fn cannot_start(cause: impl std::fmt::Display) -> Failure {
    Failure::new(exit::FAILED, "cannot start the demo")
        .at("loopback")
        .because(cause)
        .hint("the demo needs a few free ports on 127.0.0.1; check the limits on open files and threads")
}

const PATH: &str = "/api/v2/users";
/// How long a caller waits for its call, everything included.
const PATIENCE: Duration = Duration::from_secs(10);
