//! `evergrant api METHOD PATH --paginate`: a collection as one stream of items.
//!
//! The library reads page after page; here its items are written, and with `--resume` the place of the next page. Items
//! go to standard output or to a file, everything else to standard error. With `--json` a summary is printed as well: on
//! standard output if the items are in a file, else as the last line of standard error.
//!
//! Whole pages are written, then made durable, then noted: whenever the process ends, the next run finds an output that
//! begins with the pages that the resume file names, cuts the rest off, and goes on. A page counts once it is written: of
//! a pipe whose reader stalls a signal ends the wait, and the page comes again.

mod format;
mod output;
mod progress;
mod report;
mod resume;

use std::io::{self, ErrorKind, IsTerminal as _};
use std::time::{Duration, Instant};

use evergrant::TokenSource;
use evergrant::core::time::Span;
use evergrant::pages::{Next, Pages, PagesBuilder, PagesError, Position, Progress, Rules};
use rustix::process::Signal;
use serde_json::Value;

use super::{Outgoing, beside, client};
use crate::args::{ApiArgs, PagesArgs};
use crate::ending::{self, Signals, code_of_signal};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::resolve::Settings;
use crate::settings::values;
use format::Format;
use output::{Output, Target};
use progress::Screen;
use report::{Stopped, Tally};
use resume::{Export, ResumeFile, sha256};

/// Reads all pages and writes their items.
pub(super) fn run(args: &ApiArgs, settings: &Settings, outgoing: Outgoing) -> Result<u8, Failures> {
    let format = Format::of(&args.pages)?;
    let target = Target::of(args.pages.output.as_deref())?;
    if let Some(resume) = &args.pages.resume
        && resume::writes_into(resume, &target)
    {
        return Err(Failure::new(exit::USAGE, "the items and their resume file cannot be one file")
            .at("--resume")
            .hint("name two files, as --output users.jsonl --resume users.state")
            .into());
    }
    let export = describe(&args.pages, settings, &outgoing, target.clone());
    let (resume, begun) = match &args.pages.resume {
        Some(path) => ResumeFile::open(path, export).map(|(file, begun)| (Some(file), begun))?,
        None => (None, None),
    };
    let body = body(&outgoing)?;
    let run = Run { args, settings, outgoing, body };
    let runtime = launch::small_runtime()?;
    let code = runtime.block_on(run.export(format, target, resume, begun));
    runtime.shutdown_timeout(launch::LAST_WAIT);
    code
}

/// One run of an export.
struct Run<'a> {
    args: &'a ApiArgs,
    settings: &'a Settings,
    outgoing: Outgoing,
    body: Option<Value>,
}

