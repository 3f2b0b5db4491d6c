//! `evergrant api --paginate`: every style, every format, and what goes wrong.
//!
//! Exports that are killed and go on are in `export`.

mod damage;
mod export;
mod memory;

use evergrant_core::time::Span;
use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::support::{Folder, Run, evergrant, provider};

const NUMBER: &str = "/api/v2/paged/number?pageSize=10&total=35";

fn get(provider: &SimServer, path: &str, flags: &[&str]) -> Run {
    evergrant(["api", "GET", path, "--paginate"].iter().chain(flags)).client_of(provider)
}

fn post(provider: &SimServer, path: &str, body: &str, flags: &[&str]) -> Run {
    evergrant(["api", "POST", path, "--data", body, "--paginate"].iter().chain(flags)).client_of(provider)
}

/// The numbers of the things that were printed, one a line.
fn numbers(lines: &str) -> Vec<u64> {
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap()).collect()
}

fn all(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

/// The next requests have this fault.
fn strike(provider: &SimServer, fault: ApiFault, times: u32) {
    provider.handle().apply(Event::ApiFault(ApiRule { fault, route: None, chance: Chance::next(times) }));
}

#[test]
fn every_style_of_a_get_is_found_out_and_read_to_its_end() {
    let provider = provider();
    for path in [
        NUMBER,
        "/api/v2/paged/cursor?pageSize=10&total=35",
        "/api/v2/paged/after?pageSize=10&total=35",
        "/api/v2/paged/link?pageSize=10&total=35",
        "/api/v2/paged/link?pageSize=10&total=35&absolute=1",
        "/api/v2/paged/scim?count=10&total=35",
        "/api/v2/paged/none?total=35",
    ] {
        let before = provider.handle().ledger().api.calls;
        assert_eq!(numbers(&get(&provider, path, &[]).end().good()), all(35), "{path}");
        let calls = provider.handle().ledger().api.calls - before;
        assert_eq!(calls, if path.contains("none") { 1 } else { 4 }, "{path}");
    }
}

#[test]
fn a_query_is_paged_in_its_body_and_sent_again_since_it_only_reads() {
    let provider = provider();
    let path = "/api/v2/analytics/paged/details/query?total=35";
    strike(&provider, ApiFault::Lost, 1);
    let body = r#"{"interval":"2026-01-01/2026-02-01","paging":{"pageSize":10}}"#;
    assert_eq!(numbers(&post(&provider, path, body, &[]).end().good()), all(35));
    assert_eq!(numbers(&post(&provider, path, "{}", &["--max-pages", "1"]).end().good()), all(25));
    let nothing = post(&provider, "/api/v2/analytics/paged/details/query?total=0", "{}", &[]).end().good();
    assert_eq!(nothing, "");
}

#[test]
fn a_job_is_made_waited_for_and_read() {
    let provider = provider();
    let path = "/api/v2/analytics/paged/details/jobs?total=35&pageSize=10";
    assert_eq!(numbers(&post(&provider, path, "{}", &[]).end().good()), all(35));
    assert_eq!(provider.handle().ledger().effects.len(), 1, "one job was made");
}

#[test]
fn a_job_is_never_made_twice() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/analytics/paged/details/jobs?total=35&pageSize=10";
    let resume = folder.path().join("resume").display().to_string();
    let output = folder.path().join("items").display().to_string();
    let flags = ["--resume", &resume, "--output", &output];
    let made = || provider.handle().ledger().effects.len();
    strike(&provider, ApiFault::Lost, 1);
    let said = post(&provider, path, "{}", &flags).end().failed(5);
    assert!(said.contains("may have been executed") && said.contains("--retry-post"), "{said}");
    let said = post(&provider, path, "{}", &flags).end().failed(1);
    assert!(said.contains("an earlier run sent this POST"), "{said}");
    assert_eq!(made(), 1);
    post(&provider, path, "{}", &[&flags[..], &["--retry-post"]].concat()).end().good();
    assert_eq!((made(), numbers(&std::fs::read_to_string(&output).unwrap())), (2, all(35)));
    for trouble in [ApiFault::Status(503), ApiFault::Torn] {
        strike(&provider, trouble, 1);
        post(&provider, path, "{}", &[]).end().failed(if made() == 2 { 9 } else { 5 });
    }
    assert_eq!(made(), 3);
}

