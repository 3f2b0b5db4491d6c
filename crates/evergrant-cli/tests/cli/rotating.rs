//! A refresh token on its way: what ends a command then, what waits for the answer, and what waits no longer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::thread;

use evergrant_core::time::Span;
use evergrant_sim::config::{ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::{Event, TokenFault};
use evergrant_sim::http::SimServer;
use evergrant_sim::ledger::TokenOutcome;
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Folder, Run, Running, evergrant};

/// Everything that spends a refresh token and ends.
const COMMANDS: [&[&str]; 7] = [
    &["token"],
    &["api", "GET", "/x"],
    &["api", "GET", "/x", "--paginate"],
    &["exec", "--", "echo", "started"],
    &["exec", "--gateway", "--", "echo", "started"],
    &["exec", "--token-file", "--", "echo", "started"],
    &["clock"],
];

/// A provider that replaces refresh tokens, knows no grace, and gives tokens of 100 s; and a store.
struct Stage {
    provider: SimServer,
    folder: Folder,
}

impl Stage {
    fn new() -> Self {
        let provider = SimServer::start(ProviderConfig::rfc().with_lifetime(Span::from_secs(100))).unwrap();
        Self { provider, folder: Folder::new() }
    }

    fn apply(&self, fault: TokenFault) {
        self.provider.handle().apply(Event::token(fault));
    }

    /// A run with the client's credentials.
    fn run(&self, arguments: &[&str]) -> Run {
        let store = format!("file+plain:{}", self.folder.path().join("store").display());
        let run = evergrant(arguments).client_of(&self.provider).env("EVERGRANT_STORE", store);
        // For a token of this provider alone, `clock` has somebody to ask.
        if arguments[0] == "clock" { run.env("EVERGRANT_PROVIDER", "genesys") } else { run }
    }

    /// A run with the refresh token.
    fn spending(&self, arguments: &[&str]) -> Run {
        self.run(arguments).env("EVERGRANT_GRANT", "refresh_token").env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN)
    }

    /// Waits until the token endpoint has a request.
    fn when_asked(&self, running: &mut Running) {
        running.when(|| self.provider.handle().ledger().token.in_flight > 0);
    }

    /// The answer was stored before the command ended, and its refresh token works.
    fn assert_nothing_is_lost(&self, after: &str) {
        let list = self.run(&["store", "list", "--json"]).end().good();
        let list: Value = serde_json::from_str(&list).unwrap();
        let stored = &list["credentials"][0];
        assert_eq!((&stored["generation"], &stored["in_doubt"]), (&1.into(), &Value::Null), "{after}: {list}");

        self.provider.handle().apply(Event::ClearTokenFaults);
        // The first token is 5 s old, so this spends the stored refresh token.
        self.spending(&["token", "--min-remaining", "96s"]).end().good();
        let ledger = self.provider.handle().ledger();
        let refused = [TokenOutcome::InvalidGrant, TokenOutcome::ReuseDetected];
        assert_eq!(refused.map(|outcome| ledger.token_requests_ended(outcome)), [0, 0], "{after}: {:?}", ledger.token);
        assert_eq!(ledger.token.succeeded, 2, "{after}");
    }
}

/// Plays a scene with each command, side by side: most of the time they wait.
fn with_each(commands: &[&'static [&'static str]], scene: impl Fn(&Stage, &[&str], &str) + Sync) {
    thread::scope(|scope| {
        for arguments in commands {
            let scene = &scene;
            scope.spawn(move || scene(&Stage::new(), arguments, &arguments.join(" ")));
        }
    });
}

/// `exec` and an export give an exit code, as they always do; the others die of the signal, or a shell would go on with its
/// script after Ctrl-C.
fn assert_ended_by(signal: Signal, status: ExitStatus, arguments: &[&str]) {
    let gives_a_code = arguments[0] == "exec" || arguments.contains(&"--paginate");
    let expected = if gives_a_code { (Some(128 + signal.as_raw()), None) } else { (None, Some(signal.as_raw())) };
    assert_eq!((status.code(), status.signal()), expected, "{arguments:?}");
}

/// The provider has replaced the refresh token when the signal comes: only the answer has the next.
#[test]
fn a_refresh_token_on_its_way_is_not_lost_by_a_signal() {
    with_each(&COMMANDS, |stage, arguments, name| {
        for signal in [Signal::TERM, Signal::HUP] {
            let stage = if signal == Signal::TERM { stage } else { &Stage::new() };
            stage.apply(TokenFault::Slow(Span::from_secs(5)));
            let (mut running, _home) = stage.spending(arguments).start();
            stage.when_asked(&mut running);
            running.signal(signal);
            let mut said = BufReader::new(running.child().stdout.take().unwrap()).lines();
            assert_ended_by(signal, running.wait(), arguments);
            assert!(said.next().is_none(), "{name}");
            stage.assert_nothing_is_lost(name);
        }
    });
}