impl Run<'_> {
    async fn export(
        &self,
        format: Format,
        target: Target,
        resume: Option<ResumeFile>,
        begun: Option<resume::Progress>,
    ) -> Result<u8, Failures> {
        let started = Instant::now();
        let position = begun.as_ref().map(|begun| begun.position.clone()).unwrap_or_default();
        let resumed_at = begun.as_ref().map(|_| position.pages);
        if let Some(begun) = begun.as_ref().filter(|begun| begun.position.is_done(&self.bounds())) {
            let took = started.elapsed();
            let tally = Tally {
                position: &position,
                target: &target,
                bytes: begun.bytes,
                resumed_at,
                retried: 0,
                deleted: 0,
                took,
            };
            return self.tell_again(&tally);
        }
        // An export that is interrupted says how to go on, whatever its tokens come from.
        let mut signals = Signals::catch_ending()?;
        let source = match signals.unless_ended(launch::start_source(self.settings, "api")).await {
            Ok(source) => source?,
            Err(signal) => return Ok(code_of_signal(signal)),
        };
        let exported = self.read(&source, &mut signals, format, target, resume, begun).await;
        let mut signals = Some(&mut signals);
        let (pages, writer) = match exported {
            Ok(Ok(exported)) => {
                let deadline = tokio::time::Instant::now() + self.settings.timing.timeout.to_duration();
                // All is written and noted; a signal ends what is left to do.
                let _ = ending::finish(source, &mut signals, Some(deadline)).await;
                exported
            }
            Ok(Err(signal)) => {
                ending::give_up(source, &mut signals).await;
                return Ok(code_of_signal(signal));
            }
            Err(failure) => {
                ending::give_up(source, &mut signals).await;
                return Err(failure.into());
            }
        };
        let tally = Tally {
            position: pages.position(),
            target: writer.output.target(),
            bytes: writer.output.bytes(),
            resumed_at,
            retried: pages.retried(),
            deleted: writer.deleted,
            took: started.elapsed(),
        };
        match ending::unless_ended(&mut signals, beside(self.telling(&tally))).await {
            Ok(told) => told?,
            Err(signal) => return Ok(code_of_signal(signal)),
        }
        Ok(exit::OK)
    }

    /// Reads and writes all pages; or gives the signal that ended the run before there was anything to write.
    async fn read(
        &self,
        source: &TokenSource,
        signals: &mut Signals,
        format: Format,
        target: Target,
        resume: Option<ResumeFile>,
        begun: Option<resume::Progress>,
    ) -> Result<Result<(Pages, Writer), Signal>, Failure> {
        let client = client::client(source.clone(), self.settings, Span::ZERO)?;
        let place = report::place(&self.outgoing.method, &self.outgoing.url);
        let has_resume_file = resume.is_some();
        let stopped = Stopped { place: &place, url: &self.outgoing.url, settings: self.settings, has_resume_file };
        let url = self.outgoing.url.as_str();
        let builder = client.pages(self.outgoing.method.clone(), url).headers(self.outgoing.headers.clone());
        let position = begun.as_ref().map(|begun| begun.position.clone()).unwrap_or_default();
        let pages = self.described(builder).from_position(position.clone()).read();
        let mut pages = pages.map_err(|error| stopped.cause(error))?;
        if let Some(file) = resume.as_ref().filter(|_| position.in_doubt && pages.next_has_effect()) {
            return Err(report::in_doubt(&place, file.path()));
        }
        // A token that cannot be had is told before anything is written.
        match signals.unless_ended(launch::token(source, self.settings, None)).await {
            Ok(token) => drop(token?),
            Err(signal) => return Ok(Err(signal)),
        }
        let (bytes, can_be_resumed) = (begun.as_ref().map(|begun| begun.bytes), resume.is_some());
        let opening = beside(move || Output::open(target, bytes, can_be_resumed));
        let output = match signals.unless_ended(opening).await {
            Ok(output) => output?,
            Err(signal) => return Ok(Err(signal)),
        };
        let mut writer = Writer::begin(format, output, resume, begun)?;
        let written = signals.unless_ended(writer.write_all(&mut pages, &stopped)).await;
        writer.screen.end();
        let ended = match written {
            Ok(ended) => ended,
            Err(signal) => {
                let far = writer.unwritten.take().unwrap_or_else(|| writer.progress(pages.position()));
                let failure = stopped.by_signal(signal, &far.position, writer.output.target());
                writer.save(&far).and(Err(failure))
            }
        };
        writer.warn(pages.position());
        ended.map(|()| Ok((pages, writer)))
    }

    /// The flags that say where it ends before its end.
    fn bounds(&self) -> Rules {
        let (args, default) = (&self.args.pages, Rules::default());
        let max_empty_pages = args.max_empty_pages.unwrap_or(default.max_empty_pages);
        Rules { max_pages: args.max_pages, max_items: args.max_items, max_empty_pages, ..default }
    }

    /// The export as the flags describe it.
    fn described(&self, builder: PagesBuilder) -> PagesBuilder {
        let args = &self.args.pages;
        let mut builder = builder.repeats_post(args.retry_post);
        if let Some(body) = &self.body {
            builder = builder.json(body.clone());
        }
        if let Some(style) = args.style {
            builder = builder.style(style);
        }
        if let Some(items) = &args.items {
            builder = builder.items_at(items);
        }
        if let Some(count) = args.max_pages {
            builder = builder.max_pages(count);
        }
        if let Some(count) = args.max_items {
            builder = builder.max_items(count);
        }
        if let Some(count) = args.max_empty_pages {
            builder = builder.max_empty_pages(count);
        }
        if let Some(wait) = args.job_wait {
            builder = builder.longest_job(wait.to_duration());
        }
        builder
    }

    /// What says what was done: data for a program, a line for a person who looks and has not just seen the items.
    fn telling(&self, tally: &Tally<'_>) -> impl FnOnce() -> Result<(), Failure> + Send + use<> {
        // Standard output belongs to the items, unless they went into a file.
        let has_own_output = matches!(tally.target, Target::File(_));
        let data = self.args.json.then(|| tally.json());
        let is_seen = io::stderr().is_terminal() && !(*tally.target == Target::Pipe && io::stdout().is_terminal());
        let line = is_seen.then(|| tally.line());
        move || match (data, line) {
            (Some(data), _) if has_own_output => render::json(&data),
            (Some(data), _) => {
                eprintln!("{data}");
                Ok(())
            }
            (None, line) => {
                line.iter().for_each(|line| eprintln!("{line}"));
                Ok(())
            }
        }
    }

    /// Says that nothing was left to do.
    fn tell_again(&self, tally: &Tally<'_>) -> Result<u8, Failures> {
        if !self.args.json {
            eprintln!("the export has ended already, nothing was requested: {}", tally.line());
            return Ok(exit::OK);
        }
        self.telling(tally)()?;
        Ok(exit::OK)
    }
}