#[test]
fn a_job_that_was_made_with_an_unusable_answer_is_not_made_again_by_the_same_command() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/analytics/paged/details/jobs?total=35&pageSize=10";
    let made = || provider.handle().ledger().effects.len();
    let run = |name: &str, flags: &[&str]| {
        let files = ["--resume", &format!("{name}.state"), "--output", name].map(str::to_owned);
        let flags: Vec<&str> = files.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        post(&provider, path, "{}", &flags).folder(&folder).end()
    };
    strike(&provider, ApiFault::FailedAfterExecuting, 1);
    assert!(run("failed", &[]).failed(9).contains("may have been executed"));
    assert!(run("failed", &[]).failed(1).contains("an earlier run sent this POST"));
    let said = run("unread", &["--style", "query"]).failed(15);
    assert!(said.contains("no list of items") && said.contains("may have been executed"), "{said}");
    assert!(run("unread", &["--style", "query"]).failed(1).contains("an earlier run sent this POST"));
    assert_eq!(made(), 2);
    strike(&provider, ApiFault::MissingPermission, 1);
    assert!(!run("refused", &[]).failed(9).contains("may have been executed"));
    run("refused", &[]).good();
    assert_eq!(made(), 3);
}

#[test]
fn a_query_that_may_have_effects_goes_on_after_a_clean_stop_and_not_after_a_lost_answer() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/analytics/paged/details/lookup?total=35";
    let run = |flags: &[&str]| {
        let flags = [&["--resume", "state", "--output", "items"], flags].concat();
        post(&provider, path, r#"{"paging":{"pageSize":10}}"#, &flags).folder(&folder).end()
    };
    let made = || provider.handle().ledger().effects.len();
    run(&["--max-pages", "1"]).good();
    run(&["--max-pages", "2"]).good();
    strike(&provider, ApiFault::TooManyRequests(3600), 1);
    run(&[]).failed(9);
    assert_eq!(made(), 2);
    strike(&provider, ApiFault::Lost, 1);
    let said = run(&[]).failed(5);
    assert!(said.contains("may have been executed") && !said.contains("goes on from there"), "{said}");
    assert!(run(&[]).failed(1).contains("an earlier run sent this POST"));
    assert_eq!(made(), 3);
    run(&["--retry-post"]).good();
    assert_eq!(numbers(&std::fs::read_to_string(folder.path().join("items")).unwrap()), all(35));
}

#[test]
fn a_run_that_is_killed_while_its_post_is_under_way_has_noted_that_before() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/analytics/paged/details/jobs?total=35&pageSize=10";
    let run = || post(&provider, path, "{}", &["--resume", "state", "--output", "items"]).folder(&folder);
    strike(&provider, ApiFault::Slow(Span::from_secs(60)), 1);
    let (mut running, _home) = run().start();
    running.when(|| provider.handle().ledger().effects.len() == 1);
    running.signal(rustix::process::Signal::KILL);
    assert!(!running.wait().success());
    assert!(run().end().failed(1).contains("an earlier run sent this POST"));
    assert_eq!(provider.handle().ledger().effects.len(), 1);
}

#[test]
fn a_job_that_fails_or_takes_too_long_is_named() {
    let provider = provider();
    let path = "/api/v2/analytics/paged/details/jobs?total=5";
    let said = post(&provider, &format!("{path}&odd=fails"), "{}", &[]).end().failed(15);
    assert!(said.contains("ended as FAILED: the interval is too long"), "{said}");
    assert!(said.contains("begin a new export") && !said.contains("goes on"), "{said}");
    let said = post(&provider, path, "{}", &["--job-wait", "500ms"]).end().failed(5);
    assert!(said.contains("/results with GET and --paginate"), "{said}");
}

#[test]
fn a_page_that_does_not_come_is_asked_for_again() {
    let provider = provider();
    for fault in [
        ApiFault::Status(503),
        ApiFault::Status(502),
        ApiFault::Status(500),
        ApiFault::Status(408),
        ApiFault::AuthenticationTimeout,
        ApiFault::Reset,
        ApiFault::Lost,
        ApiFault::Torn,
        ApiFault::TooManyRequests(0),
    ] {
        strike(&provider, fault.clone(), 2);
        assert_eq!(numbers(&get(&provider, NUMBER, &[]).end().good()), all(35), "{fault:?}");
    }
}

