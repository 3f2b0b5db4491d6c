//! Collections that are read page by page, in every style that Genesys Cloud has, and in the ways they go wrong.
//!
//! | route | style |
//! |---|---|
//! | GET `/api/v2/paged/number` | `pageNumber` and `pageSize`, with `pageCount`, `total` and `nextUri` |
//! | GET `/api/v2/paged/cursor` | `cursor` in the answer, `cursor` in the next query |
//! | GET `/api/v2/paged/after` | `cursors.after` in the answer, `after` in the next query |
//! | GET `/api/v2/paged/link` | `nextUri` alone, a path; with `absolute=1` a URL |
//! | GET `/api/v2/paged/scim` | `startIndex` and `count`, `Resources` and `totalResults` (RFC 7644 section 3.4.2.4) |
//! | GET `/api/v2/paged/none` | no paging at all |
//! | POST `/api/v2/analytics/paged/details/query` | `paging` in the body, `conversations` and `totalHits` |
//! | POST `/api/v2/analytics/paged/details/lookup` | the same, at an address that does not tell that it only reads |
//! | POST `/api/v2/analytics/paged/details/jobs` | a job: `jobId`, then its state, then results with a cursor |
//!
//! `total=N` in the query is how many things there are; what they are follows from their numbers, so nothing is kept. A
//! job is done a little after it was made; its id says when that was. `odd=...` makes a collection misbehave:
//!
//! | odd | what happens |
//! |---|---|
//! | `endless` | links go on for ever, to empty pages |
//! | `same` | the last page names itself as the next one |
//! | `clamp` | a page beyond the last is the last one again, and no count is told |
//! | `caps` | a page has ten things at most, whatever is asked for, and neither its size nor a count of pages is told |
//! | `hides` | as `caps`, and three of those that are counted are never shown |
//! | `shrinks` | `total` falls with every page, as if things were deleted meanwhile |
//! | `html` | the third page is no JSON |
//! | `elsewhere` | `nextUri` leads to another host |
//! | `renamed` | the things are below a name that nobody knows, beside another list |
//! | `fails` | a job fails |

use evergrant_core::time::{Server, Span};
use http::header::HOST;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::provider::{Payload, Request};
use crate::shape;

/// The answer of a paged collection; `None` for any other route.
pub(crate) fn answer(request: &Request, now: Server) -> Option<Response<Payload>> {
    let asked = Asked::of(request);
    let reads = request.method == Method::GET;
    let body = if let Some(style) = request.path.strip_prefix("/api/v2/paged/").filter(|_| reads) {
        asked.listed(style)?
    } else {
        let rest = request.path.strip_prefix("/api/v2/analytics/paged/details/")?;
        match (rest.split('/').collect::<Vec<_>>().as_slice(), request.method == Method::POST) {
            (["query" | "lookup"], true) => asked.queried(),
            (["jobs"], true) => json!({"jobId": asked.job(now)}),
            (["jobs", job], false) => state_of(job, now),
            (["jobs", job, "results"], false) => asked.results(job),
            _ => return None,
        }
    };
    if asked.odd == "html" && body["pageNumber"] == 3 {
        return Some(shape::response(StatusCode::OK, "text/html", "<html>busy, try again</html>".into()));
    }
    Some(shape::json_response(StatusCode::OK, &body))
}

