//! `evergrant explain FILE`: what a person sees who hands a capture in.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Ended, Folder, evergrant};

/// A token that stands in the captures of this folder.
const TOKENS: [&str; 2] =
    ["abcDEF123456789012345678", "DCl7jJaGIGQ1M-8dq791twKewbp8bI5Vr1vFV1gRizlxlsH1U4aaA25FG4BqLcjKqcG5AVuzFJ4g0Q"];

fn capture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/captures").join(name).to_str().unwrap().to_owned()
}

/// Explains a file; nothing of a token may come out.
fn explain(args: &[&str]) -> Ended {
    let ended = evergrant(std::iter::once("explain").chain(args.iter().copied())).end();
    let shown = format!("{}{}", ended.stdout, ended.stderr);
    for secret in TOKENS.iter().chain(&[SECRET]) {
        assert!(!shown.contains(&secret[..12]), "{shown}");
    }
    ended
}

const SECRET: &str = "s3cr3tTOKENs3cr3tTOKENs3cr3t";
const ANSWER: &str = "HTTP/1.1 403 Forbidden\r\nDate: Sat, 28 Nov 2026 22:43:10 GMT\r\n\r\n{\"code\":\"missing.permissions\",\"message\":\"no\",\"contextId\":\"c-1\"}";

#[test]
fn a_refusal_is_told_with_place_time_cause_and_remedy() {
    let folder = Folder::new();
    let request = format!(
        "GET /api/v2/users/17?token={SECRET} HTTP/1.1\r\nHost: api.mypurecloud.de\r\nAuthorization: Bearer {SECRET}\r\n\r\n"
    );
    let file = folder.file("answer.txt", &format!("{request}{ANSWER}"));
    let ended = explain(&[&file]);
    let text = ended.stdout.clone();
    assert!(text.starts_with("1. GET /api/v2/users/{id} answered 403, at api.mypurecloud.de, 2026-11-28T22:43:10Z by the server's clock\nmissing_permission (certain, fault: client config)\n"), "{text}");
    assert!(text.contains("\n  what to do: "), "{text}");
    assert!(ended.stderr.contains("is HTTP messages with 1 exchange; 1 refused"), "{}", ended.stderr);
}

#[test]
fn json_has_everything_in_its_stable_shape() {
    let ended = evergrant(["explain", "--json"]).input(ANSWER).end();
    let json: Value = serde_json::from_str(&ended.good()).unwrap();
    assert_eq!((&json["version"], &json["kind"], &json["exchanges"]), (&1.into(), &"http".into(), &1.into()));
    let verdict = &json["verdicts"][0];
    assert_eq!(verdict["cause"], "missing_permission");
    assert_eq!(
        (&verdict["status"], &verdict["at"], &verdict["at_clock"]),
        (&403.into(), &"2026-11-28T22:43:10Z".into(), &"server".into())
    );
    assert_eq!((&verdict["provider"], &verdict["host"]), (&"genesys".into(), &Value::Null));
    for member in
        ["id", "confidence", "fault", "evidence", "missing", "remedy", "exchange", "method", "route", "region"]
    {
        assert!(verdict.get(member).is_some(), "{member}");
    }
}

#[test]
fn captures_of_real_programs_are_known_for_what_they_are() {
    for (file, kind, host, exchange) in [
        ("curl.txt", "curl", Some("127.0.0.1:18089"), 1),
        ("curl-times.txt", "curl", Some("127.0.0.1:18089"), 3),
        ("chromium.har", "har", Some("127.0.0.1:18089"), 2),
        ("python.txt", "exception", None, 1),
        ("javascript.txt", "json_error", None, 1),
        ("axios.txt", "exception", Some("127.0.0.1:18089"), 1),
        ("httpx.txt", "exception", Some("127.0.0.1:18089"), 1),
    ] {
        let json: Value = serde_json::from_str(&explain(&["--json", &capture(file)]).good()).unwrap();
        assert_eq!(json["kind"], kind, "{file}");
        let [verdict] = &json["verdicts"].as_array().unwrap()[..] else { panic!("{file}: {json}") };
        assert_eq!((verdict["status"].as_u64(), verdict["host"].as_str()), (Some(401), host), "{file}");
        assert_eq!(verdict["exchange"], exchange, "{file}");
        // One bare 401 with a token of unknown origin has no cause that could be proven, and says what is missing.
        assert_eq!(verdict["cause"], "unknown", "{file}: {json}");
        assert!(!verdict["missing"].as_array().unwrap().is_empty(), "{file}");
    }
}

