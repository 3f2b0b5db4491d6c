//! The program with the feature `otel` and a collector on loopback that writes down what it gets.
//!
//! The collector is asked for JSON, so that the test can read spans without the crates that made them.

#[cfg(test)]
#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "the tests of the command line use all of it")]
mod support;

#[cfg(test)]
mod traces {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use evergrant_sim::config::CLIENT_SECRET;
    use rustix::process::Signal;
    use serde_json::Value;

    use crate::support::{closed_port, evergrant, provider};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    /// Requests that a server got: head in lower case, and body.
    type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

    /// A server that gives each request this answer.
    fn serve(answer: impl Fn(&str) -> &'static str + Clone + Send + 'static) -> (SocketAddr, Seen) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, seen) = (listener.local_addr().unwrap(), Seen::default());
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&noted), answer.clone());
                std::thread::spawn(move || serve_one(&stream.unwrap(), &seen, &answer));
            }
        });
        (addr, seen)
    }

    fn serve_one(stream: &TcpStream, seen: &Seen, answer: &impl Fn(&str) -> &'static str) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or("0");
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let said = answer(&head);
            seen.lock().unwrap().push((head, body));
            (&*stream).write_all(said.as_bytes()).unwrap();
        }
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const REFUSED: &str =
        "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 0\r\n\r\n";

    fn send(to: &str, path: &str, fields: &str) -> String {
        let mut stream = TcpStream::connect(to).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{fields}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Everything that came to the collector, span by span.
    fn spans(collector: &Seen) -> Vec<Value> {
        let mut spans = Vec::new();
        for (head, body) in collector.lock().unwrap().iter() {
            assert!(head.starts_with("post /v1/traces ") && head.contains("application/json"), "{head}");
            let batch: Value = serde_json::from_slice(body).unwrap();
            for resource in batch["resourceSpans"].as_array().unwrap() {
                assert_eq!(attribute(&resource["resource"], "service.name"), "the-gateway-of-the-test");
                for scope in resource["scopeSpans"].as_array().unwrap() {
                    spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
                }
            }
        }
        spans
    }

    /// An attribute as text, whatever its type is.
    fn attribute(of: &Value, key: &str) -> String {
        let found = of["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
        let value = found.and_then(|found| found["value"].as_object()?.values().next());
        value.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
        let names: Vec<_> = spans.iter().map(|span| &span["name"]).collect();
        spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} among {names:?}"))
    }

    #[test]
    fn a_collector_gets_the_spans_of_requests_token_requests_and_probes_and_no_secret() {
        let provider = provider();
        let (collector, batches) = serve(|_| OK);
        let was_refused = Arc::new(Mutex::new(false));
        let (upstream, requests) = serve(move |head| {
            let is_own = head.contains("quiet-token");
            let is_first = head.contains("/replayed") && !std::mem::replace(&mut *was_refused.lock().unwrap(), true);
            if is_own || is_first { REFUSED } else { OK }
        });
        let run = evergrant(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .client_of(&provider)
            .env("EVERGRANT_UPSTREAM", format!("http://{upstream}"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
            .env("OTEL_SERVICE_NAME", "the-gateway-of-the-test")
            .env("RUST_LOG", "trace");
        let (mut running, _home) = run.start();
        let mut log = BufReader::new(running.child().stderr.take().unwrap());
        let mut text = String::new();
        while !text.contains("listener=\"gateway\"") {
            assert_ne!(log.read_line(&mut text).unwrap(), 0, "{text}");
        }
        let gateway = text.split("addr=").nth(1).unwrap().lines().next().unwrap().trim().to_owned();

        let context = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nCookie: quiet-cookie\r\n");
        assert!(send(&gateway, "/api/v2/users/4711", &context).starts_with("HTTP/1.1 200"));
        assert!(send(&gateway, "/api/v2/replayed?secret=quiet-query", "").starts_with("HTTP/1.1 200"));
        let own = send(&gateway, "/api/v2/own", "Authorization: Bearer quiet-token\r\n");
        assert!(own.starts_with("HTTP/1.1 401"), "{own}");
        running.signal(Signal::TERM);
        log.read_to_string(&mut text).unwrap();
        assert_eq!(running.wait().code(), Some(0), "{text}");

        let spans = spans(&batches);
        let request = named(&spans, "GET /api/v2/users/{id}");
        assert_eq!((&request["traceId"], &request["parentSpanId"]), (&TRACE.into(), &PARENT.into()), "{request}");
        assert_eq!(request["kind"], 2, "of a server");
        for (key, value) in [
            ("http.request.method", "GET"),
            ("http.route", "/api/v2/users/{id}"),
            ("http.response.status_code", "200"),
            ("evergrant.attempts", "1"),
            ("evergrant.generation", "1"),
            ("evergrant.verdict", ""),
        ] {
            assert_eq!(attribute(request, key), value, "{key} of {request}");
        }
        let replayed = named(&spans, "GET /api/v2/replayed");
        assert_eq!(attribute(replayed, "evergrant.attempts"), "2", "{replayed}");
        let own = named(&spans, "GET /api/v2/own");
        assert_eq!(attribute(own, "evergrant.verdict"), "caller_token", "{own}");
        let minted = named(&spans, "token request");
        assert_eq!((attribute(minted, "server.address").as_str(), &minted["kind"]), ("127.0.0.1", &3.into()));
        assert_eq!(attribute(minted, "evergrant.generation"), "1");
        assert_eq!(attribute(named(&spans, "probe"), "evergrant.probe"), "Accepted");

        let requests = requests.lock().unwrap();
        let (first, _) = requests.iter().find(|(head, _)| head.contains("/users/4711")).unwrap();
        let passed_on = format!("traceparent: 00-{TRACE}-{}-01\r\n", request["spanId"].as_str().unwrap());
        assert!(first.contains(&passed_on) && !first.contains(PARENT), "{first}");

        let batches = batches.lock().unwrap();
        let told: String = batches.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect();
        let told = told + &text;
        let secrets = provider.handle().secrets();
        let secrets = secrets.iter().map(|secret| secret.expose());
        for quiet in secrets.chain([CLIENT_SECRET, "quiet-query", "quiet-cookie", "quiet-token"]) {
            assert!(!told.contains(quiet), "{quiet} is told in {told}");
        }
    }

    #[test]
    fn a_collector_that_is_not_there_costs_no_token() {
        let provider = provider();
        let run = evergrant(["token"]).client_of(&provider);
        let ended = run.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", closed_port())).end();
        assert_eq!(ended.code(), 0, "{}", ended.shown());
        assert_eq!(ended.stdout.lines().count(), 1);
    }

    #[test]
    fn without_a_collector_nothing_is_said_about_traces() {
        let ended = evergrant(["token"]).client_of(&provider()).env("RUST_LOG", "debug").end();
        assert_eq!(ended.code(), 0);
        assert!(!ended.stderr.to_lowercase().contains("opentelemetry"), "{}", ended.stderr);
    }
}