/// What a request asks for.
struct Asked<'a> {
    request: &'a Request,
    query: Vec<(String, String)>,
    total: u64,
    odd: String,
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request) -> Self {
        let query = form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        let mut asked = Self { request, query, total: 0, odd: String::new() };
        asked.total = asked.number("total").unwrap_or(100);
        asked.odd = asked.text("odd").unwrap_or_default().to_owned();
        asked
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn size(&self) -> u64 {
        self.number("pageSize").unwrap_or(25).clamp(1, MAX_SIZE)
    }

    fn listed(&self, style: &str) -> Option<Value> {
        Some(match style {
            "number" => self.numbered(),
            "cursor" => self.continued(|body, next| body["cursor"] = json!(next)),
            "after" => self.continued(|body, next| body["cursors"] = json!({"after": next})),
            "link" => self.linked(),
            "scim" => self.scim(),
            "none" => json!({"entities": things(1, self.total)}),
            _ => return None,
        })
    }

    fn numbered(&self) -> Value {
        let (size, count) = (self.size(), self.total.div_ceil(self.size()));
        let asked = self.number("pageNumber").unwrap_or(1);
        if self.odd == "clamp" {
            return json!({"entities": page(asked.min(count), size, self.total)});
        }
        if matches!(self.odd.as_str(), "caps" | "hides") {
            let shown = if self.odd == "hides" { self.total.saturating_sub(3) } else { self.total };
            return json!({"entities": page(asked, size.min(10), shown), "pageNumber": asked, "total": self.total});
        }
        let total = if self.odd == "shrinks" { self.total.saturating_sub(asked) } else { self.total };
        let name = if self.odd == "renamed" { "stuff" } else { "entities" };
        let mut body = json!({
            name: page(asked, size, self.total),
            "pageSize": size, "pageNumber": asked, "total": total, "pageCount": count,
        });
        if self.odd == "renamed" {
            body["warnings"] = json!([]);
        }
        if asked < count {
            body["nextUri"] = json!(self.uri("pageNumber", asked + 1));
        }
        body
    }

    /// A page whose successor is named by how many things came before it.
    fn continued(&self, name: impl FnOnce(&mut Value, String)) -> Value {
        let before = self.number("cursor").or_else(|| self.number("after")).unwrap_or(0);
        let size = self.size();
        let mut body = json!({"entities": things(before + 1, (before + size).min(self.total))});
        if before + size < self.total || self.odd == "endless" {
            name(&mut body, (before + size).to_string());
        } else if self.odd == "same" {
            name(&mut body, before.to_string());
        }
        body
    }

    fn linked(&self) -> Value {
        let (from, size) = (self.number("from").unwrap_or(0), self.size());
        let mut body = json!({"entities": things(from + 1, (from + size).min(self.total))});
        let next = match (from + size < self.total, self.odd.as_str()) {
            (true, _) | (false, "endless") => from + size,
            (false, "same") => from,
            (false, _) => return body,
        };
        let path = self.uri("from", next);
        let host = self.request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        body["nextUri"] = json!(match self.odd.as_str() {
            "elsewhere" => format!("https://elsewhere.example{path}"),
            _ if self.text("absolute").is_some() => format!("http://{host}{path}"),
            _ => path,
        });
        body
    }

    fn scim(&self) -> Value {
        let start = self.number("startIndex").unwrap_or(1).max(1);
        let count = self.number("count").unwrap_or(25).min(MAX_SIZE);
        let found = things(start, (start + count - 1).min(self.total));
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": self.total, "startIndex": start, "itemsPerPage": found.len(), "Resources": found,
        })
    }

    /// As Genesys Cloud, which leaves the list out where it would be empty.
    fn queried(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.request.body).unwrap_or_default();
        let paging = |name: &str| body["paging"][name].as_u64();
        let found =
            page(paging("pageNumber").unwrap_or(1), paging("pageSize").unwrap_or(25).clamp(1, MAX_SIZE), self.total);
        let total = if self.odd == "shrinks" { self.total - 1 } else { self.total };
        if found.is_empty() { json!({"totalHits": total}) } else { json!({"conversations": found, "totalHits": total}) }
    }

    fn job(&self, now: Server) -> String {
        let odd = if self.odd == "fails" { "fails" } else { "works" };
        format!("{odd}-{}-{}", self.total, (now + JOB_TAKES).as_nanos())
    }

    fn results(&self, job: &str) -> Value {
        let total = job.split('-').nth(1).and_then(|total| total.parse().ok()).unwrap_or(0);
        let (before, size) = (self.number("cursor").unwrap_or(0), self.size());
        let end = (before + size).min(total);
        let mut body = json!({"conversations": things(before + 1, end)});
        if end < total {
            body["cursor"] = json!(end.to_string());
        }
        body
    }

    /// This request's path and query, with one number changed.
    fn uri(&self, name: &str, number: u64) -> String {
        let others = self.query.iter().filter(|(key, _)| key != name);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(others).append_pair(name, &number.to_string());
        format!("{}?{}", self.request.path, query.finish())
    }
}

