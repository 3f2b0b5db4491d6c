//! `evergrant demo` as a process: what it promises, without settings, network or terminal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.arg("demo").args(args).env_clear().stdin(Stdio::null());
    command
}

/// A demo that was started with pipes and is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_first_lane_sees_401s_and_the_second_none_whatever_the_environment_says() {
    let nonsense = ["REGION", "TOKEN_URL", "UPSTREAM", "STORE", "LOG", "PROFILE", "TIMEOUT", "CONFIG"];
    let mut command = demo(&["--fast", "--json"]);
    command.envs(nonsense.map(|name| (format!("EVERGRANT_{name}"), "\u{1}nonsense=://")));
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("HTTPS_PROXY", "nonsense://");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(0), "{stdout}{stderr}");

    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(stdout.ends_with("}]}\n"), "{stdout}");
    assert_eq!(json["complete"], true);
    let lanes = json["lanes"].as_array().unwrap();
    assert_eq!(lanes.iter().map(|lane| lane["name"].as_str().unwrap()).collect::<Vec<_>>(), ["snippet", "evergrant"]);
    let [snippet, evergrant] = &lanes[..] else { panic!("not two lanes: {stdout}") };
    let number = |lane: &serde_json::Value, field: &str| lane[field].as_u64().unwrap();
    assert!(number(snippet, "visible_401") > 0, "{stdout}");
    assert_eq!(number(evergrant, "visible_401"), 0, "{stdout}");
    assert_eq!(number(evergrant, "other_failures"), 0, "{stdout}");
    assert_eq!(number(snippet, "calls"), number(evergrant, "calls"));
    assert!(number(evergrant, "calls") >= 450, "{stdout}");
    assert!(number(evergrant, "token_requests") < number(snippet, "token_requests"), "{stdout}");
    assert!(lanes.iter().all(|lane| lane["p99_ms"].as_f64().unwrap() > 0.0), "{stdout}");
    for why in ["propagating", "revoked", "expired"] {
        assert!(number(&snippet["refused"], why) > 0, "{why}: {stdout}");
    }

    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    let told: Vec<&str> = stderr.lines().collect();
    assert_eq!(told.len(), 8, "one line for each moment: {stderr}");
    assert!(told[0].contains("7 s fast"), "{stderr}");
}

#[test]
fn an_interrupt_ends_it_with_the_summary_so_far() {
    let mut child = Running(demo(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut told = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains("0.0 s"), "{line}");
    kill_process(Pid::from_child(&child.0), Signal::INT).unwrap();
    let mut summary = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert!(summary.starts_with("stopped after"), "{summary}");
    assert!(summary.contains("snippet") && summary.contains("evergrant"), "{summary}");
    assert!(!summary.contains('\u{1b}'), "{summary}");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}
