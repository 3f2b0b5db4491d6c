//! A request's head in memory of its own.
//!
//! hyper hands a head out as slices of the buffer that it was read into, and that buffer is used for the next read only
//! when no slice of it is left. While a caller waits for its answer hyper listens for its end, so the next read begins at
//! once: with the head still in use each request takes a new buffer of 8 KiB, and a program that wipes what it frees
//! ([`docs/threat-model.md`]) writes each of them once more. A few hundred bytes copied before that read keep the
//! buffer with its connection.
//!
//! Over HTTP/2 each field has memory of its own already.
//!
//! [`docs/threat-model.md`]: https://github.com/evergrant/evergrant/blob/main/docs/threat-model.md

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};

/// Moves a head's fields and its target out of the buffer that they were read into.
pub(crate) fn detach<B>(request: &mut Request<B>) {
    let target = origin_form(request.uri()).map_or("", PathAndQuery::as_str);
    let length = request.headers().values().map(HeaderValue::len).sum::<usize>() + target.len();
    let mut copy = Vec::with_capacity(length);
    copy.extend_from_slice(target.as_bytes());
    let target = target.len();
    // The same iteration twice, so that the order is the same.
    for value in request.headers_mut().values_mut() {
        copy.extend_from_slice(value.as_bytes());
    }
    let mut copy = Bytes::from(copy);
    if let Some(own) = (target > 0).then(|| PathAndQuery::from_maybe_shared(copy.split_to(target))).and_then(Result::ok)
    {
        *request.uri_mut() = Uri::from(own);
    }
    for value in request.headers_mut().values_mut() {
        // What was a value once is one again; if it were not, the slice would do as well.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(copy.split_to(value.len())) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

/// The target of a request to an origin server (RFC 9112 section 3.2.1); other forms are rare, and are refused.
fn origin_form(target: &Uri) -> Option<&PathAndQuery> {
    target.path_and_query().filter(|_| target.authority().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head as hyper reads it: everything a slice of one buffer.
    fn read(target: &'static str, fields: &[(&'static str, &'static str)]) -> (Bytes, Request<()>) {
        let text = fields.iter().fold(target.to_owned(), |text, (_, value)| text + value);
        let buffer = Bytes::from(text.into_bytes());
        let mut rest = buffer.clone();
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(rest.split_to(target.len())).unwrap();
        for (name, value) in fields {
            let value = HeaderValue::from_maybe_shared(rest.split_to(value.len())).unwrap();
            request.headers_mut().append(*name, value);
        }
        (buffer, request)
    }

    #[test]
    fn a_detached_head_says_the_same_and_leaves_its_buffer() {
        let fields = [("host", "api"), ("x-a", ""), ("cookie", "a=1"), ("cookie", "b=\u{e9}"), ("accept", "*/*")];
        for target in ["/", "/api/v2/users/me?expand=a&b=%20", "*", "/\u{e9}"] {
            let (buffer, mut request) = read(target, &fields);
            let before = (request.uri().clone(), request.headers().clone());
            assert!(!buffer.is_unique());
            let said = (before.0.to_string(), format!("{:?}", before.1));
            drop(before);
            detach(&mut request);
            assert_eq!((request.uri().to_string(), format!("{:?}", request.headers())), said);
            assert!(buffer.is_unique(), "{target}: a slice was left");
        }
    }

    #[test]
    fn a_secret_field_stays_one() {
        let (_, mut request) = read("/", &[("authorization", "Bearer x"), ("accept", "*/*")]);
        request.headers_mut().get_mut("authorization").unwrap().set_sensitive(true);
        detach(&mut request);
        assert!(request.headers()["authorization"].is_sensitive());
        assert!(!request.headers()["accept"].is_sensitive());
    }

    #[test]
    fn a_target_with_an_authority_is_left_as_it_is() {
        for target in ["http://api.example/x", "api.example:443"] {
            let (_, mut request) = read(target, &[]);
            let before = request.uri().clone();
            detach(&mut request);
            assert_eq!(*request.uri(), before);
        }
    }
}