/// What is written while pages come.
struct Writer {
    format: Format,
    output: Output,
    resume: Option<ResumeFile>,
    screen: Screen,
    noted: Instant,
    deleted: u64,
    /// How far the export was before the page that is being written.
    unwritten: Option<resume::Progress>,
}

impl Writer {
    /// Notes that an export begins, or goes on, before anything is sent.
    fn begin(
        mut format: Format,
        output: Output,
        resume: Option<ResumeFile>,
        begun: Option<resume::Progress>,
    ) -> Result<Self, Failure> {
        let position = begun.as_ref().map(|begun| begun.position.clone()).unwrap_or_default();
        format.go_on(begun.and_then(|begun| begun.columns));
        let screen = Screen::new(output.is_terminal(), &position);
        let noted = Instant::now();
        let mut writer = Self { format, output, resume, screen, noted, deleted: 0, unwritten: None };
        writer.note(&position)?;
        Ok(writer)
    }

    /// Writes page after page until the end, or until nobody reads any more. A signal may end it between two pages, and
    /// in the middle of one for which a reader lets us wait.
    async fn write_all(&mut self, pages: &mut Pages, stopped: &Stopped<'_>) -> Result<(), Failure> {
        loop {
            // A page that came and is not written is in doubt as one that may have come.
            let mut before = self.progress(pages.position());
            before.position.in_doubt |= pages.next_has_effect();
            match self.advance(pages).await? {
                Ok(Progress::Page(page)) => {
                    let mut lines = Vec::new();
                    self.format.write(page.items(), &mut lines).map_err(|error| self.unwritable(&error))?;
                    self.unwritten = Some(before);
                    let written = self.output.write(lines).await;
                    if !self.goes_on(written)? {
                        return Ok(());
                    }
                    self.unwritten = None;
                    self.deleted += page.lost();
                    self.note_sometimes(pages.position())?;
                    self.screen.show(pages.position());
                }
                Ok(Progress::Job(state)) => {
                    self.note(pages.position())?;
                    self.screen.job(state.as_deref());
                }
                Ok(Progress::Retry { why, wait }) => {
                    if pages.next_has_effect() {
                        self.note(pages.position())?;
                    }
                    self.screen.wait(&why, wait);
                }
                Ok(Progress::Ended(_)) => {
                    let mut lines = Vec::new();
                    self.format.end(&mut lines).map_err(|error| self.unwritable(&error))?;
                    let written = self.output.write(lines).await;
                    self.goes_on(written)?;
                    return self.note(pages.position());
                }
                Err(error) => {
                    if pages.position().next == Next::First && !pages.position().in_doubt {
                        // Nothing has happened: there is nothing to go on from.
                        self.resume.iter().for_each(ResumeFile::remove);
                    } else {
                        self.note(pages.position())?;
                    }
                    return Err(stopped.by_failure(error, pages.position(), self.output.target()));
                }
            }
        }
    }

