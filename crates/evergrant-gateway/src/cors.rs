//! Web pages: which requests they send, and what a page of a listed origin may read.
//!
//! A browser marks what a page sends with `Origin` and `Sec-Fetch-*`. Requests of origins that are not listed are
//! refused at the gate. For those that are, the gateway is a server of its own, whatever the API behind it allows: it
//! answers the preflight itself (Fetch standard, section "CORS protocol"), says on each answer which one origin may read it, and
//! takes the API's own CORS fields away. There is no wildcard and there are no credentials: a browser keeps cookies by
//! host and not by port, so a cookie of the API would lie among those of every local service, and theirs would travel
//! to the API. Pages therefore neither send nor get cookies here.
//!
//! An answer that a browser opens as a document is the API's content under a local address. It is shown without script
//! (`sandbox`) and with the type it was sent with, and no page may install a service worker from it.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, COOKIE, ORIGIN, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

/// What sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// A program: curl, an SDK.
    Program,
    /// A browser: a page of this origin, or the user who opened an address.
    Browser {
        /// The page's origin, if it is one that may read the answer.
        origin: Option<HeaderValue>,
    },
}

impl Visitor {
    /// Reads the marks of a browser. Whether its origin is welcome is the gate's business.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let origin = headers.get(ORIGIN).cloned();
        let marked = || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
        if origin.is_some() || marked() { Self::Browser { origin } } else { Self::Program }
    }

    /// Takes from a request what concerns the page and this gateway only.
    pub(crate) fn clean_request(&self, headers: &mut HeaderMap) {
        if *self == Self::Program {
            return;
        }
        for name in [COOKIE, ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
            headers.remove(name);
        }
        let marks: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("sec-fetch-")).cloned().collect();
        for name in marks {
            headers.remove(name);
        }
    }

    /// Says on an answer who may read it.
    pub(crate) fn finish_response(&self, headers: &mut HeaderMap) {
        let Self::Browser { origin } = self else { return };
        headers.remove(SET_COOKIE);
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        let exposed = HeaderValue::try_from(names.join(", "));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.extend(exposed.ok().map(|exposed| (ACCESS_CONTROL_EXPOSE_HEADERS, exposed)));
    }
}

/// Does a browser ask here whether a page may send something?
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of a listed origin: what it asks for, it may. [`Visitor::finish_response`] adds whom.
pub(crate) fn preflight<B>(asked: &HeaderMap, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let method = asked.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|value| Method::from_bytes(value.as_bytes()).is_ok());
    headers.extend(method.map(|method| (ACCESS_CONTROL_ALLOW_METHODS, method.clone())));
    let names: Vec<String> = asked
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .map(|name| name.as_str().to_owned())
        .collect();
    if let Some(names) = HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty()) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers.append(VARY, ACCESS_CONTROL_REQUEST_METHOD.into());
    headers.append(VARY, ACCESS_CONTROL_REQUEST_HEADERS.into());
    response
}

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn a_browser_is_known_by_its_marks() {
        assert_eq!(Visitor::of(&map(&[("user-agent", "Mozilla/5.0")])), Visitor::Program);
        assert_eq!(Visitor::of(&map(&[("sec-fetch-mode", "navigate")])), Visitor::Browser { origin: None });
        let origin = Some(HeaderValue::from_static("https://app.example"));
        assert_eq!(Visitor::of(&map(&[("origin", "https://app.example")])), Visitor::Browser { origin });
    }

    #[test]
    fn the_marks_of_a_page_and_its_cookies_stop_here() {
        let fields =
            [("origin", "https://app.example"), ("sec-fetch-site", "cross-site"), ("cookie", "a=1"), ("x", "1")];
        let mut headers = map(&fields);
        Visitor::of(&headers.clone()).clean_request(&mut headers);
        assert_eq!(headers, map(&[("x", "1")]));
        let mut program = map(&[("cookie", "a=1")]);
        Visitor::Program.clean_request(&mut program);
        assert_eq!(program, map(&[("cookie", "a=1")]));
    }

    #[test]
    fn an_answer_names_the_one_origin_that_may_read_it() {
        let page = Visitor::of(&map(&[("origin", "https://app.example")]));
        let mut headers = map(&[("set-cookie", "a=1"), ("retry-after", "1")]);
        page.finish_response(&mut headers);
        assert_eq!(headers.get("access-control-allow-origin").unwrap(), "https://app.example");
        let exposed = headers.get("access-control-expose-headers").unwrap().to_str().unwrap();
        assert!(exposed.contains("retry-after") && !exposed.contains('*'), "{exposed}");
        assert!(!headers.contains_key("set-cookie") && !headers.contains_key("access-control-allow-credentials"));
        assert_eq!(headers.get("vary").unwrap(), "Origin");
        let mut untouched = map(&[("set-cookie", "a=1")]);
        Visitor::Program.finish_response(&mut untouched);
        assert_eq!(untouched, map(&[("set-cookie", "a=1")]));
    }

    #[test]
    fn a_preflight_gets_what_it_asks_for_if_that_is_http() {
        let response = preflight(
            &map(&[
                ("access-control-request-method", "DELETE"),
                ("access-control-request-headers", "content-type, X-A, b@d"),
                ("access-control-request-private-network", "true"),
            ]),
            (),
        );
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let value = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(value("access-control-allow-methods"), Some("DELETE"));
        assert_eq!(value("access-control-allow-headers"), Some("content-type, x-a"));
        assert_eq!(value("access-control-allow-private-network"), Some("true"));
    }
}
