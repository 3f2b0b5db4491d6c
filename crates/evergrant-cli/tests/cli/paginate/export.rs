//! Long exports through dying tokens, rate limits and outages, killed in the middle: each item is there exactly once.

use std::io::Read as _;
use std::path::PathBuf;

use evergrant_core::time::Span;
use evergrant_sim::config::ProviderConfig;
use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event};
use evergrant_sim::http::SimServer;
use rustix::process::Signal;

use super::{all, numbers};
use crate::support::{Folder, Run, evergrant, program, provider};

/// A provider whose tokens die after `uses` requests, and whose API is in trouble now and then.
///
/// By their lifetime they would end after a second. A young token that is refused may not be known everywhere yet, and is
/// tried again as long as it can be alive; with a longer life each of these deaths would take two seconds.
fn troubled(uses: u32) -> SimServer {
    let mut config = ProviderConfig::rfc().with_lifetime(Span::from_secs(1));
    config.tokens.max_uses = Some(uses);
    let provider = SimServer::start(config).unwrap();
    let faults = [
        (ApiFault::TooManyRequests(0), 8),
        (ApiFault::Status(503), 8),
        (ApiFault::Torn, 4),
        (ApiFault::Lost, 4),
        (ApiFault::Slow(Span::from_millis(20)), 20),
    ];
    for (fault, permille) in faults {
        let rule = ApiRule { fault, route: None, chance: Chance::permille(permille) };
        provider.handle().apply(Event::ApiFault(rule));
    }
    provider
}

struct Export<'a> {
    provider: &'a SimServer,
    request: Vec<&'a str>,
    output: PathBuf,
    resume: PathBuf,
}

impl<'a> Export<'a> {
    fn new(provider: &'a SimServer, folder: &Folder, request: &[&'a str]) -> Self {
        let (output, resume) = (folder.path().join("items"), folder.path().join("resume"));
        Self { provider, request: request.to_vec(), output, resume }
    }

    fn run(&self) -> Run {
        let flags = ["--paginate", "--mint-budget", "100000/10m", "--settle", "0s", "--json"];
        let run = evergrant(["api"].iter().chain(&self.request).chain(&flags).copied().map(str::to_owned).chain([
            "--output".to_owned(),
            self.output.display().to_string(),
            "--resume".to_owned(),
            self.resume.display().to_string(),
        ]));
        run.client_of(self.provider)
    }

    fn written(&self) -> u64 {
        self.output.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Starts it and kills it once it has written so much more.
    fn kill_after(&self, bytes: u64) {
        let before = self.written();
        let (mut running, _home) = self.run().start();
        running.when(|| self.written() >= before + bytes);
        running.signal(Signal::KILL);
        assert!(!running.wait().success(), "it was killed in the middle");
    }

    fn numbers(&self) -> Vec<u64> {
        numbers(&std::fs::read_to_string(&self.output).unwrap())
    }
}

