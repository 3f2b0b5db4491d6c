//! The request for a page, made from the first one.
//!
//! Every later request is the first one with one thing changed: a number or a cursor of the query, a number in the
//! body, or the whole address. So a place in an export needs no body and no field of the header to be written down.

use std::fmt;

use http::Method;
use serde_json::Value;
use url::Url;

use super::error::PageError;

/// A request for a page.
#[derive(Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// GET, or POST for queries and jobs.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The body of a POST.
    pub body: Option<Value>,
}

impl fmt::Debug for PageRequest {
    /// Without query and body, which may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut request = f.debug_struct("PageRequest");
        request.field("method", &self.method).field("path", &self.url.path()).finish_non_exhaustive()
    }
}

impl PageRequest {
    /// The same request with this parameter of the query set, in its old place if it had one.
    pub(super) fn with_parameter(&self, name: &str, value: &str) -> Self {
        let mut request = self.clone();
        let mut pairs: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        match pairs.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => pairs.push((name.to_owned(), value.to_owned())),
        }
        request.url.query_pairs_mut().clear().extend_pairs(pairs);
        request
    }

    /// A number of the query.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.url.query_pairs().find(|(key, _)| key == name)?.1.parse().ok()
    }

    /// A number that the body holds, within `paging` or at its top.
    pub(super) fn body_number(&self, name: &str) -> Option<u64> {
        let body = self.body.as_ref()?;
        body["paging"][name].as_u64().or_else(|| body[name].as_u64())
    }

    /// The same request with this page asked for in its body.
    pub(super) fn with_body_page(&self, number: u64, is_nested: bool) -> Self {
        let mut request = self.clone();
        let body = request.body.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(body) = body.as_object_mut() {
            if !is_nested {
                body.insert("pageNumber".to_owned(), number.into());
            } else if let Some(paging) = body.get_mut("paging").and_then(Value::as_object_mut) {
                paging.insert("pageNumber".to_owned(), number.into());
            } else {
                body.insert("paging".to_owned(), serde_json::json!({"pageNumber": number}));
            }
        }
        request
    }

    /// Does the body say which page is wanted, or how long it is?
    pub(super) fn asks_for_a_page(&self) -> bool {
        let has = |name: &str| self.body.as_ref().is_some_and(|body| !body[name].is_null());
        ["paging", "pageNumber", "pageSize"].into_iter().any(has)
    }

    /// Does the body have, or leave room for, a `paging` object?
    pub(super) fn nests_paging(&self) -> bool {
        let body = self.body.as_ref();
        let has = |name: &str| body.is_some_and(|body| !body[name].is_null());
        has("paging") || !(has("pageNumber") || has("pageSize"))
    }

    /// A GET below this request's path, with its query.
    pub(super) fn below(&self, parts: &[&str]) -> Self {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        Self { method: Method::GET, url, body: None }
    }

    /// The request that a link of an answer stands for. It stays at the origin: the token goes nowhere else.
    ///
    /// An upstream may have a path of its own in front, which a link that is a path does not know: a link whose path is
    /// the end of this request's path is this request's path.
    pub(super) fn linked(&self, link: &str) -> Result<Self, PageError> {
        let mut url = self.url.join(link).map_err(|_unreadable| PageError::BadLink)?;
        if url.origin() != self.url.origin() {
            let (asked, own) = (url.origin().ascii_serialization(), self.url.origin().ascii_serialization());
            return Err(PageError::ForeignLink { asked, own });
        }
        if link.starts_with('/') && self.url.path().ends_with(url.path()) {
            url.set_path(self.url.path());
        }
        url.set_fragment(None);
        Ok(Self { url, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn get(url: &str) -> PageRequest {
        PageRequest { method: Method::GET, url: Url::parse(url).unwrap(), body: None }
    }

    fn post(body: Value) -> PageRequest {
        PageRequest { method: Method::POST, body: Some(body), ..get("https://api.x/q") }
    }

    #[test]
    fn a_parameter_is_changed_in_its_place_and_the_others_stay() {
        let next = |url: &str| get(url).with_parameter("pageNumber", "2").url.to_string();
        assert_eq!(next("https://api.x/u?pageNumber=1&a=b%26c"), "https://api.x/u?pageNumber=2&a=b%26c");
        assert_eq!(next("https://api.x/u"), "https://api.x/u?pageNumber=2");
    }

    #[test]
    fn a_page_goes_into_the_body_where_the_body_has_it() {
        let next = |body: Value| {
            let request = post(body);
            request.with_body_page(2, request.nests_paging()).body.unwrap()
        };
        assert_eq!(next(json!({"a": 1})), json!({"a": 1, "paging": {"pageNumber": 2}}));
        assert_eq!(next(json!({"paging": {"pageSize": 9}})), json!({"paging": {"pageSize": 9, "pageNumber": 2}}));
        assert_eq!(next(json!({"pageSize": 9})), json!({"pageSize": 9, "pageNumber": 2}));
    }

    #[test]
    fn a_link_stays_at_its_origin() {
        let linked = |link: &str| get("https://api.x/base/api/v2/u?a=1").linked(link).map(|next| next.url.to_string());
        assert_eq!(linked("/api/v2/u?a=2").unwrap(), "https://api.x/base/api/v2/u?a=2");
        assert_eq!(linked("/other?a=2").unwrap(), "https://api.x/other?a=2");
        assert_eq!(linked("?a=2").unwrap(), "https://api.x/base/api/v2/u?a=2");
        assert_eq!(linked("https://api.x/z#f").unwrap(), "https://api.x/z");
        for foreign in ["https://evil.example/u", "//evil.example/u", "http://api.x/u", "https://api.x:444/u"] {
            assert!(matches!(linked(foreign), Err(PageError::ForeignLink { .. })), "{foreign}");
        }
    }

    #[test]
    fn a_jobs_requests_are_below_it() {
        let job = get("https://api.x/jobs?pageSize=9").below(&["a/b", "results"]);
        assert_eq!(job.url.as_str(), "https://api.x/jobs/a%2Fb/results?pageSize=9");
    }
}
