//! Bodies of any length whose every byte can be checked, made while they are read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};

use crate::support::Body;

/// Bytes whose period shares no factor with any buffer.
#[derive(Clone)]
pub(crate) struct Pattern(Bytes);

impl Pattern {
    const PERIOD: usize = 65_521;

    pub(crate) fn new() -> Self {
        let mut state = 0x2545_f491_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()[0]
        };
        // Twice, so that a piece of any beginning is one slice.
        let once: Vec<u8> = (0..Self::PERIOD).map(|_| next()).collect();
        Self(Bytes::from([once.clone(), once].concat()))
    }

    /// At most `length` bytes from there on.
    pub(crate) fn piece(&self, at: usize, length: usize) -> Bytes {
        let start = at % Self::PERIOD;
        self.0.slice(start..start + length.min(Self::PERIOD))
    }

    /// So many bytes from there on at once.
    pub(crate) fn bytes(&self, from: usize, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.piece(from + bytes.len(), length - bytes.len()));
        }
        bytes.into()
    }

    /// The first `length` bytes as a body, of announced length or not.
    pub(crate) fn body(&self, length: usize, announced: bool) -> Body {
        Generated { pattern: self.clone(), at: 0, length, announced }.boxed()
    }

    /// Reads a body to its end; how long it was, if every byte was right.
    pub(crate) async fn check(&self, mut body: Incoming) -> Result<usize, hyper::Error> {
        let mut at = 0;
        while let Some(frame) = body.frame().await {
            let Ok(mut data) = frame?.into_data() else { continue };
            while !data.is_empty() {
                let part = data.split_to(data.len().min(Self::PERIOD));
                assert!(part == self.piece(at, part.len()), "a byte after {at} is wrong");
                at += part.len();
            }
        }
        Ok(at)
    }
}

struct Generated {
    pattern: Pattern,
    at: usize,
    length: usize,
    announced: bool,
}

impl hyper::body::Body for Generated {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let left = self.length - self.at;
        if left == 0 {
            return Poll::Ready(None);
        }
        let piece = self.pattern.piece(self.at, left.min(PIECE));
        self.at += piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact((self.length - self.at) as u64) } else { SizeHint::default() }
    }
}

const PIECE: usize = 32 << 10;
