//! Reads the pages: sends what the walk asks for, asks again where that helps, and waits for jobs.

use std::fmt;
use std::time::Duration;

use evergrant_core::time::Span;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::error::{ErrorBody, PageError, PagesError};
use super::page::{Items, Page};
use super::request::PageRequest;
use super::retry::{Retries, Setback, Setbacks, only_reads};
use super::style::Style;
use super::text::JsonPath;
use super::walk::{Ended, Next, Position, Rules, Step, Walk};
use crate::client::{Client, ClientError, Response};
use crate::retry_after::retry_after;

/// Describes an export before it starts.
#[must_use = "it does nothing until it is read"]
pub struct PagesBuilder {
    client: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Value>,
    rules: Rules,
    retries: Retries,
    repeats_post: bool,
    longest_job: Span,
    max_page_bytes: usize,
    position: Position,
}

impl fmt::Debug for PagesBuilder {
    /// Without URL, header fields and body, which may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("PagesBuilder");
        builder.field("method", &self.method).field("rules", &self.rules).field("retries", &self.retries);
        builder.finish_non_exhaustive()
    }
}

impl PagesBuilder {
    pub(crate) fn new(client: Client, method: Method, url: &str) -> Self {
        Self {
            client,
            method,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: None,
            rules: Rules::default(),
            retries: Retries::default(),
            repeats_post: false,
            longest_job: LONGEST_JOB,
            max_page_bytes: MAX_PAGE_BYTES,
            position: Position::default(),
        }
    }

    /// Header fields of every request.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The body of a POST, an object.
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The style, if the first page shall not show it.
    pub fn style(mut self, style: Style) -> Self {
        self.rules.style = Some(style);
        self
    }

    /// Where the items are in an answer, as `data.users` or `/data/users`.
    pub fn items_at(mut self, path: &str) -> Self {
        self.rules.items = Some(JsonPath::new(path));
        self
    }

    /// Stops after so many pages.
    pub fn max_pages(mut self, count: u64) -> Self {
        self.rules.max_pages = Some(count);
        self
    }

    /// Stops after so many items.
    pub fn max_items(mut self, count: u64) -> Self {
        self.rules.max_items = Some(count);
        self
    }

    /// Takes so many empty pages in a row for the end, whatever the API says comes next; three if nothing is said.
    pub fn max_empty_pages(mut self, count: u32) -> Self {
        self.rules.max_empty_pages = count;
        self
    }

    /// How patient it is with each page.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Says that the POST does nothing but read, so that it may be sent again whatever happened to it.
    pub fn repeats_post(mut self, is_harmless: bool) -> Self {
        self.repeats_post = is_harmless;
        self
    }

    /// How long a job is waited for; an hour if nothing is said.
    pub fn longest_job(mut self, wait: Duration) -> Self {
        self.longest_job = Span::from_duration(wait);
        self
    }

    /// The longest page that is held in memory; 64 MiB if nothing is said.
    pub fn max_page_bytes(mut self, limit: usize) -> Self {
        self.max_page_bytes = limit;
        self
    }

    /// Goes on from where another export of the same request stood.
    pub fn from_position(mut self, position: Position) -> Self {
        self.position = position;
        self
    }

    /// Begins to read; sends nothing yet.
    ///
    /// # Errors
    /// When the request is none that is paged.
    pub fn read(self) -> Result<Pages, PagesError> {
        let Self { client, method, body, mut headers, mut rules, .. } = self;
        if method != Method::GET && method != Method::POST {
            return Err(PagesError::Method(method));
        }
        if let Some(style) = rules.style.filter(|style| style.method() != method) {
            return Err(PagesError::StyleOfMethod { style, expected: style.method(), method });
        }
        if body.as_ref().is_some_and(|body| !body.is_object()) {
            return Err(PagesError::Body);
        }
        let url = client.resolve(&self.url).map_err(|error| PagesError::Unanswered {
            error: ClientError::InvalidRequest(format!("URL: {error}")),
            tries: 0,
            in_doubt: false,
        })?;
        let json = HeaderValue::from_static("application/json");
        headers.entry(ACCEPT).or_insert_with(|| json.clone());
        if method == Method::POST {
            headers.entry(CONTENT_TYPE).or_insert(json);
        }
        rules.only_reads = self.repeats_post || only_reads(&method, &url);
        let first = PageRequest { method, url, body };
        Ok(Pages {
            client,
            headers,
            walk: Walk::new(first, rules, self.position),
            retries: self.retries,
            repeats_post: self.repeats_post,
            longest_job: self.longest_job,
            max_page_bytes: self.max_page_bytes,
            retried: 0,
            setbacks: Setbacks::default(),
            pause: Span::ZERO,
            poll: FIRST_POLL,
            waited: Span::ZERO,
        })
    }
}