#[test]
fn standard_input_is_read_with_or_without_a_dash() {
    for args in [&["explain", "-"][..], &["explain"]] {
        assert!(evergrant(args).input(ANSWER).end().good().contains("missing_permission"));
    }
}

#[test]
fn a_capture_in_which_nothing_failed_ends_well_and_prints_nothing() {
    let ended = evergrant(["explain", "-"]).input("HTTP/1.1 200 OK\r\n\r\n{}").end();
    assert!(ended.stderr.contains("1 exchange; nothing was refused"), "{}", ended.stderr);
    assert_eq!(ended.good(), "");
    let json = evergrant(["explain", "--json", "-"]).input("HTTP/1.1 200 OK\r\n\r\n{}").end().good();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["verdicts"], serde_json::json!([]));
}

#[test]
fn what_cannot_be_explained_says_what_is_missing() {
    let folder = Folder::new();
    let bytes = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (name, content, what, hint) in [
        ("empty", &b"\n"[..], "the capture is empty", "a HAR"),
        ("gz", b"\x1f\x8b\x08\0\0\0\0\0", "the capture is compressed", "gunzip -c"),
        ("junk", b"\x7fELF\x02\x01\x01\0\0\0\x93\xfe", "the capture is no text", "a HAR"),
        ("prose", b"it does not work, please help", "there is no HTTP in the capture", "a HAR"),
        ("token", b"\"s3cr3tTOKENs3cr3t\nTOKENs3cr3t\"", "there is a token and no HTTP in the capture", "--token-file"),
        (
            "curl",
            b"> GET / HTTP/1.1\n> Host: a\n> \ncurl: (52) Empty reply",
            "there is no answer in the capture",
            "capture until",
        ),
        (
            "torn",
            b"{\"log\":{\"entries\":[{\"request\":{\"method\":\"GE",
            "there is no answered request in the HAR",
            "again",
        ),
    ] {
        let said = explain(&[&bytes(name, content)]).failed(13);
        assert!(
            said.starts_with(&format!("error: {what}\n")) && said.contains("hint: ") && said.contains(hint),
            "{said}"
        );
    }
    let said = explain(&["/nowhere/at/all"]).failed(2);
    assert!(said.starts_with("error: cannot read the capture\n"), "{said}");
}

#[test]
fn a_torn_har_and_utf_16_are_read_and_said_to_be() {
    let folder = Folder::new();
    let har = std::fs::read_to_string(capture("chromium.har")).unwrap();
    let torn = folder.file("torn.har", &har[..har.rfind("\"timings\"").unwrap()]);
    let ended = explain(&[&torn]);
    assert!(ended.stderr.contains("it ends in the middle, after 1 whole entries"), "{}", ended.stderr);
    assert!(ended.good().contains("answered 401"));

    let text = std::fs::read_to_string(capture("curl.txt")).unwrap();
    let bytes: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let path = folder.path().join("utf16.txt");
    std::fs::write(&path, bytes).unwrap();
    let ended = explain(&[path.to_str().unwrap()]);
    assert!(ended.stderr.contains("it is UTF-16"), "{}", ended.stderr);
    assert!(ended.good().contains("answered 401"));
}