/// Kills an export `kills` times, lets it end, and looks at what it wrote.
fn exactly_once(provider: &SimServer, request: &[&str], total: u64, kills: u64) {
    let folder = Folder::new();
    let export = Export::new(provider, &folder, request);
    let whole = total * 130;
    for _ in 0..kills {
        export.kill_after(whole / (kills + 2));
    }
    let summary: serde_json::Value = serde_json::from_str(&export.run().end().good()).unwrap();
    assert_eq!((&summary["items"], &summary["ended"]), (&total.into(), &"complete".into()), "{summary}");
    assert!(summary["resumed_at_page"].as_u64().is_some_and(|page| page > 0), "{summary}");
    assert_eq!(export.numbers(), all(total));
    let calls = provider.handle().ledger().api.calls;
    let again = export.run().end().good();
    assert!(again.contains(r#""ended":"complete""#), "{again}");
    assert_eq!(provider.handle().ledger().api.calls, calls, "a finished export asks for nothing");
}

#[test]
fn two_thousand_numbered_pages_arrive_exactly_once() {
    let provider = troubled(60);
    exactly_once(&provider, &["GET", "/api/v2/paged/number?pageSize=5&total=10000"], 10_000, 1);
    let ledger = provider.handle().ledger();
    let refused: u64 = ledger.api.refused.values().sum();
    assert!(ledger.token.succeeded > 15 && refused > 10, "{} tokens, {refused} refusals", ledger.token.succeeded);
    assert!(ledger.api.faulted > 30, "{} faults", ledger.api.faulted);
}

#[test]
fn two_thousand_pages_by_cursor_arrive_exactly_once() {
    let provider = troubled(60);
    exactly_once(&provider, &["GET", "/api/v2/paged/cursor?pageSize=5&total=10000"], 10_000, 1);
}

#[test]
fn an_export_that_is_interrupted_says_how_to_go_on() {
    let (provider, folder) = (troubled(1_000), Folder::new());
    let export = Export::new(&provider, &folder, &["GET", "/api/v2/paged/link?pageSize=5&total=2000"]);
    let (mut running, _home) = export.run().start();
    running.when(|| export.written() > 20_000);
    running.signal(Signal::INT);
    let mut said = running.child().stderr.take().unwrap();
    assert_eq!(running.wait().code(), Some(130));
    let mut stderr = String::new();
    said.read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("SIGINT stopped the export") && stderr.contains("the same command goes on"), "{stderr}");
    export.run().end().good();
    assert_eq!(export.numbers(), all(2_000));
}

/// Starts an export into a pipe that nobody reads, ends it by a signal once the pipe is full, and gives what was in the pipe.
fn stalled(run: Run, signal: Signal) -> String {
    let (mut running, _home) = run.start();
    let mut pipe = running.child().stdout.take().unwrap();
    running.when(|| rustix::io::ioctl_fionread(&pipe).unwrap() > 60_000);
    running.signal(signal);
    assert_eq!(running.wait().code(), Some(128 + signal.as_raw()));
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_signal_ends_an_export_whose_reader_lets_it_wait_and_the_page_comes_again() {
    let (provider, folder) = (provider(), Folder::new());
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let resume = format!("r{}", signal.as_raw());
        // A pipe of 64 KiB is full in the middle of the second page.
        let path = "/api/v2/paged/number?pageSize=300&total=1000";
        let run = || evergrant(["api", "GET", path, "--paginate", "--resume", &resume]).client_of(&provider);
        let first = stalled(run().folder(&folder), signal);
        let (whole, _cut) = first.rsplit_once('\n').unwrap();
        let mut got = numbers(whole);
        got.extend(numbers(&run().folder(&folder).end().good()));
        assert!(
            (1_001..=1_300).contains(&got.len()),
            "{} of 1000 items: the second page came again, and no other",
            got.len()
        );
        got.sort_unstable();
        got.dedup();
        assert_eq!(got, all(1_000));
    }
}

#[test]
fn a_signal_ends_an_export_into_a_named_pipe_that_nobody_opens() {
    let (provider, folder) = (provider(), Folder::new());
    program(&["mkfifo", "pipe"]).folder(&folder).end().good();
    let args = ["api", "GET", "/api/v2/paged/number?total=5", "--paginate", "--output", "pipe"];
    let (mut running, _home) = evergrant(args).client_of(&provider).folder(&folder).start();
    running.when(|| provider.handle().ledger().token.succeeded == 1);
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(143));
    assert_eq!(provider.handle().ledger().api.calls, 0, "it was waiting for a reader");
}

#[test]
fn a_first_page_that_was_not_written_comes_again_with_its_header() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/paged/number?pageSize=10000&total=12000";
    let run = || {
        let args = ["api", "GET", path, "--paginate", "--csv", "id", "--resume", "r"];
        evergrant(args).client_of(&provider).folder(&folder)
    };
    assert!(stalled(run(), Signal::TERM).starts_with("id\n"));
    let again = run().end().good();
    assert_eq!((again.lines().next(), again.lines().count()), (Some("id"), 12_001));
}

#[test]
fn into_a_pipe_nothing_is_missing_and_what_was_under_way_comes_again() {
    let (provider, folder) = (troubled(1_000), Folder::new());
    let line = format!(
        "{} api GET '/api/v2/paged/cursor?pageSize=5&total=1000' --paginate --resume r | cat >> items",
        env!("CARGO_BIN_EXE_evergrant")
    );
    let shell = || program(&["sh", "-c", &line]).client_of(&provider).folder(&folder);
    let items = folder.path().join("items");
    let (mut running, _home) = shell().start();
    running.when(|| items.metadata().is_ok_and(|metadata| metadata.len() > 20_000));
    let children = format!("/proc/{0}/task/{0}/children", running.child().id());
    let first = std::fs::read_to_string(children).unwrap().split(' ').next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    running.wait();
    shell().end().good();
    let mut got = numbers(&std::fs::read_to_string(items).unwrap());
    assert!(got.len() <= 1_005, "{} of 1000 items: more than a page came again", got.len());
    got.sort_unstable();
    got.dedup();
    assert_eq!(got, all(1_000));
}

#[test]
fn the_other_styles_arrive_exactly_once_whenever_they_are_killed() {
    let provider = troubled(10);
    for request in [
        &["GET", "/api/v2/paged/link?pageSize=5&total=500"][..],
        &["GET", "/api/v2/paged/scim?count=5&total=500"],
        &["POST", "/api/v2/analytics/paged/details/query?total=500", "--data", r#"{"paging":{"pageSize":5}}"#],
    ] {
        exactly_once(&provider, request, 500, 3);
    }
}

#[test]
fn a_jobs_results_arrive_exactly_once_and_the_job_is_made_once() {
    let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
    let request = ["POST", "/api/v2/analytics/paged/details/jobs?pageSize=5&total=1000", "--data", "{}"];
    exactly_once(&provider, &request, 1_000, 2);
    assert_eq!(provider.handle().ledger().effects.len(), 1);
}
