//! A process that is killed in the middle of a rotation, at every step of it and at any moment.
//!
//! Each step of a rotation tells the log that it is reached (target `evergrant::steps`). The victim is this very test
//! program, started once more; it reads those words and kills itself, with the signal that nobody can catch, at the one
//! it was told. Then another process goes on with the same store against a provider that detects reuse.
//!
//! With a grace nothing may be lost. Without one a crash between the sending of the request and the rename that commits
//! its answer loses the grant, and no store can help: the provider has forgotten the old refresh token and nobody has
//! heard of the new one. That loss must have its name, and no other may happen.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evergrant::core::Secret;
use evergrant::core::profile::{Profile, Region};
use evergrant::core::time::Span;
use evergrant::grant::Grant;
use evergrant::store::{Store, StoreUrl};
use evergrant::{Client, Credential, TokenSource};
use evergrant_sim::config::REFRESH_TOKEN;
use evergrant_sim::faults::TokenFault;
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, ProviderConfig, SimServer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::support::{credential, living};

const GRACE: Span = Span::from_secs(20);

fn strict(lifetime_secs: i64, grace: Span) -> ProviderConfig {
    let mut config = living(lifetime_secs);
    config.rotation.reuse_detection = true;
    config.rotation.grace = grace;
    config
}

#[test]
fn a_kill_at_any_step_loses_nothing_within_the_grace() {
    let steps = steps_of_a_rotation();
    assert!(steps.len() >= 12, "{steps:?}");
    for step in 1..=steps.len() {
        let (sim, folder) = (SimServer::start(strict(3600, GRACE)).unwrap(), tempfile::tempdir().unwrap());
        let killed = Victim::new(&sim, folder.path()).kill_at(step).run();
        assert!(!killed.status.success(), "{step}: {killed:?}");
        let next = Victim::new(&sim, folder.path()).run();
        assert!(said(&next).contains("works"), "killed at {step} of {steps:?}: {next:?}");
        assert_nothing_was_reused(&sim);
    }
}

#[test]
fn without_a_grace_every_loss_is_named_and_none_happens_outside_the_one_window() {
    let steps = steps_of_a_rotation();
    let (mut lost, mut kept) = (0, 0);
    let committed = steps.iter().rposition(|step| step == "file replaced").unwrap() + 1;
    for step in 1..=steps.len() {
        let (sim, folder) = (SimServer::start(strict(3600, Span::ZERO)).unwrap(), tempfile::tempdir().unwrap());
        let victim = Victim::new(&sim, folder.path()).kill_at(step).start();
        let id = victim.id();
        let killed = victim.wait_with_output().unwrap();
        assert!(!killed.status.success());
        let was_sent = sim.handle().ledger().token.requests > 0;
        let next = said(&Victim::new(&sim, folder.path()).run());
        if next.contains("works") {
            kept += 1;
            continue;
        }
        lost += 1;
        assert!(next.contains("rotation_lost") && next.contains(&format!("process {id} on ")), "{next}");
        assert!(next.contains(" GMT"), "the time is named: {next}");
        assert!(was_sent && step < committed, "lost at {step} of {steps:?}");
        let again = said(&Victim::new(&sim, folder.path()).run());
        assert!(again.contains("rotation_lost"), "what is stored stays, and so does the reason: {again}");
    }
    assert!(lost > 0 && kept > 5, "{lost} lost, {kept} kept");
}

#[test]
fn a_kill_while_the_answer_is_on_its_way_is_the_next_processs_to_repair() {
    let (sim, folder) = (SimServer::start(strict(3600, GRACE)).unwrap(), tempfile::tempdir().unwrap());
    sim.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(5))));
    let mut victim = Victim::new(&sim, folder.path()).start();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while sim.handle().ledger().token.requests == 0 {
        assert!(std::time::Instant::now() < deadline, "the request never came");
        std::thread::sleep(Duration::from_millis(5));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    sim.handle().apply(Event::ClearTokenFaults);
    assert!(said(&Victim::new(&sim, folder.path()).run()).contains("works"));
    assert_nothing_was_reused(&sim);
}

#[test]
fn an_answer_that_is_repeated_when_its_token_has_ended_is_not_taken_for_one_without_an_end() {
    let answered = steps_of_a_rotation().iter().position(|step| step == "answer received").unwrap() + 1;
    let (sim, folder) = (SimServer::start(strict(2, GRACE)).unwrap(), tempfile::tempdir().unwrap());
    assert!(!Victim::new(&sim, folder.path()).kill_at(answered).run().status.success());
    // Time itself is the condition: the token lives two seconds, on clocks of real processes.
    std::thread::sleep(Duration::from_millis(2_500));
    let next = Victim::new(&sim, folder.path()).run();
    assert!(said(&next).contains("works"), "{next:?}");
    assert_nothing_was_reused(&sim);
    let ledger = sim.handle().ledger();
    assert!(ledger.api.refused.is_empty(), "{:?}", ledger.api.refused);
    assert_eq!(ledger.token_requests_ended(TokenOutcome::IssuedAgain), 1);
}

