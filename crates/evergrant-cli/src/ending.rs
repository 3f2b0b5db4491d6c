//! How a run with a source of tokens ends, whatever ends it: its work, an error, a timeout, or a signal.
//!
//! A token request that spends a refresh token is not dropped with the run. The provider may have replaced the refresh
//! token already, its successor is in the answer, and a provider without grace takes the old one for stolen. So such a
//! request is waited for, beyond the timeout if need be, and a word says so if that takes long. Anything else may be
//! dropped: a run whose work is done waits for what is under way until its deadline, so that a shared store gets a token
//! that others would have to ask for again, and a run that failed or was ended waits for nothing.
//!
//! The first signal ends the work, the second one the wait; the run ends as by the first. Where nothing is spent, signals
//! are not caught and end the process by themselves.
//!
//! Limits: the wait is bounded by one token request and its commit (`TokenSource::shutdown`). SIGKILL, a power cut and a
//! second signal leave the store's note of what was begun, which the next run takes up.

mod ignored;
mod signals;

use evergrant::TokenSource;
use rustix::process::Signal;
use tokio::time::{Instant, timeout, timeout_at};

use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::settings::resolve::Settings;

pub(crate) use signals::{Signals, catch, code_of_signal, end_by, look_for_events, stop};

/// The signals of a command whose end may have to wait. Where nothing is spent a signal ends this process by itself,
/// which a shell that runs a script tells apart from an exit code.
pub(crate) fn signals(settings: &Settings) -> Result<Option<Signals>, Failure> {
    settings.spends_refresh_tokens().then(Signals::catch_ending).transpose()
}

/// What the work gives, or the signal that ended the run before, if signals are caught.
pub(crate) async fn unless_ended<T>(
    signals: &mut Option<&mut Signals>,
    work: impl Future<Output = T>,
) -> Result<T, Signal> {
    match signals {
        Some(signals) => signals.unless_ended(work).await,
        None => Ok(work.await),
    }
}

/// What work with a source gives, which has ended then; or the signal that ended the run before.
pub(crate) async fn keeping<T>(
    source: TokenSource,
    signals: &mut Option<&mut Signals>,
    deadline: Instant,
    work: impl Future<Output = Result<T, Failures>>,
) -> Result<Result<T, Signal>, Failures> {
    match unless_ended(signals, work).await {
        Ok(Ok(done)) => Ok(finish(source, signals, Some(deadline)).await.map(|()| done)),
        Ok(Err(failures)) => {
            give_up(source, signals).await;
            Err(failures)
        }
        Err(signal) => {
            give_up(source, signals).await;
            Ok(Err(signal))
        }
    }
}

/// Ends a source after work that went well: what is under way is stored, if that is done by the deadline.
pub(crate) async fn finish(
    source: TokenSource,
    signals: &mut Option<&mut Signals>,
    deadline: Option<Instant>,
) -> Result<(), Signal> {
    let storing = source.clone().shutdown();
    let stored = async {
        match deadline {
            Some(deadline) => timeout_at(deadline, storing).await.is_ok(),
            None => {
                storing.await;
                true
            }
        }
    };
    let outcome = unless_ended(signals, stored).await;
    if !matches!(outcome, Ok(true)) {
        give_up(source, signals).await;
    }
    outcome.map(|_| ())
}

/// Ends a source of which nothing more is wanted: at once, or when a refresh token on its way has come back.
pub(crate) async fn give_up(source: TokenSource, signals: &mut Option<&mut Signals>) {
    let ending = async {
        let mut ending = std::pin::pin!(source.shutdown_in_haste());
        if timeout(launch::SPINNER_AFTER, &mut ending).await.is_err() {
            Failure::new(exit::OK, "waiting for the answer to a refresh token")
                .because("the provider may have replaced it already, and only the answer has the next one")
                .hint("another signal ends the wait; the next run then tries what is left of the grant")
                .print_warning();
            ending.await;
        }
    };
    // The first signal is what counts; this one only ends the wait.
    let _ = unless_ended(signals, ending).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evergrant::core::profile::Profile;
    use evergrant::{Credential, HttpOptions};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A source whose token endpoint has a request and does not answer; it does when the stream is dropped: by a reset.
    async fn asking() -> (TokenSource, TcpStream) {
        let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", endpoint.local_addr().unwrap());
        let profile = Profile { token_url: Some(url), ..Profile::oauth2() };
        let http = HttpOptions { token_timeout: 10 * LONG, ..HttpOptions::default() };
        let credential = Credential::client_credentials("id", "secret".into());
        let source = TokenSource::builder(profile, credential).http(http).build().unwrap();
        let (request, _) = endpoint.accept().await.unwrap();
        (source, request)
    }

    #[tokio::test]
    async fn a_run_that_is_done_waits_until_its_deadline_for_a_token_that_nobody_needs() {
        let (source, _request) = asking().await;
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(200);
        let finished = timeout(LONG, finish(source, &mut None, Some(deadline))).await.unwrap();
        assert!(finished.is_ok() && begun.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_run_that_is_done_waits_for_what_comes_before_its_deadline() {
        let (source, request) = asking().await;
        drop(request);
        let finished = timeout(LONG, finish(source, &mut None, Some(Instant::now() + 5 * LONG))).await.unwrap();
        assert!(finished.is_ok());
    }

    #[tokio::test]
    async fn a_run_that_failed_waits_for_no_token() {
        let (source, _request) = asking().await;
        let failed = async { Err::<(), _>(Failure::new(exit::FAILED, "it failed").into()) };
        let deadline = Instant::now() + 5 * LONG;
        let ended = timeout(LONG, keeping(source, &mut None, deadline, failed)).await.unwrap();
        assert_eq!(ended.unwrap_err().0[0].what, "it failed");
    }

    const LONG: Duration = Duration::from_secs(60);
}
