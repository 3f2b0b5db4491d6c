//! Takes one request through all its sends, whatever sends it.
//!
//! The client and the tower layer differ in how a request is sent and how its answer is read; what happens in between
//! is the same and stands here: take a token, send, look into a refusal, ask the exchange. An answer that is passed on
//! is whole: of a refusal the beginning was read, and stands in front of the rest. If a replay gets no answer, the
//! refusal before it is passed on, because it is the better news.

use std::time::Duration;

use bytes::Bytes;
use evergrant_core::keeper::AcquireError;
use evergrant_core::verdict::Verdict;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;

use crate::clock;
use crate::exchange::{Answer, Exchange, Ruling};
use crate::peeked::Peeked;

/// Something that can send one request, once or more often.
pub(crate) trait Sends: Send {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Send> + Send + Unpin;
    /// Why there is no answer.
    type Error: Send;

    /// Sends the request with this Authorization, or with what the caller gave it.
    fn send(
        &mut self,
        authorization: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send;

    /// Can the request be sent once more?
    fn can_send_again(&self) -> bool;

    /// Host name and path of the request.
    fn place(&self) -> (&str, &str);
}

/// An answer that is passed on, and what is known about it if it is a refusal.
pub(crate) struct Passed<B: Body> {
    pub(crate) response: Response<Peeked<B>>,
    pub(crate) verdict: Option<Verdict>,
}

/// Why nothing is passed on.
#[derive(Debug)]
pub(crate) enum Unanswered<E> {
    /// The first send got no answer.
    Failed(E),
    /// There is no token to send.
    NoToken(AcquireError, Box<Verdict>),
}

/// Sends the request with our tokens until an answer is passed on.
pub(crate) async fn send_with_tokens<S: Sends>(
    mut exchange: Exchange,
    mut sender: S,
) -> Result<Passed<S::Body>, Unanswered<S::Error>> {
    let mut token = match exchange.begin().await {
        Ok(token) => token,
        Err(error) => {
            let verdict = exchange.verdict_on_no_token(&error);
            return Err(Unanswered::NoToken(error, Box::new(verdict)));
        }
    };
    let mut refusal = None;
    loop {
        let response = match (sender.send(Some(token.authorization())).await, refusal) {
            (Ok(response), _) => response,
            (Err(error), None) => return Err(Unanswered::Failed(error)),
            (Err(_), Some(response)) => {
                tracing::debug!("replay got no answer, the refusal before it is passed on");
                let verdict = exchange.verdict_on_last_refusal();
                return Ok(Passed { response, verdict });
            }
        };
        let received = clock::boot();
        let response = look_into(response).await;
        let (host, path) = sender.place();
        let answer = Answer { can_send_again: sender.can_send_again(), ..answer(&response, received, host, path) };
        match exchange.judge(answer).await {
            Ruling::Pass(verdict) => return Ok(Passed { response, verdict: verdict.map(|verdict| *verdict) }),
            Ruling::NoToken(error, verdict) => return Err(Unanswered::NoToken(error, verdict)),
            Ruling::Replay(next) => token = next,
        }
        refusal = Some(response);
    }
}

/// Sends the request once with the credentials that the caller gave it, its `own` Authorization; a refusal is
/// explained and changes nothing.
pub(crate) async fn send_as_it_is<S: Sends>(
    exchange: Exchange,
    mut sender: S,
    own: Option<HeaderValue>,
) -> Result<Passed<S::Body>, S::Error> {
    let response = sender.send(None).await?;
    let received = clock::boot();
    let response = look_into(response).await;
    let (host, path) = sender.place();
    let verdict = exchange.judge_foreign(&answer(&response, received, host, path), own.as_ref());
    Ok(Passed { response, verdict })
}

/// The field that makes a POST repeatable (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Reads the beginning of a refusal and nothing of other answers.
async fn look_into<B: Body<Data = Bytes> + Unpin>(response: Response<B>) -> Response<Peeked<B>> {
    let is_refusal = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
    );
    let mut response = response.map(Peeked::new);
    if is_refusal {
        response.body_mut().read(REFUSAL_PREFIX, REFUSAL_PATIENCE).await;
    }
    response
}

fn answer<'a, B: Body<Data = Bytes> + Unpin>(
    response: &'a Response<Peeked<B>>,
    received: evergrant_core::time::Boot,
    host: &'a str,
    path: &'a str,
) -> Answer<'a> {
    Answer {
        status: response.status(),
        headers: response.headers(),
        body_prefix: response.body().prefix(),
        received,
        host,
        path,
        can_send_again: false,
    }
}

const REFUSAL_PREFIX: usize = 16 << 10;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
