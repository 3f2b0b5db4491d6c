//! What each client library really sends when its gateway setting names this gateway.
//!
//! Paths, fields and bodies are those of the libraries' sources, for prefixes with and without slashes at their ends:
//! Python takes one slash off, JavaScript all at the end, Go those at both ends; Java, .NET and the command line tool
//! take none off and put one in front if there is none. Each login must give a handle and each call, with that handle,
//! must reach the API's own path with the real token.

use evergrant::core::profile::{Profile, Region};
use evergrant_gateway::BrokerConfig;
use serde_json::Value;

use crate::support::*;

struct Shape {
    client: &'static str,
    login: &'static str,
    fields: &'static [&'static str],
    form: &'static str,
    call: &'static str,
    call_fields: &'static [&'static str],
}

/// `id:s3cr3t+/=` as those libraries encode it: joined first, never form-encoded.
const BASIC: &str = "Authorization: Basic aWQ6czNjcjN0Ky89";
const SECRET: &str = "s3cr3t+/=";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

const SHAPES: [Shape; 13] = [
    Shape {
        client: "Python, prefixes with slashes",
        login: "/login/oauth/token",
        fields: &[BASIC, FORM, "User-Agent: PureCloud SDK/python", "Accept-Encoding: identity"],
        form: "grant_type=client_credentials",
        call: "/api-gw/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json", "purecloud-sdk: 269.0.0", "User-Agent: PureCloud SDK/python"],
    },
    Shape {
        client: "Python, no prefix",
        login: "/oauth/token",
        fields: &[BASIC, FORM, "User-Agent: PureCloud SDK/python"],
        form: "grant_type=client_credentials",
        call: "/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json"],
    },
    Shape {
        client: "JavaScript",
        login: "/login/oauth/token",
        fields: &[
            BASIC,
            FORM,
            "Accept: application/json, text/plain, */*",
            "User-Agent: axios/1.18.1",
            "Accept-Encoding: gzip, compress, deflate, br",
        ],
        form: "grant_type=client_credentials",
        call: "/api-gw/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json", "Content-Type: application/json"],
    },
    Shape {
        client: "JavaScript, prefix that begins with two slashes",
        login: "//login/oauth/token",
        fields: &[BASIC, FORM],
        form: "grant_type=client_credentials",
        call: "//gw/api/v2/users/me?expand=presence",
        call_fields: &[],
    },
    Shape {
        client: "Java, prefix that ends with a slash",
        login: "/login//oauth/token",
        fields: &[BASIC, FORM, "Accept: application/json", "User-Agent: PureCloud SDK/java"],
        form: "grant_type=client_credentials",
        call: "/gw//api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json", "purecloud-sdk: 240.0.0"],
    },
    Shape {
        client: ".NET",
        login: "/login/oauth/token",
        fields: &[BASIC, FORM, "Accept: application/json", "User-Agent: PureCloud SDK/dotnet"],
        form: "grant_type=client_credentials",
        call: "/gw/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json", "Accept-Encoding: gzip, deflate, br"],
    },
    Shape {
        client: "Go",
        login: "/login/oauth/token",
        fields: &[BASIC, FORM, "User-Agent: PureCloud SDK/go", "Accept-Encoding: gzip"],
        form: "grant_type=client_credentials",
        call: "/gw/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json", "Content-Type: application/json", "purecloud-sdk: 188.0.0"],
    },
    Shape {
        client: "Terraform, several segments",
        login: "/eu/genesys/login/oauth/token",
        fields: &[BASIC, FORM, "User-Agent: GC Terraform Provider/1.70.0", "Accept-Encoding: gzip"],
        form: "grant_type=client_credentials",
        call: "/eu/genesys/api/api/v2/users/me?expand=presence",
        call_fields: &["User-Agent: GC Terraform Provider/1.70.0"],
    },
    Shape {
        client: "gc, prefix that ends with a slash",
        login: "/login//oauth/token",
        fields: &[BASIC, FORM, "User-Agent: PureCloud SDK/go-cli", "purecloud-sdk: 166.0.0"],
        form: "grant_type=client_credentials",
        call: "/gw//api/v2/users/me?expand=presence",
        call_fields: &["Cache-Control: no-cache", "User-Agent: PureCloud SDK/go-cli", "purecloud-sdk: 166.0.0"],
    },
    Shape {
        client: "curl --user",
        login: "/oauth/token",
        fields: &[BASIC, FORM, "User-Agent: curl/8.14.1", "Accept: */*"],
        form: "grant_type=client_credentials",
        call: "/api/v2/users/me?expand=presence",
        call_fields: &["Accept: */*"],
    },
    Shape {
        client: "a client that form-encodes before Basic, as RFC 6749 has it",
        login: "/oauth/token",
        fields: &["Authorization: Basic aWQ6czNjcjN0JTJCJTJGJTNE", FORM],
        form: "grant_type=client_credentials&scope=",
        call: "/api/v2/users/me?expand=presence",
        call_fields: &[],
    },
    Shape {
        client: "Airbyte: everything in the form",
        login: "/oauth/token",
        fields: &[FORM, "User-Agent: python-requests/2.32.5", "Accept: */*"],
        form: "grant_type=client_credentials&client_id=id&client_secret=s3cr3t%2B%2F%3D",
        call: "/api/v2/users/me?expand=presence",
        call_fields: &[],
    },
    Shape {
        client: "n8n: a generic OAuth 2.0 credential",
        login: "/oauth/token",
        fields: &[BASIC, "Content-Type: application/x-www-form-urlencoded;charset=UTF-8", "Accept: application/json"],
        form: "grant_type=client_credentials&scope=",
        call: "/api/v2/users/me?expand=presence",
        call_fields: &["Accept: application/json,text/html,application/xhtml+xml"],
    },
];