/// 30 kills, or as many as `cargo xtask soak` asks for.
#[test]
fn kills_at_random_instants_lose_nothing() {
    let kills = std::env::var("EVERGRANT_SOAK_KILLS").map_or(30, |text| text.parse().unwrap());
    let (sim, folder) = (SimServer::start(strict(2, GRACE)).unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..kills {
        let mut victim = Victim::new(&sim, folder.path()).for_ever().start();
        let wait = getrandom::u64().unwrap() % 700;
        std::thread::sleep(Duration::from_millis(wait));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let next = Victim::new(&sim, folder.path()).run();
    assert!(said(&next).contains("works"), "{next:?}");
    assert_nothing_was_reused(&sim);
    let ledger = sim.handle().ledger();
    assert!(ledger.token.requests >= 3, "{} requests in {kills} kills", ledger.token.requests);
}

/// The names of all steps, from a rotation that nobody disturbs.
fn steps_of_a_rotation() -> Vec<String> {
    let (sim, folder) = (SimServer::start(strict(3600, GRACE)).unwrap(), tempfile::tempdir().unwrap());
    let whole = Victim::new(&sim, folder.path()).run();
    assert!(said(&whole).contains("works"), "{whole:?}");
    said(&whole).lines().filter_map(|line| line.strip_prefix("step ")).map(str::to_owned).collect()
}

fn assert_nothing_was_reused(sim: &SimServer) {
    let ledger = sim.handle().ledger();
    for outcome in [TokenOutcome::ReuseDetected, TokenOutcome::InvalidGrant] {
        assert_eq!(ledger.token_requests_ended(outcome), 0, "{outcome:?}");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process of its own that rotates a grant.
struct Victim(Command);

impl Victim {
    fn new(sim: &SimServer, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["crash::the_victim", "--exact", "--ignored", "--nocapture"]);
        command.env("VICTIM_API", sim.url()).env("VICTIM_TOKEN_URL", sim.token_url());
        command.env("VICTIM_STORE", folder.join("tokens")).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command)
    }

    /// Kills itself at this step.
    fn kill_at(mut self, step: usize) -> Self {
        self.0.env("VICTIM_KILL_AT", step.to_string());
        self
    }

    /// Goes on with one rotation after the other.
    fn for_ever(mut self) -> Self {
        self.0.env("VICTIM_FOR_EVER", "1").stderr(Stdio::null());
        self
    }

    fn start(mut self) -> Child {
        self.0.spawn().unwrap()
    }

    fn run(self) -> Output {
        self.start().wait_with_output().unwrap()
    }
}

#[tokio::test]
#[ignore = "the process that the other tests start"]
async fn the_victim() {
    let variable = |name: &str| std::env::var(name).ok();
    let kill_at = variable("VICTIM_KILL_AT").map_or(0, |text| text.parse().unwrap());
    tracing::subscriber::set_global_default(Steps { kill_at, reached: AtomicU64::new(0) }).unwrap();
    let mut profile = Profile::genesys(Region::parse("eu-west-1").unwrap());
    profile.token_url = variable("VICTIM_TOKEN_URL");
    profile.api_url = variable("VICTIM_API");
    let path = variable("VICTIM_STORE").expect("this test is only started by the others");
    let store = Store::open(&StoreUrl::PlainFile(path.into()), None).unwrap();
    let rotating = Credential { grant: Grant::RefreshToken, ..credential() };
    let source = TokenSource::builder(profile, rotating)
        .refresh_token(Secret::from(REFRESH_TOKEN))
        .store(store)
        .build()
        .unwrap();
    if let Err(error) = source.token().await {
        eprintln!("fails: {error}");
        return;
    }
    // A step may come after the token is served.
    source.clone().shutdown().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let client = Client::builder(source).build().unwrap();
    loop {
        match client.get("/api/v2/things").send().await {
            Ok(answer) if answer.status() == 200 => eprintln!("works"),
            other => eprintln!("fails: {:?}", other.map(|answer| answer.status())),
        }
        if variable("VICTIM_FOR_EVER").is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads the log, names the steps, and ends the process at one of them.
struct Steps {
    kill_at: u64,
    reached: AtomicU64,
}

impl Subscriber for Steps {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "evergrant::steps"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut name = Name(String::new());
        event.record(&mut name);
        eprintln!("step {}", name.0);
        if self.reached.fetch_add(1, Ordering::SeqCst) + 1 == self.kill_at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // Until the signal takes effect nothing more may happen here.
            loop {
                std::thread::park();
            }
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message of an event.
struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