/// The same where nobody waits so long: the command fails in time, and the answer is stored before it ends.
#[test]
fn a_refresh_token_on_its_way_is_not_lost_by_a_timeout() {
    with_each(&COMMANDS, |stage, arguments, name| {
        stage.apply(TokenFault::Slow(Span::from_secs(5)));
        let ended = stage.spending(arguments).env("EVERGRANT_TIMEOUT", "1s").end();
        // There are other clocks than the one that wants a token.
        let is_good = arguments[0] == "clock";
        assert_eq!((ended.code() == 0, ended.stdout.is_empty()), (is_good, !is_good), "{name}: {}", ended.shown());
        assert!(ended.stderr.contains("waiting for the answer to a refresh token"), "{name}: {}", ended.stderr);
        stage.assert_nothing_is_lost(name);
    });
}

/// Nobody is held up by a provider that does not answer: a second signal does not wait.
#[test]
fn a_second_signal_ends_the_wait_for_a_refresh_token() {
    with_each(&COMMANDS, |stage, arguments, name| {
        stage.apply(TokenFault::Slow(Span::from_secs(300)));
        let run = stage.spending(arguments).env("EVERGRANT_TOKEN_TIMEOUT", "300s");
        let (mut running, _home) = run.start();
        stage.when_asked(&mut running);
        running.signal(Signal::TERM);
        let mut said = BufReader::new(running.child().stderr.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "warning: waiting for the answer to a refresh token", "{name}");
        running.signal(Signal::INT);
        // The first one counts.
        assert_ended_by(Signal::TERM, running.wait(), arguments);
    });
}

/// What can be asked for again is not waited for: the first signal ends the run.
#[test]
fn a_signal_ends_a_run_that_spends_nothing_at_once() {
    with_each(&COMMANDS, |stage, arguments, name| {
        stage.apply(TokenFault::Hang(Span::from_secs(300)));
        let run = stage.run(arguments).env("EVERGRANT_TOKEN_TIMEOUT", "300s").env("EVERGRANT_TIMEOUT", "300s");
        let (mut running, _home) = run.start();
        stage.when_asked(&mut running);
        running.signal(Signal::TERM);
        let mut said = BufReader::new(running.child().stderr.take().unwrap()).lines();
        let is_told = said.any(|line| line.unwrap().contains("waiting for the answer"));
        assert!(!is_told, "{name}");
        running.wait();
    });
}

/// A run that waits for another process to give the store's lease back has sent nothing: the first signal ends it.
#[test]
fn a_signal_ends_a_run_that_only_waits_for_its_lease() {
    with_each(&COMMANDS, |stage, arguments, name| {
        stage.apply(TokenFault::Slow(Span::from_secs(300)));
        let holding = stage.spending(&["token"]).env("EVERGRANT_TOKEN_TIMEOUT", "300s");
        let (mut holder, _home) = holding.start();
        stage.when_asked(&mut holder);
        let waiting = stage.spending(arguments).env("EVERGRANT_TOKEN_TIMEOUT", "300s").env("EVERGRANT_LOG", "debug");
        let (mut running, _home) = waiting.start();
        let mut said = BufReader::new(running.child().stderr.take().unwrap()).lines();
        assert!(said.by_ref().any(|line| line.unwrap().contains("token request")), "{name}");
        running.signal(Signal::TERM);
        let rest: Vec<_> = said.map(Result::unwrap).collect();
        assert!(!rest.iter().any(|line| line.contains("waiting for the answer")), "{name}: {rest:?}");
        assert_ended_by(Signal::TERM, running.wait(), arguments);
        assert_eq!(stage.provider.handle().ledger().token.requests, 1, "{name}");
    });
}

/// Nobody reads what is printed, and a signal still ends the run.
#[test]
fn a_signal_ends_a_run_whose_standard_output_is_full() {
    let stage = Stage::new();
    let api = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", api.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let (mut caller, _) = api.accept().unwrap();
        let _ = caller.read(&mut [0; 4096]).unwrap();
        let _ = write!(caller, "HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
        // Nobody takes all of it.
        let _ = caller.write_all(&vec![b'x'; BODY]);
    });
    let (mut running, _home) = stage.spending(&["api", "GET", "/x"]).env("EVERGRANT_UPSTREAM", url).start();
    let stdout = running.child().stdout.take().unwrap();
    running.when(|| ioctl_fionread(&stdout).unwrap() >= PIPE);
    running.signal(Signal::TERM);
    assert_ended_by(Signal::TERM, running.wait(), &["api"]);
    answering.join().unwrap();
}

/// More than all buffers on the way hold.
const BODY: usize = 64 << 20;
/// What a pipe holds at least on every system.
const PIPE: u64 = 16 << 10;
