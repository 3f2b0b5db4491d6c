//! `evergrant api METHOD PATH`: one request with a token that works; with `--paginate`, all pages of a collection.
//!
//! The answer's body goes to standard output as it comes. An answer with an error status is an error: its body goes to
//! standard error with the verdict, standard output stays empty, and the exit code says so; with `--json` the answer is
//! data whatever its status, and only the exit code tells. The token goes to the upstream's origin and nowhere else: a
//! URL of another origin is refused and redirects are shown, not followed. A 429 that names its end is waited out, if the
//! end comes within the timeout.

mod body;
mod client;
mod paginate;

use std::io::Write;

use bytes::Bytes;
use evergrant::TokenSource;
use evergrant::client::Response;
use evergrant::core::time::Span;
use evergrant::core::verdict::Verdict;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::args::ApiArgs;
use crate::ending::{self, end_by};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::layers::Layers;
use crate::settings::resolve::Settings;
use crate::settings::values;

/// A request that can be sent again.
struct Outgoing {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

/// Sends the request and prints the answer.
pub(crate) fn run(args: &ApiArgs, layers: &Layers) -> Result<u8, Failures> {
    let settings = Settings::for_tokens(layers)?;
    let outgoing = outgoing(args, &settings)?;
    if args.pages.paginate {
        return paginate::run(args, &settings, outgoing);
    }
    let timeout = settings.timing.timeout;
    let runtime = launch::small_runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = ending::signals(&settings)?;
        let mut signals = signals.as_mut();
        let deadline = Instant::now() + timeout.to_duration();
        let starting = timeout_at(deadline, launch::start_source(&settings, "api"));
        let source = match ending::unless_ended(&mut signals, starting).await {
            Ok(source) => source.map_err(|_elapsed| too_slow(timeout))??,
            Err(signal) => return Ok(Err(signal)),
        };
        let work = exchange(args, &settings, &source, outgoing, deadline);
        ending::keeping(source.clone(), &mut signals, deadline, work).await
    });
    runtime.shutdown_timeout(launch::LAST_WAIT);
    match outcome? {
        Ok(code) => Ok(code?),
        Err(signal) => Ok(end_by(signal)),
    }
}

/// Sends the request and shows the answer. A refusal is an answer too: the source ends as after any other.
async fn exchange(
    args: &ApiArgs,
    settings: &Settings,
    source: &TokenSource,
    outgoing: Outgoing,
    deadline: Instant,
) -> Result<Result<u8, Failure>, Failures> {
    let place = format!("{} {}", outgoing.method, values::shown(&outgoing.url));
    let sender = client::client(source.clone(), settings, settings.timing.timeout)?;
    let Outgoing { method, url, headers, body } = outgoing;
    let request = sender.request(method, url.as_str()).headers(headers).body(body);
    let answer = timeout_at(deadline, request.send()).await.map_err(|_elapsed| too_slow(settings.timing.timeout))?;
    let answer = answer.map_err(|error| client::unanswered(&error, &url, settings))?;
    let mut answer = Incoming { answer, url, settings, deadline };
    let status = answer.answer.status();
    let is_good = status.is_success() || status.is_redirection() || status == StatusCode::NOT_MODIFIED;
    let code = if is_good { exit::OK } else { exit::API_STATUS };
    if args.json {
        print_json(&mut answer).await?;
    } else if is_good {
        print_body(&mut answer).await?;
    } else {
        return Ok(Err(refused(&place, &mut answer).await));
    }
    Ok(Ok(code))
}

/// The request as the command line describes it.
fn outgoing(args: &ApiArgs, settings: &Settings) -> Result<Outgoing, Failure> {
    let method = args.method.to_uppercase();
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| {
        Failure::new(exit::USAGE, format!("`{}` is no request method", args.method))
            .because(error)
            .hint("write `evergrant api GET /path`")
    })?;
    let url = target(settings.upstream()?, &args.path)?;
    let mut headers = headers(&args.header)?;
    let body = body::read(args.data.as_deref(), settings.timing.timeout)?;
    if body.is_some() && !headers.contains_key(http::header::CONTENT_TYPE) {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(Outgoing { method, url, headers, body: body.unwrap_or_default() })
}

/// A path below the upstream, or a URL of its origin.
fn target(upstream: &Url, path: &str) -> Result<Url, Failure> {
    if path.starts_with("https://") || path.starts_with("http://") {
        let url = Url::parse(path).ok().filter(|url| url.origin() == upstream.origin());
        return url.ok_or_else(|| {
            Failure::new(exit::USAGE, "the URL is not one of the upstream")
                .because(format!("the token is for {} and goes nowhere else", values::shown(upstream)))
                .hint("give the path alone, as `evergrant api GET /api/v2/users`, or set another --upstream")
        });
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = upstream.clone();
    url.set_path(&format!("{}/{}", upstream.path().trim_end_matches('/'), path.trim_start_matches('/')));
    url.set_query(query);
    Ok(url)
}

fn headers(lines: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in lines {
        // The value may be a secret, so the message shows the name at most.
        let (name, value) = line.split_once(':').ok_or_else(|| {
            Failure::new(exit::USAGE, "a header has no colon").at("--header").hint("write -H 'Name: value'")
        })?;
        let bad = |cause: &str| {
            Failure::new(exit::USAGE, format!("the header `{}` cannot be sent", name.trim()))
                .at("--header")
                .because(cause)
        };
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_bad_name| bad("its name has characters that no header name may have"))?;
        if name == http::header::AUTHORIZATION {
            return Err(bad("`api` sends its own token").hint("use curl for a token of your own"));
        }
        let mut value = HeaderValue::from_str(value.trim())
            .map_err(|_bad_value| bad("its value has characters that no header value may have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// An answer whose body is still to be read.
struct Incoming<'a> {
    answer: Response,
    url: Url,
    settings: &'a Settings,
    /// Bounds what the API takes, and not what a reader of our output does.
    deadline: Instant,
}

impl Incoming<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let read = timeout_at(self.deadline, self.answer.chunk()).await;
        let read = read.map_err(|_elapsed| too_slow(self.settings.timing.timeout))?;
        read.map_err(|error| client::unanswered(&error, &self.url, self.settings))
    }

    /// The whole body, if it is not too long to be held.
    async fn collect(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_JSON_BYTES {
                return Err(Failure::new(exit::FAILED, "the answer is too large for --json")
                    .because(format!("it has more than {MAX_JSON_BYTES} bytes"))
                    .hint("leave --json out: the body is then printed as it comes"));
            }
        }
        Ok(body)
    }

    /// The beginning of the body, as far as it arrives.
    async fn collect_some(&mut self, limit: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < limit
            && let Ok(Some(chunk)) = self.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(limit);
        body
    }
}