/// An upstream that shows what it got, and a gateway before it.
async fn start() -> (TestUpstream, Log, TestGateway) {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, "{}")
        }
    })
    .await;
    let source = source_of(Profile::genesys(Region::UsEast1), SECRET).await;
    let gateway =
        TestGateway::with_source(upstream.addr, source, |config| config.broker = Some(BrokerConfig::default())).await;
    (upstream, log, gateway)
}

/// Sends exactly these fields, and the two that end the exchange.
async fn exchange(gateway: &TestGateway, line: &str, fields: &[&str], body: &str) -> (u16, String) {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}{length}Connection: close\r\n\r\n{body}", gateway.addr);
    let answer = raw(gateway.addr, head).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn every_library_logs_in_and_calls() {
    let (_upstream, log, gateway) = start().await;
    for shape in &SHAPES {
        let client = shape.client;
        let (status, body) = exchange(&gateway, &format!("POST {}", shape.login), shape.fields, shape.form).await;
        assert_eq!(status, 200, "{client}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let handle = body["access_token"].as_str().unwrap();
        assert!(handle.starts_with("eg1_"), "{client}");

        let bearer = format!("Authorization: Bearer {handle}");
        let fields: Vec<&str> = shape.call_fields.iter().copied().chain([bearer.as_str()]).collect();
        let (status, body) = exchange(&gateway, &format!("GET {}", shape.call), &fields, "").await;
        assert_eq!(status, 200, "{client}: {body}");
        let seen = log.all().pop().unwrap();
        assert_eq!(seen.head, "GET /api/v2/users/me?expand=presence", "{client}");
        assert_eq!(seen.headers["authorization"], "Bearer token-1-of-the-test", "{client}");
        for field in shape.call_fields {
            let (name, value) = field.split_once(": ").unwrap();
            assert_eq!(seen.headers[name], value, "{client}");
        }
    }
    assert_eq!(log.count(), SHAPES.len(), "no login reached the upstream");
}

/// `gc --environment localhost:PORT` asks for no token and sends an empty one.
#[tokio::test]
async fn the_command_line_tool_on_localhost_needs_no_login() {
    let (_upstream, log, gateway) = start().await;
    let fields = [
        "Authorization: Bearer ",
        "Cache-Control: no-cache",
        "User-Agent: PureCloud SDK/go-cli",
        "purecloud-sdk: 166.0.0",
    ];
    let (status, _) = exchange(&gateway, "GET /api/v2/users?pageNumber=1&pageSize=25", &fields, "").await;
    assert_eq!(status, 200);
    let seen = log.all().pop().unwrap();
    assert_eq!(seen.head, "GET /api/v2/users?pageNumber=1&pageSize=25");
    assert_eq!(seen.headers["authorization"], "Bearer token-1-of-the-test");
}
