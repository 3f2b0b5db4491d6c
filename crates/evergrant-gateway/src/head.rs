//! A request's head in memory of its own.
//!
//! hyper hands a head out as slices of the buffer that it was read into, and that buffer is used for the next read only
//! when no slice of it is left. While a caller waits for its answer hyper listens for its end, so the next read begins at
//! once: with the head still in use each request takes a new buffer of 8 KiB, and a program that wipes what it frees
//! ([`docs/threat-model.md`]) writes each of them once more. A few hundred bytes copied before that read keep the
//! buffer with its connection.
//!
//! Over HTTP/2 each field has memory of its own already. A buffer that grew for a long head stays with its connection
//! until that pauses, within the limit of a head's size.
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
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::Response;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

    /// Where in memory hyper read the heads of three requests on one connection.
    async fn read_at(is_detached: bool) -> Vec<usize> {
        let (mut caller, stream) = tokio::io::duplex(1 << 16);
        let places = Mutex::new(Vec::new());
        let service = service_fn(|mut request: Request<Incoming>| {
            let place = request.headers()["x-a"].as_bytes().as_ptr().addr();
            places.lock().unwrap().push(place);
            if is_detached {
                detach(&mut request);
            }
            // The head is in use until the answer.
            async move { Ok::<_, Infallible>(Response::new(request.uri().path().to_owned())) }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let calling = async {
            for _ in 0..3 {
                caller.write_all(b"GET /path HTTP/1.1\r\nhost: a\r\nx-a: some value\r\n\r\n").await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"/path") {
                    caller.read_buf(&mut answer).await.unwrap();
                }
            }
            drop(caller);
        };
        let (served, ()) = tokio::join!(serving, calling);
        served.unwrap();
        places.into_inner().unwrap()
    }

    #[tokio::test]
    async fn hyper_reads_on_into_the_buffer_of_a_head_that_was_detached() {
        let kept = read_at(true).await;
        assert!(kept.iter().all(|place| *place == kept[0]), "{kept:?}");
        let renewed = read_at(false).await;
        assert!(renewed[0] != renewed[1] && renewed[1] != renewed[2], "detaching is of no use any more: {renewed:?}");
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
