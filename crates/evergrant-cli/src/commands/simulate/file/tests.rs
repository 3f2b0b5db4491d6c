use std::path::Path;

use super::parse;
use evergrant_core::time::Span;

fn refused(text: &str) -> String {
    parse(Path::new("world.toml"), text).unwrap_err().plain()
}

#[test]
fn a_world_is_read_with_its_events_in_order() {
    let text = "duration = \"2h\"\nlifetime = \"10m\"\nserver_ahead = \"-5m\"\npropagation = \"0s..2s\"\n\
                [[event]]\nat = \"90m\"\nwhat = \"revoke_all\"\n\
                [[event]]\nat = \"30m\"\nwhat = \"token_endpoint\"\nfault = \"unavailable\"\nlasts = \"2m\"\n\
                [[event]]\nat = \"40m\"\nwhat = \"step_wall\"\nby = \"-10m\"\n";
    let world = parse(Path::new("world.toml"), text).unwrap();
    let after: Vec<_> = world.events.iter().map(|event| event.after.as_secs()).collect();
    assert_eq!(after, [1_800, 1_920, 5_400]);
    assert_eq!(world.config.clock.offset, Span::from_secs(-300));
    assert_eq!(world.config.nodes[3].propagation.max, Span::from_secs(2));
    assert_eq!(world.mishaps.len(), 1);
}

#[test]
fn a_slip_names_its_place_and_what_is_allowed() {
    for (text, place, words) in [
        ("lifetme = \"5s\"", ":1:1", "did you mean `lifetime`?"),
        ("\nlifetime = 5", ":2:12", "expected a duration in quotes"),
        ("lifetime = \"0s\"", ":1:12", "is not between 1.0 s and"),
        ("nodes = 0", ":1:9", "whole number from 1 to 64"),
        ("nodes = 4.5", ":1:9", "whole number from 1 to 64"),
        ("propagation = \"3s..1s\"", ":1:15", "whose first end is the smaller one"),
        ("grant = \"password\"", ":1:9", "client_credentials, refresh_token"),
        ("based_on = \"no_folt\"", ":1:12", "did you mean `no_fault`?"),
        ("calls_per_minute = 60000\nduration = \"30d\"", ":2:12", "are more than"),
        ("[[event]]\nat = \"1m\"\nwhat = \"explode\"", ":3:8", "revoke_all, revoke_refresh_tokens"),
        ("[[event]]\nat = \"1m\"\nwhat = \"api\"\nfault = \"angry\"", ":4:9", "always_401"),
        ("[[event]]\nat = \"1m\"\nwhat = \"step_server\"", ":1:1", "`by` is missing"),
        ("[[event]]\nat = \"9h\"\nwhat = \"revoke_all\"", ":3:8", "the run ends at"),
        ("a = ", ":1:5", "not valid TOML"),
    ] {
        let words_said = refused(text);
        assert!(words_said.contains(&format!("world.toml{place}")), "{text}\n{words_said}");
        assert!(words_said.contains(words), "{text}\n{words_said}");
    }
}