#[test]
fn a_refusal_ends_it_with_a_verdict_and_says_how_to_go_on() {
    let provider = provider();
    let rule = ApiRule { fault: ApiFault::MissingPermission, route: None, chance: Chance::next(1) };
    let run = get(&provider, NUMBER, &["--max-pages", "2"]);
    assert_eq!(numbers(&run.end().good()), all(20));
    provider.handle().apply(Event::ApiFault(rule));
    let said = get(&provider, NUMBER, &[]).end().failed(9);
    assert!(said.contains("403") && said.contains("missing_permission"), "{said}");
}

#[test]
fn csv_has_the_columns_that_were_asked_for_or_those_of_the_first_item() {
    let provider = provider();
    let path = "/api/v2/paged/number?total=2";
    let csv = |flags: &[&str]| get(&provider, path, flags).end().good();
    insta::assert_snapshot!(csv(&["--csv", "id,name,division.name,tags.1,email,none"]), @r#"
    id,name,division.name,tags.1,email,none
    thing-0000001,"Thing ""1"", a",Home,b,,
    thing-0000002,"Thing ""2"", a",Home,b,,
    "#);
    insta::assert_snapshot!(csv(&["--csv"]), @r#"
    division,email,id,name,number,tags
    "{""id"":""d-1"",""name"":""Home""}",,thing-0000001,"Thing ""1"", a",1,"[""a"",""b""]"
    "{""id"":""d-1"",""name"":""Home""}",,thing-0000002,"Thing ""2"", a",2,"[""a"",""b""]"
    "#);
}

#[test]
fn a_template_makes_a_line_of_each_item() {
    let provider = provider();
    let template = r"{id}\t{division.name} \{{tags}\}";
    let text = get(&provider, "/api/v2/paged/number?total=2", &["--template", template]);
    assert_eq!(text.end().good(), "thing-0000001\tHome {[\"a\",\"b\"]}\nthing-0000002\tHome {[\"a\",\"b\"]}\n");
}

#[test]
fn the_items_go_into_a_file_and_the_summary_where_they_do_not() {
    let (provider, folder) = (provider(), Folder::new());
    let output = folder.file("items", "old");
    let summary = get(&provider, NUMBER, &["--output", &output, "--json"]).end().good();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["items"], &summary["pages"], &summary["style"]), (&35.into(), &4.into(), &"number".into()));
    assert_eq!((&summary["ended"], &summary["total"]["first"]), (&"complete".into(), &35.into()));
    assert_eq!(numbers(&std::fs::read_to_string(&output).unwrap()), all(35));
    let printed = get(&provider, NUMBER, &["--json"]).end();
    let summary: Value = serde_json::from_str(&printed.stderr).unwrap();
    assert_eq!((summary["items"].as_u64(), numbers(&printed.good())), (Some(35), all(35)));
}

#[test]
fn bounds_end_it_where_they_say() {
    let provider = provider();
    let count = |flags: &[&str]| numbers(&get(&provider, NUMBER, flags).end().good()).len();
    assert_eq!(
        (count(&["--max-items", "14"]), count(&["--max-pages", "3"]), count(&["--max-items", "0"])),
        (14, 30, 0)
    );
}

#[test]
fn endless_and_repeated_pages_end_with_a_warning() {
    let provider = provider();
    for (path, warning) in [
        ("/api/v2/paged/link?pageSize=10&total=35&odd=endless", "names a next page for ever"),
        ("/api/v2/paged/cursor?pageSize=10&total=35&odd=endless", "names a next page for ever"),
        ("/api/v2/paged/link?pageSize=10&total=35&odd=same", "that was read already"),
        ("/api/v2/paged/after?pageSize=10&total=35&odd=same", "that was read already"),
    ] {
        let ended = get(&provider, path, &[]).end();
        assert!(ended.stderr.contains(warning), "{path}: {}", ended.stderr);
        assert_eq!(numbers(&ended.good()), all(35), "{path}");
    }
    let path = "/api/v2/paged/number?pageSize=10&total=35&odd=clamp";
    let clamped = get(&provider, path, &["--style", "number"]).end();
    assert!(clamped.stderr.contains("that was read already"), "{}", clamped.stderr);
    assert_eq!(numbers(&clamped.good()), all(35));
}

#[test]
fn a_total_that_falls_is_warned_of() {
    let ended = get(&provider(), "/api/v2/paged/number?pageSize=10&total=35&odd=shrinks", &["--json"]).end();
    assert!(ended.stderr.contains("3 items were deleted during the export"), "{}", ended.stderr);
    assert!(ended.stderr.contains("the total fell to 31 at page 4"), "{}", ended.stderr);
    assert_eq!(numbers(&ended.good()), all(35));
}

