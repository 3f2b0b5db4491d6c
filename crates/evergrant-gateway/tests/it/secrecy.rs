//! At trace level, through refusals, replays and failures, nothing secret is written anywhere.

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::Request;
use tracing_subscriber::EnvFilter;

use crate::support::*;

const SECRETS: [&str; 6] =
    ["of-the-test", "client-s3cr3t", "Y2FsbGVycy1vd24", "crumb-of-a-cookie", "asked-for", "page-7"];

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_output_holds_a_secret() {
    let written = Written::default();
    let writer = written.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn,evergrant=trace,evergrant_core=trace,evergrant_gateway=trace"))
        .with_writer(move || writer.clone())
        .init();
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move { if log.note(request).await % 2 == 1 { unauthorized("no") } else { answer(200, "yes") } }
    })
    .await;
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut outputs = Vec::new();
    for addr in [upstream.addr, unused] {
        let gateway = TestGateway::start(addr).await;
        for own in ["", "Basic Y2FsbGVycy1vd24", "Bearer "] {
            let request = Request::post(gateway.url("/api/v2/users/12345?q=asked-for&page=page-7"))
                .header("authorization", own)
                .header("cookie", "session=crumb-of-a-cookie")
                .body(full("text"))
                .unwrap();
            let (response, body) = fetch(&caller(), request).await;
            outputs.push(format!("{:?} {}", response.headers(), String::from_utf8_lossy(&body)));
        }
        for path in ["/status", "/metrics"] {
            let (_, body) = get(format!("http://{}{path}", gateway.admin)).await;
            outputs.push(String::from_utf8(body.to_vec()).unwrap());
        }
        gateway.ended().await;
    }
    outputs.push(String::from_utf8(written.0.lock().unwrap().clone()).unwrap());
    let trace = outputs.last().unwrap();
    assert!(trace.contains("request answered") && trace.contains("/api/v2/users/{id}"), "{trace}");
    for output in &outputs {
        for secret in SECRETS {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
    }
}
