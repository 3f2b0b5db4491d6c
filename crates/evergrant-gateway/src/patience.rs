//! How long the upstream may take to answer.
//!
//! The wait for the head of an answer is bounded from the moment at which the request was sent whole: an upload takes as
//! long as its caller takes, and an answer's body as long as it moves. So the clock starts when the connection lets go
//! of the request body, which it does at its end, or when it wants no more of it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Held by a request body until it was sent whole, or is not wanted any more.
#[derive(Debug)]
pub(crate) struct Unsent {
    _ends: oneshot::Sender<()>,
}

/// Tells when a request body was sent.
#[derive(Debug)]
pub(crate) struct Sent(Option<oneshot::Receiver<()>>);

impl Sent {
    /// There is no body to wait for.
    pub(crate) const ALREADY: Self = Self(None);

    /// The two ends of a body's notice.
    pub(crate) fn watch() -> (Unsent, Self) {
        let (sender, receiver) = oneshot::channel();
        (Unsent { _ends: sender }, Self(Some(receiver)))
    }
}

/// What a send brings, or `None` if that takes longer than `limit` from the end of the request on.
pub(crate) async fn answer_within<T>(limit: Duration, sent: Sent, sending: impl Future<Output = T>) -> Option<T> {
    let mut sending = std::pin::pin!(sending);
    if let Some(sent) = sent.0 {
        tokio::select! {
            biased;
            answer = &mut sending => return Some(answer),
            _ = sent => {}
        }
    }
    timeout(limit, sending).await.ok()
}