#[test]
fn a_token_and_a_time_can_be_given_beside_the_capture() {
    let folder = Folder::new();
    let answer =
        folder.file("answer.txt", "HTTP/1.1 401 Unauthorized\r\n\r\n{\"code\":\"bad.credentials\",\"message\":\"no\"}");
    let quoted = folder.file("token", &format!("\"{SECRET}\"\n"));
    let text = explain(&["--token-file", &quoted, &answer]).good();
    assert!(text.contains("malformed_token (certain"), "{text}");
    let whole = folder.file("good", &format!("{SECRET}\n"));
    assert!(!explain(&["--token-file", &whole, &answer]).good().contains("malformed_token"));

    // {"alg":"none"} and {"exp":1790000000}, which is in September 2026.
    let jwt = folder.file("jwt", "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTAwMDAwMDB9.c2ln\n");
    let at = |time: &str| explain(&["--token-file", &jwt, "--captured-at", time, &answer]).good();
    assert!(at("2026-12-01T00:00:00Z").contains("expired (certain"));
    assert!(!at("2026-09-01T00:00:00Z").contains("expired (certain"));
    let said = explain(&["--captured-at", "yesterday", &answer]).failed(2);
    assert!(said.contains("a time has a date and a zone"), "{said}");
}

#[test]
fn a_capture_needs_no_settings_and_bad_ones_do_not_matter() {
    let run = evergrant(["explain", "-"]).config("this is no = [settings file").input(ANSWER);
    assert!(run.end().good().contains("missing_permission"));
}

#[test]
fn filters_are_for_a_running_gateway_only() {
    assert!(explain(&["--cause", "expired"]).failed(2).contains("--last"));
    explain(&["--since", "10m", "-"]).failed(2);
    assert!(explain(&["--last", "--cause", "expire"]).failed(2).contains("did you mean `expired`?"));
}

/// A hundred megabytes of HAR: bodies of pictures between thousands of requests, each refused with a token of its own.
#[test]
fn a_har_of_100_mb_is_explained_within_64_mib() {
    let mut running = std::process::Command::new(env!("CARGO_BIN_EXE_evergrant"))
        .args(["explain", "--json", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = running.id();
    let mut input = running.stdin.take().unwrap();
    let output = running.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    let picture = "iVBORw0KGgo".repeat(40_000);
    let mut written = 0;
    let mut entries = 0;
    write!(input, "{{\"log\":{{\"version\":\"1.2\",\"entries\":[").unwrap();
    while written < 100 << 20 {
        let (status, body) = if entries % 20 == 0 { (200, picture.as_str()) } else { (401, "e30=") };
        let entry = format!(
            "{}{{\"startedDateTime\":\"2026-11-28T22:43:29.276Z\",\"time\":25.5,\"request\":{{\"method\":\"GET\",\"url\":\"https://api.example.org/api/v2/a{entries}\",\"headers\":[{{\"name\":\"Authorization\",\"value\":\"Bearer {SECRET}{entries}\"}}]}},\"response\":{{\"status\":{status},\"headers\":[{{\"name\":\"Date\",\"value\":\"Sat, 28 Nov 2026 22:43:29 GMT\"}}],\"content\":{{\"text\":\"{body}\",\"encoding\":\"base64\"}}}}}}",
            if entries == 0 { "" } else { "," }
        );
        input.write_all(entry.as_bytes()).unwrap();
        written += entry.len();
        entries += 1;
    }
    write!(input, "]}}}}").unwrap();
    drop(input);
    // The peak only grows, so the last one that can be read before the end is the one that counts.
    let mut peak_kib = 0;
    while running.try_wait().unwrap().is_none() {
        peak_kib = peak(pid).unwrap_or(peak_kib);
        std::thread::yield_now();
    }
    let json: Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(json["exchanges"], entries);
    assert!(!json["verdicts"].as_array().unwrap().is_empty());
    assert!(peak_kib > 1024, "the peak was not read");
    assert!(peak_kib <= 64 << 10, "{written} bytes of {entries} entries took {peak_kib} KiB");
}

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}
