//! What time it is for the server that judges an assertion.
//!
//! The best knowledge is the offset interval of the authorization server's clock. Before its first answer there is
//! none, and one HEAD request gets it. A server that sends no `Date` leaves only this machine's calendar clock.

use evergrant_core::offset::Assumptions;
use evergrant_core::time::{Boot, Now, OffsetInterval, Server, Span};

use crate::transport::AnswerHead;

/// The server's clock now: it shows something between these two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerTime {
    /// The earliest that it may show.
    pub earliest: Server,
    /// The latest.
    pub latest: Server,
}

impl ServerTime {
    /// By an offset of the server's clock to the boot clock.
    #[must_use]
    pub fn by_offset(theta: OffsetInterval, now: Boot) -> Self {
        Self { earliest: now + theta.lo, latest: now + theta.hi }
    }

    /// By this machine's calendar clock, for want of anything better.
    #[must_use]
    pub fn by_wall(now: Now) -> Self {
        let shown = Server::from_nanos(now.wall.as_nanos());
        Self { earliest: shown, latest: shown }
    }

    /// By the `Date` of one answer, if it has one that was written for it.
    pub(crate) fn by_answer(head: &AnswerHead, sent: Boot, received: Boot, now: Boot) -> Option<Self> {
        let date = head.date.filter(|_| head.age.is_none())?;
        let Assumptions { date_lag, .. } = Assumptions::default();
        Some(Self { earliest: date + (now - received), latest: date + DATE_RESOLUTION + date_lag + (now - sent) })
    }

    /// Does an assertion that was dated for `other` fall outside what this server accepts, whatever its leeway?
    ///
    /// It was dated too late if its `iat` is still ahead, and too early if its `exp` is over.
    pub(crate) fn refuses(self, other: Self, lifetime: Span) -> bool {
        other.earliest > self.latest || other.latest + lifetime < self.earliest
    }
}

/// Where and when a token request is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    /// The token endpoint.
    pub(crate) token_url: &'a str,
    /// What its clock shows.
    pub(crate) time: ServerTime,
}

/// A `Date` is whole seconds (RFC 9110 section 5.6.7).
const DATE_RESOLUTION: Span = Span::from_secs(1);