#[test]
fn a_server_that_caps_its_pages_is_read_to_the_end() {
    let provider = provider();
    let capped = get(&provider, "/api/v2/paged/number?pageSize=50&total=35&odd=caps", &["--json"]).end();
    let summary: Value = serde_json::from_str(&capped.stderr).unwrap();
    assert_eq!((&summary["ended"], &summary["missing"]), (&"complete".into(), &0.into()));
    assert_eq!(numbers(&capped.good()), all(35));
}

#[test]
fn a_complete_export_with_fewer_items_than_the_api_counts_says_so() {
    let (provider, folder) = (provider(), Folder::new());
    let path = "/api/v2/paged/number?pageSize=10&total=35&odd=hides";
    let hidden = get(&provider, path, &["--json", "--output", "o"]).folder(&folder).end();
    insta::assert_snapshot!(hidden.stderr, @r"
    warning: the API counts 35 items, and 32 came
      cause: it names no further page, so this was taken for the end
    hint: some may be hidden from this client; compare an export with smaller pages
    ");
    let summary: Value = serde_json::from_str(&hidden.good()).unwrap();
    assert_eq!((&summary["items"], &summary["missing"]), (&32.into(), &3.into()));
}

#[test]
fn what_is_no_page_says_what_it_is_and_how_far_it_got() {
    let provider = provider();
    let ended = get(&provider, "/api/v2/paged/number?pageSize=10&total=35&odd=html", &[]).end();
    insta::assert_snapshot!(ended.stderr.replace(&provider.url(), "UPSTREAM"), @r"
    error: the answer is no page
      in: GET UPSTREAM/api/v2/paged/number
      cause: the answer is no JSON: line 1, column 1
      cause: it is text/html
      cause: so far 20 items of 2 pages are in standard output
    hint: look at it with the same command without --paginate
    hint: go on with pageNumber=3 in the query; with --resume FILE the same command would go on by itself
    ");
    assert_eq!((ended.code(), numbers(&ended.stdout)), (15, all(20)));
    let said = get(&provider, "/api/v2/paged/number?total=5&odd=renamed", &[]).end().failed(15);
    insta::assert_snapshot!(said.replace(&provider.url(), "UPSTREAM"), @r"
    error: the answer is no page
      in: GET UPSTREAM/api/v2/paged/number
      cause: no list of items is found in the answer; its fields are pageCount, pageNumber, pageSize, stuff, total, warnings
    hint: say where they are with --items, as --items data.users
    ");
    let named = get(&provider, "/api/v2/paged/number?total=5&odd=renamed", &["--items", "stuff"]).end().good();
    assert_eq!(numbers(&named), all(5));
    let said = get(&provider, "/api/v2/paged/number?total=5", &["--items", "data.things"]).end().failed(15);
    assert!(said.contains("there is no list at `/data/things`"), "{said}");
    let ended = get(&provider, "/api/v2/paged/link?pageSize=10&total=35&odd=elsewhere", &[]).end().failed(15);
    assert!(ended.contains("is said to be at https://elsewhere.example"), "{ended}");
}

#[test]
fn what_cannot_be_paged_is_refused_before_anything_is_sent() {
    let provider = provider();
    let run = |args: &[&str]| evergrant(args).client_of(&provider).end();
    let said = run(&["api", "DELETE", "/api/v2/things", "--paginate"]).failed(2);
    assert!(said.contains("DELETE is not paged"), "{said}");
    let said = run(&["api", "GET", NUMBER, "--paginate", "--style", "query"]).failed(2);
    assert!(said.contains("the style query is for POST, not for GET"), "{said}");
    let said = run(&["api", "GET", NUMBER, "--paginate", "--style", "pages"]).failed(2);
    assert!(said.contains("there are number, cursor, link, scim, query and job"), "{said}");
    let said = run(&["api", "POST", NUMBER, "--paginate", "--data", "[1]"]).failed(2);
    assert!(said.contains("must be a JSON object"), "{said}");
    let said = run(&["api", "POST", NUMBER, "--paginate", "--data", "{"]).failed(2);
    assert!(said.contains("the body is no JSON"), "{said}");
    let said = run(&["api", "GET", NUMBER, "--paginate", "--template", "{id"]).failed(2);
    assert!(said.contains("the brace is not closed"), "{said}");
    let said = run(&["api", "GET", NUMBER, "--output", "x"]).failed(2);
    assert!(said.contains("--paginate"), "{said}");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}