/// The pages of a collection, one after the other. See the [module](super).
pub struct Pages {
    client: Client,
    headers: HeaderMap,
    walk: Walk,
    retries: Retries,
    repeats_post: bool,
    longest_job: Span,
    max_page_bytes: usize,
    retried: u64,
    /// What happened to the request that is under way.
    setbacks: Setbacks,
    /// The wait before the next request.
    pause: Span,
    /// The wait after the next look at a job.
    poll: Span,
    /// How long the job has been waited for.
    waited: Span,
}

impl fmt::Debug for Pages {
    /// Without header fields and links, which may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { pages, items, ended, in_doubt, .. } = self.position();
        let mut reader = f.debug_struct("Pages");
        reader.field("pages", pages).field("items", items).field("ended", ended).field("in_doubt", in_doubt);
        reader.finish_non_exhaustive()
    }
}

/// What came next.
#[derive(Debug)]
pub enum Progress {
    /// A page.
    Page(Page),
    /// A job was made (`None`) or is in this state, in the API's word.
    Job(Option<String>),
    /// A page did not come and will be asked for again.
    Retry {
        /// What happened.
        why: String,
        /// How long the next step waits first.
        wait: Span,
    },
    /// There is no more.
    Ended(Ended),
}

impl Pages {
    /// The next page; `None` at the end. Waits for a job to be done.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub async fn next(&mut self) -> Result<Option<Page>, PagesError> {
        loop {
            match self.advance().await? {
                Progress::Page(page) => return Ok(Some(page)),
                Progress::Job(_) | Progress::Retry { .. } => {}
                Progress::Ended(_) => return Ok(None),
            }
        }
    }

    /// One step: the next page, a wait, the state of a job, or the end. After it [`position`](Self::position) may be
    /// written down. A call after an error, or after this future was dropped, asks for the same page again.
    ///
    /// A POST that may do more than read is the exception: once it may have been executed, as
    /// [`Position::in_doubt`] says from before it is sent, further calls fail without sending anything. A program that
    /// must not send it twice even if it is killed meanwhile calls [`wait`](Self::wait), and writes the position down
    /// with `in_doubt` set, before each step for which [`next_has_effect`](Self::next_has_effect).
    ///
    /// # Errors
    /// When a page cannot be had, is no page, leads nowhere, or must not be asked for again.
    pub async fn advance(&mut self) -> Result<Progress, PagesError> {
        self.wait().await;
        let wrong = |error, media_type, in_doubt| PagesError::Page { error, media_type, in_doubt };
        loop {
            let request = self.walk.next_request().map_err(|error| wrong(error, None, false))?;
            let Some(request) = request else {
                return Ok(Progress::Ended(self.position().ended.unwrap_or(Ended::Complete)));
            };
            let has_effect = !self.may_repeat(&request);
            if has_effect && self.position().in_doubt {
                return Err(PagesError::InDoubt);
            }
            let Asked::Answered { body, media_type } = self.ask(&request).await? else {
                return Ok(Progress::Retry { why: self.setbacks.why.clone(), wait: self.pause });
            };
            self.setbacks = Setbacks::default();
            let number = self.position().pages + 1;
            let step = self.walk.handle_answer(&body).map_err(|error| wrong(error, media_type, has_effect))?;
            match step {
                Step::Page { items, lost } => return Ok(Progress::Page(Page { body, items, number, lost })),
                Step::Job(state) => {
                    self.wait_for_the_job()?;
                    return Ok(Progress::Job(state));
                }
                Step::Nothing => {}
            }
        }
    }

    /// Waits until the next request may be sent, as [`advance`](Self::advance) does by itself.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.pause.to_duration()).await;
        self.pause = Span::ZERO;
    }

    /// Its items one by one, each as a `T`.
    #[must_use]
    pub fn items<T: DeserializeOwned>(self) -> Items<T> {
        Items { pages: self, items: Vec::new().into_iter() }
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.walk.position()
    }

    /// How many requests were sent again.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Is the next request a POST that may do more than read, so that it must not be sent twice?
    #[must_use]
    pub fn next_has_effect(&self) -> bool {
        self.walk.next_request().ok().flatten().is_some_and(|request| !self.may_repeat(&request))
    }

    fn may_repeat(&self, request: &PageRequest) -> bool {
        self.repeats_post || only_reads(&request.method, &request.url)
    }

    /// Has the next step wait, if it looks at a job again.
    fn wait_for_the_job(&mut self) -> Result<(), PagesError> {
        let Next::Job(id) = &self.walk.position().next else { return Ok(()) };
        if self.waited + self.poll > self.longest_job {
            return Err(PagesError::JobUnfinished { id: id.clone(), waited: self.waited });
        }
        self.waited += self.poll;
        self.pause = self.poll;
        self.poll = self.poll.scaled(3, 2).min(LONGEST_POLL);
        Ok(())
    }

    /// Sends the request once. If it is worth another try, the pause before it is set.
    async fn ask(&mut self, request: &PageRequest) -> Result<Asked, PagesError> {
        let has_effect = !self.may_repeat(request);
        if has_effect {
            // Before anything is sent: this future may be dropped at any time.
            self.walk.set_in_doubt(true);
        }
        let began = Instant::now();
        let (setback, failure) = match self.send(request).await {
            Ok(answer) if answer.status().is_success() => {
                let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let media_type = media_type.map(str::to_owned);
                match collect(answer, self.max_page_bytes).await {
                    Ok(body) => return into_text(body, has_effect).map(|body| Asked::Answered { body, media_type }),
                    Err(Uncollected::TooLarge) => {
                        return Err(PagesError::TooLarge { limit: self.max_page_bytes, in_doubt: has_effect });
                    }
                    Err(Uncollected::Broken(error)) => (Setback::Ambiguous, Err(error)),
                }
            }
            Ok(answer) => {
                let was_good = self.position().pages > 0;
                (Setback::of_status(answer.status(), retry_after(answer.headers()), was_good), Ok(answer))
            }
            Err(error) => (Setback::of_error(&error), Err(error)),
        };
        let in_doubt = has_effect && setback.is_in_doubt();
        if has_effect {
            self.walk.set_in_doubt(in_doubt);
        }
        let took = Span::from_duration(began.elapsed());
        let luck = getrandom::u32().unwrap_or_default().to_le_bytes()[0];
        let Some(wait) = self.setbacks.wait(setback, took, !has_effect, &self.retries, luck) else {
            let tries = std::mem::take(&mut self.setbacks).tries;
            return Err(given_up(failure, tries, in_doubt).await);
        };
        self.setbacks.why = failure.map_or_else(|error| error.to_string(), |answer| answer.status().to_string());
        tracing::info!(%wait, why = self.setbacks.why, "a page did not come, asking again");
        self.retried += 1;
        self.pause = wait;
        Ok(Asked::Again)
    }

    async fn send(&self, request: &PageRequest) -> Result<Response, ClientError> {
        let sending = self.client.request(request.method.clone(), request.url.as_str());
        let sending = sending.headers(self.headers.clone()).only_reads(self.may_repeat(request));
        match &request.body {
            Some(body) => sending.body(body.to_string()).send().await,
            None => sending.send().await,
        }
    }
}