    /// One step. A request that must not be sent twice is noted before it is sent: this process may end at any time.
    async fn advance(&mut self, pages: &mut Pages) -> Result<Result<Progress, PagesError>, Failure> {
        pages.wait().await;
        if pages.next_has_effect() {
            let mut sending = pages.position().clone();
            sending.in_doubt = true;
            self.note(&sending)?;
        }
        Ok(pages.advance().await)
    }

    /// Is somebody still there to read what is written?
    fn goes_on(&self, written: io::Result<()>) -> Result<bool, Failure> {
        match written {
            Ok(()) => Ok(true),
            // As in `evergrant api ... | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(self.unwritable(&error)),
        }
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        let failure = output::unwritable(self.output.target().shown(), error);
        match &self.resume {
            Some(_) => failure.hint("the same command goes on from the last whole page"),
            None => failure,
        }
    }

    /// As [`note`](Self::note), but not so often that the disk would be what an export waits for: pages since the last
    /// note are read again after a crash. Of a pipe nothing can be taken back, so each of its pages is noted.
    fn note_sometimes(&mut self, position: &Position) -> Result<(), Failure> {
        let is_soon = self.output.is_file() && self.noted.elapsed() < NOTE_EVERY;
        if is_soon { Ok(()) } else { self.note(position) }
    }

    /// Makes the output durable and writes down where the export stands.
    fn note(&mut self, position: &Position) -> Result<(), Failure> {
        if self.resume.is_none() { Ok(()) } else { self.save(&self.progress(position)) }
    }

    fn save(&mut self, progress: &resume::Progress) -> Result<(), Failure> {
        let Some(file) = &self.resume else { return Ok(()) };
        self.output.sync().map_err(|error| output::unwritable(self.output.target().shown(), &error))?;
        self.noted = Instant::now();
        file.save(progress)
    }

    /// How far the export is when all that was written belongs to pages before this position.
    fn progress(&self, position: &Position) -> resume::Progress {
        let columns = self.format.written_columns();
        resume::Progress { bytes: self.output.bytes(), columns, position: position.clone() }
    }

    fn warn(&self, position: &Position) {
        let shrunk = (self.deleted > 0).then(|| report::shrunk(self.deleted, position));
        let unshown = report::unshown(&self.format.unshown());
        let warnings = [shrunk, unshown, report::ended(position), report::missing(position)];
        warnings.iter().flatten().for_each(Failure::print_warning);
    }
}

fn describe(args: &PagesArgs, settings: &Settings, outgoing: &Outgoing, output: Target) -> Export {
    let client = settings.identity.client();
    Export {
        method: outgoing.method.to_string(),
        url: values::shown(&outgoing.url),
        query_sha256: outgoing.url.query().map(|query| sha256(query.as_bytes())),
        body_sha256: (!outgoing.body.is_empty()).then(|| sha256(&outgoing.body)),
        client_id: client.map(|client| client.credential.client_id.clone()).unwrap_or_default(),
        style: args.style.map(|style| style.name().to_owned()),
        items: args.items.clone(),
        csv: args.csv.clone(),
        template: args.template.clone(),
        output,
    }
}

/// The body as JSON, since its page is changed.
fn body(outgoing: &Outgoing) -> Result<Option<Value>, Failure> {
    if outgoing.body.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&outgoing.body).map(Some).map_err(|error| {
        Failure::new(exit::USAGE, "the body is no JSON")
            .at(format!("--data, line {}, column {}", error.line(), error.column()))
            .because("the pages of a POST are asked for in its body")
            .hint("give a JSON object with --data")
    })
}

const NOTE_EVERY: Duration = Duration::from_millis(200);
