//! What is on disk at each step of a rotation, so that a crash between two steps loses nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;

use evergrant::core::Secret;
use evergrant::core::profile::Profile;
use evergrant::grant::Grant;
use evergrant::store::{Store, StoreUrl};
use evergrant::{Credential, TokenSource};
use serde_json::Value;

use crate::support::credential;

/// The stored record while the token request travels, and at the moment when a caller has its token.
#[tokio::test]
async fn the_intent_is_durable_before_the_request_and_both_tokens_are_before_anybody_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let (url, endpoint) = token_endpoint(&path);
    let mut profile = Profile::oauth2();
    profile.token_url = Some(url);
    let rotating = Credential { grant: Grant::RefreshToken, ..credential() };
    let store = Store::open(&StoreUrl::PlainFile(path.clone()), None).unwrap();
    let source =
        TokenSource::builder(profile, rotating).refresh_token(Secret::from("rotating-1")).store(store).build().unwrap();
    let token = source.token().await.unwrap();
    let served = stored(&path);
    let during = endpoint.join().unwrap();
    assert!(during.contains("intent") && !during.contains("rotating-2"), "{during}");
    assert_eq!(token.expose(), "access-2");
    assert!(served.contains("rotating-2") && served.contains("access-2"), "{served}");
}

/// Answers one token request; what the store held when it arrived is the thread's result.
fn token_endpoint(store: &Path) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
    let store = store.to_owned();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !String::from_utf8_lossy(&request).contains("rotating-1") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the request broke off");
            request.extend_from_slice(&bytes[..count]);
        }
        let during = stored(&store);
        let body = r#"{"access_token":"access-2","refresh_token":"rotating-2","token_type":"bearer","expires_in":600}"#;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        during
    });
    (url, thread)
}

/// The store's files as text, each field on its own so that an empty one is not seen.
fn stored(path: &Path) -> String {
    let folder = path.parent().unwrap();
    let mut text = String::new();
    for entry in walk(folder) {
        let Ok(json) = serde_json::from_slice::<Value>(&std::fs::read(entry).unwrap()) else { continue };
        collect(&json, &mut text);
    }
    text
}

fn collect(json: &Value, text: &mut String) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                text.push_str(name);
                text.push('\n');
                collect(value, text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, text)),
        Value::String(value) => {
            text.push_str(value);
            text.push('\n');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
