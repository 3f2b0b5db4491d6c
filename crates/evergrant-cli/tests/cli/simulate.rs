//! `evergrant simulate`: its output depends on its arguments alone, and a slip says where it is.

use crate::support::{Folder, evergrant};

#[test]
fn clients_are_compared_in_a_named_world() {
    let run = ["simulate", "propagation", "--seed", "1", "--strategy", "evergrant,snippet,octokit"];
    let table = evergrant(run).end().good();
    assert_eq!(table, evergrant(run).end().good(), "the same arguments give the same output");
    insta::assert_snapshot!(table, @r"
    propagation: each node learns of a new token up to 1.5 seconds late
    13 s of virtual time, seed 1

    client     calls  visible 401  first after refresh  no answer  other errors  token requests  per lifetime    p99
    evergrant   1290            0                0.0 %          0             0               4          1.85   5 ms
    snippet     1290          739               95.8 %          0             0             771        355.85  72 ms
    octokit     1290          789                0.0 %          0             0               1          0.46   5 ms
    ");
}

#[test]
fn a_world_of_a_file_is_played_and_told_as_json() {
    let folder = Folder::new();
    let text = "duration = \"2h\"\nlifetime = \"10m\"\n[[event]]\nat = \"30m\"\nwhat = \"revoke_all\"\n";
    let world = folder.file("world.toml", text);
    let said = evergrant(["simulate", &world, "--seeds", "2", "--json"]).end().good();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["seeds"], serde_json::json!([1, 2]));
    let of = |name: &str, what: &str| {
        let all = said["strategies"].as_array().unwrap();
        all.iter().find(|one| one["strategy"] == name).unwrap()[what].as_u64().unwrap()
    };
    assert_eq!((of("evergrant", "visible_401"), of("evergrant", "unanswered")), (0, 0));
    assert!(of("x_oauth2", "visible_401") > 50, "nobody told it that the token was revoked");
}

#[test]
fn a_slip_in_a_world_names_the_place_and_what_is_allowed() {
    let folder = Folder::new();
    let text = "nodes = 3\n\n[[event]]\nat = \"1m\"\nwhat = \"token_endpoint\"\nfault = \"angry\"\n";
    let said = evergrant(["simulate", &folder.file("world.toml", text)]).end().failed(2);
    for words in ["world.toml:6:9", "unknown fault `angry`", "unavailable"] {
        assert!(said.contains(words), "{said}");
    }
    for (wrong, words) in [
        (["simulate", "propagatoin"], "did you mean `propagation`?"),
        (["simulate", "--strategy=snipet"], "did you mean `snippet`?"),
        (["simulate", "--seeds=0"], "1..=1000000"),
    ] {
        let said = evergrant(wrong).end().failed(2);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_drawn_world_is_held_against_the_promises() {
    let run = ["simulate", "drawn", "--seeds", "30", "--strategy", "evergrant", "--json"];
    let said = evergrant(run).end().good();
    assert_eq!(said, evergrant(run).end().good(), "however the seeds are shared out between the cores");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["broken_promises"], serde_json::json!([]));
    assert!(said["strategies"][0]["calls"].as_u64().unwrap() > 10_000, "{said}");
}
