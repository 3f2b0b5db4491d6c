//! Places that may only be taken so many times, and what those are told who get none.
//!
//! The bound is given each time, because a reload may change it. Taking and leaving a place is one atomic addition each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::timeout;

use crate::stream::Stream;

/// Counts what may only be there so many times.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// A place, if fewer than `limit` are taken.
    pub(crate) fn try_enter(room: &Arc<Self>, limit: usize) -> Option<Place> {
        if room.taken.fetch_add(1, Ordering::Relaxed) >= limit {
            room.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(room)))
    }

    /// Waits for a place.
    pub(crate) async fn enter(self: &Arc<Self>, limit: usize) -> Place {
        loop {
            let freed = self.freed();
            if let Some(place) = Self::try_enter(self, limit) {
                return place;
            }
            freed.await;
        }
    }

    /// Ends when a place is left, or when the bound may have changed. Listens from now on.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Lets those who wait look at the bound again.
    pub(crate) fn reconsider(&self) {
        self.freed.notify_waiters();
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// Tells a caller that there is no place for its connection, and closes.
///
/// What it has sent is read first and after: a connection that is closed over unread bytes is reset, and a reset
/// discards the answer.
pub(crate) async fn turn_away(mut stream: Stream, farewell: Place) {
    let exchange = async {
        let mut buffer = [0; 4096];
        _ = stream.read(&mut buffer).await?;
        stream.write_all(NO_PLACE.as_bytes()).await?;
        stream.shutdown().await?;
        while stream.read(&mut buffer).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // An error or a caller that takes its time: either way there is nothing more to say.
    _ = timeout(FAREWELL_TIME, exchange).await;
    drop(farewell);
}

const FAREWELL_TIME: Duration = Duration::from_secs(1);
const NO_PLACE: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 128\r\n\
    \r\n\
    {\"type\":\"about:blank\",\"title\":\"too many connections\",\"status\":503,\"detail\":\"the gateway has as many connections as it may have\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farewell_has_the_length_that_it_announces() {
        let (head, body) = NO_PLACE.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[tokio::test]
    async fn a_place_that_is_left_is_taken_by_who_waits() {
        let room = Arc::new(Room::default());
        let first = Room::try_enter(&room, 1).unwrap();
        assert!(Room::try_enter(&room, 1).is_none());
        let waiting = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.enter(1).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        drop(timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap());
        assert!(Room::try_enter(&room, 1).is_some());
    }
}
