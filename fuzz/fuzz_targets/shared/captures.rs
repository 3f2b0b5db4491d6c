//! What holds for every capture, whatever it is.

use evergrant_core::capture::{Explainer, Hints};

/// Stands where a capture shows a token.
pub const TOKEN: &str = "s3cr3tTOKENs3cr3tTOKENs3cr3t";

/// Reads a beginning that makes the reader known, and then anything; in one piece and in two.
///
/// Neither panics, both give the same, and the token comes out of neither.
pub fn check(beginning: &str, rest: &[u8]) {
    let whole = [beginning.as_bytes(), rest].concat();
    let cut = rest.first().map_or(0, |byte| usize::from(*byte) * whole.len() / 256);
    let (left, right) = whole.split_at(cut);
    let explained = |pieces: &[&[u8]]| {
        let mut explainer = Explainer::new();
        pieces.iter().for_each(|piece| explainer.push(piece));
        explainer.end(&Hints::default())
    };
    let explanation = explained(&[&whole]);
    assert_eq!(explanation, explained(&[left, right]));
    // A server may repeat anything as its own words; what only the request shows must not come out.
    if !rest.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()) {
        assert!(!format!("{explanation:?}").contains(TOKEN));
    }
}