async fn print_body(incoming: &mut Incoming<'_>) -> Result<(), Failure> {
    let mut last = b'\n';
    while let Some(chunk) = incoming.chunk().await? {
        last = chunk.last().copied().unwrap_or(last);
        beside(move || render::data(&chunk)).await?;
    }
    // A shell prompt should not stick to the body; a file should get exactly what was sent.
    if last != b'\n' && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        beside(|| render::data(b"\n")).await?;
    }
    Ok(())
}

/// Writes beside the runtime: whoever reads an output may let us wait, and a signal ends the run meanwhile.
async fn beside<T: Send + 'static>(
    writing: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let written = tokio::task::spawn_blocking(writing).await;
    written.unwrap_or_else(|error| Err(Failure::new(exit::INTERNAL, "the output's thread has ended").because(error)))
}

async fn print_json(incoming: &mut Incoming<'_>) -> Result<(), Failure> {
    let body = incoming.collect().await?;
    let answer = &incoming.answer;
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let values = |name: &HeaderName| answer.headers().get_all(name).iter().map(value).collect::<Vec<_>>().join(", ");
    let headers: serde_json::Map<_, _> =
        answer.headers().keys().map(|name| (name.to_string(), json!(values(name)))).collect();
    let body = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(json) => json,
        Err(_) if body.is_empty() => serde_json::Value::Null,
        Err(_) => json!(String::from_utf8_lossy(&body)),
    };
    let (status, verdict) = (answer.status().as_u16(), answer.verdict());
    let object = json!({ "status": status, "headers": headers, "body": body, "verdict": verdict });
    beside(move || render::json(&object)).await
}

/// An answer with an error status, with its body and what it means.
async fn refused(place: &str, incoming: &mut Incoming<'_>) -> Failure {
    // What has arrived is shown even if the rest is lost.
    let body = incoming.collect_some(MAX_ERROR_BYTES).await;
    refused_with(incoming.answer.status(), incoming.answer.verdict(), &body, place)
}

/// As [`refused`], of an answer that has been read.
fn refused_with(status: StatusCode, verdict: Option<&Verdict>, body: &[u8], place: &str) -> Failure {
    let reason = status.canonical_reason().unwrap_or("an unknown status");
    let failure = Failure::new(exit::API_STATUS, format!("the API answered {} {reason}", status.as_u16())).at(place);
    let failure = match verdict {
        Some(verdict) => explained(failure, verdict),
        None => failure.hint("--json prints the whole answer"),
    };
    let text = printable(&String::from_utf8_lossy(body));
    if !text.is_empty() {
        // Standard error is where the failure goes as well; nobody can be told if it is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    failure
}

fn explained(mut failure: Failure, verdict: &Verdict) -> Failure {
    failure = failure.because(format!("{} ({})", verdict.cause.name(), verdict.confidence.name()));
    for evidence in &verdict.evidence {
        failure = failure.because(evidence);
    }
    failure.hint(verdict.remedy)
}

/// The text without control characters, which could move a terminal's cursor.
fn printable(text: &str) -> String {
    text.trim_end().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn too_slow(timeout: Span) -> Failure {
    Failure::new(exit::UNREACHABLE, "the request took too long")
        .because(format!("there was no complete answer within {timeout}"))
        .hint("wait longer with --timeout; the request may have been executed")
}

const MAX_JSON_BYTES: usize = 64 << 20;
const MAX_ERROR_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(upstream: &str, path: &str) -> Result<String, Failure> {
        target(&Url::parse(upstream).unwrap(), path).map(String::from)
    }

    #[test]
    fn a_path_is_below_the_upstream() {
        assert_eq!(joined("https://api.x", "/a/b?c=d%2F").unwrap(), "https://api.x/a/b?c=d%2F");
        assert_eq!(joined("https://api.x/base/", "a").unwrap(), "https://api.x/base/a");
        assert_eq!(joined("https://api.x", "//evil.example/a").unwrap(), "https://api.x/evil.example/a");
    }

    #[test]
    fn a_url_must_be_of_the_same_origin() {
        assert_eq!(joined("https://api.x", "https://api.x/a").unwrap(), "https://api.x/a");
        for other in ["https://api.x.evil/a", "http://api.x/a", "https://api.x:444/a", "https://api.x@evil/a"] {
            assert!(joined("https://api.x", other).is_err(), "{other}");
        }
    }

    #[test]
    fn our_own_authorization_cannot_be_replaced() {
        assert!(headers(&["authorization: Bearer x".to_owned()]).is_err());
        assert_eq!(headers(&["X-A: 1".to_owned(), "x-a:2".to_owned()]).unwrap().get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn a_body_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\n\tc\r\n"), "a[2Jb\n\tc");
    }
}
