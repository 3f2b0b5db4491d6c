//! The credentials of a gateway, each with one keeper, however many profiles use it and however often it is reloaded.
//!
//! A credential that goes on keeps its source, and with it its token: nothing is asked of the provider because a file
//! was written. Another client secret is handed to the source, which also ends its waiting after failures. Another
//! first refresh token is a new login, and gets a new source. How a token is kept, its store for one, is fixed when its
//! source is made; what a reload would change of that is named and left for the next start.
//!
//! A reload that gives a profile another credential waits until that has a token, and fails if it gets none: callers
//! should not lose a gateway that works to a slip in a client's name.

use std::sync::Arc;
use std::time::Duration;

use evergrant::{Credential, TokenSource};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::plan::{Plan, kept_otherwise};
use crate::exit;
use crate::failure::Failure;
use crate::launch;

/// The sources in use.
#[derive(Default)]
pub(crate) struct Sources {
    all: Vec<Kept>,
    leaving: JoinSet<()>,
}

/// A source and what it was made with.
#[derive(Clone)]
struct Kept {
    source: TokenSource,
    /// The profile that it was made for; how it keeps its token is in force until it ends.
    made_for: Arc<Plan>,
    /// What can be replaced.
    credential: Option<Credential>,
    api_url: Option<String>,
}

/// The sources that plans need, before they are in use.
pub(crate) struct Draft {
    /// For each plan.
    pub(crate) sources: Vec<TokenSource>,
    /// Settings that will be in force after the next start.
    pub(crate) needs_restart: Vec<String>,
    all: Vec<Kept>,
}

impl Sources {
    /// Finds or starts the sources of `plans`, which are to take the place of `old`.
    pub(crate) async fn draft(&self, plans: &[Arc<Plan>], old: &[Arc<Plan>]) -> Result<Draft, Failure> {
        let mut draft = Draft { sources: Vec::new(), needs_restart: Vec::new(), all: Vec::new() };
        for plan in plans {
            if let Some(shared) = draft.all.iter().find(|kept| kept.is_for(plan)) {
                draft.sources.push(shared.source.clone());
                continue;
            }
            let kept = match self.all.iter().find(|kept| kept.is_for(plan)) {
                Some(kept) => {
                    let later = kept_otherwise(&kept.made_for, plan);
                    let names = later.iter().map(|setting| format!("{} ({})", setting.spec().file_key(), plan.name));
                    draft.needs_restart.extend(names);
                    Kept {
                        source: kept.source.clone(),
                        made_for: Arc::clone(&kept.made_for),
                        ..Kept::new(plan, &kept.source).await?
                    }
                }
                None => {
                    let source = launch::start_source(&plan.settings, "gateway").await?;
                    if old.iter().any(|before| before.name == plan.name) {
                        first_token(plan, &source).await?;
                    }
                    Kept::new(plan, &source).await?
                }
            };
            draft.sources.push(kept.source.clone());
            draft.all.push(kept);
        }
        Ok(draft)
    }

    /// Uses the sources of a draft from now on; the others end when their last request has.
    pub(crate) fn adopt(&mut self, draft: Draft) {
        while self.leaving.try_join_next().is_some() {}
        for before in std::mem::replace(&mut self.all, draft.all) {
            match self.all.iter().find(|kept| kept.source.is_same_as(&before.source)) {
                Some(kept) => kept.replace(&before),
                None => drop(self.leaving.spawn(before.source.shutdown())),
            }
        }
    }

    /// The sources in use.
    pub(crate) fn all(&self) -> Vec<TokenSource> {
        self.all.iter().map(|kept| kept.source.clone()).collect()
    }

    /// Waits until every answer of a token endpoint is stored.
    pub(crate) async fn shutdown(self) {
        let mut ending = self.leaving;
        for kept in self.all {
            ending.spawn(kept.source.shutdown());
        }
        ending.join_all().await;
    }
}

impl Kept {
    async fn new(plan: &Arc<Plan>, source: &TokenSource) -> Result<Self, Failure> {
        let credential = match plan.settings.identity.client() {
            Some(client) => Some(launch::credential(client, &plan.settings).await?),
            None => None,
        };
        let api_url = plan.settings.profile.api_url.clone();
        Ok(Self { source: source.clone(), made_for: Arc::clone(plan), credential, api_url })
    }

    /// Is it the plan's credential, with the grant of the same login?
    fn is_for(&self, plan: &Plan) -> bool {
        self.made_for.key() == plan.key() && self.made_for.settings.identity.seed() == plan.settings.identity.seed()
    }

    /// Tells the source what is not as it was.
    fn replace(&self, before: &Self) {
        if let (Some(credential), Some(old)) = (&self.credential, &before.credential)
            && !credential.has_secrets_of(old)
        {
            tracing::info!(client = self.source.client_id(), "the client secret was replaced");
            self.source.replace_client_secrets(credential);
        }
        if let Some(url) = self.api_url.as_ref().filter(|url| before.api_url.as_ref() != Some(url))
            && let Err(error) = self.source.replace_api_url(url)
        {
            tracing::warn!(%error, "probes of the token go where they went");
        }
    }
}

/// Waits until another credential of a profile that is served has a token.
async fn first_token(plan: &Plan, source: &TokenSource) -> Result<(), Failure> {
    // One try of the token endpoint, and a moment for all else.
    let patience = plan.settings.timing.token_timeout.to_duration() + Duration::from_secs(1);
    let failure = match timeout(patience, source.token()).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => launch::acquire_failure(&error, &plan.settings),
        Err(_) => Failure::new(exit::UNREACHABLE, "no token arrived in time").at(plan.settings.token_place()),
    };
    Err(Failure {
        what: format!("the new credential of profile `{}` gets no token: {}", plan.name, failure.what),
        ..failure
    })
}