fn state_of(job: &str, now: Server) -> Value {
    let done = job.rsplit('-').next().and_then(|nanos| nanos.parse().ok()).map(Server::from_nanos);
    match done {
        Some(done) if now < done => json!({"state": "PENDING"}),
        Some(_) if job.starts_with("fails") => json!({"state": "FAILED", "errorMessage": "the interval is too long"}),
        Some(_) => json!({"state": "FULFILLED"}),
        None => json!({"state": "EXPIRED"}),
    }
}

fn page(number: u64, size: u64, total: u64) -> Vec<Value> {
    let before = number.saturating_sub(1).saturating_mul(size);
    things(before + 1, before.saturating_add(size).min(total))
}

fn things(first: u64, last: u64) -> Vec<Value> {
    let thing = |number: u64| {
        json!({
            "id": format!("thing-{number:07}"), "name": format!("Thing \"{number}\", a"), "number": number,
            "division": {"id": "d-1", "name": "Home"}, "tags": ["a", "b"], "email": null,
        })
    };
    (first..=last).map(thing).collect()
}

const MAX_SIZE: u64 = 100_000;
const JOB_TAKES: Span = Span::from_millis(700);

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Value {
        read(&Request::get(target))
    }

    fn read(request: &Request) -> Value {
        let response = answer(request, Server::from_secs(1_000)).unwrap();
        let Payload::Bytes(body) = response.body() else { panic!("a short body") };
        serde_json::from_slice(body).unwrap()
    }

    fn numbers(list: &Value) -> Vec<u64> {
        list.as_array().unwrap().iter().map(|thing| thing["number"].as_u64().unwrap()).collect()
    }

    #[test]
    fn every_style_has_its_first_and_last_page() {
        let page = get("/api/v2/paged/number?total=5&pageSize=2&pageNumber=3");
        assert_eq!((numbers(&page["entities"]), &page["nextUri"]), (vec![5], &Value::Null));
        let page = get("/api/v2/paged/link?total=5&pageSize=2");
        assert_eq!(page["nextUri"], "/api/v2/paged/link?total=5&pageSize=2&from=2");
        let page = get("/api/v2/paged/cursor?total=5&pageSize=2&cursor=4");
        assert_eq!((numbers(&page["entities"]), &page["cursor"]), (vec![5], &Value::Null));
        let page = get("/api/v2/paged/after?total=5&pageSize=2&after=2");
        assert_eq!((numbers(&page["entities"]), &page["cursors"]["after"]), (vec![3, 4], &json!("4")));
        let page = get("/api/v2/paged/scim?total=5&startIndex=5&count=2");
        assert_eq!((numbers(&page["Resources"]), &page["totalResults"]), (vec![5], &json!(5)));
    }

    #[test]
    fn a_query_takes_its_page_from_the_body_and_leaves_an_empty_list_out() {
        let target = "/api/v2/analytics/paged/details/query?total=3";
        let page =
            |number| Request::post(target, "q", format!(r#"{{"paging":{{"pageSize":2,"pageNumber":{number}}}}}"#));
        assert_eq!(numbers(&read(&page(2))["conversations"]), [3]);
        assert_eq!(read(&page(3)), json!({"totalHits": 3}));
    }

    #[test]
    fn a_job_is_done_a_little_later() {
        let made = read(&Request::post("/api/v2/analytics/paged/details/jobs?total=3", "j", ""));
        let job = made["jobId"].as_str().unwrap();
        let at = |millis| state_of(job, Server::from_secs(1_000) + Span::from_millis(millis));
        assert_eq!((&at(699)["state"], &at(700)["state"]), (&json!("PENDING"), &json!("FULFILLED")));
        let page = get(&format!("/api/v2/analytics/paged/details/jobs/{job}/results?pageSize=2"));
        assert_eq!((numbers(&page["conversations"]), &page["cursor"]), (vec![1, 2], &json!("2")));
    }
}
