//! How long the upstream may take to answer, and how slowly a caller may send.
//!
//! The wait for the head of an answer is bounded from the moment at which the request was sent whole: an upload takes as
//! long as its caller takes, and an answer's body as long as it moves. So the clock starts when the connection lets go
//! of the request body, which it does at its end, or when it wants no more of it.
//!
//! Until then the caller's pace counts. A caller that announces a body and sends a byte a minute holds a connection to
//! the upstream for nothing. Only time in which the gateway wanted bytes and had none is held against it, so that a slow
//! upstream is never its fault: no byte for a minute is too slow, and so is less than a KiB a second over all that time,
//! with a minute of grace. Neither applies once the answer has begun: then both sides may have good reasons to be quiet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::config::Timeouts;
use crate::fault::FaultKind;

/// Held by a request body until it was sent whole, or is not wanted any more.
#[derive(Debug)]
pub(crate) struct Unsent {
    _ends: oneshot::Sender<()>,
    pace: Arc<Mutex<Pace>>,
}

impl Unsent {
    /// The caller's body was asked for its next piece.
    pub(crate) fn note<E>(&self, frame: &Poll<Option<Result<Frame<Bytes>, E>>>) {
        let mut pace = lock(&self.pace);
        match frame {
            Poll::Pending => _ = pace.since.get_or_insert_with(Instant::now),
            Poll::Ready(frame) => {
                if let Some(since) = pace.since.take() {
                    pace.waited += since.elapsed();
                }
                if let Some(Ok(frame)) = frame {
                    pace.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
            }
        }
    }
}

/// Tells when a request body was sent.
#[derive(Debug)]
pub(crate) struct Sent(Option<(oneshot::Receiver<()>, Arc<Mutex<Pace>>)>);

impl Sent {
    /// There is no body to wait for.
    pub(crate) const ALREADY: Self = Self(None);

    /// The two ends of a body's notice.
    pub(crate) fn watch() -> (Unsent, Self) {
        let (sender, receiver) = oneshot::channel();
        let pace = Arc::default();
        (Unsent { _ends: sender, pace: Arc::clone(&pace) }, Self(Some((receiver, pace))))
    }
}

/// How fast a body came in so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    bytes: u64,
    /// Time in which bytes were wanted and none were there, up to the last piece.
    waited: Duration,
    /// Since when the next piece is waited for.
    since: Option<Instant>,
}

impl Pace {
    /// How long it can take until the caller is too slow; nothing if it is.
    fn left(&self, timeouts: &Timeouts, now: Instant) -> Duration {
        let waiting = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let allowed = timeouts.upload + Duration::from_millis(self.bytes.saturating_mul(1000) / SLOWEST);
        let left = timeouts.upload.saturating_sub(waiting).min(allowed.saturating_sub(self.waited + waiting));
        // Nobody is too slow while nothing is wanted.
        if self.since.is_none() { left.max(AGAIN) } else { left }
    }
}

/// What a send brings. It fails if the caller is too slow before the end of the request, or the upstream after it. The
/// send is pinned where it is, because a future that is handed over needs its room twice.
pub(crate) async fn answer_within<T>(
    timeouts: &Timeouts,
    sent: Sent,
    mut sending: impl Future<Output = T> + Unpin,
) -> Result<T, FaultKind> {
    if let Some((sent, pace)) = sent.0 {
        tokio::select! {
            biased;
            answer = &mut sending => return Ok(answer),
            _ = sent => {}
            () = too_slow(&pace, timeouts) => return Err(FaultKind::SlowCaller),
        }
    }
    timeout(timeouts.upstream, sending).await.map_err(|_| FaultKind::NoAnswer)
}

/// Ends when the caller was too slow.
async fn too_slow(pace: &Mutex<Pace>, timeouts: &Timeouts) {
    loop {
        let left = lock(pace).left(timeouts, Instant::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    // Three plain numbers are never half changed.
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The slowest pace of a body, in bytes a second.
const SLOWEST: u64 = 1024;
/// When to look again while the upstream is the slow one.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn data(bytes: usize) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; bytes].into()))))
    }

    /// After how long a caller is too slow that sends `bytes` every `gap`, if it is within an hour.
    async fn cut_after(bytes: usize, gap: Duration) -> Option<Duration> {
        let (unsent, sent) = Sent::watch();
        let begun = Instant::now();
        let sending = async {
            loop {
                unsent.note::<()>(&Poll::Pending);
                tokio::time::sleep(gap).await;
                unsent.note(&data(bytes));
            }
        };
        let answer = timeout(Duration::from_secs(3600), answer_within(&Timeouts::default(), sent, pin!(sending))).await;
        answer.ok().map(|answer: Result<(), _>| {
            assert_eq!(answer, Err(FaultKind::SlowCaller));
            begun.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_must_move_and_not_too_slowly() {
        let secs = Duration::from_secs;
        for (bytes, gap, cut) in [
            (1 << 20, secs(61), Some(60)),
            (1 << 20, secs(59), None),
            (1, secs(1), Some(60)),
            (1000, secs(1), Some(59 * 1024 / 24)),
            (1024, secs(1), None),
        ] {
            let cut = cut.map(secs).filter(|cut| *cut <= secs(3600));
            let took = cut_after(bytes, gap).await;
            assert_eq!(took.is_some(), cut.is_some(), "{bytes} bytes every {gap:?}: {took:?}");
            if let (Some(took), Some(cut)) = (took, cut) {
                assert!(took >= cut && took <= cut + secs(2), "{bytes} bytes every {gap:?}: {took:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_takes_its_time_is_not_the_callers_fault() {
        let (unsent, sent) = Sent::watch();
        let sending = async {
            unsent.note(&data(1));
            tokio::time::sleep(Duration::from_secs(600)).await;
            "answer"
        };
        assert_eq!(answer_within(&Timeouts::default(), sent, pin!(sending)).await, Ok("answer"));
    }
}