enum Asked {
    Answered { body: String, media_type: Option<String> },
    Again,
}

enum Uncollected {
    TooLarge,
    Broken(ClientError),
}

async fn collect(mut answer: Response, limit: usize) -> Result<Vec<u8>, Uncollected> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Uncollected::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(Uncollected::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn into_text(body: Vec<u8>, in_doubt: bool) -> Result<String, PagesError> {
    String::from_utf8(body).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        let column = good.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
        PagesError::Page { error: PageError::NotJson { line, column }, media_type: None, in_doubt }
    })
}

async fn given_up(failure: Result<Response, ClientError>, tries: u32, in_doubt: bool) -> PagesError {
    let mut answer = match failure {
        Ok(answer) => answer,
        Err(error) => return PagesError::Unanswered { error, tries, in_doubt },
    };
    let (status, verdict) = (answer.status(), answer.verdict().cloned().map(Box::new));
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ERROR_BYTES);
    PagesError::Status { status, verdict, body: ErrorBody(body), tries, in_doubt }
}

const MAX_PAGE_BYTES: usize = 64 << 20;
const MAX_ERROR_BYTES: usize = 16 << 10;
const LONGEST_JOB: Span = Span::from_secs(3600);
const FIRST_POLL: Span = Span::from_secs(1);
const LONGEST_POLL: Span = Span::from_secs(30);
